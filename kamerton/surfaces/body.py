"""The JSON border: the bytes of a request in, a plain dict out, or a clear refusal."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect

from kamerton.errors import InvalidArgument, TooLarge

Json = dict[str, Any]

MAX_DEPTH = 100
PIECE_SECONDS = 60.0
"""How long a client may keep still in the middle of a body."""
LENIENT_CHARACTERS = 1024 * 1024
"""Such bodies are typed by hand; to look for commas in a larger one would hold up everybody."""
GATHERED_BYTES = 1024 * 1024
_INTEGERS = range(-(2**63), 2**64)
# Strings are matched whole (closed or not) so that a comma inside one is never touched, and every
# byte is looked at once whatever is sent. A comma straight after an opening bracket stays, and
# stays wrong.
_LENIENT = re.compile(
    r"""("(?:[^"\\]|\\.)*+"?|[\[{]\s*+,)|'((?:[^'\\]|\\.)*+)'?|,(?=\s*+[}\]])""", re.DOTALL
)
_INSIDE = re.compile(r'\\(.)|"', re.DOTALL)


async def read(pieces: AsyncIterator[bytes], headers: Mapping[str, str], limit: int) -> bytes:
    """The whole body; refused as soon as it is known to be over `limit` bytes."""
    refuse_encoding(headers)
    announced = headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and _number(announced) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(PIECE_SECONDS) as deadline:
            async for piece in pieces:
                deadline.reschedule(asyncio.get_running_loop().time() + PIECE_SECONDS)
                body += piece
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise _too_slow() from None
    return bytes(body)


async def gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body in pieces of about a megabyte, at least one; what has come before the client left
    is given out as well."""
    waiting = bytearray()
    try:
        while True:
            async with asyncio.timeout(PIECE_SECONDS):
                piece = await anext(pieces, None)
            if piece is None:
                break
            waiting += piece
            if len(waiting) >= GATHERED_BYTES:
                yield bytes(waiting)
                waiting.clear()
    except TimeoutError:
        yield bytes(waiting)
        raise _too_slow() from None
    except ClientDisconnect:
        yield bytes(waiting)
        raise
    yield bytes(waiting)


def snake_case(name: str) -> str:
    """`display_name` for `displayName`, and for itself."""
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def refuse_encoding(headers: Mapping[str, str]) -> None:
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise InvalidArgument("Content-Encoding is not supported: send the body uncompressed.")


def _too_slow() -> InvalidArgument:
    return InvalidArgument(f"Nothing more of the body came for {PIECE_SECONDS:g} seconds.")


def parse(body: bytes) -> Json:
    """Strict JSON, except that a comma may stand before a closing bracket, and that strings may
    be in single quotes, as in widely copied curl commands; empty means {}."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _invalid(f"the body is not UTF-8 (byte {error.start})") from None
    if not text.strip():
        return {}
    value = _decode(text)
    if not isinstance(value, dict):
        raise _invalid("the body must be a JSON object")
    _check(value)
    return value


def _decode(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        strict = error
    if not isinstance(strict, RecursionError) and len(text) <= LENIENT_CHARACTERS:
        try:
            return msgspec.json.decode(_LENIENT.sub(_strict, text))
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            pass
    raise _invalid(_complaint(strict, text)) from None


def _strict(found: re.Match[str]) -> str:
    """What strict JSON has instead of a match of _LENIENT."""
    if found[2] is None:
        return found[1] or ""
    return f'"{_INSIDE.sub(_requoted, found[2])}"'


def _requoted(found: re.Match[str]) -> str:
    if found[1] == "'":
        return "'"
    return '\\"' if found[0] == '"' else found[0]


def _complaint(error: Exception, text: str) -> str:
    if isinstance(error, RecursionError):
        return f"nested deeper than {MAX_DEPTH} levels"
    if isinstance(error, msgspec.ValidationError):
        return "a number is out of range"
    found = re.search(r"^(?:JSON is malformed: )?(.*?)(?: \(byte (\d+)\))?$", str(error))
    reason, at = found.groups() if found else ("malformed", None)
    if at is None:
        return str(reason)
    before = text.encode()[: int(at)]
    line = before.count(b"\n") + 1
    column = len(before) - (before.rfind(b"\n") + 1) + 1
    return f"{reason} (line {line}, column {column})"


def _check(value: Any) -> None:
    """Depth, number range and text of everything inside, level by level, without recursion."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                for key, inner in item.items():
                    _check_leaf(key)
                    if type(inner) in (dict, list):
                        deeper.append(inner)
                    else:
                        _check_leaf(inner)
            else:
                for inner in item:
                    if type(inner) in (dict, list):
                        deeper.append(inner)
                    else:
                        _check_leaf(inner)
        if not deeper:
            return
        level = deeper
    raise _invalid(f"nested deeper than {MAX_DEPTH} levels")


def _check_leaf(value: Any) -> None:
    if type(value) is str:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise _invalid("a string contains half of a surrogate pair") from None
    elif type(value) is int:
        if value not in _INTEGERS:
            raise _invalid("an integer does not fit into 64 bits")
    elif type(value) is float and not math.isfinite(value):
        raise _invalid("NaN and Infinity are not JSON")


def _number(digits: str) -> int:
    # Python refuses to read absurdly long numbers; any of those is too large as well.
    return int(digits) if len(digits) < 20 else 10**20


def _invalid(reason: str) -> InvalidArgument:
    return InvalidArgument(f"Invalid JSON payload received: {reason}.")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"Request payload size exceeds the limit: {limit} bytes.")
