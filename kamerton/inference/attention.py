"""The attention of loaded models: stock sdpa, except for rows that lie on one token axis."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from kamerton.errors import FailedPrecondition

NAME = "kamerton"
"""Under which models are loaded with it."""
MAX_SCORES = 4_000_000
"""Rows × longest² up to which the scores of all rows are computed at once and kept."""
LONG = 1024
"""Tokens of a row from which on its scores are never kept: torch's fused attention is used."""

_here = threading.local()


@contextlib.contextmanager
def flat(lengths: Sequence[int]) -> Iterator[None]:
    """In this thread, rows of these lengths lie one after another on the token axis, each seeing
    only itself."""
    before = getattr(_here, "lengths", None)
    _here.lengths = tuple(lengths)
    try:
        yield
    finally:
        _here.lengths = before


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Query [R, n heads, L, d], key and value [R, m heads, L, d] to [R, L, n heads, d]."""
    if others.get("s_aux") is not None:
        raise FailedPrecondition("Base models with attention sinks cannot be used so far.")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    lengths: tuple[int, ...] | None = getattr(_here, "lengths", None)
    if lengths is not None:
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        return attend(q, k, v, lengths, scale, sliding_window, softcap)[None], None
    if softcap is None:
        found, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **others
        )
        return found, None
    groups = query.shape[1] // key.shape[1]
    scores = (query @ key.repeat_interleave(groups, 1).transpose(-1, -2)) * scale
    scores = capped(scores, softcap)
    # Not -inf: what pads a prompt sees nothing at all, and must not become NaN.
    lowest = torch.finfo(scores.dtype).min
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, lowest)
    elif query.shape[2] > 1:
        scores = scores.masked_fill(blocked(query.shape[2], None, query.device), lowest)
    shares = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    return (shares @ value.repeat_interleave(groups, 1)).transpose(1, 2), None


def mask(*sizes: Any, **options: Any) -> Tensor | None:
    """Nothing where rows are flat: there is no mask of all tokens × all tokens."""
    if getattr(_here, "lengths", None) is not None:
        return None
    found: Tensor | None = sdpa_mask(*sizes, **options)
    return found


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: Sequence[int],
    scale: float,
    window: int | None,
    softcap: float | None = None,
) -> Tensor:
    """Query [T, n, d], key and value [T, m, d] of rows one after another to [T, n, d].

    On a CPU plain products of all rows at once, or of each: at the lengths of tuning examples
    their backward is faster than that of torch's fused attention.
    """
    longest = max(lengths)
    if softcap is None and query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        return _by_flash(query, key, value, lengths, scale, window)
    if len(lengths) > 1 and longest < LONG and len(lengths) * longest**2 <= MAX_SCORES:
        places = slots(tuple(lengths), query.device)
        rows = (len(lengths), longest)
        q, k, v = (_pad(x, places, rows) for x in (query, key, value))
        found = _scored(q, k, v, scale, window, softcap)  # [R, n, L, d]
        return found.transpose(1, 2).reshape(-1, query.shape[1], value.shape[2])[places]
    sizes = list(lengths)
    rows_of = (torch.split(x, sizes) for x in (query, key, value))
    return torch.cat(
        [_row(q, k, v, scale, window, softcap) for q, k, v in zip(*rows_of, strict=True)]
    )


def _row(
    q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    """One row, [L, heads, d]."""
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    if softcap is not None or q.shape[2] < LONG:
        return _scored(q, k, v, scale, window, softcap)[0].transpose(0, 1)
    seen = None if window is None else ~blocked(q.shape[2], window, q.device)
    found = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=seen, is_causal=seen is None, scale=scale, enable_gqa=True
    )
    return found[0].transpose(0, 1)


def _scored(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Query [R, n, L, d], key and value [R, m, L, d] to [R, n, L, d]; padding comes after a row's
    last token, where the row does not look."""
    rows, heads, length, size = query.shape
    groups = key.shape[1]
    scores = (query.reshape(rows, groups, -1, size) @ key.transpose(-1, -2)) * scale
    scores = scores.view(rows, heads, length, length)
    if softcap is not None:
        scores = capped(scores, softcap)
    scores = scores.masked_fill(blocked(length, window, query.device), float("-inf"))
    shares = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    return (shares.view(rows, groups, -1, length) @ value).view(rows, heads, length, -1)


def _by_flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: Sequence[int],
    scale: float,
    window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    starts = borders(tuple(lengths), query.device)
    longest = max(lengths)
    found = varlen_attn(
        query,
        key,
        value,
        starts,
        starts,
        longest,
        longest,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=True,
    )
    assert isinstance(found, Tensor)
    return found


def capped(scores: Tensor, softcap: float) -> Tensor:
    """Kept within ±softcap, as Gemma 2 does."""
    return torch.tanh(scores / softcap) * softcap


@lru_cache(maxsize=8)
def slots(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """[T], each token's place when rows are padded to the longest."""
    with _for_training():
        counts = torch.tensor(lengths)
        row = torch.repeat_interleave(torch.arange(len(lengths)), counts)
        starts = counts.cumsum(0) - counts
        place = torch.arange(int(counts.sum())) - starts[row] + row * int(counts.max())
        return place.to(device)


@lru_cache(maxsize=8)
def borders(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """[rows + 1], where on the axis each row begins, and the end."""
    with _for_training():
        return torch.tensor([0, *lengths], device=device).cumsum(0).to(torch.int32)


def _pad(x: Tensor, places: Tensor, rows: tuple[int, int]) -> Tensor:
    """[T, heads, d] to [R, heads, L, d], zeros where a row is shorter."""
    padded = x.new_zeros(rows[0] * rows[1], *x.shape[1:]).index_copy(0, places, x)
    return padded.view(*rows, *x.shape[1:]).transpose(1, 2)


def blocked(length: int, window: int | None, device: torch.device) -> Tensor:
    """[length, length], True where a token must not look: ahead, or beyond the window."""
    longest = max(256, 1 << (length - 1).bit_length())
    if window is not None and window >= longest:
        window = None
    return _all_blocked(longest, window, device)[:length, :length]


@lru_cache(maxsize=8)
def _all_blocked(longest: int, window: int | None, device: torch.device) -> Tensor:
    """The one of which all shorter ones are a corner."""
    with _for_training():
        ones = torch.ones(longest, longest, dtype=torch.bool, device=device)
        hidden = ones.triu(1)
        if window is not None:
            hidden |= ones.tril(-window)
        return hidden


def _for_training() -> AbstractContextManager[object]:
    """What is kept from an answer may be used in a training step."""
    return torch.inference_mode(False)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, mask)
