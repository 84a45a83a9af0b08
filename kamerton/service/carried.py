"""A run that a worker has claimed and its trainer works on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kamerton.store.operations import Claim, Hold, News, Note
from kamerton.training.trainer_process import Failed, Finished, Left, Run
from kamerton.types import Snapshot

Ending = Finished | Failed | Left


@dataclass(slots=True, eq=False)
class Carried:
    """What the worker knows of the run, and what it has not written down yet."""

    claim: Claim
    run: Run
    folder: Path
    """Of its tuned model."""
    deadline: float
    """By then there must be a sign of it; of the monotonic clock."""
    snapshots: list[Snapshot] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    ending: Ending | None = None
    hold: Hold = field(default_factory=lambda: Hold(True))
    has_progress: bool = False
    """Whether it has come a step further than any attempt before this one."""
    given_up: bool = False
    paused: bool = False

    @property
    def base_model(self) -> str:
        return self.claim.tuned_model.base_model

    @property
    def is_suspect(self) -> bool:
        """Whether its last attempt died, and nothing yet says that this one will not."""
        return self.claim.attempts_without_progress > 1 and not self.has_progress

    @property
    def has_news(self) -> bool:
        return bool(self.snapshots or self.notes)

    def news(self) -> News:
        return News(self.claim, self.snapshots, self.notes)

    def written(self, hold: Hold) -> bool:
        """Its news are in the store, which said `hold`; whether they were its first progress."""
        known, had_progress = self.claim.tuned_model.snapshots, self.has_progress
        if self.snapshots and self.snapshots[-1].step > (known[-1].step if known else 0):
            self.has_progress = True
        self.snapshots.clear()
        self.notes.clear()
        self.hold = hold
        return self.has_progress and not had_progress
