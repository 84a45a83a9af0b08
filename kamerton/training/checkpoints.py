"""What a run keeps on disk to go on after a crash."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file

from kamerton import folders
from kamerton.processes import report
from kamerton.training.adapter import Adapter, save_tensors
from kamerton.types import Snapshot

CHECKPOINT = "checkpoint.safetensors"
SNAPSHOTS = "snapshots.json"
MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's state, of all weights in one."""
TOLD = "told.json"
SECONDS, BEST, MICRO_BATCH, LAYOUT = "seconds", "best", "micro_batch", "layout"
CHECKPOINT_COST = 0.03
"""The share of a run's time that writing checkpoints may take."""
CHECKPOINT_SECONDS = 30.0
"""At least this often, whatever it costs."""


class Told(msgspec.Struct):
    """The last step that somebody may have been told of, and how much training it took by then."""

    step: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Progress:
    """How far a run has come, beside its weights."""

    snapshots: list[Snapshot] = field(default_factory=list)
    seconds: float = 0.0
    """Of training, in all attempts."""
    best: torch.Tensor | None = None
    """All weights at the lowest held-out loss so far, where there are held-out examples."""
    micro_batch: int | None = None
    """Rows that go through the model at once, where memory does not allow a whole batch."""

    @property
    def step(self) -> int:
        return self.snapshots[-1].step if self.snapshots else 0


class Checkpoints:
    """What a run needs to go on after a crash: adapter, optimizer moments and progress.

    The order of rows, and what dropout leaves out, are functions of the step: nothing else. The
    snapshots are told again when the run goes on: who was told may have died with them.
    """

    def __init__(self, parent: Path, adapter: Adapter, optimizer: torch.optim.AdamW) -> None:
        self._parent = parent
        self._told = parent.with_name(TOLD)
        self._adapter = adapter
        self._optimizer = optimizer
        self.cost = 0.05
        """Seconds that the last one took."""
        self._saved_at = time.monotonic()

    def is_due(self, runs: int = 1) -> bool:
        """Whether saving would cost at most CHECKPOINT_COST of the time since the last one, when
        so many runs do so at the same time."""
        interval = min(CHECKPOINT_SECONDS, max(1.0, runs * self.cost / CHECKPOINT_COST))
        return time.monotonic() - self._saved_at >= interval

    def try_to_save(self, progress: Progress, also: Callable[[], None] = lambda: None) -> None:
        """Save it, and do what else belongs to it, if there is room on the disk."""
        try:
            also()
            self.save(progress)
        except FileNotFoundError:
            raise  # Somebody deleted the folder, and with it the run.
        except OSError:  # A full disk, say: worse for a crash, not for the run.
            report()
            self._saved_at = time.monotonic()

    def save(self, progress: Progress) -> None:
        start = time.monotonic()
        state = self._optimizer.state[self._adapter.flat]
        tensors = {moment: state[moment] for moment in MOMENTS}
        tensors[LAYOUT] = torch.tensor(self._adapter.layout.fingerprint())
        tensors[SECONDS] = torch.tensor(progress.seconds, dtype=torch.float64)
        tensors[MICRO_BATCH] = torch.tensor(progress.micro_batch or 0)
        if progress.best is not None:
            tensors[BEST] = progress.best
        for name, parameter in self._adapter.parameters.items():
            tensors[name] = parameter.detach().clone(memory_format=torch.contiguous_format)

        def write(folder: Path) -> None:
            save_tensors(tensors, folder / CHECKPOINT)
            write_snapshots(folder, progress.snapshots)

        self._parent.mkdir(exist_ok=True)
        # Steps never repeat within a run, so names sort by age.
        folders.publish(self._parent / f"step-{progress.step:08d}", write)
        folders.keep_newest(self._parent, 2)
        self._saved_at = time.monotonic()
        self.cost = self._saved_at - start

    def tell(self, told: Told) -> None:
        """Remember what is about to be told: a crash of the process does not undo it."""
        try:
            new = self._told.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(told))
            os.replace(new, self._told)
        except FileNotFoundError:
            raise  # Somebody deleted the folder, and with it the run.
        except OSError:  # A full disk, say; the checkpoint has to do.
            report()

    def told(self) -> Told:
        try:
            return msgspec.json.decode(self._told.read_bytes(), type=Told)
        except (OSError, msgspec.DecodeError):
            return Told()

    def restore(self) -> Progress:
        """Take over the newest whole checkpoint, if there is one."""
        newest = folders.newest_whole(self._parent)
        if newest is None:
            return Progress()
        tensors = load_file(newest / CHECKPOINT)
        if int(tensors.pop(LAYOUT, torch.zeros(()))) != self._adapter.layout.fingerprint():
            return Progress()  # Of a version that laid the weights out in another order.
        flat = self._adapter.flat
        moments = {moment: tensors.pop(moment).to(flat.device) for moment in MOMENTS}
        seconds = float(tensors.pop(SECONDS))
        best = tensors.pop(BEST, None)
        micro_batch = int(tensors.pop(MICRO_BATCH)) or None
        self._adapter.restore(tensors)
        progress = Progress(read_snapshots(newest), seconds, best, micro_batch)
        step = torch.tensor(float(progress.step), device=flat.device)
        self._optimizer.state[flat] = {"step": step, **moments}
        return progress


def write_snapshots(folder: Path, snapshots: list[Snapshot]) -> None:
    (folder / SNAPSHOTS).write_bytes(msgspec.json.encode(snapshots))


def read_snapshots(folder: Path) -> list[Snapshot]:
    """The snapshots that a checkpoint or a finished adapter keeps of its run."""
    return msgspec.json.decode((folder / SNAPSHOTS).read_bytes(), type=list[Snapshot])
