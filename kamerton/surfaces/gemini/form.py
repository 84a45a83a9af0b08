"""Requests into published messages, from JSON or as gRPC brings them, with every field that has
the wrong form named at once."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator, Sequence, Sized
from functools import cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from kamerton.errors import InvalidArgument, Violation
from kamerton.surfaces.body import Json, snake_case

MAX_ITEMS = 200_000
"""Of one list; a request's size alone would allow millions."""
_FLOAT32_MAX = 3.4028235677973366e38
_F = FieldDescriptor
_INTEGER_RANGES: dict[int, tuple[int, int]] = {
    _F.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _F.CPPTYPE_UINT32: (0, 2**32 - 1),
    _F.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def message(
    value: Json,
    kind: Any,
    *,
    at: str = "",
    strict: bool = False,
    ignored: frozenset[str] = frozenset(),
) -> Any:
    """`value` as a message of class `kind`. Unknown names are refused when `strict`, else dropped;
    so are fields whose full name is in `ignored`. `at` is where the value stands in the request."""
    reading = _Reading(strict, ignored)
    cleaned = reading.fields(value, kind.DESCRIPTOR, at)
    reading.complain()
    try:
        return json_format.ParseDict(cleaned, kind())
    except json_format.ParseError as error:
        raise _from_parser(error, at) from None


def binary_message(raw: bytes, kind: Any, *, ignored: frozenset[str] = frozenset()) -> Any:
    """`raw` as a message of class `kind` that JSON could have said as well. What is in fields
    whose full name is in `ignored` may be wrong."""
    try:
        made = kind.FromString(raw)
    except DecodeError:
        raise InvalidArgument(
            f"The request is not a {kind.DESCRIPTOR.full_name}, or its text is not UTF-8."
        ) from None
    _refuse(list(_wrong_fields(made, "", ignored)))
    return made


def names(field: FieldDescriptor) -> tuple[str, ...]:
    """Both spellings of a field."""
    return (field.name, field.json_name)


def shortest(value: float) -> float:
    """The shortest decimal of a number as a 32-bit float: 0.0010000000474974513 was 0.001."""
    packed = struct.pack("f", value)
    (single,) = struct.unpack("f", packed)
    for digits in (6, 7, 8):
        candidate = float(f"{single:.{digits}g}")
        if struct.pack("f", candidate) == packed:
            return candidate
    return float(f"{single:.9g}")


@cache
def _by_name(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    return {name: field for field in descriptor.fields for name in names(field)}


class _Reading:
    """One pass over a request: keeps what is known, and collects what is wrong."""

    def __init__(self, strict: bool, ignored: frozenset[str]) -> None:
        self._strict = strict
        self._ignored = ignored
        self._unknown: list[Violation] = []
        self._wrong: list[Violation] = []

    def complain(self) -> None:
        if self._unknown:
            message = "\n".join(violation.description for violation in self._unknown[:10])
            raise InvalidArgument(message, (*self._unknown, *self._wrong))
        _refuse(self._wrong)

    def fields(self, value: Json, descriptor: Descriptor, at: str) -> Json:
        known = _by_name(descriptor)
        kept: Json = {}
        for name, inner in value.items():
            field = known.get(name)
            if field is None:
                self._refuse_name(name, at)
            elif inner is not None and field.full_name not in self._ignored:
                path = f"{at}.{field.name}" if at else field.name
                kept[field.name] = self._field(inner, field, path)
        return kept

    def _refuse_name(self, name: str, at: str) -> None:
        if self._strict:
            where = f" at '{at}'" if at else ""
            text = (
                f'Invalid JSON payload received. Unknown name "{name[:100]}"{where}: '
                "Cannot find field."
            )
            self._unknown.append(Violation(at, text))

    def _field(self, value: Any, field: FieldDescriptor, at: str) -> Any:
        if not _is_repeated(field):
            return self._one(value, field, at)
        if _is_map(field):
            return value
        if not isinstance(value, list):
            return self._wrong_at(at, "must be a list")
        if len(value) > MAX_ITEMS:
            return self._wrong_at(at, _too_many(value))
        return [self._one(item, field, f"{at}[{index}]") for index, item in enumerate(value)]

    def _one(self, value: Any, field: FieldDescriptor, at: str) -> Any:
        kind = field.message_type
        if kind is not None:
            if kind.full_name.startswith("google.protobuf."):
                return value
            if not isinstance(value, dict):
                return self._wrong_at(at, "must be an object")
            return self.fields(value, kind, at)
        try:
            return _SCALARS[field.cpp_type](value, field)
        except ValueError as error:
            return self._wrong_at(at, str(error))

    def _wrong_at(self, at: str, description: str) -> None:
        self._wrong.append(Violation(at, description))


def _refuse(wrong: Sequence[Violation]) -> None:
    if wrong:
        first = wrong[0]
        message = f"Invalid value at '{first.field}': {first.description}"
        raise InvalidArgument(message, tuple(wrong))


def _wrong_fields(made: Any, at: str, ignored: frozenset[str]) -> Iterator[Violation]:
    """All that a message can hold and JSON would not be accepted with."""
    for field, value in made.ListFields():
        path = f"{at}.{field.name}" if at else field.name
        if field.full_name in ignored or _is_map(field):
            continue
        if not _is_repeated(field):
            yield from _wrong_value(value, field, path, ignored)
        elif len(value) > MAX_ITEMS:
            yield Violation(path, _too_many(value))
        else:
            for index, item in enumerate(value):
                yield from _wrong_value(item, field, f"{path}[{index}]", ignored)


def _wrong_value(
    value: Any, field: FieldDescriptor, at: str, ignored: frozenset[str]
) -> Iterator[Violation]:
    kind = field.message_type
    if kind is not None:
        if not kind.full_name.startswith("google.protobuf."):
            yield from _wrong_fields(value, at, ignored)
    elif not isinstance(value, bytes):
        try:
            _SCALARS[field.cpp_type](value, field)
        except ValueError as error:
            yield Violation(at, str(error))


def _too_many(items: Sized) -> str:
    return f"has {len(items)} items, at most {MAX_ITEMS} are read"


def _is_repeated(field: FieldDescriptor) -> bool:
    # protobuf before 6 has only the label, which later ones warn about.
    found = getattr(field, "is_repeated", None)
    return bool(field.label == _F.LABEL_REPEATED if found is None else found)


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _string(value: Any, field: FieldDescriptor) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if "\0" in value:  # PostgreSQL cannot keep it, and no one means it
        raise ValueError("must not contain a NUL character")
    return value


def _boolean(value: Any, field: FieldDescriptor) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _integer(value: Any, field: FieldDescriptor) -> int:
    number = _number(value)
    if number is None or not math.isfinite(number) or number != int(number):
        raise ValueError("must be a whole number")
    low, high = _INTEGER_RANGES[field.cpp_type]
    if not low <= number <= high:
        raise ValueError(f"must be between {low} and {high}")
    return int(number)


def _float(value: Any, field: FieldDescriptor) -> float:
    number = _number(value)
    if number is None or not math.isfinite(number):
        raise ValueError("must be a finite number")
    if field.cpp_type == _F.CPPTYPE_FLOAT and abs(number) > _FLOAT32_MAX:
        raise ValueError("is too large")
    return float(number)


def _number(value: Any) -> float | int | None:
    """Numbers may also come as strings."""
    if isinstance(value, str) and re.fullmatch(r"[-+0-9.eE]{1,40}", value):
        try:
            return float(value) if re.search(r"[.eE]", value) else int(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _enum(value: Any, field: FieldDescriptor) -> str | int:
    kind = field.enum_type
    assert kind is not None
    if isinstance(value, str) and value in kind.values_by_name:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value in kind.values_by_number:
        return value
    raise ValueError(f"must be one of {', '.join(kind.values_by_name)}")


_SCALARS: dict[int, Callable[[Any, FieldDescriptor], Any]] = {
    _F.CPPTYPE_STRING: _string,
    _F.CPPTYPE_BOOL: _boolean,
    _F.CPPTYPE_FLOAT: _float,
    _F.CPPTYPE_DOUBLE: _float,
    _F.CPPTYPE_ENUM: _enum,
    **dict.fromkeys(_INTEGER_RANGES, _integer),
}


def _from_parser(error: json_format.ParseError, at: str) -> InvalidArgument:
    """What is left for the parser to find: oneofs, timestamps, bytes."""
    text = str(error)
    field = ".".join([*filter(None, [at]), *_parser_path(text)])
    oneof = re.search(r'multiple "(\w+)" oneof', text)
    if oneof:
        description = f"only one of the fields of '{oneof[1]}' may be set"
    else:
        reason = re.sub(r"^(Failed to parse \w+ field: )+", "", text)
        description = re.sub(r" at [\w.\[\]\"]+\.*$", "", reason.split("\n")[0]).rstrip(".")
    return InvalidArgument(
        f"Invalid value at '{field}': {description}", (Violation(field, description),)
    )


def _parser_path(text: str) -> Iterator[str]:
    for name in re.findall(r"Failed to parse (\w+) field: ", text):
        yield snake_case(name)
