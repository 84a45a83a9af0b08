"""Rows that cannot be used, in sentences; and how long a text may be."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.dataset.chunks import Source
from kamerton.errors import InvalidArgument, Violation
from kamerton.findings import Hit, Unit

MAX_INPUT_CHARACTERS = 40_000
MAX_OUTPUT_CHARACTERS = 5_000
_MAX_IN_MESSAGE = 10


def refusal(source: Source, wrong: Sequence[Hit], row_count: int) -> InvalidArgument:
    """Every row that cannot be used, in one error."""
    violations = tuple(
        Violation(place_of(source.unit, hit.number, hit.field), hit.detail) for hit in wrong
    )
    bad_count = len({hit.number for hit in wrong})
    return InvalidArgument(
        f"{source.name}: {bad_count} of {_count(row_count, 'row')} cannot be used; "
        + _summary(violations),
        violations,
    )


def place_of(unit: Unit, number: int, field: str = "") -> str:
    """`line 7: output`, `examples[6].output`, or the row alone."""
    if unit == "example":
        return f"examples[{number}].{field}".rstrip(".")
    return f"{unit} {number}: {field}".rstrip(": ")


def _summary(violations: Sequence[Violation]) -> str:
    shown = "; ".join(sentence(violation) for violation in violations[:_MAX_IN_MESSAGE])
    left_out = len(violations) - _MAX_IN_MESSAGE
    return f"{shown}; and {_count(left_out, 'more problem')}" if left_out > 0 else shown


def sentence(violation: Violation) -> str:
    """`line 7: output is missing`, `examples[7].output: 5210 characters, at most 5000`."""
    reads_on = violation.description.startswith(("is ", "must ", "has ", "cannot "))
    return f"{violation.field}{' ' if reads_on else ': '}{violation.description}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
