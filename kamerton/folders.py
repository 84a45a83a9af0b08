"""Folders that are either whole or absent: written aside, listed in a manifest, renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from kamerton.errors import FailedPrecondition

MANIFEST = "MANIFEST.json"
Write = Callable[[Path], None]
"""Fills a new folder with files."""


def publish(folder: Path, write: Write, *, lasting: bool = True) -> None:
    """Let `write` fill a new folder, then make it appear as `folder` in one step.

    After a crash at any point `folder` is whole or absent; after a power loss only if it is
    `lasting`, which takes longer, else it may be damaged, which `is_whole` finds. The parent must
    exist: a run whose folder was deleted under it fails here instead of bringing the folder back.
    """
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    aside.mkdir()
    try:
        write(aside)
        listing = {
            path.name: {"size": path.stat().st_size, "sha256": _sha256(path)}
            for path in sorted(aside.iterdir())
        }
        (aside / MANIFEST).write_text(json.dumps(listing, indent=1))
        if lasting:
            for path in aside.iterdir():
                sync(path)
            sync(aside)
        if folder.exists():
            shutil.rmtree(folder)
        aside.rename(folder)
        if lasting:
            sync(folder.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def copy(folder: Path, to: Path) -> None:
    """Publish the same files once more. Raises FailedPrecondition when they are damaged."""
    if not is_whole(folder):
        raise FailedPrecondition(f"{folder.name} is missing or damaged on disk.")

    def write(into: Path) -> None:
        try:
            for file in folder.iterdir():
                if file.name != MANIFEST:
                    shutil.copyfile(file, into / file.name)
        except FileNotFoundError as error:  # Somebody deletes it at this moment.
            raise FailedPrecondition(f"{folder.name} was deleted meanwhile.") from error

    publish(to, write)


def is_whole(folder: Path) -> bool:
    """True when every file has the size and SHA-256 that the manifest says."""
    try:
        listing = json.loads((folder / MANIFEST).read_bytes())
        return all(
            (folder / name).stat().st_size == facts["size"]
            and _sha256(folder / name) == facts["sha256"]
            for name, facts in listing.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def newest_whole(parent: Path) -> Path | None:
    """The whole folder with the highest name in `parent`; damaged ones are passed over."""
    if not parent.is_dir():
        return None
    names = sorted((p for p in parent.iterdir() if not p.name.startswith(".")), reverse=True)
    return next((folder for folder in names if is_whole(folder)), None)


def keep_newest(parent: Path, count: int) -> None:
    """Remove all but the `count` folders with the highest names, and what crashes left."""
    folders = sorted(parent.iterdir(), reverse=True)
    whole = [folder for folder in folders if not folder.name.startswith(".")]
    for folder in set(folders) - set(whole[:count]):
        shutil.rmtree(folder, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Have the disk keep a file, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
