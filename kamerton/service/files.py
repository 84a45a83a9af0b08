"""The verbs on files: get, list, open, delete; and a file as a source of examples."""

from __future__ import annotations

import gzip
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import BinaryIO

from kamerton.dataset import parquet
from kamerton.dataset.chunks import Source
from kamerton.dataset.sources import source_of
from kamerton.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from kamerton.service import access, pages
from kamerton.service.app import App
from kamerton.service.uploads import ID
from kamerton.store import files as store
from kamerton.types import Caller, File, Page

MAX_TRAINING_BYTES = 256 * 1024**2
"""Of a file to train on, as it is and decoded. All its examples are in memory for a moment, in the
server and in the trainer, at up to three times their size on disk."""
_URI = re.compile(rf"(?:https?://[^/?#]+(?:/[^?#]*)?/(?:v1beta|v1|v1alpha)/)?files/({ID.pattern})")
SMALL_BYTES = 8 * 1024**2
"""Files to train on that may be read beside any others."""
_PIECE_BYTES = 1024**2
READING_SECONDS = 10.0
"""How long one reader of a larger one waits for another."""
_PARQUET_RATIO = 200
"""So much smaller than its rows a Parquet file may be."""


class _Turn:
    """One reader of large files after another: many at once could fill the memory."""

    def __init__(self) -> None:
        self.reading = threading.RLock()  # Training and validation data may both be large.
        self.waiting = threading.BoundedSemaphore(4)
        """Few may wait, so that there are threads for everything else."""


_creating, _checking = _Turn(), _Turn()
"""Checks, however many, do not keep anybody from creating."""


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


@contextmanager
def source(
    app: App,
    caller: Caller,
    file_uri: str,
    columns: tuple[str, str] = ("", ""),
    *,
    only_check: bool = False,
) -> Iterator[tuple[Source, int]]:
    """The rows of an uploaded file, named as `files/{id}` or by its uri, and how many bytes they
    are at most. `columns` are those of `Data`; `only_check`: nothing is created of it.

    Raises InvalidArgument for what cannot be trained on at all, and as `get` does. What is at the
    uri is never fetched: only its last part is looked at.
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
        most_bytes = _most_bytes(content, file.size_bytes)
        turn = _checking if only_check else _creating
        with _alone(turn) if most_bytes > SMALL_BYTES else nullcontext():
            name = file.display_name or f"files/{file.id}"
            yield (
                source_of(
                    content,
                    name,
                    input_key=columns[0],
                    output_key=columns[1],
                    most_bytes=MAX_TRAINING_BYTES,
                ),
                most_bytes,
            )


def _most_bytes(content: BinaryIO, size: int) -> int:
    """How many bytes of rows a file holds at most, by as much of it as is small."""
    start = content.read(4)
    content.seek(0)
    if start.startswith(b"\x1f\x8b"):
        found = _unpacked_bytes(content)
    elif start == parquet.MAGIC:
        found = size * _PARQUET_RATIO
    else:
        return size
    return found if found <= SMALL_BYTES else MAX_TRAINING_BYTES


def _unpacked_bytes(content: BinaryIO) -> int:
    """Of gzip, and no more than shows that it is not small. A broken one is read up to there."""
    count = 0
    try:
        with gzip.open(content) as rows:
            while count <= SMALL_BYTES and (piece := rows.read(_PIECE_BYTES)):
                count += len(piece)
    except (OSError, EOFError, zlib.error):
        return SMALL_BYTES + 1  # Reading it will say what is wrong.
    finally:
        content.seek(0)
    return count


@contextmanager
def _alone(turn: _Turn) -> Iterator[None]:
    """With nobody else reading in the same turn. Raises ResourceExhausted."""
    busy = ResourceExhausted("Other files to train on are being read; try again in a moment.")
    if not turn.waiting.acquire(blocking=False):
        raise busy
    try:
        if not turn.reading.acquire(timeout=READING_SECONDS):
            raise busy
    finally:
        turn.waiting.release()
    try:
        yield
    finally:
        turn.reading.release()


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
