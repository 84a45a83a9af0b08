"""What a step must compute at least, and how fast this device computes it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.train_data import tokens
from kamerton.training.rows import Row

ROUNDS = 5
SECONDS = 0.2
"""At least so long for one measurement of the matrix rate."""
SIDES = {"cpu": 2048, "cuda": 8192}

FORMULA = (
    "FLOPs of a step: 4 per token and weight of a linear layer (2 forward, 2 for the gradient of "
    "its input; frozen weights have none), 4 x hidden x vocabulary per answer token, and "
    "12 x heads x head size per pair of tokens of which one sees the other. LoRA's own products, "
    "norms, softmax and what a step computes twice are not counted."
)


def flops(config: Any, rows: Sequence[Row]) -> float:
    """Of one step over `rows` on a Gemma 3 text model, or one of the same fields."""
    hidden, size = config.hidden_size, config.head_dim
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    attention = hidden * size * (2 * heads + 2 * groups)
    weights = config.num_hidden_layers * (attention + 3 * hidden * config.intermediate_size)
    found = 0.0
    for row in rows:
        length = tokens(row)
        found += 4.0 * weights * length + 4.0 * hidden * config.vocab_size * row.learned
        for kind in config.layer_types:
            window = config.sliding_window if kind == "sliding_attention" else length
            found += 12.0 * heads * size * pairs(length, window)
    return found


def pairs(length: int, window: int) -> int:
    """Of a token and one that it sees: itself and those before it in its window."""
    full = min(length, window)
    return full * (full + 1) // 2 + (length - full) * window


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs per second of the best of some products of square matrices."""
    side = SIDES[device.type]
    a = torch.randn(side, side, device=device, dtype=dtype)
    b = torch.randn(side, side, device=device, dtype=dtype)

    def seconds(times: int) -> float:
        synchronize(device)
        start = time.perf_counter()
        for _ in range(times):
            a @ b
        synchronize(device)
        return time.perf_counter() - start

    seconds(2)
    times = max(1, round(SECONDS / seconds(1)))
    best = min(seconds(times) for _ in range(ROUNDS)) / times
    return 2.0 * side**3 / best


def synchronize(device: torch.device) -> None:
    """Wait for what was given to the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
