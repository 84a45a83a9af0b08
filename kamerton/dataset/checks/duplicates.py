"""Rows that repeat or contradict others, and rows that are in the validation data as well."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kamerton.dataset.checks.registry import whole_check
from kamerton.dataset.near import Pairs
from kamerton.dataset.whole import Numbers, Whole, first_equal
from kamerton.findings import Hit

ALIKE = 0.6
"""Estimated similarity from which on inputs are nearly the same: of ten words one is another."""
MOST_TWINS = 2
"""A row that is like more others than these is one of a template."""
TEMPLATE_SHARE = 0.2
"""When more of the rows than this are like others, the whole set is made by template."""


@whole_check(
    "K201",
    "exact-duplicate",
    "warning",
    what="repeat an earlier row exactly",
    advice="Remove the repetitions, unless these examples are to count for more on purpose.",
    why="What is there twice is learned twice: the model leans towards it and remembers it word "
    "for word. One copy in the held-out rows would make the result look better than it is, so "
    "Kamerton keeps copies on one side.",
)
def exact_duplicate(whole: Whole) -> Iterator[Hit]:
    first = _first_copies(whole)
    places = np.flatnonzero(first < np.arange(len(first)))
    yield from whole.hits(places, "", lambda place: _like(whole, int(first[place]), "repeats"))


@whole_check(
    "K202",
    "near-duplicate",
    "warning",
    what="are nearly the same as an earlier row",
    advice="Keep the best of them, or make them differ in what matters.",
    why="Rows that differ in case, punctuation or a word teach hardly more than one of them, and "
    "crowd out the others. They are looked for in up to 100,000 rows, and only where the answers "
    "are the same.",
)
def near_duplicate(whole: Whole) -> Iterator[Hit]:
    twins = _spelled_alike(whole) | _worded_alike(whole)
    if not twins:
        return
    first = _first_copies(whole)
    places = [place for place in sorted(twins) if first[place] == place]
    yield from whole.hits(places, "", lambda place: _like(whole, twins[place], "is like"))


@whole_check(
    "K203",
    "contradiction",
    "warning",
    what="have the input of an earlier row and another output",
    advice="Decide which answer is right, or add to the inputs what makes the difference.",
    why="The model is pulled both ways and learns something in between; the loss cannot get low. "
    "Several good answers to one prompt are no contradiction: then allow this check.",
)
def contradiction(whole: Whole) -> Iterator[Hit]:
    first = whole.inputs.earliest
    outputs = whole.outputs.hashes
    places = np.flatnonzero(outputs != outputs[first])
    yield from whole.hits(
        places, "output", lambda place: _like(whole, int(first[place]), "another answer than in")
    )


@whole_check(
    "K204",
    "echo",
    "warning",
    what="have an output that is the input",
    advice="Write the answer, or remove the row.",
    why="The model learns to repeat what it is asked. Most often a column was exported twice.",
)
def echo(whole: Whole) -> Iterator[Hit]:
    yield from whole.hits(np.flatnonzero(whole.echoes), "output", "is the same as the input")


@whole_check(
    "K205",
    "leak",
    "warning",
    what="are in the validation data as well",
    advice="Remove them from one of the two.",
    why="What was trained on is known by heart, so the validation loss looks better than the model "
    "is, and overfitting is not seen. Case and punctuation do not make a row another one.",
)
def leak(whole: Whole) -> Iterator[Hit]:
    other = whole.validation
    if other is None:
        return
    shared = np.isin(whole.inputs.hashes, other.inputs.hashes)
    prints, others = whole.near.prints, other.near.prints
    if len(prints) == len(whole) and len(others) == len(other):
        shared |= np.isin(prints, others[others != 0])
    yield from whole.hits(np.flatnonzero(shared), "", "is in the validation data")


def _first_copies(whole: Whole) -> Numbers:
    """Of each place, the first row that is the same."""
    first = whole.inputs.earliest
    if (first == np.arange(len(first))).all():
        return first
    # Of rows with one input, each is compared with the first that has its output as well.
    return first_equal(_paired(first, whole.outputs.hashes))


def _paired(first: Numbers, second: Numbers) -> Numbers:
    """One number for each pair of them, equal for equal pairs."""
    _, codes = np.unique(second, return_inverse=True)
    paired: Numbers = first * np.int64(len(second) + 1) + codes.astype(np.int64)
    return paired


def _spelled_alike(whole: Whole) -> dict[int, int]:
    """By place, the first row of which only case, spaces or punctuation differ."""
    prints, answers = whole.near.prints, whole.near.answer_prints
    if not len(prints):
        return {}
    first = first_equal(_paired(first_equal(prints), first_equal(answers)))
    same = (first < np.arange(len(first))) & (prints != 0)
    return {int(place): int(first[place]) for place in np.flatnonzero(same)}


def _worded_alike(whole: Whole) -> dict[int, int]:
    """By place, an earlier row of which a word or two differ."""
    pairs = _distinct(whole, whole.near.pairs(ALIKE))
    counts = np.bincount(pairs.ravel(), minlength=len(whole))
    if np.count_nonzero(counts) > TEMPLATE_SHARE * len(whole):
        return {}
    lone = (counts[pairs] <= MOST_TWINS).all(axis=1)
    return {int(later): int(earlier) for earlier, later in pairs[lone]}


def _distinct(whole: Whole, pairs: Pairs) -> Pairs:
    """Those whose letters and digits are not all the same: of these others tell."""
    prints = whole.near.prints
    return pairs[prints[pairs[:, 0]] != prints[pairs[:, 1]]] if len(pairs) else pairs


def _like(whole: Whole, place: int, how: str) -> str:
    return f"{how} {whole.unit} {int(whole.numbers[place])}"
