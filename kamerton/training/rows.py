"""Examples to tokens, and which of them make up a step; without torch, for the server too."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from kamerton.inference.prompts import Renderer
from kamerton.types import Example, Hyperparameters


@dataclass(frozen=True, slots=True)
class Row:
    """One example as token ids; those from `answer_start` on carry loss."""

    ids: tuple[int, ...]
    answer_start: int
    truncated: bool = False


def encode(renderer: Renderer, example: Example, context_tokens: int) -> Row:
    """Render one example; what does not fit the context is cut, first from the prompt's front.

    The answer is what there is to learn, so it is cut only when it alone is too long. The last
    token is never an input, hence one more token than the context fits.
    """
    prompt = renderer.prompt(example.contents)
    answer = renderer.answer(example.output)
    too_many = len(prompt) + len(answer) - (context_tokens + 1)
    if too_many <= 0:
        return Row((*prompt, *answer), len(prompt))
    # Keep BOS and as much of the prompt's end as fits beside the answer, at least eight tokens.
    kept = min(len(prompt), max(8, len(prompt) - too_many))
    prompt = [prompt[0], *prompt[len(prompt) - kept + 1 :]]
    ids = (*prompt, *answer)[: context_tokens + 1]
    return Row(ids, len(prompt), truncated=True)


def rows_of_step(step: int, row_count: int, hyperparameters: Hyperparameters) -> list[int]:
    """Which rows make up `step` (from 1): a slice of one endless stream of shuffled epochs.

    It depends on nothing but the arguments, so that a run that died goes on with the same rows.
    """
    batch = hyperparameters.batch_size
    first = (step - 1) * batch
    last = min(step * batch, row_count * hyperparameters.epoch_count)
    chosen = []
    for epoch in range(first // row_count, (last - 1) // row_count + 1):
        order = _order(hyperparameters.seed, epoch, row_count)
        offset = epoch * row_count
        chosen += order[max(0, first - offset) : last - offset]
    return chosen


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, row_count: int) -> list[int]:
    """The shuffled rows of one epoch; kept, as every step of the epoch asks for it."""
    order = list(range(row_count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order
