"""Steps of the runs on one base model; those that wait at the same moment are taken as one.

The frozen products of all runs are the same, and over more rows at once they use a processor
better. Each run has its own stretch of the token axis and its own small matrices (stack.py), so it
goes as if it were alone.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from kamerton.inference import weights
from kamerton.inference.weights import LoadedBase
from kamerton.training import gemma3, memory, pointwise
from kamerton.training.adapter import Adapter
from kamerton.training.batches import collate
from kamerton.training.gemma3 import Decoder
from kamerton.training.rows import Row
from kamerton.training.stack import Stack
from kamerton.training.stock import StockDecoder
from kamerton.training.switches import ALL, Switches

MOST_TOKENS = {"small": 640, "cpu": 2048, "cuda": 16384}
"""Of several runs at once: with more of them the processor is no better used."""
FULL = 0.75
"""At least this share of the token axis has real tokens when runs are put together."""
PATIENCE, MOST_PATIENCE = 1.0, 0.25
"""Of the time of the last step, but at most so many seconds: so long the first waits until half of
the runs are there. The other half takes its step next, while these write down what it was."""
MANY_TOKENS = 512
"""Of a step, from which on a small model's products are faster in bfloat16, and on all threads."""
IDLE_SECONDS = 2.0
"""So long a lane waits for work before it closes."""
LONG_WORK = {"cpu": math.inf, "cuda": 1e15}
"""Parameters × tokens of a run from which on compiling is worth its seconds; on a CPU it was not,
with more than one thread. Not a matter of time: a run that goes on after a crash must take the
same way."""


Kind = Literal["step", "loss", "logits"]


@dataclass(eq=False, slots=True)
class _Request:
    """One step of one run, or the loss or the logits alone."""

    kind: Kind
    adapter: Adapter
    rows: Sequence[Row]
    step: int
    tokens: int

    @property
    def draw(self) -> str:
        """What dropout leaves out depends on the step, and on which part of it this is."""
        return f"{self.step}/{zlib.crc32(self.rows[0].ids.tobytes())}"

    done: threading.Event = field(default_factory=threading.Event)
    loss: float = math.nan
    logits: torch.Tensor | None = None
    error: Exception | None = None


class Together:
    """One per base model in a process. Runs call it from threads of their own; a run that is alone
    computes its steps itself, those of several are computed by lanes."""

    def __init__(self, loaded: LoadedBase, switches: Switches = ALL) -> None:
        self.loaded = loaded
        self._switches = switches
        self._has_hand = switches.by_hand and gemma3.can_step(loaded)
        self._decoders: dict[torch.dtype, list[Decoder]] = {}
        """Those that nobody uses; as many as there were steps at once."""
        self._stock: StockDecoder | None = None
        self._threads = torch.get_num_threads()
        self._changed = threading.Condition()
        self._waiting: list[_Request] = []
        # A small model is fastest on one thread, so that each core can take a step of its own.
        self._lanes = self._threads if loaded.is_small else 1
        self._most_tokens = MOST_TOKENS["small" if loaded.is_small else loaded.device.type]
        self._open = 0
        """Of the lanes, those that have a thread."""
        self._busy = 0
        """Steps that are being computed."""
        self._running = 0
        self._compiling = 0
        self._seconds = 0.0
        """Of the last step."""

    @contextlib.contextmanager
    def running(self, tokens: int = 0) -> Iterator[None]:
        """A run takes steps from now on, over so many tokens in sum: others wait for it a
        moment."""
        compiled = self._switches.compiled
        is_long = self._is_long(tokens) if compiled is None else compiled
        with self._changed:
            self._running += 1
            self._compiling += is_long
        # What a run does by itself is little: more threads would only wait for each other.
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(self._threads)
            with self._changed:
                self._running -= 1
                self._compiling -= is_long
                self._changed.notify_all()

    def dtype(self, tokens: int) -> torch.dtype:
        """What the products of steps of so many tokens are computed in: a small model is in
        float32, and only for large steps are bfloat16 units faster."""
        own: torch.dtype = self.loaded.model.dtype
        is_whole = not self.loaded.base_model.quantization
        if not (self.loaded.is_small and is_whole and self._has_hand) or tokens < MANY_TOKENS:
            return own
        return weights.large_dtype(self.loaded.device) if self._switches.half else own

    @property
    def count(self) -> int:
        """Of runs that take steps now."""
        return self._running

    def gradients(self, adapter: Adapter, rows: Sequence[Row], step: int = 0) -> float:
        """Put the gradients of the mean loss of rows into an adapter; that loss, in nats per
        learned token."""
        return self._ask("step", adapter, rows, step).loss

    def loss(self, adapter: Adapter, rows: Sequence[Row]) -> float:
        """The loss alone; no gradient changes."""
        return self._ask("loss", adapter, rows).loss

    def logits(self, adapter: Adapter, row: Row) -> torch.Tensor:
        """[A, vocabulary] in float32, where the learned tokens of a row are predicted."""
        found = self._ask("logits", adapter, [row]).logits
        assert found is not None
        return found

    def _ask(self, kind: Kind, adapter: Adapter, rows: Sequence[Row], step: int = 0) -> _Request:
        request = _Request(kind, adapter, rows, step, sum(len(row.ids) - 1 for row in rows))
        with self._changed:
            is_alone = self._running <= 1 and not self._waiting and not self._busy
            if is_alone:
                self._busy += 1
            else:
                self._waiting.append(request)
                self._changed.notify_all()
                self._open_lanes()
        if is_alone:
            self._compute([request])
        request.done.wait()
        if request.error is not None:
            try:
                raise request.error
            finally:
                del request  # Else the error would hold this frame, and this frame the error.
        return request

    def _open_lanes(self) -> None:
        while self._open < self._lanes:
            self._open += 1
            threading.Thread(target=self._work, name="steps", daemon=True).start()

    def _work(self) -> None:
        """A lane: steps one after another, until there has been nothing to do for a while. Not in
        the runs' threads: each would keep memory of its own for the largest step."""
        while True:
            with self._changed:
                if not self._changed.wait_for(self._is_due, IDLE_SECONDS):
                    if self._waiting:  # For the end of a long step.
                        continue
                    self._open -= 1
                    return
                self._wait_for_others()
                if not self._is_due():  # Another lane was faster.
                    continue
                chosen = self._chosen()
                self._busy += 1
            self._compute(chosen)

    def _is_due(self) -> bool:
        return bool(self._waiting) and self._busy < self._lanes

    def _wait_for_others(self) -> None:
        if self._switches.together and self._running > 1:
            parts = max(2, self._lanes)
            most = min(PATIENCE * self._seconds, MOST_PATIENCE)
            self._changed.wait_for(lambda: parts * len(self._waiting) >= self._running, most)

    def _chosen(self) -> list[_Request]:
        """Take out of those that wait the oldest, and what goes well with it."""
        first = self._waiting.pop(0)
        chosen = [first]
        if not self._switches.together or first.kind == "logits":
            return chosen
        alike = [r for r in self._waiting if _kind(r) == _kind(first)]
        if not alike:
            return chosen
        most = min(self._most_tokens, memory.most_tokens(self.loaded))
        for request in sorted(alike, key=lambda r: abs(r.tokens - first.tokens)):
            tokens = [r.tokens for r in chosen] + [request.tokens]
            whole = max(tokens) * len(tokens)
            if whole <= most and sum(tokens) >= FULL * whole:
                chosen.append(request)
                self._waiting.remove(request)
        return chosen

    def _compute(self, chosen: list[_Request]) -> None:
        """Whatever happens, every request is done afterwards."""
        start = time.perf_counter()
        try:
            self._try(chosen)
        finally:
            with self._changed:
                self._seconds = time.perf_counter() - start
                self._busy -= 1
                self._changed.notify_all()
            for request in chosen:
                request.done.set()

    def _try(self, chosen: list[_Request]) -> None:
        try:
            self._pass(chosen)
            return
        except Exception as error:
            if len(chosen) == 1:
                # Its frames hold all that the step had in memory.
                is_short = weights.is_out_of_memory(error)
                chosen[0].error = error.with_traceback(None) if is_short else error
                return
        # There may be room for each; and what one of them does concerns no other.
        for request in chosen:
            self._try([request])

    def _pass(self, chosen: list[_Request]) -> None:
        first = chosen[0]
        device = self.loaded.device
        # Dropout is for training, and autograd has it.
        is_stock = not self._has_hand or (first.kind == "step" and first.adapter.dropout > 0)
        batch = collate([request.rows for request in chosen], device)
        own = first.kind == "logits" or is_stock
        dtype = self.loaded.model.dtype if own else first.adapter.dtype
        stack = Stack([r.adapter for r in chosen], dtype, [r.draw for r in chosen])
        if device.type == "cpu":
            few = self.loaded.is_small and first.tokens < MANY_TOKENS
            torch.set_num_threads(1 if few else self._threads)
        with self._stock_decoder() if is_stock else self._decoder(dtype) as decoder:
            if first.kind == "logits":
                first.logits = decoder.logits(batch, stack)
                return
            if first.kind == "loss":
                losses = decoder.losses(batch, stack)
            else:
                recompute = memory.is_short(self.loaded, batch)
                losses = decoder.step(batch, stack, recompute=recompute)
                stack.give_back()
        for request, loss in zip(chosen, losses, strict=True):
            request.loss = loss

    @contextlib.contextmanager
    def _decoder(self, dtype: torch.dtype) -> Iterator[Decoder | StockDecoder]:
        with self._changed:
            free = self._decoders.setdefault(dtype, [])
            decoder = free.pop() if free else Decoder(self.loaded, dtype)
        decoder.pointwise = pointwise.compiled() if self._compiling else pointwise.EAGER
        try:
            yield decoder
        except BaseException:
            decoder.forget()
            raise
        finally:
            free.append(decoder)

    @contextlib.contextmanager
    def _stock_decoder(self) -> Iterator[Decoder | StockDecoder]:
        with self._changed:
            self._stock = self._stock or StockDecoder(self.loaded, self._switches.fused_head)
        yield self._stock

    def _is_long(self, tokens: int) -> bool:
        work = tokens * int(self.loaded.model.num_parameters())
        return work >= LONG_WORK[self.loaded.device.type]


def _kind(request: _Request) -> tuple[str, float, int, torch.dtype]:
    """Only those alike go together: what dropout draws depends on the step."""
    if request.adapter.dropout:
        return request.kind, request.adapter.dropout, request.step, request.adapter.dtype
    return request.kind, 0.0, 0, request.adapter.dtype
