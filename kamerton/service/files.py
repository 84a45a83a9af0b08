"""The verbs on files: get, list, open, delete, and read_examples to train on one."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import BinaryIO

from kamerton.dataset import formats
from kamerton.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Violation,
)
from kamerton.service import access, pages
from kamerton.service.app import App
from kamerton.service.uploads import ID
from kamerton.store import files as store
from kamerton.types import Caller, Example, File, Page

MAX_TRAINING_BYTES = 256 * 1024**2
"""Of a file to train on. All its examples are in memory for a moment, in the server and in the
trainer, at up to three times their size on disk."""
MAX_EXAMPLES = 200_000
_URI = re.compile(rf"(?:https?://[^/?#]+(?:/[^?#]*)?/(?:v1beta|v1|v1alpha)/)?files/({ID.pattern})")
SMALL_BYTES = 8 * 1024**2
"""Files to train on that may be read beside any others."""
READING_SECONDS = 10.0
"""How long one reader of a larger one waits for another."""
_reading = threading.Lock()
_waiting = threading.BoundedSemaphore(4)
"""Few may wait, so that there are threads for everything else."""


def get(app: App, caller: Caller, file_id: str) -> File:
    """Its owner and administrators see a file; others are not told whether it is there."""
    return _allowed(app, caller, "files.get", file_id)


def list_(app: App, caller: Caller, *, page_size: int, page_token: str = "") -> Page[File]:
    """Newest first: the caller's, or everybody's for an administrator."""
    access.require(caller, "files.list")
    owner = None if access.is_admin(caller) else caller.owner
    bound = ("files", caller.owner)
    after = pages.start(page_token, *bound)
    return pages.page(*store.list_(app.database, owner, page_size, after), *bound)


def open_(app: App, caller: Caller, file_id: str) -> tuple[File, BinaryIO]:
    """The file and its bytes, which can be read to the end even when it is deleted meanwhile."""
    found = _allowed(app, caller, "files.download", file_id)
    try:
        return found, app.arrivals.path(found.uid).open("rb")
    except FileNotFoundError:
        raise NotFound(f"files/{file_id} was deleted a moment ago.") from None


def delete(app: App, caller: Caller, file_id: str) -> None:
    """The bytes go at once; whoever is reading or training on them has a copy."""
    found = _allowed(app, caller, "files.delete", file_id)
    store.delete_(app.database, found.uid)
    app.arrivals.forget(found.uid)


def read_examples(app: App, caller: Caller, file_uri: str) -> list[Example]:
    """The rows of an uploaded file, named as `files/{id}` or by its uri, as examples.

    Raises InvalidArgument with every row that cannot be used, named by its line, and as `get`
    does. What is at the uri is never fetched: only its last part is looked at.
    """
    named = _URI.fullmatch(file_uri)
    if named is None:
        rule = "must be files/{id}, or the uri of a file that was uploaded to this server"
        raise InvalidArgument.of("file_uri", rule)
    file, content = open_(app, caller, named[1])
    with content:
        if file.size_bytes > MAX_TRAINING_BYTES:
            size = f"{file.size_bytes} bytes, at most {MAX_TRAINING_BYTES} can be trained on"
            raise InvalidArgument.of("file_uri", size)
        name = file.display_name or f"files/{file.id}"
        try:
            with _alone() if file.size_bytes > SMALL_BYTES else nullcontext():
                return formats.read_file(content, name, MAX_EXAMPLES)
        except InvalidArgument as error:
            raise InvalidArgument(error.message, _at_file_uri(error)) from None


@contextmanager
def _alone() -> Iterator[None]:
    """Many large files at once could fill the memory."""
    busy = ResourceExhausted("Other files to train on are being read; try again in a moment.")
    if not _waiting.acquire(blocking=False):
        raise busy
    try:
        if not _reading.acquire(timeout=READING_SECONDS):
            raise busy
    finally:
        _waiting.release()
    try:
        yield
    finally:
        _reading.release()


def _at_file_uri(error: InvalidArgument) -> tuple[Violation, ...]:
    """The complaints about lines of a file as complaints about the field that names it."""
    return tuple(Violation("file_uri", formats.sentence(found)) for found in error.violations)


def _allowed(app: App, caller: Caller, verb: str, file_id: str) -> File:
    access.require(caller, verb)
    found = store.get(app.database, file_id)
    if found is not None and (found.owner == caller.owner or access.is_admin(caller)):
        return found
    if access.is_admin(caller):
        raise NotFound(
            f"files/{file_id} does not exist, or has expired. List what there is with "
            "GET /v1beta/files."
        )
    raise PermissionDenied(
        f"You do not have permission to access the file files/{file_id}, or it does not exist."
    )
