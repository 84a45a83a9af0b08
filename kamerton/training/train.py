"""One run: examples in, a snapshot per step, an adapter out."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from kamerton import errors, folders
from kamerton.errors import FailedPrecondition, ResourceExhausted
from kamerton.inference import weights
from kamerton.inference.weights import LoadedBase
from kamerton.interfaces import OnEvent, OnSnapshot
from kamerton.training import parallel, rows, stopping
from kamerton.training.adapter import Adapter
from kamerton.training.checkpoints import TOLD, Checkpoints, Told, read_snapshots, write_snapshots
from kamerton.training.curve import smooth_next
from kamerton.training.hyperparameters import epoch_ends, epoch_of, measured_steps, total_steps
from kamerton.training.meter import Meter
from kamerton.training.outcome import Outcome
from kamerton.training.proof import prove
from kamerton.training.rows import Row
from kamerton.training.steps import (
    NOT_FINITE,
    HeldOut,
    add_gradients,
    learning_rate,
    not_finite,
    peak_memory,
    update,
)
from kamerton.training.together import Together
from kamerton.types import (
    EARLY_STOPPING,
    NO_BUDGET,
    BaseModel,
    Budget,
    EarlyStopping,
    Example,
    Hyperparameters,
    Snapshot,
)

ADAPTER, CANDIDATE, EPOCHS = "adapter", "candidate", "epochs"
MAX_EPOCHS = 50
"""Of a run with more, this many adapters are kept, of epochs at even distances."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may end a run before its last step, and how much of a batch fits the memory."""

    budget: Budget = NO_BUDGET
    early_stopping: EarlyStopping = EARLY_STOPPING
    micro_batch: int | None = None


NO_LIMITS = Limits()


def train(
    base_model: BaseModel,
    examples: Sequence[Example],
    hyperparameters: Hyperparameters,
    directory: Path,
    on_snapshot: OnSnapshot,
    *,
    loaded: LoadedBase | None = None,
    together: Together | None = None,
    parent: Path | None = None,
    held_out: Sequence[Example] = (),
    limits: Limits = NO_LIMITS,
    on_event: OnEvent = lambda kind, message, step: None,
    kind: type[Run] | None = None,
) -> Path:
    """Tune `base_model` on `examples` and return the folder of the finished adapter.

    Works in `directory`, which must exist; a run that died is resumed from the newest whole
    checkpoint there, on the same loss trajectory. `parent` is the adapter to start from, `loaded`
    the base model where the caller keeps it warm, `together` what runs on it share. `held_out` are
    examples to measure with: the adapter has the weights of the step at which their loss was
    lowest. Without them it has the last ones. `read_outcome` of the folder says which, and why a
    run ended early. The adapters of the epochs are beside it, in `epochs`.

    Raises FailedPrecondition when there is nothing to learn in an example, when the budget allows
    no step, at the first step whose loss, gradient or weights are not finite, and when the adapter
    does not answer as it did in training; ResourceExhausted when not even one row fits the memory;
    and whatever `on_snapshot` raises.
    """
    finished = directory / ADAPTER
    if folders.is_whole(finished):  # Whoever was to be told of it died before it could be.
        for snapshot in read_snapshots(finished):
            on_snapshot(snapshot)
        return finished
    if together is None:
        together = Together(loaded or weights.load(base_model))
    loaded = together.loaded
    ranks = parallel.join(loaded.device)
    if not ranks.is_first:
        on_snapshot, on_event = lambda snapshot: True, lambda kind, message, step: None
    began = time.monotonic()
    adapter = Adapter(loaded, hyperparameters)
    if parent is not None:
        adapter.continue_from(parent)
    with ranks.workplace(directory) as place:
        run = (kind or Run)(
            together, adapter, examples, held_out, hyperparameters, limits, place, began, on_event
        )
        outcome = run.go(on_snapshot)

        def write(folder: Path) -> None:
            adapter.save(folder)
            loaded.provenance.write(folder)
            write_snapshots(folder, run.snapshots)
            outcome.write(folder)

        folders.publish(place / CANDIDATE, write)
        run.keep_epochs()
        prove(together, adapter, run.first_row, place / CANDIDATE)
        shutil.rmtree(place / ADAPTER, ignore_errors=True)  # A damaged one.
        os.rename(place / CANDIDATE, place / ADAPTER)
        folders.sync(place)
        (place / TOLD).unlink(missing_ok=True)
    return finished


class Run:
    """The steps of one run, in however many attempts."""

    def __init__(
        self,
        together: Together,
        adapter: Adapter,
        examples: Sequence[Example],
        held_out: Sequence[Example],
        hyperparameters: Hyperparameters,
        limits: Limits,
        directory: Path,
        began: float,
        on_event: OnEvent,
    ) -> None:
        loaded = together.loaded
        context = loaded.base_model.context_tokens
        self._rows = rows.encode_all(loaded.renderer, examples, context)
        _check(self._rows)
        measured = rows.encode_all(loaded.renderer, held_out, context)
        self._device = loaded.device
        self._adapter = adapter
        self._hyperparameters = hyperparameters
        self._early_stopping = limits.early_stopping
        self._on_event = on_event
        self._total = total_steps(len(self._rows), hyperparameters)
        self._ranks = parallel.join(loaded.device)
        self._together = together
        tokens = sum(len(row.ids) for row in self._rows) / len(self._rows)
        adapter.dtype = together.dtype(int(tokens * hyperparameters.batch_size))
        self._held_out = HeldOut(measured, together, adapter) if measured else None
        self._has_seconds = limits.budget.max_seconds is not None
        self._meter = Meter(
            limits.budget,
            [len(row.ids) for row in self._rows],
            sum(len(row.ids) for row in measured),
            hyperparameters,
            began,
        )
        self._due = measured_steps(len(self._rows), hyperparameters, self._meter.affordable)
        self._epoch_ends = epoch_ends(len(self._rows), hyperparameters, MAX_EPOCHS)
        self._epochs = directory / EPOCHS
        self._unwritten: dict[int, torch.Tensor] = {}
        """Weights at the ends of epochs."""
        self._optimizer = torch.optim.AdamW([adapter.flat], weight_decay=0.0, fused=True)
        self._checkpoints = Checkpoints(directory / "checkpoints", adapter, self._optimizer)
        self._progress = self._checkpoints.restore()
        if limits.micro_batch is not None:
            known = self._progress.micro_batch
            self._progress.micro_batch = min(limits.micro_batch, known or limits.micro_batch)
        told = self._checkpoints.told()
        self._meter.go_on(max(self._progress.seconds, told.seconds), told.step)

    @property
    def snapshots(self) -> list[Snapshot]:
        return self._progress.snapshots

    @property
    def first_row(self) -> Row:
        return self._rows[0]

    def go(self, on_snapshot: OnSnapshot) -> Outcome:
        """Take the steps that are left, and put the weights to keep into the adapter."""
        tokens = self._hyperparameters.epoch_count * sum(len(row.ids) for row in self._rows)
        with self._together.running(tokens):
            return self._go(on_snapshot)

    def _go(self, on_snapshot: OnSnapshot) -> Outcome:
        progress = self._progress
        if progress.step:
            self._on_event("resumed", f"Goes on after step {progress.step}.", progress.step)
            for snapshot in progress.snapshots:  # Who was told may have died with it.
                self._tell_epoch(snapshot)
        limit = self._meter.ends_after(progress.step, self._checkpoints.cost)
        if limit:  # An attempt before this one died when its time was nearly over.
            progress.snapshots[-1] = self._measured(progress.snapshots[-1])
        ended = _by_budget(limit) or (progress.step and self._stops())
        if not all([on_snapshot(snapshot) for snapshot in progress.snapshots]):
            ended = ended or _ON_REQUEST
        while not self._ranks.agreed(bool(ended)) and progress.step < self._total:
            snapshot = self._take(progress.step + 1)
            is_timed = self._meter.is_due()
            if is_timed or snapshot.step in self._due:
                snapshot = self._measured(snapshot)
            limit = self._meter.ends_after(snapshot.step, self._checkpoints.cost)
            if limit:
                snapshot = self._measured(snapshot)
            progress.snapshots.append(snapshot)
            self._end_epoch(snapshot)
            ended = _by_budget(limit) or self._stops()
            # Another attempt would not measure at the same time what was told by then.
            if is_timed or self._checkpoints.is_due(self._together.count):
                self._save()
            if self._has_seconds:
                self._checkpoints.tell(Told(snapshot.step, self._meter.seconds()))
            try:
                if not on_snapshot(snapshot):
                    ended = ended or _ON_REQUEST
            except errors.Paused:
                self._write_down()
                raise
        return self._outcome(ended or "")

    def keep_epochs(self) -> None:
        """Write the adapters of the epochs that have ended since the last time."""
        for epoch, flat in self._unwritten.items():
            self._epochs.mkdir(exist_ok=True)

            def write(folder: Path, flat: torch.Tensor = flat) -> None:
                self._adapter.save(folder, flat)
                self._adapter.provenance.write(folder)

            folders.publish(self._epochs / epoch_folder(epoch), write, lasting=False)
        self._unwritten.clear()

    def _write_down(self) -> None:
        """Raises OSError when there is no room for it."""
        self._progress.seconds = self._meter.seconds()
        self.keep_epochs()
        self._checkpoints.save(self._progress)

    def _save(self) -> None:
        self._progress.seconds = self._meter.seconds()
        self._checkpoints.try_to_save(self._progress, self.keep_epochs)

    def _stops(self) -> str:
        why = stopping.ends_after(
            self.snapshots, self._early_stopping, self._total, self._held_out is not None
        )
        return f"Early stopping ended the run after step {{}} of {{}}: {why}" if why else ""

    def _take(self, step: int) -> Snapshot:
        """One optimizer step."""
        before = self._progress.snapshots[-1] if step > 1 else None
        start_loss = None
        if before is None and self._held_out is not None:
            start_loss = self._held_out.loss()
        start = time.monotonic()
        chosen = [
            self._rows[index]
            for index in rows.rows_of_step(step, len(self._rows), self._hyperparameters)
        ]
        rate = learning_rate(step, self._hyperparameters)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        try:
            loss = self._ranks.gradients(
                chosen, self._adapter.flat, lambda share: self._add_gradients(share, step)
            )
            norm = update(self._adapter.flat, self._optimizer, step)
        except FailedPrecondition as error:
            if error.reason == NOT_FINITE and before is not None:
                self._keep_last_finite()
            raise
        seconds = time.monotonic() - start
        self._meter.stepped(step, seconds)
        smoothed = smooth_next(before.smoothed_loss if before else None, step, loss)
        return Snapshot(
            step=step,
            epoch=epoch_of(step, len(self._rows), self._hyperparameters),
            mean_loss=loss,
            compute_time=datetime.now(UTC),
            start_loss=start_loss,
            smoothed_loss=smoothed,
            learning_rate=rate,
            gradient_norm=norm,
            trained_tokens=sum(row.learned for row in chosen),
            tokens_per_second=sum(len(row.ids) for row in chosen) / max(seconds, 1e-9),
            memory_bytes=peak_memory(self._device),
        )

    def _add_gradients(self, chosen: list[Row], step: int) -> float:
        """Of a batch; in smaller and smaller parts when there is no memory for it."""
        while True:
            most = self._progress.micro_batch or len(chosen)
            parts = [chosen[at : at + most] for at in range(0, len(chosen), most)]
            try:
                return add_gradients(self._together, self._adapter, parts, step)
            except Exception as error:
                if not weights.is_out_of_memory(error):
                    raise
            self._halve(chosen, step)

    def _halve(self, chosen: list[Row], step: int) -> None:
        """Let fewer rows of a batch go through the model at once."""
        most = min(self._progress.micro_batch or len(chosen), len(chosen))
        used = peak_memory(self._device) / 1e9
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if most == 1:
            longest = max(len(row.ids) for row in chosen)
            raise ResourceExhausted(
                f"Not even one row at a time fits the memory at step {step}: the longest row of "
                f"its batch has {longest} tokens, and {used:.1f} GB were in use. Shorten the "
                "longest examples, or use a smaller base model or more memory."
            ).at("OUT_OF_MEMORY", step=step)
        self._progress.micro_batch = (most + 1) // 2
        self._on_event(
            "out_of_memory",
            f"There was no memory for {most} rows at once ({used:.1f} GB in use): from step {step} "
            f"on {self._progress.micro_batch} at a time, with the same batch and loss.",
            step,
        )

    def _keep_last_finite(self) -> None:
        """The weights before a step that failed, if the step has not changed them."""
        if torch.isfinite(self._adapter.flat.detach()).all():
            self._save()

    def _measured(self, snapshot: Snapshot) -> Snapshot:
        """With the loss of the held-out examples now; the weights are set aside if it is the
        lowest."""
        if self._held_out is None or snapshot.held_out_loss is not None:
            return snapshot
        start = time.monotonic()
        loss = self._held_out.loss()
        self._meter.measured(time.monotonic() - start)
        if not math.isfinite(loss):
            raise not_finite("held-out loss", loss, snapshot.step)
        before = lowest(self.snapshots)
        if before is None or loss < _held_out_loss(before):
            self._progress.best = self._adapter.flat.detach().cpu().clone()
        return replace(snapshot, held_out_loss=loss)

    def _end_epoch(self, snapshot: Snapshot) -> None:
        epoch = self._epoch_ends.get(snapshot.step)
        if epoch is not None:
            self._unwritten[epoch] = self._adapter.flat.detach().cpu().clone()
            self._tell_epoch(snapshot)

    def _tell_epoch(self, snapshot: Snapshot) -> None:
        epoch = self._epoch_ends.get(snapshot.step)
        if epoch is None:
            return
        measured = snapshot.held_out_loss
        also = "" if measured is None else f", held-out loss {measured:.3g}"
        self._on_event(
            "epoch",
            f"Epoch {epoch} of {self._hyperparameters.epoch_count} is over: smoothed loss "
            f"{snapshot.smoothed_loss:.3g}{also}.",
            snapshot.step,
        )

    def _outcome(self, ended: str) -> Outcome:
        """Go back to the lowest held-out loss, where there is one."""
        last = self._progress.step
        best = lowest(self.snapshots)
        kept, which = last, "that step"
        if best is not None and self._progress.best is not None:
            with torch.no_grad():
                self._adapter.flat.copy_(self._progress.best)
            kept = best.step
            which = f"step {kept}, with the lowest held-out loss ({best.held_out_loss:.3g})"
        if not ended:
            return Outcome("", kept)
        return Outcome(f"{ended.format(last, self._total)}; kept is {which}.", kept)


_ON_REQUEST = "The run was stopped on request after step {} of {}"


def _by_budget(limit: str) -> str:
    return f"{limit} ended the run after step {{}} of {{}}" if limit else ""


def epoch_folder(epoch: int) -> str:
    return f"epoch-{epoch:04d}"


def _check(encoded: Sequence[Row]) -> None:
    """Such a row would be read and teach nothing; a batch of them has no loss at all."""
    for number, row in enumerate(encoded):
        if not row.learned:
            raise FailedPrecondition(
                f"Example {number} (from 0) has nothing to learn in it: its answer does not fit "
                "the context of the base model. Shorten or remove it."
            ).at("NOTHING_TO_LEARN", row=number)


def lowest(snapshots: Sequence[Snapshot]) -> Snapshot | None:
    """The first with the lowest held-out loss; None when it was never measured."""
    measured = [snapshot for snapshot in snapshots if snapshot.held_out_loss is not None]
    return min(measured, key=_held_out_loss, default=None)


def _held_out_loss(snapshot: Snapshot) -> float:
    assert snapshot.held_out_loss is not None
    return snapshot.held_out_loss
