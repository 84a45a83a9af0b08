"""LoRA beside a loaded model: what each linear layer adds for whom, without changing its modules.

y = x Wᵀ + s (x Aᵀ) Bᵀ (Hu et al., 2021, arXiv:2106.09685). Files, names and values are stock
PEFT's; PEFT itself is not needed for them, and would take longer to import than all else here.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kamerton.errors import FailedPrecondition
from kamerton.folders import is_whole
from kamerton.processes import report

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
"""Before a layer's name in the file."""
A, B = ".lora_A.weight", ".lora_B.weight"
"""After it."""

Delta = Callable[[Tensor, Tensor], Tensor]
"""A layer's input and its output to the output with what adapters add."""

_here = threading.local()
_open: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
_opening = threading.Lock()


def linear_layers(model: Any) -> dict[str, torch.nn.Linear]:
    """By its name, every linear layer that can have an adapter: all but the head, as PEFT's
    `all-linear` has it."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }


def open_(model: Any) -> None:
    """Let adapters take part in a model; once is enough."""
    with _opening:
        if model in _open:
            return
        for name, module in linear_layers(model).items():
            module.register_forward_hook(_hook(name))
        _open.add(model)


@contextlib.contextmanager
def adding(deltas: Mapping[str, Delta]) -> Iterator[None]:
    """What layers add in this thread, by their names."""
    before = getattr(_here, "deltas", None)
    _here.deltas = deltas
    try:
        yield
    finally:
        _here.deltas = before


def _hook(name: str) -> Callable[[Any, tuple[Tensor, ...], Tensor], Tensor | None]:
    def hook(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        deltas: Mapping[str, Delta] | None = getattr(_here, "deltas", None)
        delta = None if deltas is None else deltas.get(name)
        return None if delta is None else delta(inputs[0], output)

    return hook


# --- adapters that serve -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Low:
    """The two matrices of an adapter at one layer; the scale is in B."""

    a: Tensor
    """[rank, in]"""
    b: Tensor
    """[out, rank]"""

    def of(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(torch.nn.functional.linear(x, self.a), self.b)


Adapter = Mapping[str, Low]
"""By the names of layers."""


def read(folder: Path, model: Any) -> Adapter:
    """Load a finished adapter for a model. Raises FailedPrecondition when it is missing or
    damaged, does not fit, or is of a kind that is not served."""
    try:
        if not is_whole(folder):
            raise FileNotFoundError(folder)
        config: dict[str, Any] = dict(json.loads((folder / CONFIG).read_bytes()))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        report()
        raise FailedPrecondition(
            "The weights of this tuned model are missing or damaged on disk. Tune it again."
        ) from error
    _check_kind(config)
    layers = linear_layers(model)
    names = {name.removeprefix(PREFIX).removesuffix(A).removesuffix(B) for name in tensors}
    found = {}
    for name in sorted(names):
        a, b = tensors.get(PREFIX + name + A), tensors.get(PREFIX + name + B)
        layer = layers.get(name)
        named = _is_named(name, config.get("target_modules"))
        if a is None or b is None or layer is None or not named or not _fits(layer, a, b):
            raise FailedPrecondition(
                "The weights of this tuned model do not fit its base model. Tune it again."
            )
        rank = a.shape[0]
        scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
        like: dict[str, Any] = {"device": layer.weight.device, "dtype": model.dtype}
        found[name] = Low(a.to(**like), (b.float() * scale).to(**like))
    return found


def _fits(layer: torch.nn.Linear, a: Tensor, b: Tensor) -> bool:
    return (b.shape[0], a.shape[1]) == (layer.out_features, layer.in_features) and (
        a.shape[0] == b.shape[1]
    )


def _is_named(layer: str, modules: Any) -> bool:
    """Whether an adapter is on a layer, by PEFT's rules: a pattern of the whole name, or ends."""
    if isinstance(modules, str):
        return re.fullmatch(modules, layer) is not None
    return any(layer == end or layer.endswith(f".{end}") for end in modules or ())


MORE = ("use_dora", "modules_to_save", "alpha_pattern", "fan_in_fan_out", "lora_bias")
"""What a config may have beyond what `Low` can say, if it is not empty."""


def _check_kind(config: dict[str, Any]) -> None:
    kinds = [name for name in MORE if config.get(name)]
    if config.get("peft_type") != "LORA":
        kinds.append(f"peft_type {config.get('peft_type')}")
    if config.get("bias", "none") != "none":
        kinds.append("bias")
    if kinds:
        raise FailedPrecondition(
            f"The adapter uses {', '.join(kinds)}, which is not served: only plain LoRA is."
        )


def serving(adapters: Sequence[Adapter | None]) -> dict[str, Delta]:
    """What layers add when each row of a batch [rows, length, …] has an adapter of its own, or
    none."""
    rows_of: dict[int, list[int]] = {}
    for row, adapter in enumerate(adapters):
        if adapter is not None:
            rows_of.setdefault(id(adapter), []).append(row)
    deltas: dict[str, Delta] = {}
    for rows in rows_of.values():
        adapter = adapters[rows[0]]
        assert adapter is not None
        for name, low in adapter.items():
            chosen = None if len(rows) == len(adapters) else rows
            deltas[name] = _then(deltas.get(name), low, chosen)
    return deltas


def _then(before: Delta | None, low: Low, rows: list[int] | None) -> Delta:
    def delta(x: Tensor, y: Tensor) -> Tensor:
        if before is not None:
            y = before(x, y)
        if rows is None:
            return y + low.of(x)
        y[rows] += low.of(x[rows])
        return y

    return delta
