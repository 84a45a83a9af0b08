"""The child of benchmarks.sides: does one side's rounds, each when a line comes in."""

from __future__ import annotations

import os
import resource
import sys
import time
from typing import Any, TextIO

import msgspec
import torch

from benchmarks import floor, train_data
from benchmarks.sides import Round, Spec
from kamerton.training.rows import Row


class Pace:
    """Waits at the border of each round, and tells how long it took."""

    def __init__(self, spec: Spec, out: TextIO) -> None:
        self._spec = spec
        self._out = out
        self.device = torch.device(spec.device)
        self.dtype = torch.bfloat16
        """In which this side multiplies matrices."""
        self.config: Any = None
        """Of the model, for the FLOPs."""
        self._start = 0.0
        self._losses: list[Any] = []

    def wait(self) -> bool:
        """Whether another round is wanted."""
        return bool(sys.stdin.readline())

    def batches(self) -> list[list[Row]]:
        """Of all rounds, the first of which only warms up."""
        spec = self._spec
        rows = train_data.rows(spec.steps * spec.batch, spec.lengths, self.config.vocab_size)
        cut = [rows[at : at + spec.batch] for at in range(0, len(rows), spec.batch)]
        self._round = cut
        return cut * (spec.rounds + 1)

    def begins(self, step: int) -> bool:
        if step % self._spec.steps:
            return True
        if not self.wait():
            return False
        floor.synchronize(self.device)
        self._losses.clear()
        self._start = time.perf_counter()
        return True

    def ends(self, step: int, loss: Any) -> None:
        self._losses.append(loss)
        if (step + 1) % self._spec.steps:
            return
        floor.synchronize(self.device)
        seconds = time.perf_counter() - self._start
        rows = [row for batch in self._round for row in batch]
        is_last = step + 1 == self._spec.steps * (self._spec.rounds + 1)
        found = Round(
            seconds,
            tokens=sum(map(train_data.tokens, rows)),
            steps=self._spec.steps,
            loss=sum(float(loss) for loss in self._losses) / len(self._losses),
            peak_bytes=peak_bytes(self.device),
            flops=floor.flops(self.config, rows),
        )
        if is_last:
            found.matrix_rate = floor.matrix_rate(self.device, self.dtype)
        self.tell(found)

    def tell(self, found: Round) -> None:
        self._out.write(msgspec.json.encode(found).decode() + "\n")
        self._out.flush()


def peak_bytes(device: torch.device) -> int:
    """Of the device where it has its own memory, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print goes to the log.
    spec = msgspec.json.decode(sys.argv[1], type=Spec)
    pace = Pace(spec, out)
    if spec.engine == "ours":
        from benchmarks import train_ours

        {"steps": train_ours.steps, "jobs": train_ours.jobs}[spec.kind](spec, pace)
    else:
        from benchmarks import train_stock

        {
            "steps": train_stock.steps,
            "jobs": train_stock.jobs,
            "trials": train_stock.trials,
            "job trials": train_stock.job_trials,
        }[spec.kind](spec, pace)


if __name__ == "__main__":
    main()
