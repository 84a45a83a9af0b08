"""Rows of tokens to batches without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kamerton.training.rows import Row


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows one after another on one axis of T tokens; A of them predict a token that is learned."""

    input_ids: torch.Tensor
    """[1, T]"""
    position_ids: torch.Tensor
    """[1, T], from 0 in each row."""
    lengths: tuple[int, ...]
    """Tokens of each row; their sum is T."""
    predictors: torch.Tensor
    """[A], places on the token axis whose next token is learned."""
    targets: torch.Tensor
    """[A], those tokens."""


def collate(rows: Sequence[Row], device: torch.device) -> Batch:
    """Lay rows on one token axis, without padding."""
    ids: list[int] = []
    positions: list[int] = []
    predictors: list[int] = []
    targets: list[int] = []
    for row in rows:
        start = len(ids)
        inputs = row.ids[:-1]
        ids += inputs
        positions += range(len(inputs))
        for first, end in row.spans:
            predictors += range(start + first - 1, start + end - 1)
            targets += row.ids[first:end]
    return Batch(
        input_ids=torch.tensor([ids], device=device),
        position_ids=torch.tensor([positions], device=device),
        lengths=tuple(len(row.ids) - 1 for row in rows),
        predictors=torch.tensor(predictors, device=device),
        targets=torch.tensor(targets, device=device),
    )
