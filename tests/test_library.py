from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import kamerton
from kamerton import checking, library
from kamerton.dataset import tutorial
from kamerton.dataset.check import Measuring, RowTokens
from kamerton.errors import BadDataset, FailedPrecondition, InvalidArgument, NotFound
from kamerton.inference.prompts import Renderer
from kamerton.types import BaseModel, Budget, Content, Example, Holdout, Snapshot

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
    assert model.diagnose().summary and again.diagnose().summary
    with pytest.raises(FileExistsError):
        model.save(tmp_path / "saved")


def test_an_adapter_of_ones_own(tiny: BaseModel, tmp_path: Path) -> None:
    made = kamerton.tune(
        ROWS,
        tiny.weights,
        epoch_count=1,
        adapter_size=3,
        lora_dropout=0.25,
        target_modules=["q_proj", "up_proj"],
        rslora=True,
        card_share=0,
    )
    saved = made.save(tmp_path / "saved")
    assert kamerton.load(saved).hyperparameters == made.hyperparameters
    config = json.loads((saved / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 6, 0.25)
    assert config["use_rslora"] and sorted(config["target_modules"]) == ["q_proj", "up_proj"]
    with pytest.raises(InvalidArgument, match="adapter_size: must be from 1 to 256"):
        kamerton.tune(ROWS, tiny.weights, adapter_size=0)


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
    with pytest.raises(BadDataset, match=r"examples\[1\]") as caught:
        kamerton.tune([*ROWS, {"text_input": "", "output": "x"}], tiny.weights)
    assert caught.value.report.count("error") == 1
    with pytest.raises(InvalidArgument):
        kamerton.tune([], tiny.weights)


def test_rows_and_examples_are_not_mixed(tiny: BaseModel) -> None:
    with pytest.raises(InvalidArgument, match="one kind"):
        kamerton.tune([*ROWS, Example.pair("1", "2")], tiny.weights)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (ROWS[0], r"one row: give a list"),
        (Example.pair("1", "2"), r"one row: give a list"),
        (None, r"NoneType: give a path"),
        (7, r"int: give a path"),
        (b"x", r"bytes: give a path"),
        (io.StringIO("x"), r"an open file: give its path"),
        (SimpleNamespace(columns=["a"]), r"a table: give its rows"),
    ],
)
def test_what_is_no_dataset_is_told_what_to_give(data: Any, wanted: str) -> None:
    with pytest.raises(InvalidArgument, match="examples: must be .*" + wanted):
        kamerton.check(data)
    if data is not None:
        with pytest.raises(InvalidArgument, match="validation: must be .*" + wanted):
            kamerton.check(ROWS, validation=data)


@pytest.mark.parametrize("allow", ["K307", "k307", ["k307"]])
def test_codes_may_be_written_in_any_way(allow: Any) -> None:
    report = kamerton.check(ROWS, allow=allow)
    assert report.allowed == ("K307",)
    assert "K307" not in {finding.code for finding in report.findings}


@pytest.mark.parametrize(
    "config", [{"temperature": -1}, {"candidate_count": 0}, {"top_p": 2}, {"top_k": -1}]
)
def test_sampling_that_cannot_be_is_refused(model: library.Model, config: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match="must be from"):
        model.generate("who?", **config)


def test_an_unknown_base_is_not_found() -> None:
    with pytest.raises(NotFound):
        kamerton.tune(ROWS, "gemini-9")


MANY = [Example.pair(f"what is {number}?", f"it is {number * 7}") for number in range(40)]


def test_a_share_is_held_out_and_measured(tiny: BaseModel) -> None:
    def steps(**options: Any) -> tuple[int, list[float | None]]:
        made = kamerton.tune(MANY, tiny.weights, epoch_count=1, batch_size=4, **options)
        return len(made.snapshots), [snapshot.held_out_loss for snapshot in made.snapshots]

    count, losses = steps()
    assert count == 9  # 36 of 40 examples
    assert losses[-1] is not None
    assert steps(holdout=None) == (10, [None] * 10)
    count, losses = steps(validation=[Example.pair("what is 41?", "it is 287")])
    assert count == 10
    assert losses[-1] is not None
    assert steps(holdout=Holdout(share=0.2))[0] == 8


def test_a_budget_ends_the_run_and_says_so(tiny: BaseModel, tmp_path: Path) -> None:
    made = kamerton.tune(MANY, tiny.weights, batch_size=4, budget=Budget(max_tokens=600))
    assert 0 < len(made.snapshots) < 20
    assert "600" in made.stop_reason
    assert kamerton.load(made.save(tmp_path / "saved")).stop_reason == made.stop_reason


def test_what_the_checks_said_stays_with_the_model(tiny: BaseModel) -> None:
    rows = [*MANY, Example.pair("what is 3?", "what is 3?")]
    made = kamerton.tune(rows, tiny.weights, epoch_count=1)
    assert made.report is not None
    assert "K204" in {finding.code for finding in made.report.findings}
    quiet = kamerton.tune(rows, tiny.weights, epoch_count=1, allow=["K204"])
    assert quiet.report is not None and "K204" in quiet.report.allowed


def test_checking_never_raises_for_bad_rows() -> None:
    report = kamerton.check([*ROWS, {"text_input": "1", "output": ""}, {"nonsense": 1}])
    assert {"K101", "K103"} <= {finding.code for finding in report.findings}
    assert report.statistics.row_count == 3
    with pytest.raises(InvalidArgument, match="K101"):
        kamerton.check(ROWS, allow=["K101"])
    with pytest.raises(NotFound, match="google/gemma-3-1b-it"):
        kamerton.check(ROWS, "gemini-9")


def test_the_tutorial_passes_its_check() -> None:
    report = kamerton.check(tutorial.EXAMPLES)
    assert report.count("error") == 0
    assert {finding.code for finding in report.findings} <= {"K307"}


def test_checking_a_file_with_named_columns(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_text("question,reply\n" + "".join(f"{n},{n + 1}\n" for n in range(25)))
    report = kamerton.check(file, input_key="question", output_key="reply")
    assert (report.format, report.statistics.example_count) == ("CSV", 25)
    assert kamerton.check(file).count("error")


def test_an_estimate_is_exact_in_steps_and_tokens(tiny: BaseModel) -> None:
    made = kamerton.estimate(
        MANY, tiny.weights, holdout=None, epoch_count=2, batch_size=4, price=5.0, measure=False
    )
    renderer = Renderer.load(Path(tiny.weights))
    tokens = 2 * sum(
        len(renderer.prompt(example.contents)) + len(renderer.answer(example.output))
        for example in MANY
    )
    assert (made.total_steps, made.tokens) == (20, tokens)
    assert made.trained_tokens == 2 * sum(len(renderer.answer(e.output)) for e in MANY)
    assert made.cost == pytest.approx(tokens * 5 / 1e6)
    assert made.seconds is None
    held = kamerton.estimate(MANY, tiny.weights, measure=False)
    assert (held.example_count, held.held_out_count) == (36, 4)
    with pytest.raises(BadDataset):
        kamerton.estimate([{"text_input": "1", "output": ""}], tiny.weights, measure=False)


def test_no_example_is_counted_twice(tiny: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Example] = []
    real = checking.measuring_of

    def measuring_of(base: BaseModel) -> Measuring:
        found = real(base)

        def measure(examples: Sequence[Example]) -> Sequence[RowTokens]:
            counted.extend(examples)
            return found.measure(examples)

        return replace(found, measure=measure)

    monkeypatch.setattr(checking, "measuring_of", measuring_of)
    kamerton.estimate(MANY, tiny.weights, measure=False)
    assert sorted(counted, key=MANY.index) == MANY


def test_neither_check_nor_estimate_loads_torch() -> None:
    code = (
        "import sys, kamerton\n"
        "rows = [{'text_input': '1', 'output': '2'}]\n"
        "kamerton.check(rows), kamerton.estimate(rows, measure=False)\n"
        "print({'torch', 'transformers', 'peft'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout == "set()\n", printed.stderr


def test_public_names_and_their_signatures() -> None:
    """Changing one of these is a release note."""
    import inspect

    assert set(kamerton.__all__) == {
        "Budget", "EarlyStopping", "Holdout", "Model", "check", "diagnose", "estimate", "load",
        "tune",
    }  # fmt: skip
    for name in kamerton.__all__:
        assert getattr(kamerton, name).__name__ == name
    assert list(inspect.signature(kamerton.tune).parameters) == [
        "data",
        "base_model",
        "validation",
        "epoch_count",
        "batch_size",
        "learning_rate",
        "learning_rate_multiplier",
        "adapter_size",
        "lora_alpha",
        "lora_dropout",
        "target_modules",
        "rslora",
        "seed",
        "budget",
        "early_stopping",
        "card_share",
        "holdout",
        "allow",
        "input_key",
        "output_key",
        "report_to",
        "on_snapshot",
    ]
    assert list(inspect.signature(kamerton.check).parameters) == [
        "data",
        "base_model",
        "validation",
        "allow",
        "input_key",
        "output_key",
    ]
    assert list(inspect.signature(kamerton.estimate).parameters) == [
        "data",
        "base_model",
        "validation",
        "budget",
        "holdout",
        "price",
        "measure",
        "input_key",
        "output_key",
        "hyperparameters",
    ]
    assert list(inspect.signature(kamerton.load).parameters) == ["folder"]
