"""The frozen head and the loss over it, in tiles of the vocabulary.

What flows back from the head is softmax(h Wᵀ) W − W[target]: attention with the head for keys and
for values. So one pass with a running maximum (Milakov and Gimelshein, 2018, arXiv:1805.02867)
gives loss and gradient, and no more than a tile of the logits is ever there.

Shapes: A learned tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TILE = 4_000_000
"""Logits that are in memory at once."""
LEAST = 512
"""Columns of a tile, however many tokens there are."""


@torch.no_grad()
def losses(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    *,
    softcap: float | None = None,
    gradient: bool = True,
    tile: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The loss in nats of each token, [A] in float32, and its gradient to `hidden` [A, H].

    `head` is [V, H], `targets` [A]; the logits are kept within ±softcap where one is given.
    """
    count, vocabulary = len(hidden), len(head)
    columns = tile or max(LEAST, TILE // max(1, count))
    highest = hidden.new_full((count, 1), -torch.inf, dtype=torch.float32)
    total = torch.zeros_like(highest)
    pulled = torch.zeros_like(hidden, dtype=torch.float32) if gradient else None
    for start in range(0, vocabulary, columns):
        part = head[start : start + columns]
        logits, slope = _logits(hidden, part, softcap, gradient)
        new = torch.maximum(highest, logits.amax(1, keepdim=True))
        shares = logits.sub_(new).exp_()
        fade = (highest - new).exp_()
        total = total.mul_(fade).add_(shares.sum(1, keepdim=True))
        highest = new
        if pulled is not None:
            if slope is not None:
                shares.mul_(slope)
            pulled = pulled.mul_(fade).add_(shares.to(hidden.dtype) @ part)
    chosen = head[targets]
    # Rounded as those of the tiles are.
    right = (hidden.float() * chosen.float()).sum(1, keepdim=True).to(hidden.dtype).float()
    if softcap is not None:
        right = torch.tanh(right / softcap) * softcap
    found = (highest + total.log() - right).squeeze(1)
    if pulled is None:
        return found, None
    pulled = pulled.div_(total)
    own = chosen.float()
    if softcap is not None:
        own = own * (1.0 - (right / softcap).square())
    return found, pulled.sub_(own).to(hidden.dtype)


def _logits(
    hidden: Tensor, part: Tensor, softcap: float | None, sloped: bool
) -> tuple[Tensor, Tensor | None]:
    """[A, columns] in float32, and how much of a change in them the cap lets through."""
    logits = (hidden @ part.t()).float()
    if softcap is None:
        return logits, None
    bent = torch.tanh(logits / softcap)
    return bent * softcap, 1.0 - bent.square() if sloped else None


class Losses(torch.autograd.Function):
    """`losses` for autograd: (hidden, head, targets, softcap) to [A]."""

    @staticmethod
    def forward(
        context: Any, hidden: Tensor, head: Tensor, targets: Tensor, softcap: float | None
    ) -> Tensor:
        found, gradient = losses(
            hidden, head, targets, softcap=softcap, gradient=hidden.requires_grad
        )
        context.save_for_backward(gradient)
        return found

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None]:
        (gradient,) = context.saved_tensors
        return gradient * gradients[0][:, None].to(gradient.dtype), None, None, None
