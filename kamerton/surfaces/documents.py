"""Answers as JSON, for programs in one line, for people indented."""

from __future__ import annotations

import msgspec

from kamerton.surfaces.body import Json

JSON = "application/json; charset=UTF-8"


def encode(made: Json, pretty: bool) -> bytes:
    """JSON in one line, or indented by two spaces."""
    encoded = msgspec.json.encode(made)
    return msgspec.json.format(encoded, indent=2) if pretty else encoded


def document(made: Json, pretty: bool) -> bytes:
    """A whole answer; one for people to read ends with its line."""
    return encode(made, pretty) + (b"\n" if pretty else b"")
