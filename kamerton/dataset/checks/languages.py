"""Texts in another language than nearly all others, as far as its letters tell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kamerton.dataset.checks.registry import whole_check
from kamerton.dataset.whole import FEW_ROWS, SCRIPTS, Column, Whole
from kamerton.findings import Hit

MOST = 0.8
"""The share of texts that makes a language of a dataset."""
LEAST_CHARACTERS = 20
"""Shorter texts are often a name, a product or a code."""


@whole_check(
    "K401",
    "mixed-languages",
    "warning",
    what="are in another language than most",
    advice="Translate or remove them, unless the model is to answer in several languages; then "
    "add more of the rare one.",
    why="The model may fall into the other language where nobody expects it. Languages are told "
    "apart by their letters only: Russian from English, but not German from English.",
)
def mixed_languages(whole: Whole) -> Iterator[Hit]:
    for column, field in ((whole.inputs, "text_input"), (whole.outputs, "output")):
        yield from _strangers(whole, column, field)


def _strangers(whole: Whole, column: Column, field: str) -> Iterator[Hit]:
    long = (column.lengths >= LEAST_CHARACTERS) & np.isin(column.scripts, list(SCRIPTS))
    scripts = column.scripts[long]
    if len(scripts) < FEW_ROWS:
        return
    kinds, counts = np.unique(scripts, return_counts=True)
    usual = int(kinds[counts.argmax()])
    if not MOST <= counts.max() / len(scripts) < 1:
        return
    places = np.flatnonzero(long & (column.scripts != usual))
    yield from whole.hits(
        places,
        field,
        lambda place: (
            f"{SCRIPTS[int(column.scripts[place])]} letters, where most are {SCRIPTS[usual]}"
        ),
    )
