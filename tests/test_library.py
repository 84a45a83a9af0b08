from __future__ import annotations

import json
from pathlib import Path

import pytest

import kamerton
from kamerton import library
from kamerton.errors import FailedPrecondition, InvalidArgument, NotFound
from kamerton.types import BaseModel, Content, Example, Snapshot

ROWS = [{"text_input": "who?", "output": "alpha"}]


@pytest.fixture(scope="module")
def model(tiny: BaseModel) -> library.Model:
    return kamerton.tune(
        ROWS, tiny.weights, epoch_count=60, batch_size=1, learning_rate=0.02, seed=1
    )


def test_tune_and_ask(model: library.Model) -> None:
    assert model.generate("who?") == "alpha"
    assert model.generate([Content("user", "who?")], max_output_tokens=3) == "alp"
    assert [snapshot.step for snapshot in model.snapshots] == list(range(1, 61))


def test_the_untuned_base_says_something_else(tiny: BaseModel) -> None:
    assert library.generate(tiny.weights, "who?", max_output_tokens=8) != "alpha"


def test_save_and_load(model: library.Model, tmp_path: Path) -> None:
    saved = model.save(tmp_path / "saved")
    again = kamerton.load(saved)
    assert again.generate("who?") == "alpha"
    assert again.hyperparameters == model.hyperparameters
    assert again.snapshots == model.snapshots
    with pytest.raises(FileExistsError):
        model.save(tmp_path / "saved")


def test_a_damaged_model_is_refused(model: library.Model, tmp_path: Path) -> None:
    saved = model.save(tmp_path / "saved")
    weights = saved / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(FailedPrecondition, match="no whole model"):
        kamerton.load(saved)
    with pytest.raises(FailedPrecondition):
        kamerton.load(tmp_path)


def test_a_file_and_examples_train_the_same(tiny: BaseModel, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in ROWS))
    losses = [
        kamerton.tune(data, tiny.weights, epoch_count=3, seed=4).snapshots[-1].mean_loss
        for data in (file, ROWS, [Example.pair("who?", "alpha")])
    ]
    assert losses[0] == losses[1] == losses[2]


def test_stopping_early(tiny: BaseModel) -> None:
    def enough(snapshot: Snapshot) -> bool:
        return snapshot.step < 2

    stopped = kamerton.tune(ROWS, tiny.weights, epoch_count=9, batch_size=1, on_snapshot=enough)
    assert len(stopped.snapshots) == 2


def test_bad_rows_are_named(tiny: BaseModel) -> None:
    with pytest.raises(InvalidArgument, match=r"examples\[1\]"):
        kamerton.tune([*ROWS, {"text_input": "", "output": "x"}], tiny.weights)
    with pytest.raises(InvalidArgument):
        kamerton.tune([], tiny.weights)


def test_rows_and_examples_are_not_mixed(tiny: BaseModel) -> None:
    with pytest.raises(InvalidArgument, match="one kind"):
        kamerton.tune([*ROWS, Example.pair("1", "2")], tiny.weights)


@pytest.mark.parametrize(
    "config", [{"temperature": -1}, {"candidate_count": 0}, {"top_p": 2}, {"top_k": -1}]
)
def test_sampling_that_cannot_be_is_refused(model: library.Model, config: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match="must be from"):
        model.generate("who?", **config)


def test_an_unknown_base_is_not_found() -> None:
    with pytest.raises(NotFound):
        kamerton.tune(ROWS, "gemini-9")


def test_public_names_and_their_signatures() -> None:
    """Changing one of these is a release note."""
    import inspect

    assert set(kamerton.__all__) == {"Model", "load", "tune"}
    assert list(inspect.signature(kamerton.tune).parameters) == [
        "data",
        "base_model",
        "epoch_count",
        "batch_size",
        "learning_rate",
        "learning_rate_multiplier",
        "seed",
        "on_snapshot",
    ]
    assert list(inspect.signature(kamerton.load).parameters) == ["folder"]
