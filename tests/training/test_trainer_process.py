from __future__ import annotations

import queue
from pathlib import Path

import pytest

from kamerton import folders
from kamerton.dataset.tutorial import EXAMPLES
from kamerton.errors import FailedPrecondition
from kamerton.training.trainer_process import EXAMPLES as FILE
from kamerton.training.trainer_process import (
    HELD_OUT,
    Event,
    Finished,
    Noted,
    Ready,
    Run,
    Stepped,
    TrainerProcess,
    keep_examples,
    kept_examples,
    kept_held_out,
)
from kamerton.types import BaseModel, Budget, Content, Example, Hyperparameters


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


def test_a_run_that_its_budget_ended_says_so(tiny: BaseModel, tmp_path: Path) -> None:
    """With what was held out, through the child and back."""
    keep_examples(EXAMPLES[:11], tmp_path / "examples", EXAMPLES[11:])
    trainer = TrainerProcess((tiny,), "cpu", tmp_path / "trainer.log")
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    try:
        trainer.follow(events.put)
        trainer.start(
            Run(
                number=1,
                base_model=tiny,
                hyperparameters=Hyperparameters(8, 4, 0.01, 0.01),
                examples=str(tmp_path / "examples"),
                directory=str(tmp_path),
                budget=Budget(max_tokens=600),
            )
        )
        told: list[Event | None] = []
        while not told or isinstance(told[-1], Ready | Stepped | Noted):
            told.append(events.get(timeout=60))
    finally:
        trainer.kill()
    ended = told[-1]
    assert isinstance(ended, Finished), ended
    assert "The budget of 600 tokens ended the run after step " in ended.outcome.stop_reason
    steps = [event.snapshot for event in told if isinstance(event, Stepped)]
    assert 0 < len(steps) < 22 and steps[-1].held_out_loss is not None
