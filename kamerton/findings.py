"""What is said of a dataset before a run: findings, statistics, and the report of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
Unit = Literal["line", "item", "row", "example"]
"""What a source's rows are counted by: an example of a request from 0, all others from 1."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One row that a check found something in."""

    number: int
    """Of the row, by the unit of its source."""
    field: str = ""
    """Path within the row, such as `output` or `messages[2].content`; "" for the whole row."""
    detail: str = ""
    """What is there, such as `5210 characters, at most 5000` or `like line 7`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found in a dataset."""

    code: str
    name: str
    severity: Severity
    message: str
    """What was found, in a sentence."""
    advice: str
    """What to do about it."""
    count: int = 0
    """Rows that it was found in; 0 when it is about the dataset as a whole."""
    unit: Unit = "line"
    hits: tuple[Hit, ...] = ()
    """The first of those rows."""
    of_validation: bool = False
    """It is about the validation data, which the message then names."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something is over the rows: in characters, or in tokens."""

    total: int = 0
    least: int = 0
    median: int = 0
    mean: float = 0.0
    p95: int = 0
    most: int = 0


@dataclass(frozen=True, slots=True)
class Tokens:
    """Exact counts by the base model's tokenizer, as the run will see them."""

    prompt: Spread
    answer: Spread
    """Those that carry loss."""
    row: Spread
    """All of a row."""
    truncated_count: int = 0
    """Rows that do not fit the base model's context and are cut."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What there is in a dataset, in numbers."""

    row_count: int
    example_count: int
    """Rows that can be trained on."""
    input_characters: Spread
    output_characters: Spread
    histogram: tuple[tuple[int, int], ...] = ()
    """Rows by length: the upper end of each bar, and its rows. In tokens when they were counted,
    else in characters."""
    tokens: Tokens | None = None
    """None when they were not counted."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the checks say about one dataset."""

    name: str
    format: str
    """Such as `JSON lines`."""
    shapes: tuple[tuple[str, int], ...]
    """Such as `text_input, output`, and how many rows have it; the most frequent first."""
    findings: tuple[Finding, ...]
    """Errors first, then by code."""
    statistics: Statistics
    allowed: tuple[str, ...] = ()
    """Codes that found something and were silenced."""

    def count(self, severity: Severity) -> int:
        """Findings of that severity."""
        return sum(finding.severity == severity for finding in self.findings)
