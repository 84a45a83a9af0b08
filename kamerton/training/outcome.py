"""How a run ended, kept beside its adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

OUTCOME = "outcome.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    stop_reason: str = ""
    """Why the run ended before its last step, and which step was kept; "" when it did not."""
    kept_step: int | None = None
    """The step whose weights the adapter has."""

    def write(self, folder: Path) -> None:
        (folder / OUTCOME).write_bytes(msgspec.json.encode(self))


def read_outcome(folder: Path) -> Outcome:
    """Of a finished adapter; those of older versions say nothing."""
    file = folder / OUTCOME
    return msgspec.json.decode(file.read_bytes(), type=Outcome) if file.exists() else Outcome()
