"""Page tokens: a place in one list of one caller. What is inserted later does not shift it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

import msgspec

from kamerton.errors import InvalidArgument
from kamerton.types import Page, Place

T = TypeVar("T")


def start(token: str, *bound: str) -> Place | None:
    """Where the page begins; None for the first. Raises InvalidArgument unless the token was given
    for this very list: same caller, same filter (`bound`)."""
    if not token:
        return None
    try:
        padded = token.encode() + b"=" * (-len(token) % 4)
        inside = base64.b64decode(padded, altchars=b"-_", validate=True)
        list_, time, id = msgspec.json.decode(inside, type=tuple[str, str, str])
        place = datetime.fromisoformat(time), id
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise _wrong() from None
    if list_ != _digest(bound) or place[0].tzinfo is None or "\0" in id:
        raise _wrong()
    return place


def page(items: Iterable[T], next_: Place | None, *bound: str) -> Page[T]:
    """The items with the token that asks for what follows them."""
    if next_ is None:
        return Page(tuple(items))
    inside = msgspec.json.encode((_digest(bound), next_[0].isoformat(), next_[1]))
    return Page(tuple(items), base64.urlsafe_b64encode(inside).decode().rstrip("="))


def _digest(bound: Iterable[str]) -> str:
    return hashlib.sha256(msgspec.json.encode(list(bound))).hexdigest()[:16]


def _wrong() -> InvalidArgument:
    return InvalidArgument.of(
        "page_token", "is not a token of this list; ask for the first page again"
    )
