"""Carries one operation after another to ACTIVE or FAILED.

This process owns the lease and the heartbeat; the training itself is its warm child, so that a
crash or running out of memory ends one attempt at one run and nothing else.
"""

from __future__ import annotations

import itertools
import queue
import re
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Literal

from kamerton.errors import Internal, KamertonError, ResourceExhausted, Unavailable
from kamerton.inference.catalog import EMBEDDED, Catalog
from kamerton.processes import Channel, follow_parent, parent_channel, report
from kamerton.service.app import tuned_model_folder
from kamerton.service.runners import STOP
from kamerton.settings import Settings
from kamerton.store import operations
from kamerton.store.database import Database
from kamerton.store.operations import CANCELLED_FAILURE, Claim, Hold, Note
from kamerton.training.trainer_process import (
    DISK_FULL,
    Busy,
    Event,
    Failed,
    Finished,
    Left,
    Noted,
    Ready,
    Run,
    Stepped,
    TrainerProcess,
    failure_of,
)
from kamerton.types import Failure, Snapshot

POLL_SECONDS = 1.0
"""How often to look at the queue when nobody wakes us; other servers may share it."""
GIVE_UP_SECONDS = 4.0
"""How long a trainer may take to hear that a run is cancelled."""
LOADING_SECONDS = 1800.0
"""How long the first step may take, with all that goes before it."""
RESTART_SECONDS = 1.0
"""A trainer that dies at once must not keep a core busy."""
DISK_SECONDS = 30.0
"""How long to wait for room before a run is taken up again."""
Heard = Event | Literal["woken"] | None
"""What a worker hears: its trainer, its parent, or that the trainer has died (None)."""


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
        self._stopping = threading.Event()
        self._last_exit: int | None = None
        self._start_trainer()

    def hear(self, line: bytes) -> None:
        """Look at the queue, and whether the run in progress shall be cancelled; or stop."""
        if line == STOP:
            self._stopping.set()
        self._events.put("woken")
        self._awake.set()

    def work(self) -> None:
        """Until it is told to stop, or its parent ends."""
        while not self._stopping.is_set():
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

    def _take_idle(self, event: Heard) -> None:
        if isinstance(event, Ready):
            self._channel.send(b"ready")
        elif event is None:
            time.sleep(RESTART_SECONDS)
            self._start_trainer()

    def _carry(self, claim: Claim) -> None:
        """Train until the run has ended, or is no longer ours."""
        if claim.cancelled and not (claim.keep and claim.tuned_model.snapshots):
            operations.fail(self._database, claim, CANCELLED_FAILURE)
            return
        folder = tuned_model_folder(self._settings, claim.tuned_model.uid)
        if claim.attempts_without_progress > self._settings.max_attempts:
            operations.fail(self._database, claim, self._gave_up())
            return
        try:
            run = self._run(claim, folder)
        except KamertonError as error:  # The base model is no longer in the catalog, say.
            operations.fail(self._database, claim, failure_of(error))
            return
        killed_before = oom_kills()
        self._trainer.start(run)
        if claim.cancelled:
            self._trainer.give_up(run, keep=True)
        try:
            ending = self._follow(claim, run)
        except Exception:
            self._trainer.give_up(run)
            raise
        if isinstance(ending, Finished):
            outcome = ending.outcome
            operations.finish(
                self._database,
                claim,
                outcome.stop_reason,
                outcome.kept_step,
                ending.verdict,
                ending.card,
            )
            # Not before: should this process die in between, there is nothing to train again.
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        elif isinstance(ending, Failed):
            self._fail(claim, ending.failure)
        elif isinstance(ending, Left):
            note = Note("paused", "The server stops; what was learned is written down.")
            operations.give_back(self._database, claim, note, counts=False)
        else:  # The trainer died: give the run back, to be resumed.
            self._trainer.kill()
            self._last_exit = self._trainer.exit_status()
            if oom_kills() > killed_before:
                self._halve(claim)
            self._start_trainer()
            note = Note("trainer_died", f"The trainer died ({_status(self._last_exit)}).")
            operations.give_back(self._database, claim, note)
        if not operations.exists(self._database, claim):
            shutil.rmtree(folder, ignore_errors=True)

    def _fail(self, claim: Claim, failure: Failure) -> None:
        if failure.reason != DISK_FULL:
            operations.fail(self._database, claim, failure)
            return
        note = Note("disk_full", f"{failure.message} The run goes on by itself then.")
        operations.give_back(self._database, claim, note, counts=False)
        self._stopping.wait(DISK_SECONDS)

    def _halve(self, claim: Claim) -> None:
        """The system ended the trainer for want of memory: fewer rows at once may fit."""
        rows = claim.micro_batch or claim.tuned_model.hyperparameters.batch_size
        if rows > 1:
            operations.halve(self._database, claim, (rows + 1) // 2)
            note = Note(
                "out_of_memory",
                f"The system ended the trainer for want of memory: from now on {(rows + 1) // 2} "
                "rows at a time, with the same batch and loss.",
            )
            operations.renew(self._database, claim, self._settings.lease_seconds, notes=[note])

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
            early_stopping=model.early_stopping,
            micro_batch=claim.micro_batch,
            card_share=self._settings.card_share,
        )

    def _follow(self, claim: Claim, run: Run) -> Finished | Failed | Left | None:
        """Keep snapshots and the lease until the run ends; None when the trainer died."""
        given_up = claim.cancelled
        paused = False
        # Before its first step it may have to load a large base model.
        deadline = time.monotonic() + max(LOADING_SECONDS, self._settings.step_seconds)
        snapshots: list[Snapshot] = []
        notes: list[Note] = []
        while True:
            patience = min(self._settings.lease_seconds / 4, max(0.1, deadline - time.monotonic()))
            events = self._next_events(patience)
            if any(isinstance(event, Stepped | Busy) for event in events):
                deadline = time.monotonic() + self._settings.step_seconds
            elif time.monotonic() > deadline:
                self._trainer.kill()  # It hangs; what it still says is that it has died.
            elif not events and not self._trainer.alive():
                return None
            for event in events:
                if isinstance(event, Stepped) and event.run == run.number:
                    snapshots.append(event.snapshot)
                elif isinstance(event, Noted) and event.run == run.number:
                    notes.append(Note(event.kind, event.message, event.step))
            hold = self._renew(claim, snapshots, notes)
            for event in events:
                if isinstance(event, Ready):
                    self._channel.send(b"ready")
                elif event is None:
                    return None
                elif isinstance(event, Finished | Failed | Left) and event.run == run.number:
                    if snapshots or notes:  # Told in vain so far; this raises when it is so again.
                        operations.renew(
                            self._database, claim, self._settings.lease_seconds, snapshots, notes
                        )
                    return event
            if (hold.cancelled or not hold.ours) and not given_up:
                self._trainer.give_up(run, keep=hold.ours and hold.keep)
                given_up = True
                if not hold.keep:  # What is to be kept may take a step, and a card.
                    deadline = min(deadline, time.monotonic() + GIVE_UP_SECONDS)
            if self._stopping.is_set() and not paused:
                self._trainer.pause(run)
                paused = True

    def _renew(self, claim: Claim, snapshots: list[Snapshot], notes: list[Note]) -> Hold:
        """See operations.renew; takes out of the lists what was kept."""
        try:
            hold = operations.renew(
                self._database, claim, self._settings.lease_seconds, snapshots, notes
            )
        except (Unavailable, ResourceExhausted):
            # A backup or a full disk, say. The training goes on, and the next time tells more.
            return Hold(True)
        snapshots.clear()
        notes.clear()
        return hold

    def _next_events(self, patience: float) -> list[Heard]:
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
                "TRAINER_KILLED",
            )
        return Failure(
            Internal.__name__,
            f"{times}. The server's logs/trainer.log has the reason.",
            "TRAINER_DIED",
        )

    def _start_trainer(self) -> None:
        self._trainer = TrainerProcess(
            (EMBEDDED,), self._settings.device, self._settings.data / "logs" / "trainer.log"
        )
        events: queue.SimpleQueue[Heard] = queue.SimpleQueue()

        def hear(event: Heard) -> None:
            """Into the queue of its own time: the last word of a dead trainer ends no other."""
            events.put(event)
            self._awake.set()

        self._events = events
        self._trainer.follow(hear)


def oom_kills() -> int:
    """How many processes the system has ended for want of memory since it started; 0 where it
    does not say."""
    try:
        found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _status(exit_status: int | None) -> str:
    if exit_status is None or exit_status >= 0:
        return f"exit status {exit_status}"
    try:
        return signal.Signals(-exit_status).name
    except ValueError:
        return f"signal {-exit_status}"


def main() -> None:
    channel = parent_channel()
    lines = channel.lines()
    owner = next(lines).decode()
    worker = Worker(Settings.from_json(next(lines)), owner, channel)
    follow_parent(channel, worker.hear)
    worker.work()


if __name__ == "__main__":
    main()
