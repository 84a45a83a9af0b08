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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from kamerton.inference.weights import LoadedBase
from kamerton.training import gemma3, memory, pointwise
from kamerton.training.adapter import Adapter
from kamerton.training.batches import collate
from kamerton.training.gemma3 import Decoder
from kamerton.training.rows import Row
from kamerton.training.stack import Stack
from kamerton.training.stock import StockDecoder
from kamerton.training.switches import ALL, Switches

MOST_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Of several runs at once: with more of them the processor is no better used."""
FULL = 0.8
"""At least this share of the token axis has real tokens when runs are put together."""
PATIENCE, MOST_PATIENCE = 1.0, 0.25
"""Of the time of the last step, but at most so many seconds: so long the first waits for the
others, who write down what the last step was."""
FEW_TOKENS = 256
"""Below so many tokens a small model is fastest on one thread of a CPU."""
LONG_WORK = {"cpu": 2e13, "cuda": 1e15}
"""Parameters × tokens of a run from which on compiling is worth its seconds. Not a matter of time:
a run that goes on after a crash must take the same way."""


Kind = Literal["step", "loss", "logits"]


@dataclass(eq=False, slots=True)
class _Request:
    """One step of one run, or the loss or the logits alone."""

    kind: Kind
    adapter: Adapter
    rows: Sequence[Row]
    step: int
    tokens: int
    is_done: bool = False
    loss: float = math.nan
    logits: torch.Tensor | None = None
    error: Exception | None = None


class Together:
    """One per base model in a process; runs call it from threads of their own, and whoever comes
    when nobody computes does so for all that wait."""

    def __init__(self, loaded: LoadedBase, switches: Switches = ALL) -> None:
        self.loaded = loaded
        self._switches = switches
        self._by_hand: Decoder | None = None
        self._stock: StockDecoder | None = None
        self._threads = torch.get_num_threads()
        self._changed = threading.Condition()
        self._waiting: list[_Request] = []
        self._is_busy = False
        self._running = 0
        self._compiling = 0
        self._seconds = 0.0
        """Of the last step."""

    @contextlib.contextmanager
    def running(self, tokens: int = 0) -> Iterator[None]:
        """A run takes steps from now on, over so many tokens in sum: others wait for it a
        moment."""
        is_long = self._switches.compiled and self._is_long(tokens)
        with self._changed:
            self._running += 1
            self._compiling += is_long
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._compiling -= is_long
                self._changed.notify_all()

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
            self._waiting.append(request)
            self._changed.notify_all()
        while not request.is_done:
            with self._changed:
                self._changed.wait_for(lambda: request.is_done or not self._is_busy)
                if request.is_done:
                    break
                self._is_busy = True
                self._wait_for_others()
                chosen = self._chosen()
            try:
                self._compute(chosen)
            finally:
                with self._changed:
                    self._is_busy = False
                    self._changed.notify_all()
        if request.error is not None:
            raise request.error
        return request

    def _wait_for_others(self) -> None:
        if self._switches.together and self._running > 1:
            most = min(PATIENCE * self._seconds, MOST_PATIENCE)
            self._changed.wait_for(lambda: len(self._waiting) >= self._running, most)

    def _chosen(self) -> list[_Request]:
        """Take out of those that wait the oldest, and what goes well with it."""
        first = self._waiting.pop(0)
        chosen = [first]
        if not self._switches.together or first.kind == "logits":
            return chosen
        most = min(MOST_TOKENS[self.loaded.device.type], memory.most_tokens(self.loaded))
        alike = [r for r in self._waiting if _kind(r) == _kind(first)]
        for request in sorted(alike, key=lambda r: abs(r.tokens - first.tokens)):
            tokens = [r.tokens for r in chosen] + [request.tokens]
            whole = max(tokens) * len(tokens)
            if whole <= most and sum(tokens) >= FULL * whole:
                chosen.append(request)
                self._waiting.remove(request)
        return chosen

    def _compute(self, chosen: list[_Request]) -> None:
        """Whatever happens, every request is done afterwards."""
        first, start = chosen[0], time.perf_counter()
        try:
            self._pass(chosen)
        except Exception as error:
            if len(chosen) == 1:
                first.error = error
            else:  # There may be room for each; and what one of them does concerns no other.
                for request in chosen:
                    self._compute([request])
        finally:
            for request in chosen:
                request.is_done = True
            self._seconds = time.perf_counter() - start

    def _pass(self, chosen: list[_Request]) -> None:
        first = chosen[0]
        device = self.loaded.device
        batch = collate([request.rows for request in chosen], device)
        stack = Stack([r.adapter for r in chosen], self.loaded.model.dtype, first.step)
        if device.type == "cpu":
            few = self.loaded.is_small and batch.tokens < FEW_TOKENS
            torch.set_num_threads(1 if few else self._threads)
        decoder = self._decoder(stack.dropout and first.kind == "step")
        if first.kind == "logits":
            first.logits = decoder.logits(batch, stack)
            return
        if first.kind == "loss":
            losses = decoder.losses(batch, stack)
        else:
            losses = decoder.step(batch, stack, recompute=memory.is_short(self.loaded, batch))
            stack.give_back()
        for request, loss in zip(chosen, losses, strict=True):
            request.loss = loss

    def _decoder(self, has_dropout: bool) -> Decoder | StockDecoder:
        """By hand, where there is one."""
        if self._switches.by_hand and not has_dropout and gemma3.can_step(self.loaded):
            self._by_hand = self._by_hand or Decoder(self.loaded)
            self._by_hand.pointwise = pointwise.compiled() if self._compiling else pointwise.EAGER
            return self._by_hand
        self._stock = self._stock or StockDecoder(self.loaded, self._switches.fused_head)
        return self._stock

    def _is_long(self, tokens: int) -> bool:
        work = tokens * int(self.loaded.model.num_parameters())
        return work >= LONG_WORK[self.loaded.device.type]


def _kind(request: _Request) -> tuple[str, float, int]:
    """Only those alike go together: what dropout draws depends on the step."""
    if request.adapter.dropout:
        return request.kind, request.adapter.dropout, request.step
    return request.kind, 0.0, 0
