"""Uploaded files: sending, reading, listing and deleting them."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO

from kamerton.client.uploads import upload
from kamerton.genai.configuration import connection
from kamerton.genai.decoding import decode
from kamerton.genai.names import Named, file_name

_JSONL = "application/jsonl"


class FileState(IntEnum):
    STATE_UNSPECIFIED = 0
    PROCESSING = 1
    ACTIVE = 2
    FAILED = 10


@dataclass
class File:
    """An uploaded file; the server keeps it until `expiration_time`."""

    name: str = ""
    """`files/{id}`."""
    display_name: str = ""
    mime_type: str = ""
    size_bytes: int = 0
    create_time: datetime | None = None
    update_time: datetime | None = None
    expiration_time: datetime | None = None
    sha256_hash: bytes = b""
    uri: str = ""
    state: FileState = FileState.STATE_UNSPECIFIED

    def delete(self) -> None:
        delete_file(self)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def upload_file(
    path: str | os.PathLike[str] | BinaryIO,
    *,
    mime_type: str | None = None,
    name: str | None = None,
    display_name: str | None = None,
    resumable: bool = True,
) -> File:
    """Upload a file from disk, or what a binary file object still holds.

    It is sent in pieces of 8 MiB, and an interrupted upload goes on where it was; `resumable`
    changes nothing. `name` is the id that the file is to have.
    """
    if isinstance(path, str | os.PathLike):
        local = Path(path)
        with local.open("rb") as content:
            return _upload(content, name, display_name or local.name, mime_type or _guess(local))
    return _upload(path, name, display_name or "", mime_type or "application/octet-stream")


def _upload(content: BinaryIO, name: str | None, display_name: str, mime_type: str) -> File:
    told = upload(
        connection(),
        content,
        name=file_name(name) if name else "",
        display_name=display_name,
        mime_type=mime_type,
    )
    return decode(File, told)


def _guess(path: Path) -> str:
    known = _JSONL if path.suffix.lower() == ".jsonl" else mimetypes.guess_type(path)[0]
    return known or "application/octet-stream"


def get_file(name: str | Named) -> File:
    """A file by its name or id.

    Raises `errors.PermissionDenied` for one that is missing and for somebody else's alike; only an
    administrator is told `errors.NotFound`.
    """
    return decode(File, connection().json("GET", f"/v1beta/{file_name(name)}"))


def list_files(page_size: int = 100) -> Iterator[File]:
    """The caller's files, fetched page by page."""
    for told in connection().pages("/v1beta/files", "files", page_size):
        yield decode(File, told)


def delete_file(name: str | Named) -> None:
    """Delete a file; models that were tuned on it stay."""
    connection().json("DELETE", f"/v1beta/{file_name(name)}")
