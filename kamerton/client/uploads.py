"""Sending a file in pieces, going on after an interruption where the server says it is."""

from __future__ import annotations

import io
import time
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import requests

from kamerton.client.connection import Connection, Json
from kamerton.errors import Unavailable

PIECE_BYTES = 8 * 1024 * 1024
_PATIENCE = 5
"""How often in a row a piece may get lost."""
_PIECE_SECONDS = 600.0


def upload(
    connection: Connection,
    content: BinaryIO,
    *,
    name: str = "",
    display_name: str = "",
    mime_type: str = "application/octet-stream",
) -> Json:
    """Send what `content` holds from where it stands; the file as the server describes it.

    Two pieces are in memory at most. `name` is files/{id}; by default the server chooses it.
    """
    given = {"name": name, "displayName": display_name, "mimeType": mime_type}
    file = {key: value for key, value in given.items() if value}
    session = _start(connection, file, _size(content))
    offset, piece = 0, _read(content)
    while True:
        following = _read(content) if len(piece) == PIECE_BYTES else b""
        response = _deliver(connection, session, offset, piece, last=not following)
        if not following:
            return cast(Json, connection.answer(response)["file"])
        offset, piece = offset + len(piece), following


def _size(content: BinaryIO) -> int | None:
    """How much is left to read; None of what can only be read once, such as a pipe."""
    try:
        here = content.tell()
        size = content.seek(0, io.SEEK_END) - here
        content.seek(here)
        return size
    except (OSError, AttributeError):
        return None


def _start(connection: Connection, file: Json, size: int | None) -> str:
    """The path at which the server waits for the pieces."""
    headers = {
        "X-Goog-Upload-Protocol": "resumable",
        "X-Goog-Upload-Command": "start",
        "X-Goog-Upload-Header-Content-Type": file["mimeType"],
    }
    if size is not None:  # So that what is too large is refused before it is sent.
        headers["X-Goog-Upload-Header-Content-Length"] = str(size)
    body = {"file": file}
    response = connection.send("POST", "/upload/v1beta/files", json=body, headers=headers)
    url = urlsplit(response.headers.get("X-Goog-Upload-URL", ""))
    if not url.path:
        raise Unavailable(f"{connection.endpoint} did not say where to send the file")
    # Path and query only: this server is known to be in reach here, and the key is for it alone.
    return f"{url.path}?{url.query}" if url.query else url.path


def _read(content: BinaryIO) -> bytes:
    """The next piece, full unless it is the last; pipes may give it in drops."""
    drops, missing = [], PIECE_BYTES
    while missing and (drop := content.read(missing)):
        drops.append(drop)
        missing -= len(drop)
    return b"".join(drops)


def _deliver(
    connection: Connection, session: str, offset: int, piece: bytes, last: bool
) -> requests.Response:
    """Send one piece, or what the server still lacks of it, until it has arrived."""
    lost = arrived = 0
    while True:
        try:
            if lost:
                state = _state(connection, session)
                if state.headers["X-Goog-Upload-Status"] == "final":
                    return state
                arrived = int(state.headers["X-Goog-Upload-Size-Received"]) - offset
            return _send(connection, session, offset + arrived, piece[arrived:], last)
        except Unavailable:
            lost += 1
            if lost == _PATIENCE:
                raise
            time.sleep(0.1 * 2**lost)


def _send(
    connection: Connection, session: str, offset: int, content: bytes, last: bool
) -> requests.Response:
    headers = {
        "X-Goog-Upload-Command": "upload, finalize" if last else "upload",
        "X-Goog-Upload-Offset": str(offset),
    }
    return connection.send("POST", session, data=content, headers=headers, seconds=_PIECE_SECONDS)


def _state(connection: Connection, session: str) -> requests.Response:
    """How much of the file the server has; the file itself when it has all."""
    return connection.send("POST", session, headers={"X-Goog-Upload-Command": "query"})
