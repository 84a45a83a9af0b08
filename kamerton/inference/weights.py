"""Loads a base model, and puts LoRA adapters on it and off again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from kamerton.errors import FailedPrecondition
from kamerton.inference import catalog
from kamerton.inference.prompts import Renderer
from kamerton.inference.provenance import Provenance, base_hash, renderer_hash
from kamerton.types import BaseModel

SMALL = 200_000_000
"""Below this many bytes of weights a CPU is fastest in float32, and on one thread."""


@dataclass(frozen=True, slots=True)
class LoadedBase:
    """A base model in memory, frozen, with the renderer that belongs to it."""

    base_model: BaseModel
    model: Any
    """A transformers causal language model in evaluation mode."""
    renderer: Renderer
    device: torch.device
    is_small: bool
    """On a CPU it is fastest in float32 and on one thread."""
    provenance: Provenance
    """Of adapters that are made with it."""


def load(base_model: BaseModel, device: str = "auto") -> LoadedBase:
    """Raises NotFound without weights, FailedPrecondition when they were changed on disk."""
    folder = catalog.folder(base_model)
    check_hashes(folder)
    where = torch.device(_device(device))
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    small = where.type == "cpu" and size < SMALL
    # Not loaded in one type and turned into another: constants would keep the first one's rounding.
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32 if small else torch.bfloat16,
            attn_implementation="sdpa",
            local_files_only=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise FailedPrecondition(
            f"The weights of the base model {base_model.name} cannot be read: {error}"
        ) from error
    if model.config.model_type != "gemma3_text":
        raise FailedPrecondition(
            f"{base_model.name} is a {model.config.model_type} model; only Gemma 3 text models "
            "can be tuned and served so far."
        )
    model.to(where)
    model.requires_grad_(False)
    model.eval()
    renderer = Renderer.load(folder)
    provenance = Provenance(renderer_hash(renderer), base_hash(folder))
    return LoadedBase(base_model, model, renderer, where, small, provenance)


def is_out_of_memory(error: Exception) -> bool:
    """On a CPU, torch says it with a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def check_hashes(folder: Path) -> None:
    """Compare the files with SHA256SUMS, where the folder has one."""
    sums = folder / "SHA256SUMS"
    if not sums.exists():
        return
    for line in sums.read_text().splitlines():
        expected, name = line.split()
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            found = "nothing"
        if found != expected:
            raise FailedPrecondition(
                f"{name} of the base model {folder.name} is missing, or not the file that "
                "SHA256SUMS beside it names: install the package again."
            )


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"
