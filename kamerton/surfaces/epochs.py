"""Names of a tuned model as it was after an epoch of its run: `x@epoch-3`."""

from __future__ import annotations

import re

_EPOCH = re.compile(r"(?P<model>[^@]+)@epoch-(?P<epoch>[1-9][0-9]{0,3})")


def split_epoch(name: str) -> tuple[str, int | None]:
    """The name without the epoch, and the epoch; None where it names none."""
    found = _EPOCH.fullmatch(name)
    return (found["model"], int(found["epoch"])) if found else (name, None)


def epoch_name(tuned_model_id: str, epoch: int) -> str:
    return f"{tuned_model_id}@epoch-{epoch}"
