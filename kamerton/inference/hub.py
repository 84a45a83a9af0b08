"""Fetches base models from the Hugging Face hub, each pinned to a commit."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kamerton.errors import FailedPrecondition, NotFound, PermissionDenied, Unavailable
from kamerton.inference.facts import PICKLES

_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
"""Errors of the disk here, not of the hub."""
SMALL = (".json", ".jinja", ".md", ".model")
LICENCES = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
WEIGHTS = ".safetensors"


@dataclass(frozen=True, slots=True)
class Commit:
    """A model on the hub as it was at one commit."""

    source: str
    revision: str
    """In full."""
    sums: dict[str, str]
    """Of the files that the hub has a SHA-256 of, the large ones."""
    small: tuple[str, ...]
    """Files that say what it is."""
    weights: tuple[str, ...]

    def fetch(self, files: tuple[str, ...], folder: Path) -> None:
        """Into a folder, going on where an earlier time was cut off. Raises Unavailable."""
        from huggingface_hub import snapshot_download

        with _explained(self.source, self.revision):
            snapshot_download(
                self.source,
                revision=self.revision,
                local_dir=folder,
                allow_patterns=list(files),
            )


def look_up(source: str, revision: str) -> Commit:
    """What a hub id stands for now; `revision` is a branch, a tag or a commit, "" the newest.

    Raises NotFound, PermissionDenied for a gated model, FailedPrecondition for one without
    safetensors, and Unavailable when the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    with _explained(source, revision):
        found = HfApi().model_info(source, revision=revision or None, files_metadata=True)
    # Folders inside hold other formats of the same model.
    files = [file for file in found.siblings or () if "/" not in file.rfilename]
    names = [file.rfilename for file in files]
    weights = [name for name in names if name.endswith(WEIGHTS)]
    if any(name.startswith("model") for name in weights):  # Others would be a second copy.
        weights = [name for name in weights if name.startswith("model")]
    if not weights:
        pickled = any(Path(name).match(pattern) for name in names for pattern in PICKLES)
        also = " It has pickles, which can run code when they are read." if pickled else ""
        raise FailedPrecondition(
            f"{source} has no weights as *.safetensors, and no other kind is fetched.{also} Take "
            "another model, or a revision of this one with safetensors."
        )
    return Commit(
        source,
        str(found.sha),
        {file.rfilename: file.lfs.sha256 for file in files if file.lfs},
        tuple(name for name in names if name.endswith(SMALL) or name.startswith(LICENCES)),
        tuple(weights),
    )


@contextmanager
def _explained(source: str, revision: str) -> Iterator[None]:
    """The library's errors in our words."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{source}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise PermissionDenied(
            f"{source} is gated: its owner asks you to accept a licence first. Open {page}, accept "
            f"it, make a token that may read ({constants.ENDPOINT}/settings/tokens), and run this "
            "again with the token in the environment variable HF_TOKEN."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise NotFound(
            f"{source} has no revision {revision!r}: see its branches and tags at {page}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise NotFound(
            f"{source} is neither a folder here nor a model on the Hugging Face hub, or it is a "
            "private one: check the name; for a private one set HF_TOKEN."
        ) from error
    except errors.HFValidationError as error:
        raise NotFound(
            f"{source!r} is neither a folder here nor a name such as google/gemma-3-270m-it"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise Unavailable(
            f"{source} cannot be fetched: the environment variable HF_HUB_OFFLINE forbids it. "
            "Unset it, or name a folder with the files."
        ) from error
    except Exception as error:  # Of whatever it speaks HTTP with.
        if isinstance(error, OSError) and error.errno in _OURS:
            raise
        raise Unavailable(
            f"The Hugging Face hub cannot be reached for {source}: {_first_line(error)} Run the "
            "same again later to go on, or fetch the files elsewhere and name their folder."
        ) from error


def _first_line(error: Exception) -> str:
    said = str(error).strip().splitlines() or [type(error).__name__]
    return said[0].rstrip(".") + "."
