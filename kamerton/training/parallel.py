"""One run on several devices of one machine: each process of torchrun takes a share of each batch.

Every process runs the same steps on the same weights: it computes the gradient of its own rows,
and the sum over all processes is what each of them updates by. Nothing else is exchanged but what
depends on the clock. The first process is the one that writes and tells; what the others write
goes to folders of their own.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import distributed

from kamerton.errors import Internal, KamertonError
from kamerton.training.rows import Row

FAILED = "DATA_PARALLEL"
"""The reason of a run that ends because another process of it did."""


def join(device: torch.device) -> Ranks:
    """The processes that torchrun started; this one by itself where it did not."""
    if not distributed.is_torchelastic_launched():
        return ALONE
    return _joined(device)


class Ranks:
    """The processes of one run, numbered from 0."""

    def __init__(self, rank: int, world: int, device: torch.device) -> None:
        self.rank = rank
        self.world = world
        """How many there are."""
        self._device = device

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    def gradients(
        self,
        rows: list[Row],
        weights: torch.nn.Parameter,
        compute: Callable[[list[Row]], float],
    ) -> float:
        """Put the gradient of the mean loss of a batch into `weights.grad`; that loss.

        `compute` does so with this process's share of the rows. Whatever it raises is raised in
        all processes.
        """
        if self.world == 1:
            return compute(rows)
        gradient = weights.grad
        assert gradient is not None
        share = rows[self.rank :: self.world]
        weight = _learned(share) / _learned(rows)
        error: Exception | None = None
        loss = 0.0
        try:
            if share:
                loss = compute(share)
            else:  # A batch may have fewer rows than there are processes.
                gradient.zero_()
        except Exception as raised:
            error, loss, weight = raised, math.nan, 1.0
        whole = torch.tensor(loss * weight, dtype=torch.float64, device=self._device)
        distributed.all_reduce(whole)
        if not math.isfinite(whole.item()):
            self._raise_together(error)
        gradient.mul_(weight)
        distributed.all_reduce(gradient)
        return whole.item()

    def agreed(self, ends: bool) -> bool:
        """What the first process says; the others' clocks are not asked."""
        if self.world == 1:
            return ends
        said = torch.tensor(int(ends), device=self._device)
        distributed.broadcast(said, 0)
        return bool(said.item())

    @contextlib.contextmanager
    def workplace(self, directory: Path) -> Iterator[Path]:
        """Where this process works: `directory` in the first one. In the others a copy of it as
        the first one finds it, so that all go on from the same checkpoint; kept if they were
        given a directory of their own. On leaving, the first one's work is done."""
        if self.world == 1:
            yield directory
            return
        found: list[str] = [str(directory.resolve())]
        distributed.broadcast_object_list(found, 0, device=self._device)
        if self.is_first:
            self._wait()  # While the others copy.
            yield directory
            self._wait()
            return
        first = Path(found[0])
        with contextlib.ExitStack() as stack:
            place = directory
            if first == directory.resolve():
                kept = tempfile.TemporaryDirectory(prefix="kamerton-rank-")
                place = Path(stack.enter_context(kept))
            shutil.copytree(first, place, dirs_exist_ok=True)
            self._wait()
            yield place
            self._wait()

    def _wait(self) -> None:
        """Until all processes are here."""
        distributed.all_reduce(torch.zeros(1, device=self._device))

    def _raise_together(self, error: Exception | None) -> None:
        """Raise what went wrong in this process, or else in the first one of the others."""
        mine = error
        if error is not None and not isinstance(error, KamertonError):
            mine = Internal(f"Process {self.rank} of the run failed: {error!r}").at(FAILED)
        told: list[KamertonError | None] = [None] * self.world
        distributed.all_gather_object(told, mine)
        if error is not None:
            raise error
        for other in told:
            if other is not None:
                raise other


ALONE = Ranks(0, 1, torch.device("cpu"))


@lru_cache(maxsize=1)
def _joined(device: torch.device) -> Ranks:
    """Once in a process. Addresses and numbers are in the environment that torchrun makes."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        distributed.init_process_group("nccl", device_id=device)
    else:
        distributed.init_process_group("gloo")
    atexit.register(distributed.destroy_process_group)
    return Ranks(distributed.get_rank(), distributed.get_world_size(), device)


def _learned(rows: Sequence[Row]) -> int:
    return sum(row.learned for row in rows)
