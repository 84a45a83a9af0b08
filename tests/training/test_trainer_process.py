from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kamerton import folders
from kamerton.dataset.tutorial import EXAMPLES
from kamerton.errors import FailedPrecondition
from kamerton.training.train import train
from kamerton.training.trainer_process import EXAMPLES as FILE
from kamerton.training.trainer_process import (
    HELD_OUT,
    Event,
    Failed,
    Finished,
    Left,
    Noted,
    Ready,
    Run,
    Stepped,
    TrainerProcess,
    keep_examples,
    kept_examples,
    kept_held_out,
)
from kamerton.types import (
    NO_BUDGET,
    BaseModel,
    Budget,
    Content,
    Example,
    Hyperparameters,
    Snapshot,
)

if TYPE_CHECKING:
    from kamerton.inference.weights import LoadedBase


def test_kept_examples_come_back_on_their_side(tmp_path: Path) -> None:
    chat = Example(
        (Content("user", "a"), Content("model", "b", learn=False), Content("user", "c\n")), "d"
    )
    keep_examples([chat, *EXAMPLES[:3]], tmp_path / "kept", EXAMPLES[3:5])
    assert kept_examples(tmp_path / "kept") == [chat, *EXAMPLES[:3]]
    assert kept_held_out(tmp_path / "kept") == list(EXAMPLES[3:5])


def test_runs_from_before_there_were_held_out_examples_have_none(tmp_path: Path) -> None:
    folders.publish(tmp_path / "old", lambda into: (into / FILE).touch())
    assert kept_examples(tmp_path / "old") == []
    assert kept_held_out(tmp_path / "old") == []


def test_damaged_held_out_examples_are_seen(tmp_path: Path) -> None:
    keep_examples(EXAMPLES, tmp_path / "kept", EXAMPLES[:1])
    (tmp_path / "kept" / HELD_OUT).write_bytes(b"")
    with pytest.raises(FailedPrecondition, match="damaged"):
        kept_examples(tmp_path / "kept")


class Heard:
    """A trainer, and what it says."""

    def __init__(self, base_model: BaseModel, log: Path) -> None:
        self._log = log
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.trainer = TrainerProcess((base_model,), "cpu", log)
        self.trainer.follow(self._events.put)

    def next(self) -> Event:
        event = self._events.get(timeout=60)
        assert event is not None, self._log.read_text()
        return event


@pytest.fixture(scope="module")
def heard(tiny: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    made = Heard(tiny, tmp_path_factory.mktemp("trainer") / "trainer.log")
    yield made
    made.trainer.kill()


def run_of(
    folder: Path,
    base: BaseModel,
    number: int,
    rate: float,
    epochs: int,
    examples: Sequence[Example],
    held_out: Sequence[Example] = (),
    budget: Budget = NO_BUDGET,
) -> Run:
    directory = folder / str(number)
    directory.mkdir()
    keep_examples(examples, directory / "examples", held_out)
    return Run(
        number=number,
        base_model=base,
        hyperparameters=Hyperparameters(epochs, 4, rate, rate),
        examples=str(directory / "examples"),
        directory=str(directory),
        budget=budget,
    )


def test_a_run_that_its_budget_ended_says_so(heard: Heard, tiny: BaseModel, tmp_path: Path) -> None:
    """With what was held out, through the child and back."""
    budget = Budget(max_tokens=600)
    heard.trainer.start(
        run_of(tmp_path, tiny, 9, 0.01, 8, EXAMPLES[:11], EXAMPLES[11:], budget=budget)
    )
    told: list[Event] = []
    while not told or isinstance(told[-1], Ready | Stepped | Noted):
        told.append(heard.next())
    ended = told[-1]
    assert isinstance(ended, Finished), ended
    assert "The budget of 600 tokens ended the run after step " in ended.outcome.stop_reason
    steps = [event.snapshot for event in told if isinstance(event, Stepped)]
    assert 0 < len(steps) < 22 and steps[-1].held_out_loss is not None


def test_runs_of_a_base_model_go_on_together_and_each_ends_by_itself(
    heard: Heard, tiny: BaseModel, loaded: LoadedBase, tmp_path: Path
) -> None:
    """One to its end, one until it is no number any more, one until it is cancelled; and one of
    another base model, which waits for them."""
    steady, wild, long, late = (
        run_of(tmp_path, tiny, 1, 0.01, 20, EXAMPLES[:9]),
        run_of(tmp_path, tiny, 2, 1e30, 20, EXAMPLES),
        run_of(tmp_path, tiny, 3, 0.01, 2000, EXAMPLES[3:]),
        run_of(tmp_path, replace(tiny, name="other"), 4, 0.01, 1, EXAMPLES),
    )
    for run in (steady, wild, long, late):
        heard.trainer.start(run)
    story: list[Event] = []
    endings: dict[int, Finished | Failed | Left] = {}
    while len(endings) < 4:
        story.append(event := heard.next())
        if isinstance(event, Finished | Failed | Left):
            endings[event.run] = event
            if event.run == steady.number:
                heard.trainer.give_up(long)
    assert [type(endings[run]) for run in (1, 2, 3, 4)] == [Finished, Failed, Failed, Finished]
    failures = [end.failure for end in endings.values() if isinstance(end, Failed)]
    assert [failure.reason for failure in failures] == ["NOT_FINITE", "CANCELLED"]
    stepped = [event.run for event in story if isinstance(event, Stepped)]
    assert {1, 3} <= set(stepped[:12])  # None waits until another has ended.
    assert stepped.index(4) > max(at for at, run in enumerate(stepped) if run == 3)
    alone: list[float] = []

    def keep(snapshot: Snapshot) -> bool:
        alone.append(snapshot.mean_loss)
        return True

    (tmp_path / "alone").mkdir()
    chosen = steady.hyperparameters
    train(tiny, EXAMPLES[:9], chosen, tmp_path / "alone", keep, loaded=loaded)
    together = [
        event.snapshot.mean_loss for event in story if isinstance(event, Stepped) and event.run == 1
    ]
    assert together == pytest.approx(alone, abs=1e-5)
