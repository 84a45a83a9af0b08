"""JSON of the wire as the classes of this package: snake_case names, times, bytes and enums."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from datetime import datetime
from enum import IntEnum
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def decode(kind: Callable[..., T], told: Mapping[str, Any]) -> T:
    """A `kind`, by its annotated fields. What it does not know is left out; what is not told
    has its default."""
    return kind(
        **{
            name: read(told[wire_name])
            for name, wire_name, read in _fields(kind)
            if wire_name in told
        }
    )


@lru_cache
def _fields(kind: Callable[..., Any]) -> tuple[tuple[str, str, Callable[[Any], Any]], ...]:
    """Name, name on the wire, and reader of each field."""
    hints = get_type_hints(kind)
    return tuple((name, camel_case(name), _reader(hint)) for name, hint in hints.items())


def camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _reader(hint: Any) -> Callable[[Any], Any]:
    if get_origin(hint) is list:
        read = _reader(get_args(hint)[0])
        return lambda items: [read(item) for item in items]
    kind = next((arg for arg in get_args(hint) if arg is not type(None)), hint)
    if is_dataclass(kind) or issubclass(kind, dict):
        return lambda told: decode(kind, told)
    if issubclass(kind, IntEnum):
        return lambda value: member(kind, value)
    return _READERS.get(kind, lambda value: value)


def member(kind: type[IntEnum], value: str | int) -> IntEnum:
    """By name or number; what is not known is the unspecified one."""
    if value in kind.__members__.values():
        return kind(int(value))
    return kind.__members__.get(str(value), kind(0))


_READERS: dict[Any, Callable[[Any], Any]] = {
    datetime: datetime.fromisoformat,
    bytes: base64.b64decode,
    # 64-bit integers are text on the wire.
    int: int,
    float: float,
}
