"""How long the rows of a dataset are, in characters and in tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

from kamerton.dataset.check import RowTokens
from kamerton.findings import Spread, Statistics, Tokens

Lengths = NDArray[np.int32] | NDArray[np.int64]
_BARS = 12
_NONE = np.zeros(0, np.int32)


class Counts:
    """Lengths of the rows read so far: 4 bytes each."""

    def __init__(self) -> None:
        self._inputs: list[NDArray[np.int32]] = []
        self._outputs: list[NDArray[np.int32]] = []
        self._tokens: list[NDArray[np.int32]] = []

    def add(self, inputs: Lengths, outputs: Lengths) -> None:
        """In characters, of some rows."""
        self._inputs.append(inputs.astype(np.int32))
        self._outputs.append(outputs.astype(np.int32))

    def add_tokens(self, rows: Iterable[RowTokens]) -> None:
        """Of rows whose tokens were counted."""
        counted = [(row.prompt, row.answer, row.cut_prompt + row.cut_answer) for row in rows]
        self._tokens.append(np.array(counted, np.int32).reshape(-1, 3))

    def statistics(self, row_count: int, all_tokens: bool) -> Statistics:
        """Of all rows; `row_count` includes those that cannot be trained on."""
        inputs, outputs = _joined(self._inputs), _joined(self._outputs)
        tokens, lengths = None, inputs + outputs
        if all_tokens:
            prompts, answers, cut = (
                np.concatenate(self._tokens).T if self._tokens else (_NONE, _NONE, _NONE)
            )
            lengths = prompts + answers
            tokens = Tokens(
                spread(prompts), spread(answers), spread(lengths), int(np.count_nonzero(cut))
            )
        return Statistics(
            row_count, len(inputs), spread(inputs), spread(outputs), histogram(lengths), tokens
        )


def _joined(pieces: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate(pieces) if pieces else _NONE


def spread(lengths: Lengths) -> Spread:
    """Sum, extremes and middle; the percentiles are lengths that some row has."""
    if not len(lengths):
        return Spread()
    up_to = _up_to(lengths)
    return Spread(
        total=int(lengths.sum(dtype=np.int64)),
        least=_percentile(up_to, 0),
        median=_percentile(up_to, 50),
        mean=float(lengths.mean()),
        p95=_percentile(up_to, 95),
        most=_percentile(up_to, 100),
    )


def histogram(lengths: Lengths) -> tuple[tuple[int, int], ...]:
    """At most twelve bars as wide as a round number; the last takes in all that is longer."""
    if not len(lengths):
        return ()
    up_to = _up_to(lengths)
    least, common, most = (_percentile(up_to, percent) for percent in (0, 99, 100))
    # A few very long rows should not press all others into one bar.
    width = _round_width((common - least) / (_BARS - 2))
    ends = [(least // width + bar) * width for bar in range(1, _BARS)]
    ends = [*(end for end in ends if end < most), most]
    return tuple(zip(ends, np.diff(up_to[ends], prepend=0).tolist(), strict=True))


def _up_to(lengths: Lengths) -> NDArray[np.int64]:
    """By length, how many are not longer."""
    return np.cumsum(np.bincount(lengths))


def _percentile(up_to: NDArray[np.int64], percent: int) -> int:
    """The least length that so many of them do not exceed."""
    rows = max(1, -(-int(up_to[-1]) * percent // 100))
    return int(np.searchsorted(up_to, rows))


def _round_width(least: float) -> int:
    """The least of 1, 2, 5, 10, 20, 50 … that is no smaller."""
    widths = (step * int(10**power) for power in count() for step in (1, 2, 5))
    return next(width for width in widths if width >= least)
