"""What the lean step is made of, each part to be left out by a benchmark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Switches:
    by_hand: bool = True
    """Forward and backward written by hand, for the base models that have one."""
    fused_head: bool = True
    """Loss in tiles of the vocabulary, at learned tokens only; else the stock head there."""
    compiled: bool | None = None
    """What is between the matrix products is compiled; None: where a run is long enough to win."""
    half: bool = True
    """Large steps of small base models in bfloat16 too, where the processor has units for it."""
    together: bool = True
    """Steps of several runs that wait at the same moment are one."""


ALL = Switches()
