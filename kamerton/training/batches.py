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
    return Batch(
        input_ids=torch.tensor(ids, device=device),
        position_ids=torch.tensor(positions, device=device),
        lengths=tuple(lengths),
        predictors=torch.tensor(predictors, device=device),
        targets=torch.tensor(targets, device=device),
        learned=tuple(learned),
    )
