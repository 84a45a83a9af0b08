"""A LoRA adapter in training: stock PEFT modules, names and files from the first step on."""

from __future__ import annotations

import errno
from pathlib import Path

import torch
from peft import LoraConfig, LoraModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from kamerton.errors import FailedPrecondition
from kamerton.inference.weights import LoadedBase
from kamerton.types import Hyperparameters

NAME = "default"
WEIGHTS = "adapter_model.safetensors"


class Adapter:
    """Puts fresh trainable LoRA matrices on every linear layer of a loaded base model.

    They stay in float32 whatever the base is in. `remove` gives the base back as it was.
    """

    def __init__(self, loaded: LoadedBase, hyperparameters: Hyperparameters) -> None:
        self._model = loaded.model
        self.provenance = loaded.provenance
        self._config = LoraConfig(
            r=hyperparameters.lora_rank,
            lora_alpha=hyperparameters.lora_alpha,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
            base_model_name_or_path=loaded.base_model.name,
        )
        with torch.random.fork_rng():
            torch.manual_seed(hyperparameters.seed)
            self._lora = LoraModel(loaded.model, self._config, NAME)
        self.parameters: dict[str, torch.nn.Parameter] = {
            _file_name(name): parameter
            for name, parameter in loaded.model.named_parameters()
            if "lora_" in name
        }
        """By their names in the file; views of `flat`, as their gradients are of its gradient."""
        self.flat = _flatten(list(self.parameters.values()))
        """All weights in one, so that the optimizer's step is a few operations, not hundreds."""

    def save(self, folder: Path, flat: torch.Tensor | None = None) -> None:
        """Write the two files that stock PEFT reads, by default with the present weights."""
        parts = (self.flat if flat is None else flat).detach().cpu()
        tensors, start = {}, 0
        for name, parameter in self.parameters.items():
            end = start + parameter.numel()
            tensors[name] = parts[start:end].view(parameter.shape).clone()
            start = end
        save_tensors(tensors, folder / WEIGHTS)
        # PEFT makes a set of them, and no two processes would write the same bytes.
        self._config.target_modules = sorted(self._config.target_modules or ())
        self._config.inference_mode = True
        self._config.save_pretrained(str(folder))
        self._config.inference_mode = False

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take over weights by their names in the file. Raises FailedPrecondition on a misfit."""
        if {n: t.shape for n, t in tensors.items()} != {
            n: p.shape for n, p in self.parameters.items()
        }:
            raise FailedPrecondition(
                "The saved adapter has other layers or another rank than this run: it belongs "
                "to another base model."
            )
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[name])

    def continue_from(self, folder: Path) -> None:
        """Start with the weights of a finished adapter. Raises FailedPrecondition when it belongs
        to another base model or renderer."""
        self.provenance.check(folder)
        self.restore(load_file(folder / WEIGHTS))

    def remove(self) -> None:
        self._lora.unload()
        self._model.requires_grad_(False)


def save_tensors(tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Raises OSError when they cannot be written: the library's own error hides a full disk."""
    try:
        save_file(tensors, file, metadata={"format": "pt"})
    except SafetensorError as error:
        full = any(f"os error {code}" in str(error) for code in (errno.ENOSPC, errno.EDQUOT))
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def _flatten(parameters: list[torch.nn.Parameter]) -> torch.nn.Parameter:
    """Make the parameters and their gradients views of one float32 parameter and its gradient."""
    flat = torch.nn.Parameter(torch.cat([p.detach().float().flatten() for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.data = flat.data[start:end].view(parameter.shape)
        parameter.grad = flat.grad[start:end].view(parameter.shape)
        parameter.requires_grad_(True)
        start = end
    return flat


def _file_name(parameter: str) -> str:
    """PEFT's name on disk: `base_model.model.…q_proj.lora_A.weight`."""
    return "base_model.model." + parameter.replace(f".{NAME}.", ".")
