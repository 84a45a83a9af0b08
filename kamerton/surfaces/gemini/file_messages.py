"""Files on the wire: nouns to published messages, and what a client says of a new one."""

from __future__ import annotations

import base64
from typing import Any

from kamerton.errors import InvalidArgument
from kamerton.surfaces import body
from kamerton.surfaces.body import Json
from kamerton.surfaces.gemini import form, messages, published
from kamerton.types import File

_SAID = frozenset({"name", "display_name", "mime_type", "size_bytes"})
_OUTPUT_ONLY = frozenset(
    field.full_name for field in published.File.DESCRIPTOR.fields if field.name not in _SAID
)
FIELDS = {
    "file_id": "file.name",
    "display_name": "file.display_name",
    "mime_type": "file.mime_type",
    "size": "file.size_bytes",
}
"""Where the arguments of `uploads.start` stand in the request."""


def file(noun: File, address: str) -> Json:
    """A file; `address` is where the client knows this server."""
    return {
        "name": f"files/{noun.id}",
        **messages.present(displayName=noun.display_name),
        "mimeType": noun.mime_type,
        **messages.present(sizeBytes=str(noun.size_bytes) if noun.size_bytes else ""),
        "createTime": messages.timestamp(noun.create_time),
        "updateTime": messages.timestamp(noun.update_time),
        "expirationTime": messages.timestamp(noun.expire_time),
        "sha256Hash": base64.b64encode(bytes.fromhex(noun.sha256)).decode(),
        "uri": f"{address}/v1beta/files/{noun.id}",
        "state": "ACTIVE",
        "source": "UPLOADED",
    }


def file_id(name: str) -> str:
    """`x` of `files/x`."""
    return messages.ids(r"files/([a-z0-9-]{1,40})", name, "file")[0]


def start_arguments(
    metadata: bytes, *, display_name: str = "", mime_type: str = "", size: int | None = None
) -> dict[str, Any]:
    """What a request says of a new file as the arguments of `uploads.start`; what it says beside
    the metadata stands in where those say nothing."""
    given = body.parse(metadata)
    wrapped = given if "file" in given else {"file": given}
    asked = form.message(wrapped, published.CreateFileRequest, ignored=_OUTPUT_ONLY).file
    if asked.size_bytes < 0:
        raise InvalidArgument.of("file.size_bytes", "must not be negative")
    if size is not None and asked.size_bytes not in (0, size):
        raise InvalidArgument.of("file.size_bytes", f"{asked.size_bytes}, but {size} are announced")
    return {
        "file_id": asked.name.removeprefix("files/") or asked.name,
        "display_name": asked.display_name or display_name,
        "mime_type": asked.mime_type or mime_type,
        "size": asked.size_bytes or size,
    }
