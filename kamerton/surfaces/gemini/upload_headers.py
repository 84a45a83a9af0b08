"""What the headers of an upload say: commands, numbers, ranges, names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kamerton.errors import InvalidArgument

Headers = Mapping[str, str]

COMMANDS = ("start", "upload", "finalize", "query", "cancel")
_NUMBER = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes\s+(?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)")


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Which bytes of a file are in a body: none when `first` is None."""

    first: int | None
    end: int
    """The offset after the last one."""
    total: int | None
    """Of the file; None when that is not known yet."""


def content_range(headers: Headers) -> ContentRange | None:
    """None without that header."""
    text = headers.get("content-range")
    if text is None:
        return None
    found = _CONTENT_RANGE.fullmatch(text.strip().lower())
    if found is None:
        raise wrong("Content-Range", "must be like bytes 0-262143/780000 or bytes */780000")
    total = None if found[3] == "*" else int(found[3])
    if found[1] is None:
        return ContentRange(None, 0, total)
    first, end = int(found[1]), int(found[2]) + 1
    if first >= end or (total is not None and end > total):
        raise wrong("Content-Range", "must not end before it begins, or after the file does")
    return ContentRange(first, end, total)


def number(headers: Headers, name: str) -> int | None:
    """None without that header."""
    text = headers.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text.strip()):
        raise wrong(name, "must be a whole number from 0 on")
    return int(text)


def commands(headers: Headers) -> frozenset[str]:
    """What `upload, finalize` asks for; empty without that header."""
    text = headers.get("x-goog-upload-command", "")
    asked = frozenset(filter(None, (word.strip().lower() for word in text.split(","))))
    if asked - set(COMMANDS) or (len(asked) > 1 and asked != {"upload", "finalize"}):
        raise wrong(
            "X-Goog-Upload-Command", "must be one of " + ", ".join([*COMMANDS, "upload, finalize"])
        )
    return asked


def text(headers: Headers, name: str) -> str:
    """Text as it was meant: clients send UTF-8 where HTTP once had Latin-1."""
    found = headers.get(name, "")
    try:
        return found.encode("latin-1").decode()
    except UnicodeError:
        return found


def wrong(name: str, rule: str) -> InvalidArgument:
    return InvalidArgument.of(name, rule)
