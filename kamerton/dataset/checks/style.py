"""Outputs that are made in another way than nearly all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from kamerton.dataset.checks.registry import whole_check
from kamerton.dataset.whole import FEW_ROWS, LABEL_CHARACTERS, Flags, Whole
from kamerton.findings import Hit

MOST = 0.85
"""The share of outputs that makes a style."""
MOST_JSON = 0.8
OUTLIER_TIMES = 8.0
"""How much longer or shorter than the median an outlier is at least."""
OUTLIER_DEVIATIONS = 6.0
"""And by how many standard deviations, in the logarithm of lengths."""
_STOPS = frozenset(".!?…。！？")
_OPEN_ENDS = frozenset(":;)]}\"'»”`*|")
"""Whether an output that ends with these has a full stop is a matter of taste."""


@whole_check(
    "K303",
    "invalid-json",
    "warning",
    what="have an output that is no valid JSON, where most are",
    advice="Repair these outputs, or remove the rows.",
    why="A model that has seen broken JSON writes broken JSON, and a program that reads it fails. "
    "It is said where at least four fifths of the outputs are JSON.",
)
def invalid_json(whole: Whole) -> Iterator[Hit]:
    if len(whole) >= FEW_ROWS and whole.json.mean() >= MOST_JSON:
        yield from whole.hits(np.flatnonzero(~whole.json), "output", "is no valid JSON")


@whole_check(
    "K304",
    "inconsistent-case",
    "note",
    what="have an output that begins in another case than most",
    advice="Begin all outputs alike, if it does not matter.",
    why="The model will begin some answers so and some so.",
)
def inconsistent_case(whole: Whole) -> Iterator[Hit]:
    if _json_task(whole):
        return
    upper, lower = (_where(whole.outputs.first, case) for case in (str.isupper, str.islower))
    upper &= ~_where(whole.outputs.second, str.isupper)  # `SQL`, `SELECT` are written so anywhere.
    yield from _minority(whole, upper, lower, "begins with a small letter, unlike most")
    yield from _minority(whole, lower, upper, "begins with a capital letter, unlike most")


@whole_check(
    "K305",
    "inconsistent-full-stop",
    "note",
    what="have an output that ends in another way than most",
    advice="End all outputs alike, if it does not matter.",
    why="The model will end some answers with a full stop and some without.",
)
def inconsistent_full_stop(whole: Whole) -> Iterator[Hit]:
    if _json_task(whole):
        return
    stop = _where(whole.outputs.last, _STOPS.__contains__)
    none = ~stop & ~_where(whole.outputs.last, _OPEN_ENDS.__contains__)
    yield from _minority(whole, stop, none, "ends without a full stop, unlike most")
    yield from _minority(whole, none, stop, "ends with a full stop, unlike most")


@whole_check(
    "K306",
    "length-outlier",
    "note",
    what="have an output of a very unusual length",
    advice="Look at these rows: often an answer was cut off, or two were run together.",
    why="A few very long answers take most of the training, and a few very short ones teach the "
    "model to break off.",
)
def length_outlier(whole: Whole) -> Iterator[Hit]:
    lengths = whole.outputs.lengths
    if len(whole) < FEW_ROWS:
        return
    logs = np.log(np.maximum(1, lengths))
    median = float(np.median(logs))
    # 1.4826 times the median absolute deviation is the standard deviation of a normal spread.
    spread = 1.4826 * float(np.median(np.abs(logs - median)))
    limit = max(np.log(OUTLIER_TIMES), OUTLIER_DEVIATIONS * spread)
    usual = round(float(np.exp(median)))
    outside = np.abs(logs - median) > limit
    if whole.labels:  # They may be as short or as long as any label.
        outside = lengths > LABEL_CHARACTERS
    yield from whole.hits(
        np.flatnonzero(outside),
        "output",
        lambda place: f"{lengths[place]} characters, where {usual} are usual",
    )


def _json_task(whole: Whole) -> bool:
    return bool(len(whole)) and bool(whole.json.mean() >= MOST_JSON)


def _where(units: NDArray[np.uint16], holds: Callable[[str], bool]) -> Flags:
    """Of which characters it holds; there are few different ones."""
    table = np.zeros(0x10000, np.bool_)
    for unit in np.flatnonzero(np.bincount(units, minlength=0x10000)).tolist():
        table[unit] = holds(chr(unit))
    found: Flags = table[units]
    return found


def _minority(whole: Whole, most: Flags, few: Flags, detail: str) -> Iterator[Hit]:
    """Hits where `few` holds, when `most` holds of nearly all of both."""
    both = int(most.sum() + few.sum())
    if both >= FEW_ROWS and MOST * both <= most.sum() < both:
        yield from whole.hits(np.flatnonzero(few), "output", detail)
