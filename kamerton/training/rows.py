"""Examples to tokens, and which of them make up a step; without torch, for the server too."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from kamerton.inference.prompts import Renderer, Span
from kamerton.training.hyperparameters import total_steps
from kamerton.types import Example, Hyperparameters

if TYPE_CHECKING:
    from kamerton.dataset.check import Measuring

LEAST_PROMPT = 8
"""Tokens of a prompt that are kept however long the answer is, BOS among them."""
MEASURED_TOGETHER = 1024
"""Tokens of held-out rows that go through the model at once."""
TOGETHER = 4096
"""Examples that are given to the tokenizer at once: it is faster so, on all cores."""


@dataclass(frozen=True, slots=True)
class Row:
    """One example as token ids."""

    ids: array[int]
    spans: tuple[Span, ...]
    """Of the ids that carry loss, in order; never the first id."""
    cut_prompt: int = 0
    """Ids that did not fit and carry no loss."""
    cut_answer: int = 0
    """Ids that would carry loss and do not: they did not fit, or the start of their turn did not
    and what is left of it is only read."""

    @property
    def learned(self) -> int:
        """Ids that carry loss."""
        return sum(end - start for start, end in self.spans)

    @property
    def truncated(self) -> bool:
        return self.cut_prompt + self.cut_answer > 0


def encode(renderer: Renderer, example: Example, context_tokens: int) -> Row:
    """Render one example; see `encode_all`."""
    return encode_all(renderer, [example], context_tokens)[0]


def encode_all(renderer: Renderer, examples: Sequence[Example], context_tokens: int) -> list[Row]:
    """Render examples; what does not fit the context is cut, first from the prompt's front.

    The answer is what there is to learn, so it is cut only when it alone is too long. The last
    token is never an input, hence one more token than the context fits.
    """
    rows = []
    for start in range(0, len(examples), TOGETHER):
        for ids, spans in renderer.examples(examples[start : start + TOGETHER]):
            rows.append(_fit(ids, spans, context_tokens + 1))
    return rows


def _fit(ids: list[int], spans: list[Span], room: int) -> Row:
    """Keep BOS, as much of the prompt's end as fits beside the answer, at least eight tokens with
    BOS, and of the answer what then fits. An earlier turn is learned only whole, and from at least
    as much: its tail would be learned as if it were the start of a conversation."""
    too_many = len(ids) - room
    if too_many <= 0:
        return Row(array("i", ids), tuple(spans))
    answer_start = spans[-1][0]
    away = max(0, min(too_many, answer_start - LEAST_PROMPT))
    kept = array("i", [ids[0], *ids[1 + away : room + away]])
    moved = [(max(1, start - away), min(len(kept), end - away)) for start, end in spans]
    left = sum(max(0, end - start) for start, end in moved)
    row = Row(kept, tuple(s for s in moved if s[0] < s[1] and (not away or s[0] >= LEAST_PROMPT)))
    answers = sum(end - start for start, end in spans)
    return replace(row, cut_prompt=too_many - (answers - left), cut_answer=answers - row.learned)


def measuring(renderer: Renderer, context_tokens: int) -> Measuring:
    """Counts tokens for the dataset check by what a run would train on."""
    from kamerton.dataset.check import Measuring, RowTokens

    def measure(examples: Sequence[Example]) -> list[RowTokens]:
        return [
            RowTokens(len(row.ids) - row.learned, row.learned, row.cut_prompt, row.cut_answer)
            for row in encode_all(renderer, examples, context_tokens)
        ]

    return Measuring(context_tokens, measure, renderer.special_tokens)


def steps_within(max_tokens: int, lengths: Sequence[int], hyperparameters: Hyperparameters) -> int:
    """How many steps, from the first, train on at most `max_tokens` tokens together.

    `lengths` are the tokens of each row. Every epoch has the same sum, so only the one in which
    the tokens run out need be looked at.
    """
    epoch, left = divmod(max_tokens, sum(lengths))
    if epoch >= hyperparameters.epoch_count:
        return total_steps(len(lengths), hyperparameters)
    order = order_of_epoch(hyperparameters.seed, epoch, len(lengths))
    sums = list(accumulate(lengths[index] for index in order))
    return (epoch * len(lengths) + bisect_right(sums, left)) // hyperparameters.batch_size


def grouped(lengths: Sequence[int]) -> list[list[int]]:
    """Places of held-out rows that are measured together: of similar lengths, as many as have at
    most MEASURED_TOGETHER tokens, or one."""
    groups: list[list[int]] = []
    left = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not groups or lengths[place] > left:
            groups.append([])
            left = MEASURED_TOGETHER
        groups[-1].append(place)
        left -= lengths[place]
    return groups


def rows_of_step(step: int, row_count: int, hyperparameters: Hyperparameters) -> list[int]:
    """Which rows make up `step` (from 1): a slice of one endless stream of shuffled epochs.

    It depends on nothing but the arguments, so that a run that died goes on with the same rows.
    """
    batch = hyperparameters.batch_size
    first = (step - 1) * batch
    last = min(step * batch, row_count * hyperparameters.epoch_count)
    chosen = []
    for epoch in range(first // row_count, (last - 1) // row_count + 1):
        order = order_of_epoch(hyperparameters.seed, epoch, row_count)
        offset = epoch * row_count
        chosen += order[max(0, first - offset) : last - offset]
    return chosen


@lru_cache(maxsize=2)
def order_of_epoch(seed: int, epoch: int, row_count: int) -> list[int]:
    """The shuffled rows of one epoch; kept, as every step of the epoch asks for it."""
    order = list(range(row_count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order
