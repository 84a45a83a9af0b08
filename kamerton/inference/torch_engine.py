"""The default engine: one base model in memory, any adapters beside it, requests in batches.

Requests that wait together are answered together, each with its own adapter and sampling; those
that come later wait for the batch in progress.
"""

from __future__ import annotations

import queue
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from kamerton import errors
from kamerton.errors import KamertonError
from kamerton.inference import lora, weights
from kamerton.inference.pieces import Pieces
from kamerton.inference.sampling import Answer, next_token
from kamerton.inference.weights import LoadedBase
from kamerton.processes import report
from kamerton.types import BaseModel, Chunk, GenerationConfig

MAX_ROWS = 32
"""Candidates answered together; more wait their turn."""
MAX_ADAPTERS = 64
"""Adapters kept beside the base; the one unused longest goes first."""

OnChunk = Callable[[Chunk | KamertonError | None], None]
"""Gets an answer's chunks, or what went wrong; None when all is said."""


@dataclass(slots=True)
class Request:
    """One prompt that waits for its answer."""

    base_model: BaseModel
    adapter: Path | None
    prompt: Sequence[int]
    config: GenerationConfig
    on_chunk: OnChunk
    given_up: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class _Row:
    """One candidate of a request in the batch that is being answered."""

    request: Request
    candidate: int
    answer: Answer
    generator: torch.Generator | None


class TorchEngine:
    """Answers prompts with torch in this process; one thread does all the work."""

    def __init__(self, device: str = "auto", loaded: LoadedBase | None = None) -> None:
        """`loaded` is a base model that is in memory already."""
        self._device = device
        self._bases: dict[BaseModel, Resident] = {}
        if loaded is not None:
            self._bases[loaded.base_model] = Resident(loaded)
        self._waiting: queue.SimpleQueue[Request | Path | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def generate(
        self,
        base_model: BaseModel,
        adapter: Path | None,
        prompt: Sequence[int],
        config: GenerationConfig,
    ) -> Iterator[Chunk]:
        """See interfaces.InferenceEngine."""
        chunks: queue.SimpleQueue[Chunk | KamertonError | None] = queue.SimpleQueue()
        request = Request(base_model, adapter, prompt, config, chunks.put)
        self.submit(request)
        return Pieces(chunks, request.given_up.set)

    def submit(self, request: Request) -> None:
        """Queue a request; its `on_chunk` is called from the engine's thread."""
        self._waiting.put(request)

    def forget(self, adapter: Path) -> None:
        self._waiting.put(adapter)

    def warm(self, base_model: BaseModel) -> LoadedBase:
        """Load a base model before the first request does."""
        return self._resident(base_model).loaded

    def warming(self) -> str | None:
        return None

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        pending: list[Request] = []
        while True:
            while not pending or not self._waiting.empty():
                item = self._waiting.get()
                if item is None:
                    return
                if isinstance(item, Path):
                    self._forget(item)
                else:
                    pending.append(item)
            batch = _next_batch(pending)
            try:
                self._answer(batch)
            except Exception as error:  # One bad batch must not end the engine.
                report()
                failure = error if isinstance(error, KamertonError) else _unexpected(error)
                for request in batch:
                    request.on_chunk(failure)

    def _forget(self, adapter: Path) -> None:
        for resident in self._bases.values():
            resident.forget(adapter)

    def _resident(self, base_model: BaseModel) -> Resident:
        if base_model not in self._bases:
            self._bases[base_model] = Resident(weights.load(base_model, self._device))
        return self._bases[base_model]

    def _answer(self, batch: list[Request]) -> None:
        """Answer all requests of a batch that can be answered."""
        resident = self._resident(batch[0].base_model)
        rows: list[_Row] = []
        for request in batch:
            if request.given_up.is_set():  # Whoever asked has left while it waited.
                request.on_chunk(None)
                continue
            try:
                resident.hold(request.adapter)
            except KamertonError as error:
                request.on_chunk(error)
                continue
            rows += _rows(request, resident.loaded)
        # Not before: an adapter loaded in inference mode could not be changed outside of it.
        with torch.inference_mode():
            self._decode(resident, rows)

    def _decode(self, resident: Resident, rows: list[_Row]) -> None:
        """Go on a token at a time, to the last one of the longest answer."""
        decoder = _Decoder(resident, rows)
        while rows:
            logits = decoder.logits()
            kept, tokens = [], []
            for place, row in enumerate(rows):
                answer = row.answer
                try:
                    token = next_token(logits[place], answer.config, answer.tokens, row.generator)
                    _tell(row, answer.add(token, logits[place]))
                except Exception as error:  # One bad request must not end its neighbours'.
                    report()
                    row.request.given_up.set()
                    row.request.on_chunk(_unexpected(error))
                if answer.finish_reason is None and not row.request.given_up.is_set():
                    kept.append(place)
                    tokens.append(token)
            _close_answered([row.request for row in rows], [rows[place].request for place in kept])
            rows = [rows[place] for place in kept]
            decoder.advance(kept, tokens)


class Resident:
    """A base model in memory and the adapters beside it."""

    def __init__(self, loaded: LoadedBase) -> None:
        self.loaded = loaded
        lora.open_(loaded.model)
        self._adapters: OrderedDict[Path, lora.Adapter] = OrderedDict()

    def hold(self, adapter: Path | None) -> None:
        """Make sure that an adapter is in memory. Raises FailedPrecondition when damaged."""
        if adapter is None:
            return
        if adapter in self._adapters:
            self._adapters.move_to_end(adapter)
            return
        read = lora.read(adapter, self.loaded.model)
        self.loaded.provenance.check(adapter)
        self._adapters[adapter] = read
        # A batch holds at most MAX_ROWS of them, so none that it needs is dropped here.
        while len(self._adapters) > MAX_ADAPTERS:
            self._adapters.popitem(last=False)

    def forget(self, adapter: Path) -> None:
        self._adapters.pop(adapter, None)

    def forward(self, adapters: Sequence[Path | None], **inputs: Any) -> torch.Tensor:
        """[rows, tokens, vocabulary], where each row is answered with its own adapter."""
        held = [None if path is None else self._adapters[path] for path in adapters]
        with lora.adding(lora.serving(held)):
            logits: torch.Tensor = self.loaded.model(**inputs).logits
        return logits


class _Decoder:
    """The forward passes of one batch: prompts padded on the left, then a token at a time."""

    def __init__(self, resident: Resident, rows: list[_Row]) -> None:
        self._resident = resident
        self._adapters = [row.request.adapter for row in rows]
        prompts = [row.request.prompt for row in rows]
        longest = max((len(prompt) for prompt in prompts), default=0)
        device = resident.loaded.device
        pads = [longest - len(prompt) for prompt in prompts]
        self._ids = torch.tensor(
            [[0] * pad + list(prompt) for pad, prompt in zip(pads, prompts, strict=True)],
            device=device,
        )
        self._mask = torch.tensor(
            [[0] * pad + [1] * (longest - pad) for pad in pads], device=device
        )
        self._positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        self._cache = DynamicCache(config=resident.loaded.model.config)

    def logits(self) -> torch.Tensor:
        """[rows, vocabulary] in float32, for the next token of each row."""
        logits = self._resident.forward(
            self._adapters,
            input_ids=self._ids,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return logits[:, -1].float()

    def advance(self, kept: list[int], tokens: list[int]) -> None:
        """Go on with the rows at places `kept`, whose newest tokens are `tokens`."""
        if not kept:
            return
        if len(kept) < len(self._adapters):
            places = torch.tensor(kept, device=self._ids.device)
            self._cache.batch_select_indices(places)
            self._mask = self._mask[places]
            self._positions = self._positions[places]
            self._adapters = [self._adapters[place] for place in kept]
        self._ids = torch.tensor(tokens, device=self._ids.device)[:, None]
        self._positions = self._positions[:, -1:] + 1
        self._mask = torch.cat([self._mask, torch.ones_like(self._ids)], dim=1)


def _next_batch(pending: list[Request]) -> list[Request]:
    """Take from the front what can be answered together: one base model, MAX_ROWS rows."""
    batch = [pending.pop(0)]
    rows = batch[0].config.candidate_count
    for request in list(pending):
        if request.base_model != batch[0].base_model:
            continue
        rows += request.config.candidate_count
        if rows > MAX_ROWS:
            break
        pending.remove(request)
        batch.append(request)
    return batch


def _rows(request: Request, loaded: LoadedBase) -> list[_Row]:
    seed = request.config.seed
    if seed is None:
        seed = random.getrandbits(32)
    rows = []
    for candidate in range(request.config.candidate_count):
        generator = None
        if request.config.temperature:
            generator = torch.Generator(loaded.device).manual_seed(seed + candidate)
        rows.append(_Row(request, candidate, Answer(loaded.renderer, request.config), generator))
    return rows


def _tell(row: _Row, text: str) -> None:
    """Send what is new, if anything."""
    answer = row.answer
    if text or answer.finish_reason:
        row.request.on_chunk(
            Chunk(
                text=text,
                candidate=row.candidate,
                finish_reason=answer.finish_reason,
                prompt_tokens=len(row.request.prompt),
                output_tokens=len(answer.tokens),
                logprobs=answer.logprobs(),
            )
        )


def _close_answered(before: list[Request], after: list[Request]) -> None:
    """Say that all is said to the requests that have no candidate left."""
    left = {id(request) for request in after}
    for request in {id(request): request for request in before}.values():
        if id(request) not in left:
            request.on_chunk(None)


def _unexpected(error: Exception) -> KamertonError:
    if weights.is_out_of_memory(error):
        return errors.ResourceExhausted(
            "The engine ran out of memory on this request: shorten the prompt or ask for fewer "
            "candidates."
        )
    return errors.Internal(f"The engine failed: {type(error).__name__}: {error}")
