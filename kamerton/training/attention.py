"""Attention over rows that lie one after another on one token axis, each seeing only itself."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from transformers import AttentionInterface

from kamerton.errors import FailedPrecondition

FLAT_ROWS = "kamerton_flat_rows"


def flat_rows(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    lengths: tuple[int, ...] = (),
    softcap: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Query [1, heads, T, d], key and value [1, kv heads, T, d] to [1, T, heads, d].

    Plain products per row: at the lengths of tuning examples their backward is faster on a CPU
    than torch's fused attention, and there is no mask of T × T.
    """
    if softcap is not None:
        raise FailedPrecondition("Base models with soft-capped attention cannot be tuned yet.")
    groups = query.shape[1] // key.shape[1]
    key = key.repeat_interleave(groups, dim=1)
    value = value.repeat_interleave(groups, dim=1)
    sizes = list(lengths)
    outputs = []
    for q, k, v in zip(
        torch.split(query, sizes, dim=2),
        torch.split(key, sizes, dim=2),
        torch.split(value, sizes, dim=2),
        strict=True,
    ):
        scores = (q @ k.transpose(-1, -2)) * scaling
        hidden = blocked(q.shape[2], sliding_window, query.device)
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1, dtype=torch.float32)
        outputs.append((weights.to(v.dtype) @ v).transpose(1, 2))
    return torch.cat(outputs, dim=1), None


def blocked(length: int, sliding_window: int | None, device: torch.device) -> torch.Tensor:
    """[length, length], True where a token must not look: ahead, or beyond the window."""
    longest = max(256, 1 << (length - 1).bit_length())
    return _all_blocked(longest, sliding_window, device)[:length, :length]


@lru_cache(maxsize=4)
def _all_blocked(longest: int, sliding_window: int | None, device: torch.device) -> torch.Tensor:
    """The one of which all shorter ones are a corner."""
    ones = torch.ones(longest, longest, dtype=torch.bool, device=device)
    hidden = ones.triu(1)
    if sliding_window is not None:
        hidden |= ones.tril(-sliding_window)
    return hidden


AttentionInterface.register(FLAT_ROWS, flat_rows)
