"""Carries one operation after another to ACTIVE or FAILED.

This process owns the lease and the heartbeat; the training itself is its warm child, so that a
crash or running out of memory ends one attempt at one run and nothing else.
"""

from __future__ import annotations

import itertools
import math
import queue
import shutil
import signal
import threading
import time
from pathlib import Path

from kamerton.errors import (
    CANCELLED,
    Cancelled,
    Internal,
    KamertonError,
    ResourceExhausted,
    Unavailable,
)
from kamerton.inference.catalog import EMBEDDED, Catalog
from kamerton.processes import Channel, follow_parent, parent_channel, report
from kamerton.service.app import tuned_model_folder
from kamerton.settings import Settings
from kamerton.store import operations
from kamerton.store.database import Database
from kamerton.store.operations import Claim
from kamerton.training.trainer_process import (
    Event,
    Failed,
    Finished,
    Ready,
    Run,
    Stepped,
    TrainerProcess,
)
from kamerton.types import Failure, Snapshot

POLL_SECONDS = 1.0
"""How often to look at the queue when nobody wakes us; other servers may share it."""
GIVE_UP_SECONDS = 10.0
"""How long a trainer may take to hear that a run is cancelled."""
RESTART_SECONDS = 1.0
"""A trainer that dies at once must not keep a core busy."""


class Worker:
    """Claims runs and has a trainer do them."""

    def __init__(self, settings: Settings, owner: str, channel: Channel) -> None:
        self._settings = settings
        self._owner = owner
        self._channel = channel
        self._database = Database(settings.database_address())
        self._catalog = Catalog.of(settings.base_models, settings.aliases)
        self._numbers = itertools.count(1)
        self._awake = threading.Event()
        self._last_exit: int | None = None
        self._start_trainer()

    def wake(self, line: bytes) -> None:
        """Look at the queue, and whether the run in progress shall be cancelled."""
        self._awake.set()

    def work(self) -> None:
        """For ever: this process ends when its parent does."""
        while True:
            self._awake.clear()
            while not self._events.empty():
                self._take_idle(self._events.get())
            try:
                claim = operations.claim(self._database, self._owner, self._settings.lease_seconds)
                if claim is not None:
                    self._carry(claim)
                    continue
            except Exception:  # A busy database, say: the lease brings the run back.
                report()
            self._awake.wait(POLL_SECONDS)

    def _take_idle(self, event: Event | None) -> None:
        if isinstance(event, Ready):
            self._channel.send(b"ready")
        elif event is None:
            time.sleep(RESTART_SECONDS)
            self._start_trainer()

    def _carry(self, claim: Claim) -> None:
        """Train until the run has ended, or is no longer ours."""
        if claim.cancelled:
            operations.fail(self._database, claim, Failure(Cancelled.__name__, CANCELLED))
            return
        folder = tuned_model_folder(self._settings, claim.tuned_model.uid)
        if claim.attempts_without_progress > self._settings.max_attempts:
            operations.fail(self._database, claim, self._gave_up())
            return
        try:
            run = self._run(claim, folder)
        except KamertonError as error:  # The base model is no longer in the catalog, say.
            operations.fail(self._database, claim, Failure(type(error).__name__, error.message))
            return
        self._trainer.start(run)
        try:
            ending = self._follow(claim, run)
        except Exception:
            self._trainer.give_up(run)
            raise
        if isinstance(ending, Finished):
            operations.finish(self._database, claim, ending.stop_reason)
            # Not before: should this process die in between, there is nothing to train again.
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        elif isinstance(ending, Failed):
            operations.fail(self._database, claim, Failure(ending.kind, ending.message))
        else:  # The trainer died: give the run back, to be resumed.
            self._trainer.kill()
            self._last_exit = self._trainer.exit_status()
            self._start_trainer()
            operations.release(self._database, self._owner)
        if not operations.exists(self._database, claim):
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, claim: Claim, folder: Path) -> Run:
        model = claim.tuned_model
        parent = folder / "parent"
        return Run(
            number=next(self._numbers),
            base_model=self._catalog.find(model.base_model),
            hyperparameters=model.hyperparameters,
            examples=str(folder / "examples"),
            directory=str(folder),
            parent=str(parent) if parent.exists() else None,
            budget=model.budget,
        )

    def _follow(self, claim: Claim, run: Run) -> Finished | Failed | None:
        """Keep snapshots and the lease until the run ends; None when the trainer died."""
        given_up = False
        deadline = math.inf  # Before its first step it may have to load a large base model.
        snapshots: list[Snapshot] = []
        while True:
            events = self._next_events(self._settings.lease_seconds / 4)
            if any(isinstance(event, Stepped) for event in events):
                deadline = time.monotonic() + self._settings.step_seconds
            elif time.monotonic() > deadline:
                self._trainer.kill()  # It hangs; what it still says is that it has died.
            elif not events and not self._trainer.alive():
                return None
            snapshots += [
                event.snapshot
                for event in events
                if isinstance(event, Stepped) and event.run == run.number
            ]
            ours, cancelled = self._renew(claim, snapshots)
            for event in events:
                if isinstance(event, Ready):
                    self._channel.send(b"ready")
                elif event is None:
                    return None
                elif isinstance(event, Finished | Failed) and event.run == run.number:
                    if snapshots:  # Told in vain so far; this raises when it is so again.
                        operations.renew(
                            self._database, claim, self._settings.lease_seconds, snapshots
                        )
                    return event
            if (cancelled or not ours) and not given_up:
                self._trainer.give_up(run)
                given_up = True
                deadline = min(deadline, time.monotonic() + GIVE_UP_SECONDS)

    def _renew(self, claim: Claim, snapshots: list[Snapshot]) -> tuple[bool, bool]:
        """See operations.renew; takes out of `snapshots` what was kept."""
        try:
            found = operations.renew(self._database, claim, self._settings.lease_seconds, snapshots)
        except (Unavailable, ResourceExhausted):
            # A backup or a full disk, say. The training goes on, and the next time tells more.
            return True, False
        snapshots.clear()
        return found

    def _next_events(self, patience: float) -> list[Event | None]:
        """All that the trainer has said; nothing after `patience` seconds of silence."""
        try:
            events = [self._events.get(timeout=patience)]
        except queue.Empty:
            return []
        while not self._events.empty():
            events.append(self._events.get())
        return events

    def _gave_up(self) -> Failure:
        times = f"The trainer died {self._settings.max_attempts} times without a step of progress"
        if self._last_exit == -signal.SIGKILL:
            return Failure(
                ResourceExhausted.__name__,
                f"{times}, ended by the system: most often for want of memory. Use a smaller "
                "batch or shorter examples.",
            )
        return Failure(Internal.__name__, f"{times}. The server's logs/trainer.log has the reason.")

    def _start_trainer(self) -> None:
        self._trainer = TrainerProcess(
            (EMBEDDED,), self._settings.device, self._settings.data / "logs" / "trainer.log"
        )
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._trainer.follow(self._hear)

    def _hear(self, event: Event | None) -> None:
        self._events.put(event)
        self._awake.set()


def main() -> None:
    channel = parent_channel()
    lines = channel.lines()
    owner = next(lines).decode()
    worker = Worker(Settings.from_json(next(lines)), owner, channel)
    follow_parent(channel, worker.wake)
    worker.work()


if __name__ == "__main__":
    main()
