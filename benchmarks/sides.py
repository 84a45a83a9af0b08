"""Sides of a comparison: each in a process of its own, of which one at a time computes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from benchmarks.train_data import MIX, Lengths
from kamerton.types import BaseModel

Kind = Literal["steps", "jobs", "trials", "job trials"]
RANK, ALPHA, RATE = 16, 32, 2e-4
SEED = 42
"""TRL's own; ours is given the same."""
LONG_RUN = 10**9
"""Tokens that our side says it is going to train on: what takes long to prepare pays off."""
JOB_EPOCHS, JOB_BATCH, JOB_STEPS, JOB_RATE = 5, 4, 19, 1e-3
"""Of the fifteen pairs."""
CHILD = "benchmarks.train_side"


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What one side does in each round."""

    engine: Literal["ours", "trl"]
    base: BaseModel
    kind: Kind = "steps"
    device: str = "cpu"
    rounds: int = 3
    steps: int = 2
    """Of a round; the rows are the same in every round."""
    batch: int = 4
    lengths: Lengths = MIX
    jobs: int = 1
    """Of a round: the fifteen pairs, each with a seed of its own."""
    at_once: bool = False
    """The jobs, in threads; else one after another."""
    settings: str = ""
    """Of TRL, a stock.Settings in JSON; by default its own."""
    switches: dict[str, bool] = {}
    """Of ours, where they are not on."""


class Round(msgspec.Struct):
    seconds: float
    tokens: int = 0
    """That are not padding."""
    steps: int = 0
    loss: float = 0.0
    """The mean of the steps."""
    peak_bytes: int = 0
    """Of the process so far, or of the device where it has its own memory."""
    flops: float = 0.0
    matrix_rate: float = 0.0
    """FLOPs per second, measured in the same process and type after the last round."""
    settings: str = ""
    """Of a search: what was tried."""
    is_best: bool = False


class SideFailed(Exception):
    """A side ended before it had answered; the message is the end of what it printed."""


class Side:
    """One of them; it waits between rounds."""

    def __init__(self, spec: Spec, seconds: float = 1800.0) -> None:
        """It is ended after so many seconds."""
        self.spec = spec
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", CHILD, msgspec.json.encode(spec).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._timer = threading.Timer(seconds, self._process.kill)
        self._timer.daemon = True
        self._timer.start()

    def round(self) -> Round:
        """Raises SideFailed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except OSError:
            pass  # It died; there is no line to be read either.
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip()[-1500:]
            raise SideFailed(f"exit status {status}\n{said}")
        return msgspec.json.decode(line, type=Round)

    def trials(self) -> Iterator[Round]:
        """Of a search, until it is over."""
        while (found := self.round()).settings:
            yield found

    def close(self) -> None:
        self._timer.cancel()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class Measured(msgspec.Struct):
    """All rounds of one side but the first, which warms it up; or why there are none."""

    rounds: list[Round] = []
    failure: str = ""

    @property
    def seconds(self) -> float:
        return statistics.median(found.seconds for found in self.rounds)

    @property
    def tokens_per_second(self) -> float:
        return statistics.median(found.tokens / found.seconds for found in self.rounds)

    @property
    def spread(self) -> float:
        """Of the seconds, as a share of their median."""
        seconds = [found.seconds for found in self.rounds]
        return (max(seconds) - min(seconds)) / self.seconds

    @property
    def share_of_peak(self) -> float:
        """What was computed per second, over the matrix rate of the same process."""
        last = self.rounds[-1]
        return last.flops / self.seconds / last.matrix_rate

    @property
    def loss(self) -> float:
        """Of the first round, where both sides have seen the same rows as often."""
        return self.rounds[0].loss

    @property
    def peak_bytes(self) -> int:
        return self.rounds[-1].peak_bytes

    def times(self, other: Measured) -> float:
        """How many times faster than the other, the median of the rounds."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(theirs.seconds / ours.seconds for ours, theirs in pairs)


def compare(specs: Mapping[str, Spec], seconds: float = 1800.0) -> dict[str, Measured]:
    """Measure all sides in turn, round by round. One that fails is left out from then on."""
    sides = {name: Side(spec, seconds) for name, spec in specs.items()}
    measured = {name: Measured() for name in sides}
    rounds = next(iter(specs.values())).rounds
    try:
        for number in range(rounds + 1):
            for name, side in sides.items():
                if measured[name].failure:
                    continue
                try:
                    found = side.round()
                except SideFailed as error:
                    measured[name] = Measured(failure=str(error))
                    continue
                if number:
                    measured[name].rounds.append(found)
    finally:
        for side in sides.values():
            side.close()
    return measured


def search(spec: Spec) -> Iterator[Round]:
    """TRL's settings, one after another; the last of them that is best is the best."""
    side = Side(spec)
    try:
        yield from side.trials()
    finally:
        side.close()


def best_of(trials: Sequence[Round]) -> str:
    """The settings that a search found."""
    return next(found.settings for found in reversed(trials) if found.is_best)
