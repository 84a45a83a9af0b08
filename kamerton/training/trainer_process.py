"""Training as a warm child process, and the side of it that lives in the worker."""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kamerton import folders
from kamerton.errors import (
    CANCELLED,
    Cancelled,
    FailedPrecondition,
    Internal,
    KamertonError,
    ResourceExhausted,
)
from kamerton.processes import Channel, Child, follow_parent, parent_channel, report
from kamerton.types import NO_BUDGET, BaseModel, Budget, Example, Hyperparameters, Snapshot

if TYPE_CHECKING:
    from kamerton.inference.weights import LoadedBase

EXAMPLES = "examples.jsonl"
HELD_OUT = "held_out.jsonl"

# The channel's messages; the worker speaks the first three, the child the others.


class Start(msgspec.Struct, tag=True):
    base_models: tuple[BaseModel, ...]
    """To be loaded before the first run."""
    device: str


class Run(msgspec.Struct, tag=True):
    number: int
    base_model: BaseModel
    hyperparameters: Hyperparameters
    examples: str
    """The folder that `keep_examples` made."""
    directory: str
    parent: str | None = None
    budget: Budget = NO_BUDGET


class GiveUp(msgspec.Struct, tag=True):
    number: int
    """Of the run that is meant: the message may come after its end."""


class Ready(msgspec.Struct, tag=True):
    pass


class Stepped(msgspec.Struct, tag=True):
    run: int
    snapshot: Snapshot


class Finished(msgspec.Struct, tag=True):
    run: int
    stop_reason: str = ""
    """Why it ended before its last step, if it did."""


class Failed(msgspec.Struct, tag=True):
    run: int
    kind: str
    message: str


Event = Ready | Stepped | Finished | Failed


class TrainerProcess:
    """A child that trains one run after another on a base model it keeps warm."""

    def __init__(self, base_models: tuple[BaseModel, ...], device: str, log: Path) -> None:
        self.child = Child(__spec__.name, log)
        self._decoder = msgspec.json.Decoder(Event)
        self._send(Start(base_models, device))

    def start(self, run: Run) -> None:
        self._send(run)

    def give_up(self, run: Run) -> None:
        """Stop a run at its next step; a Failed(Cancelled) follows."""
        self._send(GiveUp(run.number))

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
        raise FailedPrecondition("The examples of this run are missing or damaged on disk.")
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
    given_up: set[int] = set()
    decoder = msgspec.json.Decoder(Start | Run | GiveUp)

    def take(line: bytes) -> None:
        message = decoder.decode(line)
        if isinstance(message, GiveUp):
            given_up.add(message.number)
        else:
            commands.put(message)

    follow_parent(channel, take)
    import torch

    from kamerton.inference import weights

    start = commands.get()
    assert isinstance(start, Start)
    threads = torch.get_num_threads()
    bases: dict[str, LoadedBase] = {}

    def base(base_model: BaseModel) -> LoadedBase:
        """Load a base model, one at a time: there may be no room for two."""
        if base_model.name not in bases:
            bases.clear()
            bases[base_model.name] = weights.load(base_model, start.device)
            # More threads than one only wait for each other on a small model.
            torch.set_num_threads(1 if bases[base_model.name].is_small else threads)
        return bases[base_model.name]

    try:
        for base_model in start.base_models:
            _warm(base(base_model))
    except Exception:  # The runs that need it will say it again, to whom it concerns.
        report()
    tell(channel, Ready())
    while True:
        run = commands.get()
        assert isinstance(run, Run)
        tell(channel, _train(run, base, channel, given_up))


def _train(
    run: Run, base: Callable[[BaseModel], LoadedBase], channel: Channel, given_up: set[int]
) -> Finished | Failed:
    """Any failure must become an event with a reason: hence the broad except."""
    from kamerton.training.train import read_stop_reason, train

    def on_snapshot(snapshot: Snapshot) -> bool:
        tell(channel, Stepped(run.number, snapshot))
        if run.number in given_up:
            raise Cancelled(CANCELLED)
        return True

    try:
        kept = Path(run.examples)
        adapter = train(
            run.base_model,
            kept_examples(kept),
            run.hyperparameters,
            Path(run.directory),
            on_snapshot,
            loaded=base(run.base_model),
            parent=None if run.parent is None else Path(run.parent),
            held_out=kept_held_out(kept),
            budget=run.budget,
        )
    except KamertonError as error:
        return Failed(run.number, type(error).__name__, error.message)
    except Exception as error:
        return _unexpected(run, error)
    return Finished(run.number, read_stop_reason(adapter))


def _warm(loaded: LoadedBase) -> None:
    """Train a step on nothing that matters, so that the first real one is not the slow one."""
    from kamerton.training.train import train

    with tempfile.TemporaryDirectory() as directory:
        train(
            loaded.base_model,
            [Example.pair("1", "2")],
            Hyperparameters(epoch_count=1, batch_size=1, learning_rate=0.0, peak_learning_rate=0.0),
            Path(directory),
            lambda snapshot: True,
            loaded=loaded,
        )


def _unexpected(run: Run, error: Exception) -> Failed:

    from kamerton.inference.weights import is_out_of_memory

    report()
    if is_out_of_memory(error):
        return Failed(
            run.number,
            ResourceExhausted.__name__,
            "The trainer ran out of memory: use a smaller batch or shorter examples.",
        )
    if isinstance(error, OSError):
        return Failed(
            run.number,
            ResourceExhausted.__name__,
            f"The run could not be kept on disk: {error.strerror}",
        )
    return Failed(
        run.number, Internal.__name__, f"The trainer failed: {type(error).__name__}: {error}"
    )


def tell(channel: Channel, event: Event) -> None:
    channel.send(msgspec.json.encode(event))


if __name__ == "__main__":
    main()
