"""One run: examples in, a snapshot per step, an adapter out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from kamerton import folders
from kamerton.errors import FailedPrecondition
from kamerton.inference import weights
from kamerton.inference.weights import LoadedBase
from kamerton.interfaces import OnSnapshot
from kamerton.processes import report
from kamerton.training import batches, rows
from kamerton.training.adapter import Adapter
from kamerton.training.attention import FLAT_ROWS
from kamerton.training.batches import Batch
from kamerton.training.gemma3 import Decoder, can_step
from kamerton.training.hyperparameters import epoch_of, total_steps
from kamerton.types import BaseModel, Example, Hyperparameters, Snapshot

CHECKPOINT = "checkpoint.safetensors"
SNAPSHOTS = "snapshots.json"
MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's state, of all weights in one."""
CHECKPOINT_COST = 0.03
"""The share of a run's time that writing checkpoints may take."""
CHECKPOINT_SECONDS = 30.0
"""At least this often, whatever it costs."""


def train(
    base_model: BaseModel,
    examples: Sequence[Example],
    hyperparameters: Hyperparameters,
    directory: Path,
    on_snapshot: OnSnapshot,
    *,
    loaded: LoadedBase | None = None,
    parent: Path | None = None,
) -> Path:
    """Tune `base_model` on `examples` and return the folder of the finished adapter.

    Works in `directory`, which must exist; a run that died is resumed from the newest whole
    checkpoint there, on the same loss trajectory. `parent` is the adapter to start from, `loaded`
    the base model where the caller keeps it warm. Raises FailedPrecondition at the first step
    whose loss or gradient is not finite, and whatever `on_snapshot` raises.
    """
    finished = directory / "adapter"
    if folders.is_whole(finished):  # Whoever was to be told of it died before it could be.
        for snapshot in read_snapshots(finished):
            on_snapshot(snapshot)
        return finished
    loaded = loaded or weights.load(base_model)
    adapter = Adapter(loaded, hyperparameters)
    attention = loaded.model.config._attn_implementation
    loaded.model.set_attn_implementation(FLAT_ROWS)
    try:
        if parent is not None:
            adapter.continue_from(parent)
        snapshots = _run(loaded, adapter, examples, hyperparameters, directory, on_snapshot)

        def write(folder: Path) -> None:
            adapter.save(folder)
            _write_snapshots(folder, snapshots)

        folders.publish(finished, write)
    finally:
        loaded.model.set_attn_implementation(attention)
        adapter.remove()
    return finished


def _run(
    loaded: LoadedBase,
    adapter: Adapter,
    examples: Sequence[Example],
    hyperparameters: Hyperparameters,
    directory: Path,
    on_snapshot: OnSnapshot,
) -> list[Snapshot]:
    """Take the steps that are left; the snapshots of all."""
    context = loaded.base_model.context_tokens
    encoded = [rows.encode(loaded.renderer, example, context) for example in examples]
    optimizer = torch.optim.AdamW([adapter.flat], weight_decay=0.0)
    gradients = Gradients(loaded)
    checkpoints = Checkpoints(directory / "checkpoints", adapter, optimizer)
    snapshots = checkpoints.restore()
    if not all(on_snapshot(snapshot) for snapshot in snapshots):
        return snapshots
    done = snapshots[-1].step if snapshots else 0
    for step in range(done + 1, total_steps(len(encoded), hyperparameters) + 1):
        chosen = rows.rows_of_step(step, len(encoded), hyperparameters)
        batch = batches.collate([encoded[index] for index in chosen], loaded.device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, hyperparameters)
        loss = _step(gradients, adapter.flat, optimizer, batch, step)
        snapshots.append(
            Snapshot(
                step=step,
                epoch=epoch_of(step, len(encoded), hyperparameters),
                mean_loss=loss,
                compute_time=datetime.now(UTC),
            )
        )
        checkpoints.save_when_due(snapshots)
        if not on_snapshot(snapshots[-1]):
            break
    return snapshots


def learning_rate(step: int, hyperparameters: Hyperparameters) -> float:
    """A linear warm-up, then constant."""
    warmup = hyperparameters.warmup_steps
    return hyperparameters.peak_learning_rate * min(1.0, step / (warmup + 1))


def mean_loss(loaded: LoadedBase, batch: Batch) -> torch.Tensor:
    """Cross-entropy in nats, averaged over the answer tokens of the batch.

    The vocabulary head runs only where an answer token is predicted.
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
            self._decoder = self._decoder or Decoder(self._loaded)
            return self._decoder.step(batch)
        loss = mean_loss(self._loaded, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()


def _step(
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


class Checkpoints:
    """What a run needs to go on after a crash: adapter, optimizer moments and snapshots.

    The order of rows is a function of the step, and there is no dropout, so nothing else. The
    snapshots are told again when the run goes on: who was told may have died with them.
    """

    def __init__(self, parent: Path, adapter: Adapter, optimizer: torch.optim.AdamW) -> None:
        self._parent = parent
        self._adapter = adapter
        self._optimizer = optimizer
        self._cost = 0.05
        self._saved_at = time.monotonic()

    def save_when_due(self, snapshots: list[Snapshot]) -> None:
        """Save when that costs at most CHECKPOINT_COST of the time since the last one."""
        interval = min(CHECKPOINT_SECONDS, max(1.0, self._cost / CHECKPOINT_COST))
        if time.monotonic() - self._saved_at < interval:
            return
        try:
            self.save(snapshots)
        except FileNotFoundError:
            raise  # Somebody deleted the folder, and with it the run.
        except (OSError, SafetensorError):  # A full disk, say: worse for a crash, not for the run.
            report()
            self._saved_at = time.monotonic()

    def save(self, snapshots: list[Snapshot]) -> None:
        start = time.monotonic()
        state = self._optimizer.state[self._adapter.flat]
        tensors = {moment: state[moment] for moment in MOMENTS}
        for name, parameter in self._adapter.parameters.items():
            tensors[name] = parameter.detach().clone()  # A view cannot be saved.

        def write(folder: Path) -> None:
            save_file(tensors, folder / CHECKPOINT)
            _write_snapshots(folder, snapshots)

        self._parent.mkdir(exist_ok=True)
        # Steps never repeat within a run, so names sort by age.
        folders.publish(self._parent / f"step-{snapshots[-1].step:08d}", write)
        folders.keep_newest(self._parent, 2)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - start

    def restore(self) -> list[Snapshot]:
        """Take over the newest whole checkpoint; its snapshots, or none when there is none."""
        newest = folders.newest_whole(self._parent)
        if newest is None:
            return []
        tensors = load_file(newest / CHECKPOINT)
        snapshots = read_snapshots(newest)
        flat = self._adapter.flat
        moments = {moment: tensors.pop(moment).to(flat.device) for moment in MOMENTS}
        self._adapter.restore(tensors)
        step = torch.tensor(float(snapshots[-1].step))
        self._optimizer.state[flat] = {"step": step, **moments}
        return snapshots


def _write_snapshots(folder: Path, snapshots: list[Snapshot]) -> None:
    (folder / SNAPSHOTS).write_bytes(msgspec.json.encode(snapshots))


def read_snapshots(folder: Path) -> list[Snapshot]:
    """The snapshots that a checkpoint or a finished adapter keeps of its run."""
    return msgspec.json.decode((folder / SNAPSHOTS).read_bytes(), type=list[Snapshot])
