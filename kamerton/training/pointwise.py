"""What a Gemma 3 layer does between its matrix products, forward and backward.

Plain functions of tensors, so that they run as they are or compiled: then each is one pass over
its tensors. Sums are in float32 whatever the tensors are in.

Shapes: T tokens, H hidden, k heads, d head size, I inner size of the feed-forward part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from kamerton.processes import report


def norm(x: Tensor, gain: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """x / rms(x) · gain over the last dimension (Zhang and Sennrich, 2019), and 1 / rms(x)."""
    inverse = _inverse(x, epsilon)
    return (x * inverse).mul_(gain).to(x.dtype), inverse


def _inverse(x: Tensor, epsilon: float) -> Tensor:
    """1 / rms(x) in float32"""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    inverse: Tensor = length.square_().mul_(1 / x.shape[-1]).add_(epsilon).rsqrt_()
    return inverse


def norm_back(gradient: Tensor, x: Tensor, inverse: Tensor, gain: Tensor) -> Tensor:
    return _norm_back(gradient * gain, x, inverse).to(gradient.dtype)


def _norm_back(gradient: Tensor, x: Tensor, inverse: Tensor) -> Tensor:
    """In float32; `gradient` has the gain in it, and is overwritten."""
    normal = x * inverse
    along = (gradient * normal).sum(-1, keepdim=True).mul_(1 / x.shape[-1])
    return gradient.addcmul_(normal, along, value=-1).mul_(inverse)


def join(
    x: Tensor, branch: Tensor, gain: Tensor, next_gain: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A branch is normed and added to the stream x, which is normed for the next one: the stream,
    1 / rms of the branch, what goes into the next branch, 1 / rms of the stream."""
    added, inverse = norm(branch, gain, epsilon)
    stream = x + added
    into, stream_inverse = norm(stream, next_gain, epsilon)
    return stream, inverse, into, stream_inverse


def join_back(
    onward: Tensor,
    into: Tensor,
    stream: Tensor,
    stream_inverse: Tensor,
    next_gain: Tensor,
    branch: Tensor,
    inverse: Tensor,
    gain: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of the stream before the branch was added, and of the branch; `onward` and `into`
    are those of the stream after it and of what went into the next branch."""
    whole = onward + norm_back(into, stream, stream_inverse, next_gain)
    return whole, norm_back(whole, branch, inverse, gain)


def turn(
    x: Tensor, gain: Tensor, cos: Tensor, sin: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Queries and keys [T, k, d] normed and turned by their places; 1 / rms. `cos` and `sin` are
    [T, 1, d], the sines of the first half negative; `gain` is [k, d]."""
    inverse = _inverse(x, epsilon)
    normal = (x * inverse).mul_(gain)
    return (normal * cos).addcmul_(_swapped(normal), sin).to(x.dtype), inverse


def turn_back(
    gradient: Tensor, x: Tensor, inverse: Tensor, gain: Tensor, cos: Tensor, sin: Tensor
) -> Tensor:
    wide = gradient.float()
    wide = (wide * cos).add_(_swapped(wide * sin)).mul_(gain)
    return _norm_back(wide, x, inverse).to(gradient.dtype)


def gate(both: Tensor) -> Tensor:
    """Gate and lifted [T, 2 I] to gelu(gate) · lifted [T, I].

    gelu(x) = x (1 + tanh u) / 2 = x σ(2 u) with 2 u = C (x + 0.044715 x³): σ is far cheaper.
    """
    gated, lifted = both.chunk(2, dim=-1)
    wide = gated.float()
    return (_sigmoid(wide).mul_(wide) * lifted).to(both.dtype)


def gate_back(gradient: Tensor, both: Tensor) -> Tensor:
    """[T, 2 I]"""
    gated, lifted = both.chunk(2, dim=-1)
    wide = gated.float()
    open_ = _sigmoid(wide)
    active = open_ * wide
    # σ + x σ (1 − σ) (2 u)'
    slope = wide.square().mul_(3 * C * CUBIC).add_(C)
    slope = open_ + slope.mul_(active).mul_(1 - open_)
    return torch.cat([slope.mul_(gradient * lifted), active.mul_(gradient)], dim=-1).to(both.dtype)


C, CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715


def _sigmoid(x: Tensor) -> Tensor:
    """σ(2 u)"""
    return x.square().mul_(C * CUBIC).add_(C).mul_(x).sigmoid_()


def _swapped(x: Tensor) -> Tensor:
    """The halves of the last dimension the other way round."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([second, first], dim=-1)


@dataclass(frozen=True)
class Pointwise:
    """The functions, as they are or compiled."""

    norm: Callable[..., tuple[Tensor, Tensor]] = norm
    norm_back: Callable[..., Tensor] = norm_back
    join: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]] = join
    join_back: Callable[..., tuple[Tensor, Tensor]] = join_back
    turn: Callable[..., tuple[Tensor, Tensor]] = turn
    turn_back: Callable[..., Tensor] = turn_back
    gate: Callable[..., Tensor] = gate
    gate_back: Callable[..., Tensor] = gate_back


EAGER = Pointwise()


@lru_cache(maxsize=1)
def compiled() -> Pointwise:
    """For any number of tokens; the first step with them takes some seconds longer, less where an
    earlier process has left what it compiled. As they are where there is no C++ compiler."""
    made: dict[str, Any] = {
        field.name: torch.compile(field.default, dynamic=True)  # type: ignore[arg-type]
        for field in fields(Pointwise)
    }
    try:
        made["gate"](torch.zeros(3, 4))
    except Exception:
        report()
        return EAGER
    return Pointwise(**made)
