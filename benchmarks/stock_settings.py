"""The settings of TRL that are searched for the fastest; without importing TRL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Precision = Literal["autocast", "bf16", "fp32"]
"""Weights in fp32 computed in bf16; both in bf16; both in fp32."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What of its settings changes the time, but not what is computed. Packing is not among them:
    it changes which rows make up a step."""

    attention: str = "sdpa"
    precision: Precision = "autocast"
    padding_free: bool = False
    checkpointing: bool = True
    optimizer: str = "adamw_torch_fused"
    threads: int | None = None
    """None: as many as torch takes."""
    liger: bool = False
    """Liger's kernels in place of the modules of the layers."""

    def __str__(self) -> str:
        parts = [self.attention, self.precision, self.optimizer]
        parts += ["padding-free"] if self.padding_free else ["padded"]
        parts += ["activation checkpointing"] if self.checkpointing else []
        parts += [f"{self.threads} threads"] if self.threads else []
        parts += ["Liger"] if self.liger else []
        return ", ".join(parts)


DEFAULTS = Settings()
"""With nothing given; `Stock` holds these to what SFTConfig really has."""
GOOD = Settings(checkpointing=False, padding_free=True)
"""Where the search begins."""


def search(
    seconds: Callable[[Settings], float], start: Settings, axes: dict[str, Sequence[Any]]
) -> Iterator[tuple[Settings, float, bool]]:
    """Change one setting after another and keep what is faster; each trial, and whether it is the
    best so far. The last one that is, is the best found."""
    best, least = start, seconds(start)
    yield best, least, True
    for name, values in axes.items():
        for value in values:
            tried = replace(best, **{name: value})
            if tried == best:
                continue
            found = seconds(tried)
            if found < least:
                best, least = tried, found
            yield tried, found, tried is best


def axes(threads: int) -> dict[str, Sequence[Any]]:
    """What is tried on a processor with so many threads."""
    return {
        "attention": ("sdpa", "eager"),
        "padding_free": (True, False),
        "precision": ("autocast", "bf16", "fp32"),
        "threads": (None, 1) if threads > 1 else (None,),
        "checkpointing": (False, True),
        "optimizer": ("adamw_torch_fused", "adamw_torch"),
    }
