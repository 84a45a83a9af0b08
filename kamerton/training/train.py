"""One run: examples in, a snapshot per step, an adapter out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from kamerton import folders
from kamerton.errors import FailedPrecondition
from kamerton.inference import weights
from kamerton.inference.weights import LoadedBase
from kamerton.interfaces import OnSnapshot
from kamerton.training import batches, rows
from kamerton.training.adapter import Adapter
from kamerton.training.attention import FLAT_ROWS
from kamerton.training.batches import Batch
from kamerton.training.checkpoints import TOLD, Checkpoints, Told, read_snapshots, write_snapshots
from kamerton.training.gemma3 import Decoder, can_step
from kamerton.training.hyperparameters import epoch_of, measured_steps, total_steps
from kamerton.training.meter import Meter
from kamerton.training.rows import Row, grouped
from kamerton.types import NO_BUDGET, BaseModel, Budget, Example, Hyperparameters, Snapshot

STOP_REASON = "stop_reason.txt"


def train(
    base_model: BaseModel,
    examples: Sequence[Example],
    hyperparameters: Hyperparameters,
    directory: Path,
    on_snapshot: OnSnapshot,
    *,
    loaded: LoadedBase | None = None,
    parent: Path | None = None,
    held_out: Sequence[Example] = (),
    budget: Budget = NO_BUDGET,
) -> Path:
    """Tune `base_model` on `examples` and return the folder of the finished adapter.

    Works in `directory`, which must exist; a run that died is resumed from the newest whole
    checkpoint there, on the same loss trajectory. `parent` is the adapter to start from, `loaded`
    the base model where the caller keeps it warm. `held_out` are examples to measure with; they
    change nothing in what is learned. A run that `budget` ends keeps the step with the lowest
    held-out loss, and `read_stop_reason` of the folder says so.

    Raises FailedPrecondition when there is nothing to learn in an example, when the budget allows
    no step and at the first step whose loss or gradient is not finite; and whatever `on_snapshot`
    raises.
    """
    finished = directory / "adapter"
    if folders.is_whole(finished):  # Whoever was to be told of it died before it could be.
        for snapshot in read_snapshots(finished):
            on_snapshot(snapshot)
        return finished
    loaded = loaded or weights.load(base_model)
    began = time.monotonic()
    adapter = Adapter(loaded, hyperparameters)
    attention = loaded.model.config._attn_implementation
    loaded.model.set_attn_implementation(FLAT_ROWS)
    try:
        if parent is not None:
            adapter.continue_from(parent)
        run = _Run(loaded, adapter, examples, held_out, hyperparameters, budget, directory, began)
        stop_reason = run.go(on_snapshot)

        def write(folder: Path) -> None:
            adapter.save(folder)
            write_snapshots(folder, run.snapshots)
            if stop_reason:
                (folder / STOP_REASON).write_text(stop_reason)

        folders.publish(finished, write)
        (directory / TOLD).unlink(missing_ok=True)
    finally:
        loaded.model.set_attn_implementation(attention)
        adapter.remove()
    return finished


def read_stop_reason(folder: Path) -> str:
    """Why the run of a finished adapter ended before its last step; "" when it did not."""
    file = folder / STOP_REASON
    return file.read_text() if file.exists() else ""


class _Run:
    """The steps of one run, in however many attempts."""

    def __init__(
        self,
        loaded: LoadedBase,
        adapter: Adapter,
        examples: Sequence[Example],
        held_out: Sequence[Example],
        hyperparameters: Hyperparameters,
        budget: Budget,
        directory: Path,
        began: float,
    ) -> None:
        context = loaded.base_model.context_tokens
        self._rows = rows.encode_all(loaded.renderer, examples, context)
        _check(self._rows)
        measured = rows.encode_all(loaded.renderer, held_out, context)
        self._device = loaded.device
        self._adapter = adapter
        self._hyperparameters = hyperparameters
        self._total = total_steps(len(self._rows), hyperparameters)
        self._gradients = Gradients(loaded)
        self._held_out = HeldOut(measured, self._gradients, loaded.device) if measured else None
        self._keeps_best = budget != NO_BUDGET
        self._has_seconds = budget.max_seconds is not None
        self._meter = Meter(
            budget,
            [len(row.ids) for row in self._rows],
            sum(len(row.ids) for row in measured),
            hyperparameters,
            began,
        )
        self._due = measured_steps(len(self._rows), hyperparameters, self._meter.affordable)
        self._optimizer = torch.optim.AdamW([adapter.flat], weight_decay=0.0)
        self._checkpoints = Checkpoints(directory / "checkpoints", adapter, self._optimizer)
        self._progress = self._checkpoints.restore()
        told = self._checkpoints.told()
        self._meter.go_on(max(self._progress.seconds, told.seconds), told.step)

    @property
    def snapshots(self) -> list[Snapshot]:
        return self._progress.snapshots

    def go(self, on_snapshot: OnSnapshot) -> str:
        """Take the steps that are left, and put the weights to keep into the adapter.

        Why it ended before the last step, if the budget ended it.
        """
        progress = self._progress
        limit = self._meter.ends_after(progress.step, self._checkpoints.cost)
        if limit:  # An attempt before this one died when its time was nearly over.
            progress.snapshots[-1] = self._measured(progress.snapshots[-1])
        if not all(on_snapshot(snapshot) for snapshot in progress.snapshots):
            return ""
        while not limit and progress.step < self._total:
            snapshot = self._take(progress.step + 1)
            is_timed = self._meter.is_due()
            if is_timed or snapshot.step in self._due:
                snapshot = self._measured(snapshot)
            limit = self._meter.ends_after(snapshot.step, self._checkpoints.cost)
            if limit:
                snapshot = self._measured(snapshot)
            progress.snapshots.append(snapshot)
            # Another attempt would not measure at the same time what was told by then.
            if is_timed or self._checkpoints.is_due():
                progress.seconds = self._meter.seconds()
                self._checkpoints.try_to_save(progress)
            if self._has_seconds:
                self._checkpoints.tell(Told(snapshot.step, self._meter.seconds()))
            if not on_snapshot(snapshot):
                return ""
        return self._keep_best(limit) if limit else ""

    def _take(self, step: int) -> Snapshot:
        """One optimizer step."""
        start = time.monotonic()
        chosen = rows.rows_of_step(step, len(self._rows), self._hyperparameters)
        batch = batches.collate([self._rows[index] for index in chosen], self._device)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(step, self._hyperparameters)
        loss = take_step(self._gradients, self._adapter.flat, self._optimizer, batch, step)
        self._meter.stepped(step, time.monotonic() - start)
        return Snapshot(
            step=step,
            epoch=epoch_of(step, len(self._rows), self._hyperparameters),
            mean_loss=loss,
            compute_time=datetime.now(UTC),
        )

    def _measured(self, snapshot: Snapshot) -> Snapshot:
        """With the loss of the held-out examples now; the weights are set aside if it is the
        lowest and may be asked for."""
        if self._held_out is None or snapshot.held_out_loss is not None:
            return snapshot
        start = time.monotonic()
        loss = self._held_out.loss()
        self._meter.measured(time.monotonic() - start)
        if not math.isfinite(loss):
            raise FailedPrecondition(_not_finite("held-out loss", loss, snapshot.step))
        before = lowest(self.snapshots)
        if self._keeps_best and (before is None or loss < _held_out_loss(before)):
            self._progress.best = self._adapter.flat.detach().cpu().clone()
        return replace(snapshot, held_out_loss=loss)

    def _keep_best(self, limit: str) -> str:
        """Go back to the lowest held-out loss; what is to be said of a run that was ended."""
        ended = f"{limit} ended the run after step {self._progress.step} of {self._total}"
        best = lowest(self.snapshots)
        if best is None or self._progress.best is None:
            return f"{ended}; kept is that step."
        with torch.no_grad():
            self._adapter.flat.copy_(self._progress.best)
        return (
            f"{ended}; kept is step {best.step}, with the lowest held-out loss "
            f"({best.held_out_loss:.3f})."
        )


def _check(encoded: Sequence[Row]) -> None:
    """Such a row would be read and teach nothing; a batch of them has no loss at all."""
    for number, row in enumerate(encoded):
        if not row.learned:
            raise FailedPrecondition(
                f"Example {number} (from 0) has nothing to learn in it: its answer does not fit "
                "the context of the base model. Shorten or remove it."
            )


def lowest(snapshots: Sequence[Snapshot]) -> Snapshot | None:
    """The first with the lowest held-out loss; None when it was never measured."""
    measured = [snapshot for snapshot in snapshots if snapshot.held_out_loss is not None]
    return min(measured, key=_held_out_loss, default=None)


def _held_out_loss(snapshot: Snapshot) -> float:
    assert snapshot.held_out_loss is not None
    return snapshot.held_out_loss


def learning_rate(step: int, hyperparameters: Hyperparameters) -> float:
    """A linear warm-up, then constant."""
    warmup = hyperparameters.warmup_steps
    return hyperparameters.peak_learning_rate * min(1.0, step / (warmup + 1))


def mean_loss(loaded: LoadedBase, batch: Batch) -> torch.Tensor:
    """Cross-entropy in nats, averaged over the learned tokens of the batch.

    The vocabulary head runs only where a learned token is predicted.
    """
    output = loaded.model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        use_cache=False,
        logits_to_keep=batch.predictors,
        lengths=batch.lengths,
    )
    return torch.nn.functional.cross_entropy(output.logits[0].float(), batch.targets)


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


def take_step(
    gradients: Gradients,
    weights: torch.nn.Parameter,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    step: int,
) -> float:
    """One optimizer step; the loss before it."""
    loss = gradients.add(batch)
    if not math.isfinite(loss):
        raise FailedPrecondition(_not_finite("loss", loss, step))
    norm = torch.nn.utils.clip_grad_norm_(weights, max_norm=1.0).item()
    if not math.isfinite(norm):
        raise FailedPrecondition(_not_finite("gradient", norm, step))
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)  # The gradients of all parts are views of this one.
    return loss


def _not_finite(what: str, value: float, step: int) -> str:
    return (
        f"The {what} became {value} at step {step}, so the run was stopped there. Most often the "
        "learning rate is too high: try a tenth of it."
    )
