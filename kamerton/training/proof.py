"""That an adapter answers when it is served as it did in training, and not as its base model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from kamerton.errors import FailedPrecondition, Internal
from kamerton.inference.torch_engine import Resident
from kamerton.training.adapter import Adapter
from kamerton.training.rows import Row
from kamerton.training.together import Together

MOST_TOKENS = 32
"""Learned ones, that are looked at."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Difference that is allowed, as a share of the largest logit: two ways to the same sums."""


def prove(together: Together, adapter: Adapter, row: Row, published: Path) -> None:
    """Compare the logits of one row in training with what they are when the published adapter is
    loaded as the engine loads it. Raises Internal when they differ, or when they are the very same
    as those of the base model."""
    start = row.spans[0][0]
    end = min(row.spans[0][1], start + MOST_TOKENS)
    row = Row(row.ids[:end], ((start, end),))
    trained = together.logits(adapter, row)
    resident = Resident(together.loaded)
    try:
        resident.hold(published)
    except FailedPrecondition as error:
        raise Internal(
            f"The adapter that was written cannot be loaded: {error.message} {REPORT}"
        ).at("ADAPTER_DIFFERS") from error
    base, served = _logits(resident, row, (None, published))
    allowed = TOLERANCE[together.loaded.model.dtype] * float(trained.abs().max())
    apart = float((served - trained).abs().max())
    if not apart <= allowed:
        raise Internal(
            f"The adapter does not answer as it did in training: its logits are {apart:.3g} "
            f"apart, and {allowed:.3g} is allowed. {REPORT}"
        ).at("ADAPTER_DIFFERS")
    if torch.equal(served, base):
        raise Internal(
            "The adapter changes nothing: its logits are those of the base model. The learning "
            "rate may be far too small; try the default one."
        ).at("ADAPTER_CHANGES_NOTHING")


REPORT = (
    "Nothing is wrong with the dataset; please report this with the versions that `kamerton env` "
    "prints."
)


def _logits(resident: Resident, row: Row, adapters: Sequence[Path | None]) -> torch.Tensor:
    """[adapters, learned, vocabulary] in float32"""
    ((start, end),) = row.spans
    ids = torch.tensor([list(row.ids[:-1])] * len(adapters), device=resident.loaded.device)
    with torch.no_grad():
        logits = resident.forward(
            adapters, input_ids=ids, use_cache=False, logits_to_keep=end - start
        )
    return logits.float()
