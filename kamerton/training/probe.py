"""How fast a base model trains here: a few steps, measured in a process of their own."""

from __future__ import annotations

import importlib.util
import queue
import random
import statistics
import tempfile
import threading
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from kamerton.errors import FailedPrecondition, KamertonError
from kamerton.processes import Child, follow_parent, parent_channel, report
from kamerton.training.estimate import Probe
from kamerton.training.rows import Row
from kamerton.types import BaseModel, Hyperparameters

if TYPE_CHECKING:
    from kamerton.inference.weights import LoadedBase

SIZES = (
    (4, 16, 4),
    (4, 40, 30),
    (8, 32, 8),
    (4, 96, 16),
    (16, 48, 8),
    (4, 160, 140),
    (2, 384, 32),
    (16, 96, 16),
    (1, 768, 256),
    (8, 256, 32),
    (3, 640, 64),
)
"""Rows of a step, tokens of a row and learned ones of them; the cheap ones first."""
LEAST_SIZES = 4
"""So many are measured, however long it takes."""
REPEATS = 3
LEAST_ERROR = 0.15
"""Machines are noisy: a promise of less would not be kept."""
PATIENCE_SECONDS = 600.0
"""Beyond what was asked for: to load a large base model, and for its first sizes."""


class Ask(msgspec.Struct):
    """What the parent sends."""

    base_model: BaseModel
    device: str
    seconds: float


class Refused(msgspec.Struct, tag=True):
    """An answer instead of a Probe."""

    message: str


class Measured(msgspec.Struct, tag=True):
    probe: Probe


def probe(base_model: BaseModel, device: str = "auto", seconds: float = 8.0) -> Probe:
    """Raises FailedPrecondition where torch is not installed or the base cannot be loaded."""
    if importlib.util.find_spec("torch") is None:
        raise FailedPrecondition(
            "Time and memory cannot be measured without torch: pip install 'kamerton[train]'."
        )
    line, end = _ask(Ask(base_model, device, seconds))
    if not line:
        raise FailedPrecondition(
            f"The probe of {base_model.name} died, most often for want of memory: {end}"
        )
    answer = msgspec.json.decode(line, type=Measured | Refused)
    if isinstance(answer, Refused):
        raise FailedPrecondition(answer.message)
    return answer.probe


def _ask(ask: Ask) -> tuple[bytes, str]:
    """The child's answer, nothing when it died; and the end of what it has to say besides."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "probe.log"
        child = Child(__spec__.name, log)
        overdue = threading.Timer(ask.seconds + PATIENCE_SECONDS, child.kill)
        overdue.daemon = True  # A server that stops does not wait for it.
        overdue.start()
        try:
            child.channel.send(msgspec.json.encode(ask))
            line = next(child.channel.lines(), b"")
        except OSError:
            line = b""
        finally:
            overdue.cancel()
            child.close()
        said = log.read_text(errors="replace").strip().splitlines()
        return line, " ".join([f"exit status {child.exit_status()}", *said[-1:]])[:300]


def main() -> None:
    """The child: one question, one answer."""
    channel = parent_channel()
    asked: queue.SimpleQueue[Ask] = queue.SimpleQueue()
    decoder = msgspec.json.Decoder(Ask)
    follow_parent(channel, lambda line: asked.put(decoder.decode(line)))
    ask = asked.get()
    answer: Measured | Refused
    try:
        answer = Measured(_measure(ask))
    except KamertonError as error:
        answer = Refused(error.message)
    except Exception as error:  # It must reach the parent in words.
        report()
        answer = Refused(
            f"{ask.base_model.name} could not be measured: {type(error).__name__}: {error}"
        )
    channel.send(msgspec.json.encode(answer))


def _measure(ask: Ask) -> Probe:
    from kamerton.inference import weights

    loaded = weights.load(ask.base_model, ask.device)
    bench = _Bench(loaded)
    bench.step(1, 16, 4)  # The first is slow.
    empty = bench.memory()
    sizes: list[tuple[int, int, int]] = []
    repeats: list[list[float]] = []
    memory: list[int] = []
    shares: list[float] = []
    until = time.monotonic() + ask.seconds
    for rows, length, learned in SIZES:
        # The last token is never an input.
        length = min(length, ask.base_model.context_tokens + 1)
        learned = min(learned, length - 1)
        if len(sizes) >= LEAST_SIZES and time.monotonic() > until:
            break
        seconds = [bench.step(rows, length, learned)]
        while len(seconds) < REPEATS and time.monotonic() < until:
            seconds.append(bench.step(rows, length, learned))
        sizes.append((rows * length, rows * learned, rows * length**2))
        repeats.append(seconds)
        memory.append(max(0, bench.memory() - empty))
        shares.append(bench.measure(rows, length, learned) / min(seconds))
    return _fit(sizes, repeats, empty, memory, statistics.median(shares))


class _Bench:
    """A base model with an adapter, as a run has it, and rows of nothing in particular."""

    def __init__(self, loaded: LoadedBase) -> None:
        import torch

        from kamerton.training.adapter import Adapter
        from kamerton.training.together import Together

        base = loaded.base_model
        self._loaded = loaded
        self._random = random.Random(0)
        self._adapter = Adapter(
            loaded,
            Hyperparameters(1, 1, 0.0, 0.0, lora_rank=base.lora_rank, lora_alpha=base.lora_alpha),
        )
        self._together = Together(loaded)
        self._optimizer = torch.optim.AdamW([self._adapter.flat], lr=0.0, weight_decay=0.0)

    def step(self, rows: int, length: int, learned: int) -> float:
        """Seconds of one optimizer step."""
        from kamerton.training.steps import add_gradients, update

        start = time.perf_counter()
        add_gradients(self._together, self._adapter, [self._rows(rows, length, learned)], 1)
        update(self._adapter.flat, self._optimizer, 1)
        self._wait()
        return time.perf_counter() - start

    def measure(self, rows: int, length: int, learned: int) -> float:
        """Seconds of the loss alone."""
        start = time.perf_counter()
        self._together.loss(self._adapter, self._rows(rows, length, learned))
        return time.perf_counter() - start

    def memory(self) -> int:
        """The peak so far, in bytes."""
        from kamerton.training.steps import peak_memory

        return peak_memory(self._loaded.device)

    def _wait(self) -> None:
        import torch

        if self._loaded.device.type == "cuda":
            torch.cuda.synchronize()

    def _rows(self, rows: int, length: int, learned: int) -> list[Row]:
        words = self._loaded.model.config.get_text_config().vocab_size
        ids = [array("i", self._random.choices(range(words), k=length)) for _ in range(rows)]
        return [Row(row, ((length - learned, length),)) for row in ids]


def _fit(
    sizes: Sequence[tuple[int, int, int]],
    repeats: Sequence[Sequence[float]],
    empty: int,
    memory: Sequence[int],
    measuring_share: float,
) -> Probe:
    """Least squares, in shares of what was measured."""
    import numpy as np

    table = np.array([(1, *size) for size in sizes], dtype=float)
    seconds = np.array([statistics.median(times) for times in repeats])
    rates = _positive_fit(table, seconds, 1 / seconds)
    missed = np.abs(table @ rates / seconds - 1)
    spread = [(max(times) - min(times)) / 2 / statistics.median(times) for times in repeats]
    more = np.array(memory, dtype=float)
    bytes_ = _positive_fit(table, more, 1 / np.maximum(more, max(1.0, more.max() / 10)))
    return Probe(
        seconds_per_step=float(rates[0]),
        seconds_per_token=float(rates[1]),
        relative_error=max(LEAST_ERROR, float(missed.max()), statistics.median(spread)),
        memory_bytes=empty + int(bytes_[0]),
        memory_per_token=float(bytes_[1]),
        seconds_per_learned_token=float(rates[2]),
        seconds_per_pair=float(rates[3]),
        memory_per_learned_token=float(bytes_[2]),
        memory_per_pair=float(bytes_[3]),
        measuring_share=measuring_share,
    )


def _positive_fit(table: Any, values: Any, weights: Any) -> Any:
    """Weighted least squares with no rate below zero: what would be is left out."""
    import numpy as np

    rates = np.zeros(table.shape[1])
    left = list(range(table.shape[1]))[: len(values)]
    while left:
        found, *_ = np.linalg.lstsq(table[:, left] * weights[:, None], values * weights, rcond=None)
        if found.min() >= 0:
            rates[left] = found
            break
        left.pop(int(found.argmin()))
    return rates


if __name__ == "__main__":
    main()
