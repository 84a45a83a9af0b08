"""A LoRA adapter in training: names, shapes and files of stock PEFT, beside an unchanged model."""

from __future__ import annotations

import errno
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kamerton.errors import FailedPrecondition
from kamerton.inference import lora
from kamerton.inference.lora import CONFIG, PREFIX, WEIGHTS, A, B
from kamerton.inference.weights import LoadedBase
from kamerton.types import Hyperparameters


@dataclass(frozen=True)
class Layout:
    """Where the matrices of each layer lie in one flat tensor.

    The A of all layers in a module stand side by side, so that those with the same input are one
    matrix; B lies transposed, for the same reason.
    """

    rank: int
    shapes: Mapping[str, tuple[int, int]]
    """Of each layer, in the model's order: inputs, outputs."""
    a: Mapping[str, int]
    b: Mapping[str, int]
    size: int

    @classmethod
    def of(cls, rank: int, shapes: Mapping[str, tuple[int, int]]) -> Layout:
        a, b, size = {}, {}, 0
        for _, group in groupby(shapes, lambda name: name.rpartition(".")[0]):
            names = list(group)
            for name in names:
                a[name] = size
                size += rank * shapes[name][0]
            for name in names:
                b[name] = size
                size += rank * shapes[name][1]
        return cls(rank, shapes, a, b, size)

    def of_a(self, flat: Tensor, name: str) -> Tensor:
        """[rank, in] of flat [size]; a view."""
        start, inputs = self.a[name], self.shapes[name][0]
        return flat[start : start + self.rank * inputs].view(self.rank, inputs)

    def of_b(self, flat: Tensor, name: str) -> Tensor:
        """[rank, out]; a view."""
        start, outputs = self.b[name], self.shapes[name][1]
        return flat[start : start + self.rank * outputs].view(self.rank, outputs)

    def fingerprint(self) -> int:
        """Another one where flat tensors of the same size would mean other things."""
        return zlib.crc32(repr((self.rank, list(self.a.items()), list(self.b.items()))).encode())

    def parameters(self, flat: Tensor) -> dict[str, Tensor]:
        """By their names in the file, views of the shapes there."""
        found = {}
        for name in self.shapes:
            found[PREFIX + name + A] = self.of_a(flat, name)
            found[PREFIX + name + B] = self.of_b(flat, name).t()
        return found


class Adapter:
    """Fresh trainable LoRA matrices for the linear layers of a loaded base model.

    They stay in float32 whatever the base is in. Raises FailedPrecondition when a target module
    is no layer of the base model.
    """

    def __init__(self, loaded: LoadedBase, hyperparameters: Hyperparameters) -> None:
        self.provenance = loaded.provenance
        self.dtype: torch.dtype = loaded.model.dtype
        """What the products of its steps are computed in."""
        self.rank = hyperparameters.lora_rank
        root = math.sqrt(self.rank) if hyperparameters.rslora else self.rank
        self.scale = hyperparameters.lora_alpha / root
        self.dropout = hyperparameters.lora_dropout
        self.seed = hyperparameters.seed
        layers = lora.linear_layers(loaded.model)
        self.places = {name: place for place, name in enumerate(layers)}
        """Of all layers, in the model's order."""
        shapes = _targets(loaded, layers, hyperparameters.target_modules)
        self.layout = Layout.of(self.rank, shapes)
        self._config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": loaded.base_model.name,
            "inference_mode": True,
            "r": self.rank,
            "lora_alpha": hyperparameters.lora_alpha,
            "lora_dropout": self.dropout,
            "target_modules": sorted(hyperparameters.target_modules or _ends_of(shapes)),
            "use_rslora": hyperparameters.rslora,
            "bias": "none",
            "modules_to_save": None,
        }
        flat = torch.zeros(self.layout.size)
        generator = torch.Generator().manual_seed(self.seed)
        for name, (inputs, outputs) in shapes.items():
            # The very numbers that PEFT begins with: its layers draw some before these.
            torch.empty(self.rank * (inputs + outputs)).uniform_(generator=generator)
            a = self.layout.of_a(flat, name)  # B is zero: nothing is added before the first step.
            torch.nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        self.flat = torch.nn.Parameter(flat.to(loaded.device))
        """All weights in one, so that the optimizer's step is a few operations, not hundreds."""
        self.flat.grad = torch.zeros_like(self.flat)
        self.parameters = self.layout.parameters(self.flat.data)
        """By their names in the file; views of `flat`."""

    def save(self, folder: Path, flat: Tensor | None = None) -> None:
        """Write the two files that stock PEFT reads, by default with the present weights."""
        parameters = self.layout.parameters((self.flat if flat is None else flat).detach().cpu())
        tensors = {n: p.clone(memory_format=CONTIGUOUS) for n, p in parameters.items()}
        save_tensors(tensors, folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(self._config, indent=2))

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over weights by their names in the file. Raises FailedPrecondition on a misfit."""
        if {n: t.shape for n, t in tensors.items()} != {
            n: p.shape for n, p in self.parameters.items()
        }:
            raise FailedPrecondition(
                "The saved adapter has other layers or another rank than this run: it belongs "
                "to another base model, or was tuned with another adapter size. Give the same."
            ).at("ADAPTER_MISFIT")
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[name])

    def continue_from(self, folder: Path) -> None:
        """Start with the weights of a finished adapter. Raises FailedPrecondition when it belongs
        to another base model or renderer."""
        self.provenance.check(folder)
        self.restore(load_file(folder / WEIGHTS))


CONTIGUOUS = torch.contiguous_format


def save_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    """Raises OSError when they cannot be written: the library's own error hides a full disk."""
    try:
        save_file(tensors, file, metadata={"format": "pt"})
    except SafetensorError as error:
        full = any(f"os error {code}" in str(error) for code in (errno.ENOSPC, errno.EDQUOT))
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def _targets(
    loaded: LoadedBase, layers: Mapping[str, torch.nn.Linear], wanted: tuple[str, ...]
) -> dict[str, tuple[int, int]]:
    shapes = {name: (layer.in_features, layer.out_features) for name, layer in layers.items()}
    if not shapes:
        raise FailedPrecondition(
            f"{loaded.base_model.name} has no linear layers that an adapter could be on: models of "
            f"the kind {loaded.model.config.model_type} cannot be tuned here."
        ).at("TARGET_MODULE_UNKNOWN")
    if not wanted:
        return shapes
    ends = sorted(_ends_of(shapes))
    for end in wanted:
        if not any(_ends(name, end) for name in shapes):
            raise FailedPrecondition(
                f"{loaded.base_model.name} has no linear layers called {end}: give target modules "
                f"among {', '.join(ends)}, or none for all of them."
            ).at("TARGET_MODULE_UNKNOWN")
    return {n: s for n, s in shapes.items() if any(_ends(n, end) for end in wanted)}


def _ends_of(shapes: Mapping[str, object]) -> set[str]:
    return {name.rpartition(".")[2] for name in shapes}


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith("." + end)
