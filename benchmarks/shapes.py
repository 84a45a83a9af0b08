"""Base models to measure with: the true shapes of Gemma 3 with random weights, made on the spot."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kamerton.inference.catalog import EMBEDDED
from kamerton.types import BaseModel

LOCAL_LAYERS = 5
"""Layers with a sliding window before each one without."""
GEMMA_3: dict[str, dict[str, int]] = {
    "270m": {
        "hidden_size": 640,
        "num_hidden_layers": 18,
        "intermediate_size": 2048,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "sliding_window": 512,
    },
    "1b": {
        "hidden_size": 1152,
        "num_hidden_layers": 26,
        "intermediate_size": 6912,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "sliding_window": 512,
    },
    "4b": {
        "hidden_size": 2560,
        "num_hidden_layers": 34,
        "intermediate_size": 10240,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "sliding_window": 1024,
    },
    # No model of anybody's: enough of each kind of layer to compare gradients.
    "small": {
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "intermediate_size": 512,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "query_pre_attn_scalar": 64,
        "sliding_window": 32,
        "vocab_size": 4096,
    },
    # To try the scripts with, in seconds.
    "tiny": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 128,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "sliding_window": 64,
        "vocab_size": 2048,
    },
}
SHARED = {
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "vocab_size": 262_144,
    "max_position_embeddings": 32_768,
}


def make(shape: str, folder: Path, device: str = "cpu") -> BaseModel:
    """Write a random model in bf16 with the embedded base's tokenizer, whose marks are Gemma's.

    The weights are drawn on `device`: of billions it takes minutes on a processor.
    """
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    sizes: dict[str, Any] = {**SHARED, **GEMMA_3[shape]}
    layers = sizes["num_hidden_layers"]
    config = Gemma3TextConfig(
        **sizes,
        layer_types=[
            "full_attention" if (at + 1) % (LOCAL_LAYERS + 1) == 0 else "sliding_attention"
            for at in range(layers)
        ],
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = Gemma3ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(EMBEDDED.weights) / name, folder)
    return of_folder(folder, shape)


def of_folder(folder: Path, name: str = "") -> BaseModel:
    """A base model in any folder, as the catalog would have it."""
    if folder == Path(EMBEDDED.weights):
        return EMBEDDED
    return BaseModel(name=name or folder.name, weights=str(folder))


def quantized(base_model: BaseModel) -> BaseModel:
    """The same, with its weights in 4 bits."""
    return replace(base_model, quantization="nf4")


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
