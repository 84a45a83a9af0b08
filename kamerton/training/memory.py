"""How much memory a step takes, and how much there is: a rough count, on the safe side."""

from __future__ import annotations

import torch

from kamerton import meminfo
from kamerton.inference.weights import LoadedBase
from kamerton.training.batches import Batch

SHARE = 0.4
"""Of the memory that is left, what is inside the layers may take."""


UNKNOWN = 8 * 1024**3
"""Taken to be available where the system does not say."""


def most_tokens(loaded: LoadedBase) -> int:
    """Of rows of ordinary length, in one step."""
    return int(SHARE * available(loaded.device) / _bytes_per_token(loaded, 512))


def is_short(loaded: LoadedBase, batch: Batch) -> bool:
    """Whether all that is inside the layers does not fit: what goes into each is kept then, and
    the rest computed twice."""
    longest = max(batch.lengths)
    padded = len(batch.lengths) * longest
    needed = max(batch.tokens, padded) * _bytes_per_token(loaded, longest)
    return needed > SHARE * available(loaded.device)


def _bytes_per_token(loaded: LoadedBase, longest: int) -> int:
    """What the layers keep of a token until the way back, counted for Gemma 3 by hand; through
    stock modules it is about three times as much."""
    config = loaded.model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    inner = max(inner) if isinstance(inner, list | tuple) else inner
    numbers = 6 * config.hidden_size + 6 * heads * size + 3 * inner + heads * longest
    factor = 1 if config.model_type == "gemma3_text" else 3
    layers = int(config.num_hidden_layers)
    return factor * layers * int(numbers) * int(loaded.model.dtype.itemsize)


def available(device: torch.device) -> int:
    """Bytes that nobody uses: of the device where it has its own memory, else of the machine."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    known = meminfo.available()
    return UNKNOWN if known is None else known
