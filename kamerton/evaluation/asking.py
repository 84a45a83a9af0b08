"""Asking models within the time allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kamerton.card import Who
from kamerton.evaluation.sentences import FEWEST_ROWS
from kamerton.types import Content

Generate = Callable[[Who, Sequence[Sequence[Content]]], Sequence[str]]
"""One answer for each prompt, in their order; "" where there is none."""
Clock = Callable[[], float]
"""Seconds that only grow."""
FIRST_BATCH = FEWEST_ROWS
"""Always asked: as many as a verdict needs."""
LARGEST_BATCH = 16
MOST_TOKENS = 512
"""Of an answer."""
LONGER = 1.5
"""Than the longest right answer an answer may get."""


def most_tokens(longest: int) -> int:
    """How long answers may get where the longest right one has so many tokens: longer than that, so
    that wrong ones can be told."""
    return min(MOST_TOKENS, int(LONGER * longest) + 8)


def in_time(places: Sequence[int], clock: Clock, until: float) -> Iterator[Sequence[int]]:
    """The places in batches, as many as can be done until then; but the first one always.

    Each batch is no larger than the time left allows at the pace of the one before, so that the
    last one ends in time as well.
    """
    size, done = FIRST_BATCH, 0
    while done < len(places) and size:
        batch = places[done : done + size]
        started = clock()
        yield batch
        now = clock()
        size = _fitting(until - now, (now - started) / len(batch))
        done += len(batch)


def _fitting(seconds: float, pace: float) -> int:
    """How many can be done in that time, each taking so long."""
    if seconds <= 0:
        return 0
    return LARGEST_BATCH if seconds >= LARGEST_BATCH * pace else int(seconds / pace)
