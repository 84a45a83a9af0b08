"""Rows to train on in measurements: seeded, of lengths as they are met, or all of one length."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass

from kamerton.training.rows import Row

FIRST_ID = 6
"""Ids before it are marks."""
BOS = 2


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of prompts and answers, from and to."""

    prompt: tuple[int, int]
    answer: tuple[int, int]


MIX = Lengths((20, 400), (5, 150))


def of_length(tokens: int) -> Lengths:
    """Every row is read in `tokens` places, an eighth of which predict the answer."""
    answer = tokens // 8
    return Lengths((tokens + 1 - answer,) * 2, (answer,) * 2)


def rows(count: int, lengths: Lengths, vocabulary: int, seed: int = 0) -> list[Row]:
    """Random ids: what they say changes nothing about the time they take."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        prompt, answer = chance.randint(*lengths.prompt), chance.randint(*lengths.answer)
        ids = [BOS, *chance.choices(range(FIRST_ID, vocabulary), k=prompt + answer - 1)]
        made.append(Row(array("i", ids), ((prompt, prompt + answer),)))
    return made


def tokens(row: Row) -> int:
    """That go through the model: the last one is only predicted."""
    return len(row.ids) - 1
