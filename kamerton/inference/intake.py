"""Takes base models in: from a folder or the hub to a record that says what they are."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from kamerton.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from kamerton.inference import facts, hub, records
from kamerton.inference.catalog import EMBEDDED
from kamerton.inference.facts import Facts
from kamerton.inference.hub import LICENCES, SMALL
from kamerton.inference.prompts import Renderer
from kamerton.inference.provenance import base_hash, fingerprint
from kamerton.inference.records import File, Record

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
QUANTIZATIONS = ("", "nf4")
_PIECE = 8 * 1024**2
OnBytes = Callable[[str, int, int], None]
"""Of a file that is hashed: its name, how many bytes are done, and how many it has."""


def add(
    data: Path,
    name: str,
    source: str,
    *,
    revision: str = "",
    quantization: str = "",
    on_bytes: OnBytes = lambda name, done, size: None,
) -> Record:
    """Take in a folder as it lies there, or a model of the hub into the data folder.

    Nothing is there before all of it is. Raises InvalidArgument, AlreadyExists, NotFound,
    PermissionDenied, FailedPrecondition and Unavailable, each saying what to do.
    """
    _check(data, name, quantization)
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision:
            raise InvalidArgument("--revision is for a model of the hub; a folder has none")
        folder = folder.resolve()
        facts.check(folder)
        Renderer.load(folder)
        return _written(data, name, folder, str(folder), "", quantization, {}, on_bytes)
    commit = hub.look_up(source, revision)
    folder = records.own_folder(data, name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    _clear_of_others(folder, f"{source}@{commit.revision}")
    commit.fetch(commit.small, folder)
    # What cannot be used is refused before gigabytes are fetched.
    facts.check(folder)
    Renderer.load(folder)
    commit.fetch(commit.weights, folder)
    return _written(
        data, name, folder, source, commit.revision, quantization, commit.sums, on_bytes
    )


def _clear_of_others(folder: Path, wanted: str) -> None:
    """What an interrupted add of another model has left must not mix with this one."""
    note = folder / FETCHING
    if not note.is_file() or note.read_text() != wanted:
        shutil.rmtree(folder)
        folder.mkdir()
    note.write_text(wanted)


FETCHING = ".fetching"
"""Says which model, at which revision, is on its way into a folder."""


def damaged(record: Record, on_bytes: OnBytes = lambda name, done, size: None) -> Iterator[str]:
    """In words, every file that is not what it was when the base model was added."""
    folder = Path(record.base_model.weights)
    for name, was in record.files.items():
        file = folder / name
        if not file.is_file():
            yield f"{name} is missing"
        elif (size := file.stat().st_size) != was.size:
            yield f"{name} has {size} bytes and had {was.size}"
        elif _sha256(file, on_bytes) != was.sha256:
            yield f"{name} has another SHA-256 than it had"
    for file in folder.glob("*.safetensors"):
        if file.name not in record.files:
            yield f"{file.name} was not there"


def _check(data: Path, name: str, quantization: str) -> None:
    if not NAME.fullmatch(name) or name.endswith((".json", ".new")):
        raise InvalidArgument(
            f"{name!r} is no name for a base model: use letters, digits, dots, - and _, at most 63"
        )
    if quantization not in QUANTIZATIONS:
        raise InvalidArgument(f"there is no quantization {quantization!r}; give nf4, or none")
    if name == EMBEDDED.name or records.find(data, name):
        remove = f": kamerton base remove {name}" if name != EMBEDDED.name else ""
        raise AlreadyExists(
            f"there is a base model called {name} already; take another name, or remove that one "
            f"first{remove}"
        )


def _written(
    data: Path,
    name: str,
    folder: Path,
    source: str,
    revision: str,
    quantization: str,
    sums: dict[str, str],
    on_bytes: OnBytes,
) -> Record:
    found = facts.read(folder)
    files = {
        file.name: File(file.stat().st_size, _sha256(file, on_bytes)) for file in _files(folder)
    }
    for file, expected in sums.items():
        if file in files and files[file].sha256 != expected:
            (folder / file).unlink()
            raise FailedPrecondition(
                f"{file} is not the file that the hub has: its SHA-256 differs. It was removed; "
                "run the same again to fetch it anew."
            )
    licence, terms = _licence(folder, found)
    version = fingerprint(base_hash(folder))
    record = Record(
        base_model=replace(
            facts.base_model(name, folder, found), version=version, quantization=quantization
        ),
        source=source,
        revision=revision,
        licence=licence,
        terms=terms,
        family=found.family.name,
        model_type=found.model_type,
        parameters=found.parameters,
        dtype=found.dtype,
        files=files,
        add_time=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    records.write(data, record)
    return record


def _files(folder: Path) -> list[Path]:
    """All that the base model is made of."""
    small = [
        file
        for file in folder.iterdir()
        if file.is_file() and (file.name.endswith(SMALL) or file.name.startswith(LICENCES))
    ]
    return sorted([*small, *folder.glob("*.safetensors")])


def _licence(folder: Path, found: Facts) -> tuple[str, str]:
    """Its name and address, by the model card."""
    from huggingface_hub import metadata_load

    try:
        card = metadata_load(folder / "README.md") or {}
    except Exception:  # There is no card, or no header in it, or no YAML in that.
        card = {}
    named = card.get("license_name") if card.get("license") == "other" else None
    licence = str(named or card.get("license") or "")
    terms = str(card.get("license_link") or found.family.terms)
    if not licence and (file := next(iter(sorted(folder.glob("LICEN[CS]E*"))), None)):
        licence = f"in {file.name}"
    return licence, terms


def _sha256(file: Path, on_bytes: OnBytes) -> str:
    found, done, size = hashlib.sha256(), 0, file.stat().st_size
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE):
            found.update(piece)
            done += len(piece)
            on_bytes(file.name, done, size)
    return found.hexdigest()
