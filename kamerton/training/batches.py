"""Rows of tokens to batches without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kamerton.training.rows import Row


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one or several runs one after another on one axis of T tokens; A of them predict a
    token that is learned. Each run has an equal stretch of the axis; where it has fewer tokens
    than another, the rest is a row of its own from which nothing is learned."""

    input_ids: Tensor
    """[T]"""
    position_ids: Tensor
    """[T], from 0 in each row."""
    lengths: tuple[int, ...]
    """Tokens of each row; their sum is T."""
    predictors: Tensor
    """[A], places on the token axis whose next token is learned."""
    targets: Tensor
    """[A], those tokens."""
    learned: tuple[int, ...]
    """Of the A, how many are of each run, in order."""
    ends: Tensor
    """Places on the token axis that the last layer must see to the end: the predictors, and as
    many of each run, so that some stand there more than once."""
    answers: Tensor
    """[A], where among `ends` each predictor is."""

    @property
    def tokens(self) -> int:
        return len(self.input_ids)


def collate(runs: Sequence[Sequence[Row]], device: torch.device) -> Batch:
    """Lay the rows of runs on one token axis."""
    tokens = [sum(len(row.ids) - 1 for row in rows) for rows in runs]
    stretch = max(tokens)
    ids: list[int] = []
    positions: list[int] = []
    predictors: list[int] = []
    targets: list[int] = []
    lengths: list[int] = []
    learned: list[int] = []
    for rows, count in zip(runs, tokens, strict=True):
        before = len(targets)
        for row in rows:
            start = len(ids)
            inputs = row.ids[:-1]
            ids += inputs
            positions += range(len(inputs))
            lengths.append(len(inputs))
            for first, end in row.spans:
                predictors += range(start + first - 1, start + end - 1)
                targets += row.ids[first:end]
        learned.append(len(targets) - before)
        if rest := stretch - count:
            ids += [0] * rest
            positions += range(rest)
            lengths.append(rest)
    ends, answers = _evened(predictors, learned)
    return Batch(
        input_ids=torch.tensor(ids, device=device),
        position_ids=torch.tensor(positions, device=device),
        lengths=tuple(lengths),
        predictors=torch.tensor(predictors, device=device),
        targets=torch.tensor(targets, device=device),
        learned=tuple(learned),
        ends=torch.tensor(ends, device=device),
        answers=torch.tensor(answers, device=device),
    )


def _evened(predictors: list[int], learned: list[int]) -> tuple[list[int], list[int]]:
    """Those of each run filled up to the most of any, and where each is now."""
    ends: list[int] = []
    answers: list[int] = []
    most, first = max(learned), 0
    for count in learned:
        own = predictors[first : first + count]
        answers += range(len(ends), len(ends) + count)
        ends += own + own[-1:] * (most - count)
        first += count
    return ends, answers
