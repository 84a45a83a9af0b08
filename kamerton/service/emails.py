"""E-mail addresses, by which owners, users and groups are known."""

from __future__ import annotations

from kamerton.errors import InvalidArgument

MAX_CHARACTERS = 320


def checked(field: str, text: str) -> str:
    """The address as it is kept and compared: without surrounding space, in lower case."""
    text = text.strip().lower()
    if not text or len(text) > MAX_CHARACTERS or not text.isprintable() or " " in text:
        raise InvalidArgument.of(field, "must be an e-mail address, such as you@example.com")
    return text
