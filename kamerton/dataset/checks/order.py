"""Rows in an order that says something about them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kamerton.dataset.checks.registry import whole_check
from kamerton.dataset.whole import FEW_ROWS, Column, Whole, about_all
from kamerton.findings import Hit

MOST_RUNS = 0.25
"""Of the changes of label between neighbours that a shuffled order would have."""
_FEW_DIFFERENT = 5


@whole_check(
    "K308",
    "sorted-order",
    "note",
    what="are in a sorted order",
    advice="Nothing has to be done for Kamerton. Shuffle the rows before you give the file to a "
    "trainer that takes them as they come, or before you cut off its end as test data.",
    why="Kamerton shuffles the rows of every epoch, and holds out rows from everywhere. Other "
    "trainers may not, and then forget the first label while they see the last.",
)
def sorted_order(whole: Whole) -> Iterator[Hit]:
    if len(whole) < FEW_ROWS:
        return
    if _grouped(whole):
        yield about_all("The rows are grouped by their label.")
    elif order := _sorted(whole):
        yield about_all(f"The rows are sorted by {order}.")


def _grouped(whole: Whole) -> bool:
    if len(whole.labels) < 2:
        return False
    hashes = whole.outputs.hashes
    changes = np.count_nonzero(hashes[1:] != hashes[:-1])
    shares = np.array(list(whole.labels.values())) / len(whole)
    expected = (len(whole) - 1) * (1 - float((shares**2).sum()))
    # As many changes as there are labels could be by chance where one label has nearly all rows.
    return bool(changes < MOST_RUNS * expected and expected >= FEW_ROWS / 2)


def _sorted(whole: Whole) -> str:
    for column, name in ((whole.inputs, "input"), (whole.outputs, "output")):
        if column.sorted and len(np.unique(column.hashes)) >= _FEW_DIFFERENT:
            return f"their {name}"
        if _by_length(column):
            return f"the length of their {name}"
    return ""


def _by_length(column: Column) -> bool:
    steps = np.diff(column.lengths)
    one_way = bool((steps >= 0).all() or (steps <= 0).all())
    return one_way and len(np.unique(column.lengths)) >= _FEW_DIFFERENT
