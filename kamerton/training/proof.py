"""That an adapter answers when it is served as it did in training, and not as its base model."""

from __future__ import annotations

from pathlib import Path

import torch

from kamerton.errors import Internal
from kamerton.inference.torch_engine import Resident
from kamerton.inference.weights import LoadedBase
from kamerton.training.batches import collate
from kamerton.training.rows import Row
from kamerton.training.steps import logits

MOST_TOKENS = 256
"""Of the row that is looked at."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Difference that is allowed, as a share of the largest logit: two ways to the same sums."""


class Proof:
    """Taken while the adapter is still in training, on one row; checked once it is published."""

    def __init__(self, loaded: LoadedBase, row: Row) -> None:
        start = row.spans[0][0]
        end = min(row.spans[0][1], max(MOST_TOKENS, start + 1))
        self._loaded = loaded
        self._row = Row(row.ids[:end], ((start, end),))
        with torch.no_grad():
            self._trained = logits(loaded, collate([self._row], loaded.device))

    def check(self, adapter: Path) -> None:
        """Raises Internal when the adapter, loaded as the engine loads it, says other things than
        the trainer did, or the very same as its base model."""
        base = self._served(Resident(self._loaded))
        resident = Resident(self._loaded)
        resident.hold(adapter)
        try:
            served = self._served(resident)
        finally:
            resident.forget(adapter)
        allowed = TOLERANCE[self._loaded.model.dtype] * float(self._trained.abs().max())
        apart = float((served - self._trained).abs().max())
        if not apart <= allowed:
            raise Internal(
                f"The adapter does not answer as it did in training: its logits are {apart:.3g} "
                f"apart, and {allowed:.3g} is allowed. Nothing is wrong with the dataset; please "
                "report this with the versions that `kamerton env` prints."
            ).at("ADAPTER_DIFFERS")
        if torch.equal(served, base):
            raise Internal(
                "The adapter changes nothing: its logits are those of the base model. The learning "
                "rate may be far too small; try the default one."
            ).at("ADAPTER_CHANGES_NOTHING")

    def _served(self, resident: Resident) -> torch.Tensor:
        ((start, end),) = self._row.spans
        ids = torch.tensor([list(self._row.ids[:-1])], device=self._loaded.device)
        with torch.no_grad():
            output = resident.model(input_ids=ids, use_cache=False)
        found: torch.Tensor = output.logits[0, start - 1 : end - 1].float()
        return found
