"""Training as a warm child process, a thread for each run; and its side in the worker."""

from __future__ import annotations

import contextlib
import errno
import queue
import tempfile
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kamerton import folders
from kamerton.card import Card
from kamerton.errors import (
    CANCELLED,
    Cancelled,
    FailedPrecondition,
    Internal,
    KamertonError,
    NotFound,
    Paused,
    ResourceExhausted,
)
from kamerton.processes import Channel, Child, follow_parent, parent_channel, report
from kamerton.training.outcome import Outcome, read_outcome
from kamerton.types import (
    EARLY_STOPPING,
    NO_BUDGET,
    BaseModel,
    Budget,
    EarlyStopping,
    Example,
    Failure,
    Hyperparameters,
    Snapshot,
)

if TYPE_CHECKING:
    from kamerton.inference.weights import LoadedBase
    from kamerton.training.together import Together

EXAMPLES = "examples.jsonl"
HELD_OUT = "held_out.jsonl"
DISK_FULL = "DISK_FULL"
CANCELLED_RUN = "CANCELLED"
_REASONS: Mapping[type[KamertonError], str] = {
    FailedPrecondition: "FAILED_PRECONDITION",
    NotFound: "BASE_MODEL_MISSING",
    ResourceExhausted: "RESOURCE_EXHAUSTED",
}
"""Of errors that carry none of their own."""

# The channel's messages; the worker speaks the first four, the child the others.


class Start(msgspec.Struct, tag=True):
    base_models: tuple[BaseModel, ...]
    """To be loaded before the first run."""
    device: str
    trainer: str
    """lean, or trl: whose steps a run takes."""


class Run(msgspec.Struct, tag=True):
    number: int
    base_model: BaseModel
    hyperparameters: Hyperparameters
    examples: str
    """The folder that `keep_examples` made."""
    directory: str
    parent: str | None = None
    budget: Budget = NO_BUDGET
    early_stopping: EarlyStopping = EARLY_STOPPING
    micro_batch: int | None = None
    card_share: float = 0.0
    """Of the run's time, for its report card."""


class GiveUp(msgspec.Struct, tag=True):
    number: int
    """Of the run that is meant: the message may come after its end."""
    keep: bool = False
    """Whether its best step so far becomes the model."""


class Pause(msgspec.Struct, tag=True):
    """Write down where the run is, and leave it."""

    number: int


class Ready(msgspec.Struct, tag=True):
    pass


class Stepped(msgspec.Struct, tag=True):
    run: int
    snapshot: Snapshot


class Busy(msgspec.Struct, tag=True):
    """The run is not hung, although it takes no step."""

    run: int


class Noted(msgspec.Struct, tag=True):
    """Something that belongs to the story of a run."""

    run: int
    kind: str
    message: str
    step: int | None = None


class Finished(msgspec.Struct, tag=True):
    run: int
    outcome: Outcome = Outcome()
    verdict: str = ""
    card: Card | None = None


class Failed(msgspec.Struct, tag=True):
    run: int
    failure: Failure


class Left(msgspec.Struct, tag=True):
    """The run is written down as far as it is."""

    run: int


Event = Ready | Stepped | Busy | Noted | Finished | Failed | Left


class TrainerProcess:
    """A child that trains runs, at the same time where they have the same base model, which it
    keeps warm."""

    def __init__(
        self, base_models: tuple[BaseModel, ...], device: str, log: Path, trainer: str = "lean"
    ) -> None:
        self.child = Child(__spec__.name, log)
        self._decoder = msgspec.json.Decoder(Event)
        self._send(Start(base_models, device, trainer))

    def start(self, run: Run) -> None:
        self._send(run)

    def give_up(self, run: Run, keep: bool = False) -> None:
        """Stop a run at its next step; a Failed(Cancelled) follows, or Finished to `keep` it."""
        self._send(GiveUp(run.number, keep))

    def pause(self, run: Run) -> None:
        """Write down where a run is at its next step; Left follows, or what ended it before."""
        self._send(Pause(run.number))

    def follow(self, on_event: Callable[[Event | None], None]) -> None:
        """Pass on what the child says, from a thread; None when it has died."""

        def follow() -> None:
            for line in self.child.channel.lines():
                on_event(self._decoder.decode(line))
            on_event(None)

        threading.Thread(target=follow, name="trainer", daemon=True).start()

    def alive(self) -> bool:
        return self.child.alive()

    def exit_status(self) -> int | None:
        """Negative: the number of the signal that ended it."""
        return self.child.exit_status()

    def kill(self) -> None:
        self.child.kill()

    def _send(self, message: msgspec.Struct) -> None:
        try:
            self.child.channel.send(msgspec.json.encode(message))
        except OSError:
            pass  # It died; `follow` says so.


def keep_examples(
    examples: Sequence[Example], folder: Path, held_out: Sequence[Example] = ()
) -> None:
    """Publish examples for the trainer, so that a run can never see some of them only."""
    encoder = msgspec.json.Encoder()

    def write(into: Path) -> None:
        for name, kept in ((EXAMPLES, examples), (HELD_OUT, held_out)):
            with (into / name).open("wb") as lines:
                for example in kept:
                    lines.write(encoder.encode(example) + b"\n")

    folders.publish(folder, write)


def kept_examples(folder: Path) -> list[Example]:
    """The examples to train on. Raises FailedPrecondition when what was kept is damaged."""
    if not folders.is_whole(folder):
        raise FailedPrecondition(
            "The examples of this run are missing or damaged on disk. Tune the model once more."
        ).at("EXAMPLES_DAMAGED")
    return _read(folder / EXAMPLES)


def kept_held_out(folder: Path) -> list[Example]:
    """The examples to measure with, of a folder that `kept_examples` has read."""
    file = folder / HELD_OUT
    return _read(file) if file.exists() else []  # Older runs have none.


def _read(file: Path) -> list[Example]:
    decoder = msgspec.json.Decoder(Example)
    with file.open("rb") as lines:
        return [decoder.decode(line) for line in lines]


def main() -> None:
    """The child: trains what comes through the channel until the parent is gone."""
    channel = parent_channel()
    commands: queue.SimpleQueue[Start | Run] = queue.SimpleQueue()
    stops: dict[int, GiveUp | Pause] = {}
    decoder = msgspec.json.Decoder(Start | Run | GiveUp | Pause)

    def take(line: bytes) -> None:
        message = decoder.decode(line)
        if isinstance(message, GiveUp | Pause):
            stops[message.number] = message
        else:
            commands.put(message)

    follow_parent(channel, take)
    _be_ended_first()
    import torch

    start = commands.get()
    assert isinstance(start, Start)
    shared = _Shared(start, torch.get_num_threads())
    try:
        for base_model in start.base_models:
            _warm(*shared.get(base_model))
    except Exception:  # The runs that need it will say it again, to whom it concerns.
        report()
    tell(channel, Ready())
    runs: dict[threading.Thread, Run] = {}
    while True:
        run = commands.get()
        assert isinstance(run, Run)
        runs = {thread: other for thread, other in runs.items() if thread.is_alive()}
        before = [thread for thread, other in runs.items() if _are_apart(run, other)]
        thread = threading.Thread(
            target=_carry, args=(run, before, shared, channel, stops), daemon=True
        )
        runs[thread] = run
        thread.start()


def _are_apart(run: Run, other: Run) -> bool:
    """Whether one must wait for the other's end: there may be no room for two base models, and an
    attempt that the worker has given up may still write to its folder."""
    return run.base_model != other.base_model or run.directory == other.directory


class _Shared:
    """The base model that is in memory, and what computes the steps of all runs on it."""

    def __init__(self, start: Start, threads: int) -> None:
        self.trainer = start.trainer
        self._device = start.device
        self._threads = threads
        self._loading = threading.Lock()
        self._held: tuple[LoadedBase, Together] | None = None

    def get(self, base_model: BaseModel) -> tuple[LoadedBase, Together]:
        """Load a base model, in place of another."""
        import torch

        from kamerton.inference import weights
        from kamerton.training.together import Together

        with self._loading:
            if self._held is None or self._held[0].base_model != base_model:
                self._held = None
                torch.set_num_threads(self._threads)
                loaded = weights.load(base_model, self._device)
                self._held = loaded, Together(loaded)
                # More threads than one only wait for each other on a small model.
                torch.set_num_threads(1 if loaded.is_small else self._threads)
            return self._held


def _carry(
    run: Run,
    before: Sequence[threading.Thread],
    shared: _Shared,
    channel: Channel,
    stops: MutableMapping[int, GiveUp | Pause],
) -> None:
    """A run from its beginning to its last word, when those `before` it have ended."""
    for thread in before:
        thread.join()
    tell(channel, _train(run, shared, channel, stops))
    stops.pop(run.number, None)


def _train(
    run: Run,
    shared: _Shared,
    channel: Channel,
    stops: Mapping[int, GiveUp | Pause],
) -> Finished | Failed | Left:
    """Any failure must become an event with a reason: hence the broad except."""
    from kamerton.training.examination import Examination
    from kamerton.training.train import Limits

    def on_snapshot(snapshot: Snapshot) -> bool:
        tell(channel, Stepped(run.number, snapshot))
        stop = stops.get(run.number)
        if isinstance(stop, Pause):
            raise Paused("")
        if stop is not None and not stop.keep:
            raise Cancelled(CANCELLED).at(CANCELLED_RUN, step=snapshot.step)
        return stop is None

    def go_on() -> None:
        tell(channel, Busy(run.number))
        stop = stops.get(run.number)
        if isinstance(stop, Pause):
            raise Paused("")
        if stop is not None and not stop.keep:
            raise Cancelled(CANCELLED).at(CANCELLED_RUN)

    def on_event(kind: str, message: str, step: int | None) -> None:
        tell(channel, Noted(run.number, kind, message, step))

    try:
        directory, kept = Path(run.directory), Path(run.examples)
        examples, held_out = kept_examples(kept), kept_held_out(kept)
        loaded, together = shared.get(run.base_model)
        examination = Examination(loaded, examples, held_out, directory, run.card_share, go_on)
        if before := examination.before():
            on_event("baseline", before.sentence, None)
        adapter = _trainer(shared.trainer)(
            run.base_model,
            examples,
            run.hyperparameters,
            directory,
            on_snapshot,
            loaded=loaded,
            parent=None if run.parent is None else Path(run.parent),
            held_out=held_out,
            limits=Limits(run.budget, run.early_stopping, run.micro_batch),
            on_event=on_event,
            together=together,
        )
        card, verdict = examination.after(adapter)
    except Paused:
        return Left(run.number)
    except KamertonError as error:
        return Failed(run.number, failure_of(error))
    except Exception as error:
        report()
        return Failed(run.number, failure_of(_unexpected(error)))
    return Finished(run.number, read_outcome(adapter), verdict, card)


def _trainer(name: str) -> Callable[..., Path]:
    """Raises FailedPrecondition where TRL is not installed."""
    if name == "trl":
        from kamerton.training import trl_engine

        return trl_engine.train
    from kamerton.training.train import train

    return train


def _be_ended_first() -> None:
    """When memory runs out, this process is to be ended, and no neighbour."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _warm(loaded: LoadedBase, together: Together) -> None:
    """Train a step on nothing that matters, so that the first real one is not the slow one."""
    from kamerton.training.train import train

    with tempfile.TemporaryDirectory() as directory:
        train(
            loaded.base_model,
            [Example.pair("1", "2")],
            Hyperparameters(
                epoch_count=1, batch_size=1, learning_rate=1e-3, peak_learning_rate=1e-3
            ),
            Path(directory),
            lambda snapshot: True,
            loaded=loaded,
            together=together,
        )


def failure_of(error: KamertonError) -> Failure:
    reason = error.reason or _REASONS.get(type(error), "INTERNAL")
    return Failure(type(error).__name__, error.message, reason, error.step, error.row)


def _unexpected(error: Exception) -> KamertonError:
    """In our words."""
    from kamerton.inference.weights import is_out_of_memory

    if is_out_of_memory(error):
        return ResourceExhausted(
            "The trainer ran out of memory before its first step or while it was measured: use "
            "shorter examples, a smaller base model or more memory."
        ).at("OUT_OF_MEMORY")
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return ResourceExhausted(
            f"The run could not be kept on disk: {error.strerror}. Make room and try again."
        ).at(DISK_FULL if full else "DISK_FAILED")
    return Internal(f"The trainer failed: {type(error).__name__}: {error}").at("INTERNAL")


def tell(channel: Channel, event: Event) -> None:
    channel.send(msgspec.json.encode(event))


if __name__ == "__main__":
    main()
