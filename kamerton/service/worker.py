"""Carries runs of one base model to ACTIVE or FAILED, several at the same time.

This process owns the leases and the heartbeat; the training itself is its warm child, so that a
crash or running out of memory ends one attempt at the runs it had and nothing else.
"""

from __future__ import annotations

import itertools
import queue
import shutil
import signal
import threading
import time
from pathlib import Path

from kamerton import meminfo
from kamerton.errors import Internal, KamertonError, ResourceExhausted, Unavailable
from kamerton.inference.catalog import EMBEDDED, Catalog
from kamerton.processes import Channel, follow_parent, parent_channel, report
from kamerton.service.app import tuned_model_folder
from kamerton.service.carried import Carried
from kamerton.service.runners import STOP
from kamerton.settings import Settings
from kamerton.store import operations
from kamerton.store.database import Database
from kamerton.store.operations import CANCELLED_FAILURE, Claim, Note
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
from kamerton.types import Failure

POLL_SECONDS = 1.0
"""How often to look at the queue when nobody wakes us; other servers may share it."""
GIVE_UP_SECONDS = 4.0
"""How long a trainer may take to hear that its only run is cancelled."""
LOADING_SECONDS = 1800.0
"""How long the first step may take, with all that goes before it."""
GATHER_SECONDS = 0.02
"""Runs that go together take their steps at nearly the same time: one transaction for all."""
RESTART_SECONDS = 1.0
"""A trainer that dies at once must not keep a core busy."""
DISK_SECONDS = 30.0
"""How long to wait for room before a run is taken up again."""
Heard = tuple[TrainerProcess | None, Event | None]
"""What a worker hears: of a trainer an event, or that it has died (None); without one, that its
parent woke it."""


class Worker:
    """Claims runs and has a trainer do them.

    Runs of another base model wait until those in progress have ended, and nobody overtakes them.

    A trainer that dies takes all its runs along, and nobody can tell which of them it died of. So
    a run that had not come a step further in that attempt is a suspect: it is taken only when all
    others in progress have, and until it has as well, no other joins. Then a run that kills its
    trainer again and again is FAILED by its own attempts alone: those beside it have their step,
    which sets their count back, and lose at most what came after their last checkpoint.
    """

    def __init__(self, settings: Settings, owner: str, channel: Channel) -> None:
        self._settings = settings
        self._owner = owner
        self._channel = channel
        self._database = Database(settings.database_address())
        self._catalog = Catalog.read(settings)
        self._numbers = itertools.count(1)
        self._carried: dict[int, Carried] = {}
        """By the numbers of their runs."""
        self._most = self._bound = _most_runs(settings)
        """Fewer after the memory did not do for so many, until the queue is empty."""
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._look_at = self._renew_at = self._full_until = 0.0
        """When to look at the queue, when to renew the leases, and until when the disk counts as
        full; of the monotonic clock."""
        self._last_exit: int | None = None
        self._start_trainer()

    def hear(self, line: bytes) -> None:
        """Look at the queue, and whether runs in progress shall be cancelled; or stop."""
        if line == STOP:
            self._stopping.set()
        self._heard.put((None, None))

    def work(self) -> None:
        """Until it is told to stop, or its parent ends."""
        while self._carried or not self._stopping.is_set():
            try:
                self._turn()
            except Exception:  # The leases bring the runs back.
                report()
                for carried in self._carried.values():
                    self._trainer.give_up(carried.run)
                self._carried.clear()

    def _turn(self) -> None:
        self._take_more()
        events = self._next_events()
        for event in events:
            self._take_in(event)
        self._renew()
        for carried in [carried for carried in self._carried.values() if carried.ending]:
            self._end(carried)
        if None in events or not (events or self._trainer.alive()):
            self._bury_trainer()
        for carried in self._carried.values():
            self._steer(carried)

    def _take_more(self) -> None:
        """Claim runs while there is room for them."""
        try:
            while self._has_room() and time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + POLL_SECONDS
                claim = self._claim()
                if claim is None:
                    return
                self._begin(claim)
                self._look_at = 0.0
        except Exception:  # A busy database, say: the lease brings the run back.
            report()

    def _has_room(self) -> bool:
        if self._stopping.is_set() or time.monotonic() < self._full_until:
            return False
        if not self._carried:
            return True
        if len(self._carried) >= self._most or meminfo.is_short():
            return False
        return not any(carried.is_suspect for carried in self._carried.values())

    def _claim(self) -> Claim | None:
        """The oldest run that may join those in progress."""
        carried = list(self._carried.values())
        claim = operations.claim(
            self._database,
            self._owner,
            self._settings.lease_seconds,
            carried[0].base_model if carried else None,
            unsuspected=not all(one.has_progress for one in carried),
            besides=[one.claim.operation_id for one in carried],
        )
        if claim is None and not carried:
            self._most = self._bound
        return claim

    def _begin(self, claim: Claim) -> None:
        """Have the trainer do a run, unless it is over before."""
        if claim.cancelled and not (claim.keep and claim.tuned_model.snapshots):
            operations.fail(self._database, claim, CANCELLED_FAILURE)
            return
        if claim.attempts_without_progress > self._most_attempts():
            operations.fail(self._database, claim, self._gave_up())
            return
        folder = tuned_model_folder(self._settings, claim.tuned_model.uid)
        try:
            run = self._run(claim, folder)
        except KamertonError as error:  # The base model is no longer in the catalog, say.
            operations.fail(self._database, claim, failure_of(error))
            return
        if not self._carried:
            self._killed_before = meminfo.oom_kills()
        # Before its first step it may have to load a large base model.
        patience = max(LOADING_SECONDS, self._settings.step_seconds)
        carried = Carried(claim, run, folder, time.monotonic() + patience)
        self._carried[run.number] = carried
        self._trainer.start(run)
        if claim.cancelled:
            self._trainer.give_up(run, keep=True)
            carried.given_up = True

    def _most_attempts(self) -> int:
        """Of trainers that several runs share, the first death may have been another's doing."""
        return max(self._settings.max_attempts, 2 if self._bound > 1 else 1)

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

    def _next_events(self) -> list[Event | None]:
        """All that the trainer of now has said; none after a while of silence."""
        deadlines = [carried.deadline for carried in self._carried.values()]
        left = max(0.1, min(deadlines, default=float("inf")) - time.monotonic())
        patience = min(POLL_SECONDS, self._settings.lease_seconds / 4, left)
        try:
            heard = [self._heard.get(timeout=patience)]
        except queue.Empty:
            return []
        if len(self._carried) > 1:
            time.sleep(GATHER_SECONDS)
        while not self._heard.empty():
            heard.append(self._heard.get())
        if (None, None) in heard:
            self._look_at = self._renew_at = 0.0
        # The last word of a dead trainer ends no other.
        return [event for trainer, event in heard if trainer is self._trainer]

    def _take_in(self, event: Event | None) -> None:
        if isinstance(event, Ready):
            self._channel.send(b"ready")
        elif event is not None and (carried := self._carried.get(event.run)) is not None:
            if isinstance(event, Noted):
                carried.notes.append(Note(event.kind, event.message, event.step))
            elif isinstance(event, Stepped | Busy):
                carried.deadline = time.monotonic() + self._settings.step_seconds
                if isinstance(event, Stepped):
                    carried.snapshots.append(event.snapshot)
            else:
                carried.ending = event

    def _renew(self) -> None:
        """Write down what is new, and from time to time learn of all who wants their end."""
        every = list(self._carried.values())
        now = time.monotonic()
        if now < self._renew_at:
            every = [one for one in every if one.has_news]
        else:
            self._renew_at = now + self._settings.lease_seconds / 4
        if not every:
            return
        lease = self._settings.lease_seconds
        try:
            holds = operations.renew_all(self._database, lease, [one.news() for one in every])
        except (Unavailable, ResourceExhausted):
            return  # A backup or a full disk, say. Training goes on, and the next time tells more.
        for one, hold in zip(every, holds, strict=True):
            if one.written(hold):
                self._look_at = 0.0  # Somebody may have waited for its first progress.

    def _steer(self, carried: Carried) -> None:
        """Give up or pause a run where that is due, and end a trainer that hangs."""
        hold = carried.hold
        if (hold.cancelled or not hold.ours) and not carried.given_up:
            self._trainer.give_up(carried.run, keep=hold.ours and hold.keep)
            carried.given_up = True
            # What is to be kept may take a step, and a card; and for the sake of one nobody else's
            # trainer is ended.
            if not hold.keep and len(self._carried) == 1:
                carried.deadline = min(carried.deadline, time.monotonic() + GIVE_UP_SECONDS)
        if self._stopping.is_set() and not carried.paused:
            self._trainer.pause(carried.run)
            carried.paused = True
        if time.monotonic() > carried.deadline:
            self._trainer.kill()  # It hangs; what it still says is that it has died.

    def _end(self, carried: Carried) -> None:
        """Write down how a run ended."""
        del self._carried[carried.run.number]
        self._look_at = 0.0
        try:
            if carried.snapshots or carried.notes:
                # Told in vain so far; this raises when it is so again.
                operations.renew_all(self._database, self._settings.lease_seconds, [carried.news()])
            self._write_ending(carried)
            if not operations.exists(self._database, carried.claim):
                shutil.rmtree(carried.folder, ignore_errors=True)
        except Exception:  # A busy database, say: the lease brings the run back.
            report()

    def _write_ending(self, carried: Carried) -> None:
        claim, ending = carried.claim, carried.ending
        if isinstance(ending, Finished):
            why, kept = ending.outcome.stop_reason, ending.outcome.kept_step
            operations.finish(self._database, claim, why, kept, ending.verdict, ending.card)
            # Not before: should this process die in between, there is nothing to train again.
            shutil.rmtree(carried.folder / "checkpoints", ignore_errors=True)
        elif isinstance(ending, Left):
            note = Note("paused", "The server stops; what was learned is written down.")
            operations.give_back(self._database, claim, note, counts=False)
        elif isinstance(ending, Failed):
            self._fail(claim, ending.failure)

    def _fail(self, claim: Claim, failure: Failure) -> None:
        if failure.reason != DISK_FULL:
            operations.fail(self._database, claim, failure)
            return
        note = Note("disk_full", f"{failure.message} The run goes on by itself then.")
        operations.give_back(self._database, claim, note, counts=False)
        self._full_until = time.monotonic() + DISK_SECONDS

    def _bury_trainer(self) -> None:
        """Give its runs back, to be resumed, and start another."""
        self._trainer.kill()
        self._last_exit = self._trainer.exit_status()
        lost = list(self._carried.values())
        self._carried.clear()
        if not lost:
            self._stopping.wait(RESTART_SECONDS)
        starved = bool(lost) and meminfo.oom_kills() > self._killed_before
        if starved and len(lost) > 1:
            self._most = len(lost) // 2
        for carried in lost:
            try:
                self._give_back(carried, len(lost) - 1, starved)
            except Exception:  # A busy database, say: the lease brings the run back.
                report()
        self._start_trainer()
        self._look_at = 0.0

    def _give_back(self, carried: Carried, others: int, starved: bool) -> None:
        """A run whose trainer died with so many other runs, `starved`: for want of memory."""
        claim = carried.claim
        said = f"The trainer died ({_status(self._last_exit)})"
        if others:
            said += f" with this run and {others} more"
        # Too many runs for the memory are no run's own fault.
        crowded = starved and others > 0
        if crowded:
            said += " for want of memory: from now on fewer runs at the same time"
        elif starved:
            self._halve(claim)
        note = Note("trainer_died", f"{said}.")
        operations.give_back(self._database, claim, note, counts=not crowded)
        if not operations.exists(self._database, claim):
            shutil.rmtree(carried.folder, ignore_errors=True)

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

    def _gave_up(self) -> Failure:
        times = f"The trainer died {self._most_attempts()} times without a step of progress"
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
        settings = self._settings
        log = settings.data / "logs" / "trainer.log"
        trainer = TrainerProcess((EMBEDDED,), settings.device, log, settings.trainer)
        self._trainer = trainer
        self._killed_before = meminfo.oom_kills()
        trainer.follow(lambda event: self._heard.put((trainer, event)))


def _most_runs(settings: Settings) -> int:
    """At the same time; of TRL's trainer there can be only one in a process."""
    return 1 if settings.trainer == "trl" else settings.runs_together


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
