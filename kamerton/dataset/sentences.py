"""Rows that cannot be used, in sentences; and how long a text may be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kamerton.dataset.chunks import Source
from kamerton.errors import InvalidArgument, Violation
from kamerton.findings import Finding, Hit, Report, Unit

MAX_INPUT_CHARACTERS = 40_000
MAX_OUTPUT_CHARACTERS = 5_000
MAX_TOLD = 10
"""A message tells of so many problems; its details tell of more."""


def refusal(source: Source, wrong: Sequence[Hit], row_count: int) -> InvalidArgument:
    """Every row that cannot be used, in one error."""
    violations = tuple(
        Violation(place_of(source.unit, hit.number, hit.field), hit.detail) for hit in wrong
    )
    told = listed(map(sentence, violations[:MAX_TOLD]), len(violations[MAX_TOLD:]))
    bad_count = len({hit.number for hit in wrong})
    return InvalidArgument(f"{source.name}: {unusable(bad_count, row_count)}; {told}", violations)


def errors_of(report: Report) -> tuple[list[Finding], int]:
    """The findings that refuse a run, and how many of their rows are not among their hits."""
    errors = [finding for finding in report.findings if finding.severity == "error"]
    return errors, sum(max(0, finding.count - len(finding.hits)) for finding in errors)


def place_of(unit: Unit, number: int, field: str = "") -> str:
    """`line 7: output`, `examples[6].output`, or the row alone."""
    if unit == "example":
        return f"examples[{number}].{field}".rstrip(".")
    return f"{unit} {number}: {field}".rstrip(": ")


def unusable(bad_count: int, row_count: int) -> str:
    """`8 of 10 rows cannot be used`."""
    return f"{bad_count} of {_count(row_count, 'row')} cannot be used"


def listed(told: Iterable[str], left: int) -> str:
    """Sentences in one, and how many problems there are beside them."""
    shown = "; ".join(told)
    return f"{shown}; and {_count(left, 'more problem')}" if left else shown


def sentence(violation: Violation) -> str:
    """`line 7: output is missing`, `examples[7].output: 5210 characters, at most 5000`."""
    reads_on = violation.description.startswith(("is ", "must ", "has ", "cannot "))
    return f"{violation.field}{' ' if reads_on else ': '}{violation.description}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
