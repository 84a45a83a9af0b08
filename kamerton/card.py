"""What a report card says: base, base with examples in its prompt and tuned model, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Who = Literal["base", "few_shot", "tuned"]
"""The candidates; `few_shot` is the base model with some training examples in its prompt."""
Metric = Literal["normalised", "json_equal", "numeric", "chrf"]
"""The field of `Scores` that a verdict rests on."""
Outcome = Literal["better", "no_clear_gain", "worse", "too_few_rows"]


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each right label got which answer."""

    labels: tuple[str, ...]
    """Of the right answers, the most frequent first."""
    counts: tuple[tuple[int, ...], ...]
    """A line for each label; a column for each label, and the last for every other answer."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How one candidate did. Shares are from 0 to 1, None what does not suit the data."""

    row_count: int
    loss: float | None
    """Mean cross-entropy in nats per token of the right answers."""
    perplexity: float | None
    exact: float
    """Share of answers that are the right one, but for white space around them."""
    normalised: float
    """The same, but for case, white space, quotes and a final stop as well."""
    chrf: float
    """Mean over the rows."""
    f1: float | None = None
    """Mean over the labels, when the answers are classes."""
    confusion: Confusion | None = None
    json_valid: float | None = None
    """Share of answers that are JSON, when the right ones are."""
    json_equal: float | None = None
    """Share of answers that are the right JSON, in whatever order and layout."""
    numeric: float | None = None
    """Share of answers within 1 % of the right number, when the right ones are numbers."""
    errors: int = 0
    """Rows without any answer: they count as wrong."""

    def by(self, metric: Metric) -> float:
        """The share that a verdict by this metric rests on."""
        value = getattr(self, metric)
        return 0.0 if value is None else float(value)


@dataclass(frozen=True, slots=True)
class Answer:
    """One held-out row and what each candidate made of it; None for who was not asked."""

    row: int
    """Its place among the held-out rows, from 0."""
    input: str
    """The last turn of what was asked."""
    right: str
    base: str | None = None
    few_shot: str | None = None
    tuned: str | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """A probe that the base model answers, and the tuned model no longer."""

    input: str
    right: str
    base: str
    tuned: str


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What tuning cost elsewhere: the same short questions to base and tuned model."""

    probe_count: int
    base_right: int
    tuned_right: int
    still_right: int
    """Of those that the base model gets right: only they can be forgotten."""
    base_loss: float | None = None
    """Nats per token of the probes' right answers."""
    tuned_loss: float | None = None
    lost: tuple[Lost, ...] = ()

    @property
    def share(self) -> float | None:
        """How much of what the base model knew is gone; None when it knew nothing of it."""
        return 1 - self.still_right / self.base_right if self.base_right else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether tuning helped, with an interval."""

    outcome: Outcome
    metric: Metric
    gain: float | None
    """Tuned less base; None without a single row."""
    low: float | None
    """`low` to `high` holds the true gain with 95 % confidence; None with too few rows."""
    high: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """How the base model does before a run; its answers are used again for the card."""

    scores: Scores | None
    """None without held-out rows."""
    metric: Metric
    rows: tuple[int, ...]
    """Which of the held-out rows it was asked."""
    answers: tuple[str, ...]
    enough: bool
    """Whether it does most of the task untuned."""
    sentence: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judging model preferred when it saw each pair of answers in both orders."""

    row_count: int
    tuned: int
    base: int
    tie: int
    disagreed: int
    """Rows where the two orders led to different judgements, or to none: they count for nobody."""


@dataclass(frozen=True, slots=True)
class Card:
    """The report card of a tuned model."""

    base: Scores | None
    few_shot: Scores | None
    tuned: Scores | None
    answers: tuple[Answer, ...]
    forgetting: Forgetting | None
    verdict: Verdict
    baseline_enough: bool
    """Whether the base model does most of the task untuned."""
    sentences: tuple[str, ...]
    """What all of it means, the most important first."""
    row_count: int
    """Held-out rows that all candidates were asked."""
    seconds: float
    """That the card took, without the baseline before the run."""
    left_out: tuple[str, ...] = ()
    """What is missing, and why."""
    judged: Judged | None = None
