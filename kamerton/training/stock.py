"""A step through the stock modules of any causal language model, with autograd."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from kamerton.inference import attention, lora
from kamerton.inference.lora import Delta
from kamerton.inference.weights import LoadedBase
from kamerton.training.batches import Batch
from kamerton.training.gemma3 import means
from kamerton.training.head import Losses
from kamerton.training.stack import Stack

CLOSE = 0.02
"""As a share of the largest logit: so far the stock head's may be from plain products."""


class StockDecoder:
    """The layers are the model's own; rows lie flat, and adapters are added by hooks."""

    def __init__(self, loaded: LoadedBase, fused_head: bool = True) -> None:
        self._model = loaded.model
        lora.open_(self._model)
        _open_layers(self._model)
        self._softcap: float | None = getattr(
            self._model.config.get_text_config(), "final_logit_softcapping", None
        )
        self._is_fused = fused_head and self._has_plain_head(loaded.device)

    def step(self, batch: Batch, stack: Stack, *, recompute: bool = False) -> list[float]:
        """As `gemma3.Decoder.step`."""
        stack.begin(batch.tokens // stack.count)
        deltas = stack.deltas()

        def inside() -> AbstractContextManager[None]:
            return _as_in(batch, deltas)

        with _recomputing(inside if recompute else None), torch.enable_grad(), inside():
            found = self._losses(batch)
            parts = torch.split(found, list(batch.learned))
            torch.stack([part.mean() for part in parts]).sum().backward()  # type: ignore[no-untyped-call]
        return means(found.detach(), batch)

    @torch.no_grad()
    def losses(self, batch: Batch, stack: Stack) -> list[float]:
        """The same losses, and nothing else; dropout leaves nothing out."""
        dropout, stack.dropout = stack.dropout, False
        try:
            with _as_in(batch, stack.deltas()):
                return means(self._losses(batch), batch)
        finally:
            stack.dropout = dropout

    @torch.no_grad()
    def logits(self, batch: Batch, stack: Stack) -> Tensor:
        """[A, V] in float32"""
        with _as_in(batch, stack.deltas()):
            return self._logits(batch)

    def _logits(self, batch: Batch) -> Tensor:
        output = self._model(**_inputs(batch), logits_to_keep=batch.predictors)
        found: Tensor = output.logits[0].float()
        return found

    def _losses(self, batch: Batch) -> Tensor:
        """[A]"""
        if not self._is_fused:
            logits = self._logits(batch)
            return torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
        hidden = self._hidden(_inputs(batch))[0, batch.predictors]
        found: Tensor = Losses.apply(  # type: ignore[no-untyped-call]
            hidden, self._model.get_output_embeddings().weight, batch.targets, self._softcap
        )
        return found

    def _hidden(self, inputs: dict[str, Any]) -> Tensor:
        """[1, T, hidden]"""
        found: Tensor = getattr(self._model, self._model.base_model_prefix)(
            **inputs
        ).last_hidden_state
        return found

    @torch.no_grad()
    def _has_plain_head(self, device: torch.device) -> bool:
        """Whether logits are products with the head, capped at most: seen on a few tokens."""
        head = self._model.get_output_embeddings()
        if head is None or head.bias is not None or not head.weight.is_floating_point():
            return False
        ids = torch.arange(1, 5, device=device)[None]
        inputs = {"input_ids": ids, "use_cache": False}
        stock = self._model(**inputs).logits.float()
        plain = torch.nn.functional.linear(self._hidden(inputs), head.weight).float()
        if self._softcap is not None:
            plain = attention.capped(plain, self._softcap)
        return float((stock - plain).abs().max()) <= CLOSE * float(stock.abs().max())


Inside = Callable[[], AbstractContextManager[None]]
_here = threading.local()
_opening = threading.Lock()


def _open_layers(model: Any) -> None:
    """Let layers forget what is in them until it is needed, in threads that ask for it: a switch
    of the model would be everybody's, and answers would lose their cache."""
    with _opening:
        for layer in model.modules():
            if isinstance(layer, GradientCheckpointingLayer) and "forward" not in vars(layer):
                layer.forward = _recomputed(layer.forward)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def run(*inputs: Any, **options: Any) -> Any:
        inside: Inside | None = getattr(_here, "inside", None)
        if inside is None:
            return forward(*inputs, **options)
        # Whatever thread computes it again is inside, too.
        return checkpoint(
            functools.partial(forward, **options),
            *inputs,
            use_reentrant=False,
            context_fn=lambda: (contextlib.nullcontext(), inside()),
        )

    return run


@contextlib.contextmanager
def _recomputing(inside: Inside | None) -> Iterator[None]:
    _here.inside = inside
    try:
        yield
    finally:
        _here.inside = None


@contextlib.contextmanager
def _as_in(batch: Batch, deltas: Mapping[str, Delta]) -> Iterator[None]:
    """In this thread, rows lie as in a batch, and layers add what adapters have for them."""
    with attention.flat(batch.lengths), lora.adding(deltas):
        yield


def _inputs(batch: Batch) -> dict[str, Any]:
    return {
        "input_ids": batch.input_ids[None],
        "position_ids": batch.position_ids[None],
        "use_cache": False,
    }
