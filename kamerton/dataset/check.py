"""The dataset check as others see it: what it is asked, and how tokens are counted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from kamerton.dataset.chunks import Source
from kamerton.findings import Report
from kamerton.types import Example


@dataclass(frozen=True, slots=True)
class RowTokens:
    """Token counts of one example as a run would see it, and what it would have to cut."""

    prompt: int
    answer: int
    """Those that carry loss."""
    cut_prompt: int = 0
    cut_answer: int = 0


@dataclass(frozen=True, slots=True)
class Measuring:
    """How tokens are counted; made by `training.rows.measuring`."""

    context_tokens: int
    measure: Callable[[Sequence[Example]], Sequence[RowTokens]]
    special_tokens: frozenset[str] = frozenset()
    """Texts of the tokenizer's own marks."""


def check(
    source: Source,
    *,
    validation: Source | None = None,
    measuring: Measuring | None = None,
    count_all: bool = False,
    allow: Collection[str] = (),
    keep: Callable[[Sequence[Example]], None] | None = None,
    on_rows: Callable[[int], None] | None = None,
    most_hits: int = 100,
) -> Report:
    """Read `source` to its end and say what is wrong with it.

    Tokens are counted where a row could be too long, or in every row when `count_all`. `allow`
    silences codes of warnings and notes; near-duplicates (K202) are then not even looked for,
    which saves most of the time. `keep` gets the examples that can be trained on, chunk by chunk;
    `on_rows` how many rows were read so far. A finding counts all of its rows, and names the first
    `most_hits`. What ends the reading is a finding, too.
    `validation` is looked through for errors, and for rows that `source` has as well.
    """
    # Not at the top: what a server loads when it starts should not load numpy.
    from kamerton.dataset.survey import Survey, silenced

    silent = silenced(allow)
    survey = Survey(
        source,
        measuring,
        near="K202" not in silent,
        count_all=count_all,
        keep=keep,
        on_rows=on_rows,
        most_hits=most_hits,
    )
    survey.read()
    if validation is not None:
        survey.compare(validation)
    return survey.report(silent)
