"""What can be asked of a run beyond the Gemini API, in the form that every API of ours takes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec

from kamerton.errors import InvalidArgument, Violation
from kamerton.service.plans import NO_OPTIONS, Options
from kamerton.service.readings import Data
from kamerton.surfaces.body import Json, snake_case
from kamerton.types import Budget, EarlyStopping, Holdout

T = TypeVar("T", bound=msgspec.Struct)
Columns = tuple[str, str]
"""Those of `Data`."""


_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _Budget(msgspec.Struct):
    max_tokens: _Int64 | None = None
    max_seconds: float | None = None
    max_cost: float | None = None


class _Holdout(msgspec.Struct):
    share: float | None = None
    at_least: _Int64 | None = None
    from_examples: _Int64 | None = None
    seed: _Int64 | None = None


class _EarlyStopping(msgspec.Struct):
    mode: str | None = None
    patience: _Int64 | None = None
    min_change: float | None = None


class _Asked(msgspec.Struct):
    budget: _Budget = msgspec.field(default_factory=_Budget)
    holdout: _Holdout | None = None
    early_stopping: _EarlyStopping = msgspec.field(default_factory=_EarlyStopping)
    allow: tuple[str, ...] = ()
    input_key: str = ""
    output_key: str = ""


class _Data(msgspec.Struct):
    examples: Any = None
    file_uri: str = ""
    input_key: str = ""
    output_key: str = ""


class _Adapter(msgspec.Struct):
    adapter_size: _Int64 | None = None
    lora_alpha: _Int64 | None = None
    lora_dropout: float | None = None
    target_modules: tuple[str, ...] | None = None
    rslora: bool | None = None


class _Hyperparameters(_Adapter):
    epoch_count: _Int64 | None = None
    batch_size: _Int64 | None = None
    learning_rate: float | None = None
    learning_rate_multiplier: float | None = None


_INNER: Mapping[str, type[msgspec.Struct]] = {
    "budget": _Budget,
    "holdout": _Holdout,
    "early_stopping": _EarlyStopping,
}
OPTIONS = _Asked.__struct_fields__
"""Names of all that `options` reads."""
ADAPTER = _Adapter.__struct_fields__
"""Names of all that `adapter` reads."""


def options(value: Any, at: str) -> tuple[Options | None, Columns]:
    """The options, if there are any, and by which columns a file is to be read. `at` is where the
    value stands in the request. Raises InvalidArgument."""
    asked = _read(value, _Asked, at)
    budget, holdout = asked.budget, asked.holdout
    made = Options(
        Budget(budget.max_tokens, budget.max_seconds),
        budget.max_cost,
        None if holdout is None else Holdout(**_given(holdout)),
        asked.allow,
        EarlyStopping(**_given(asked.early_stopping)),
    )
    return None if made == NO_OPTIONS else made, (asked.input_key, asked.output_key)


def data(value: Any, at: str, columns: Columns = ("", "")) -> Data:
    """A dataset in a request: `examples`, as a list or as Gemini wraps it, or `fileUri`, whose
    `columns` may stand beside it."""
    asked = _read(value, _Data, at)
    columns = (asked.input_key or columns[0], asked.output_key or columns[1])
    rows = asked.examples
    if isinstance(rows, dict) and rows.keys() <= {"examples"}:
        rows = rows.get("examples")
    if not isinstance(rows, list | None):
        raise InvalidArgument.of(_within(at, "examples"), "must be a list")
    if rows and asked.file_uri:
        raise InvalidArgument.of(_within(at, "file_uri"), "cannot be given together with examples")
    if asked.file_uri:
        return Data(asked.file_uri, columns=columns)
    if any(columns):
        name = "input_key" if columns[0] else "output_key"
        raise InvalidArgument.of(
            _within(at, name), "names a column of a file, and there is no file"
        )
    if rows is None:
        raise InvalidArgument.of(at or "examples", "is missing: give examples or file_uri")
    return Data(rows=rows)


def parts(given: Json, others: Collection[str]) -> Json:
    """A flat request, taken apart: `data`, `options`, and each of the `others` that is there."""
    made: Json = {"data": {}, "options": {}}
    for name, value in given.items():
        field = snake_case(name)
        if field in OPTIONS:
            made["options"][name] = value
        elif field in _Data.__struct_fields__:
            made["data"][field] = value
        elif field in others:
            made[field] = value
        else:
            raise unknown_name(name, "")
    return made


def text(value: Any, at: str) -> str:
    if not isinstance(value, str | None):
        raise InvalidArgument.of(at, "must be a string")
    return value or ""


def hyperparameters(value: Any, at: str) -> dict[str, Any]:
    return _given(_read(value, _Hyperparameters, at))


def adapter(value: Any, at: str) -> dict[str, Any]:
    """Those of the hyperparameters that published messages have no field for."""
    return _given(_read(value, _Adapter, at))


def boolean(value: Any, at: str) -> bool:
    """Also as a query has it."""
    if isinstance(value, bool | None):
        return bool(value)
    known = {"true": True, "1": True, "false": False, "0": False, "": False}
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise InvalidArgument.of(at, "must be true or false")


def _given(asked: msgspec.Struct) -> dict[str, Any]:
    return {
        name: value for name, value in msgspec.structs.asdict(asked).items() if value is not None
    }


def _read(value: Any, kind: type[T], at: str) -> T:
    """`value` as a struct, by either spelling of its names; unknown ones are refused."""
    try:
        return msgspec.convert(_named(value, kind, at), kind, strict=False)
    except msgspec.ValidationError as error:
        _refuse(str(error), at)


def _named(value: Any, kind: type[msgspec.Struct], at: str) -> Any:
    if not isinstance(value, dict):
        return {} if value is None else value
    made: Json = {}
    for name, inner in value.items():
        field = snake_case(name)
        if field not in kind.__struct_fields__:
            raise unknown_name(name, at)
        if inner is not None:
            nested = _INNER.get(field)
            made[field] = _named(inner, nested, _within(at, field)) if nested else inner
    return made


def _within(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def unknown_name(name: str, at: str) -> InvalidArgument:
    """As Google's APIs tell it."""
    where = f" at '{at}'" if at else ""
    text = f'Invalid JSON payload received. Unknown name "{name[:100]}"{where}: Cannot find field.'
    return InvalidArgument(text, (Violation(at, text),))


_WRONG = re.compile(r"Expected `(?P<kinds>[^`]+)`(?:.* - at `\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_KINDS = {
    "int": "a whole number of 64 bits",
    "float": "a finite number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}


def _refuse(complaint: str, at: str) -> NoReturn:
    """msgspec's complaint, in the words of the rest of the API."""
    wrong = _WRONG.search(complaint)
    path = (wrong and wrong["path"]) or ""
    kind = wrong["kinds"].split(" | ")[0] if wrong else ""
    place = _within(at, path) if path else at
    raise InvalidArgument.of(place, f"must be {_KINDS.get(kind, 'of another kind')}")
