"""One step: the gradients of a batch, and what they do to the weights."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Sequence

import torch

from kamerton.errors import FailedPrecondition
from kamerton.training.adapter import Adapter
from kamerton.training.rows import Row, grouped
from kamerton.training.together import Together
from kamerton.types import Hyperparameters

NOT_FINITE = "NOT_FINITE"
MAX_NORM = 1.0
"""Longer gradients are shortened to it."""


def learning_rate(step: int, hyperparameters: Hyperparameters) -> float:
    """A linear warm-up, then constant."""
    warmup = hyperparameters.warmup_steps
    return hyperparameters.peak_learning_rate * min(1.0, step / (warmup + 1))


class HeldOut:
    """Examples that a run is measured with."""

    def __init__(self, rows: Sequence[Row], together: Together, adapter: Adapter) -> None:
        self._together = together
        self._adapter = adapter
        groups = grouped([len(row.ids) for row in rows])
        self._groups = [[rows[i] for i in group] for group in groups]

    def loss(self) -> float:
        """The mean in nats over all their learned tokens."""
        total = count = 0.0
        for rows in self._groups:
            learned = sum(row.learned for row in rows)
            total += learned * self._together.loss(self._adapter, rows)
            count += learned
        return total / count


def add_gradients(
    together: Together, adapter: Adapter, parts: Sequence[Sequence[Row]], step: int
) -> float:
    """Put the gradients of a batch, which may come in parts, into an adapter; its loss.

    Each part counts by its learned tokens, so that the parts make no difference.
    """
    if len(parts) == 1:
        loss = together.gradients(adapter, parts[0], step)
    else:
        assert adapter.flat.grad is not None
        learned = [sum(row.learned for row in part) for part in parts]
        loss, whole = 0.0, torch.zeros_like(adapter.flat.grad)
        for part, count in zip(parts, learned, strict=True):
            share = count / sum(learned)
            loss += share * together.gradients(adapter, part, step)
            whole.add_(adapter.flat.grad, alpha=share)
        adapter.flat.grad.copy_(whole)
    if not math.isfinite(loss):
        raise not_finite("loss", loss, step)
    return loss


def update(weights: torch.nn.Parameter, optimizer: torch.optim.Optimizer, step: int) -> float:
    """Change the weights by their gradients, whose norm is returned, before it is clipped."""
    norm = torch.nn.utils.clip_grad_norm_(weights, MAX_NORM).item()
    if not math.isfinite(norm):
        raise not_finite("gradient", norm, step)
    optimizer.step()
    if not all(map(math.isfinite, map(float, torch.aminmax(weights.detach())))):
        raise not_finite("weights", math.nan, step)
    return norm


def not_finite(what: str, value: float, step: int) -> FailedPrecondition:
    cause = "Most often the learning rate is too high: try a tenth of it."
    if step == 1:  # No weight has been changed yet.
        cause = (
            "Nothing had been learned by then, so it is the weights it began with: check the base "
            "model, or the tuned model that it goes on from."
        )
    became = "are no longer finite" if what == "weights" else f"became {value}"
    return FailedPrecondition(
        f"The {what} {became} at step {step}, so the run was stopped there. {cause}"
    ).at(NOT_FINITE, step=step)


def peak_memory(device: torch.device) -> int:
    """In bytes: of the device where it has its own, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
