"""One step: the gradients of a batch, and what they do to the weights."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Sequence

import torch

from kamerton.errors import FailedPrecondition
from kamerton.inference.weights import LoadedBase
from kamerton.training import batches
from kamerton.training.batches import Batch
from kamerton.training.gemma3 import Decoder, can_step
from kamerton.training.rows import Row, grouped
from kamerton.types import Hyperparameters

NOT_FINITE = "NOT_FINITE"
MAX_NORM = 1.0
"""Longer gradients are shortened to it."""


def learning_rate(step: int, hyperparameters: Hyperparameters) -> float:
    """A linear warm-up, then constant."""
    warmup = hyperparameters.warmup_steps
    return hyperparameters.peak_learning_rate * min(1.0, step / (warmup + 1))


def mean_loss(loaded: LoadedBase, batch: Batch) -> torch.Tensor:
    """Cross-entropy in nats, averaged over the learned tokens of the batch."""
    return torch.nn.functional.cross_entropy(logits(loaded, batch), batch.targets)


def logits(loaded: LoadedBase, batch: Batch) -> torch.Tensor:
    """[A, vocabulary] in float32: the head runs only where a learned token is predicted."""
    output = loaded.model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        use_cache=False,
        logits_to_keep=batch.predictors,
        lengths=batch.lengths,
    )
    found: torch.Tensor = output.logits[0].float()
    return found


class Gradients:
    """Loss and gradients of a batch, in the fastest way there is for a base model."""

    def __init__(self, loaded: LoadedBase) -> None:
        self._loaded = loaded
        self._decoder: Decoder | None = None

    def add(self, batch: Batch) -> float:
        """Add the gradients of a batch to the adapter's; its loss, as `mean_loss` has it."""
        if can_step(self._loaded, batch):
            return self._by_hand().step(batch)
        loss = mean_loss(self._loaded, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def loss(self, batch: Batch) -> float:
        """The loss alone; no gradient changes."""
        if can_step(self._loaded, batch):
            return self._by_hand().loss(batch)
        with torch.no_grad():
            return float(mean_loss(self._loaded, batch))

    def _by_hand(self) -> Decoder:
        self._decoder = self._decoder or Decoder(self._loaded)
        return self._decoder


class HeldOut:
    """Examples that a run is measured with."""

    def __init__(self, rows: Sequence[Row], gradients: Gradients, device: torch.device) -> None:
        self._gradients = gradients
        groups = grouped([len(row.ids) for row in rows])
        self._batches = [batches.collate([rows[i] for i in group], device) for group in groups]

    def loss(self) -> float:
        """The mean in nats over all their learned tokens."""
        counts = [len(batch.targets) for batch in self._batches]
        losses = map(self._gradients.loss, self._batches)
        total: float = sum(loss * count for loss, count in zip(losses, counts, strict=True))
        return total / sum(counts)


def add_gradients(
    gradients: Gradients, weights: torch.nn.Parameter, parts: Sequence[Batch], step: int
) -> float:
    """Put the gradients of a batch, which may come in parts, into `weights`; its loss.

    Each part counts by its learned tokens, so that the parts make no difference.
    """
    assert weights.grad is not None
    weights.grad.zero_()
    if len(parts) == 1:
        loss = gradients.add(parts[0])
    else:
        count, loss, whole = sum(len(part.targets) for part in parts), 0.0, weights.grad.clone()
        for part in parts:
            weights.grad.zero_()
            share = len(part.targets) / count
            loss += share * gradients.add(part)
            whole.add_(weights.grad, alpha=share)
        weights.grad.copy_(whole)
    if not math.isfinite(loss):
        raise not_finite("loss", loss, step)
    return loss


def update(weights: torch.nn.Parameter, optimizer: torch.optim.Optimizer, step: int) -> float:
    """Change the weights by their gradients, whose norm is returned, before it is clipped."""
    norm = torch.nn.utils.clip_grad_norm_(weights, MAX_NORM).item()
    if not math.isfinite(norm):
        raise not_finite("gradient", norm, step)
    optimizer.step()
    if not torch.isfinite(weights.detach()).all():
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
