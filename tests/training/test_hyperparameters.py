from __future__ import annotations

import math
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest

from kamerton.errors import InvalidArgument
from kamerton.training.hyperparameters import choose, epoch_of, measured_steps, reasons, total_steps
from kamerton.types import BaseModel, Hyperparameters

BASE = BaseModel(name="b", weights="", learning_rate=0.001, reference_batch_size=4)


@pytest.mark.parametrize(
    ("examples", "epochs", "batch", "steps"),
    [(15, 5, 2, 38), (15, 5, 4, 19), (15, 100, 4, 375), (1, 1, 4, 1), (3, 1, 512, 1)],
)
def test_batches_run_across_the_borders_of_epochs(
    examples: int, epochs: int, batch: int, steps: int
) -> None:
    chosen = Hyperparameters(epochs, batch, 0.001, 0.001)
    assert total_steps(examples, chosen) == steps
    assert epoch_of(1, examples, chosen) == min(epochs, math.ceil(batch / examples))
    assert epoch_of(steps, examples, chosen) == epochs
    numbers = [epoch_of(step, examples, chosen) for step in range(1, steps + 1)]
    assert numbers == sorted(numbers)


def test_defaults_follow_the_size_of_the_dataset() -> None:
    few, many = choose(999, BASE), choose(1000, BASE)
    assert (few.epoch_count, few.batch_size, few.learning_rate) == (4, 4, 0.001)
    assert (many.epoch_count, many.batch_size, many.learning_rate) == (4, 16, 0.0002)


@pytest.mark.parametrize(
    ("examples", "epochs"),
    [(1, 5), (15, 5), (500, 5), (2500, 3), (10_000, 2), (10_001, 2), (20_000, 1), (10**8, 1)],
)
def test_the_more_examples_the_fewer_epochs(examples: int, epochs: int) -> None:
    assert choose(examples, BASE).epoch_count == epochs
    assert choose(examples, BASE, epoch_count=7).epoch_count == 7


def test_epochs_fall_one_at_a_time_and_never_rise() -> None:
    epochs = [choose(examples, BASE).epoch_count for examples in range(1, 30_000, 7)]
    assert {before - after for before, after in pairwise(epochs)} == {0, 1}
    few = [choose(examples, BASE) for examples in range(1, 501)]
    assert set(few) == {choose(15, BASE)}  # What the retired API did: scripts count on it.


def test_the_multiplier_multiplies_the_default() -> None:
    assert choose(15, BASE, learning_rate_multiplier=2.0).learning_rate == 0.002


@pytest.mark.parametrize(
    ("batch", "peak"), [(1, 0.00025), (2, 0.0005), (4, 0.001), (8, 0.002), (16, 0.004), (64, 0.004)]
)
def test_the_peak_grows_with_the_batch_and_the_answer_does_not(batch: int, peak: float) -> None:
    chosen = choose(15, BASE, batch_size=batch, learning_rate=0.001)
    assert chosen.learning_rate == 0.001
    assert chosen.peak_learning_rate == pytest.approx(peak)


def test_without_a_reference_every_batch_has_the_same_peak() -> None:
    other = BaseModel(name="b", weights="")
    assert choose(15, other, batch_size=64, learning_rate=0.001).peak_learning_rate == 0.001


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch_count": 0},
        {"epoch_count": 1001},
        {"batch_size": -1},
        {"batch_size": 513},
        {"learning_rate": 0.0},
        {"learning_rate": 1.5},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"learning_rate_multiplier": 101.0},
        {"adapter_size": 0},
        {"adapter_size": 257},
        {"lora_alpha": 0},
        {"lora_alpha": 1025},
        {"lora_dropout": 1.0},
        {"lora_dropout": -0.1},
        {"lora_dropout": math.nan},
        {"target_modules": "q_proj"},
        {"target_modules": 7},
        {"target_modules": [7]},
        {"target_modules": [""]},
        {"target_modules": ["q_proj", ".*_proj"]},
        {"target_modules": ["q_proj."]},
        {"target_modules": ["x" * 201]},
        {"target_modules": ["q_proj"] * 65},
    ],
)
def test_values_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        choose(15, BASE, **wrong)
    assert [violation.field for violation in caught.value.violations] == list(wrong)


def test_all_wrong_values_are_named_at_once() -> None:
    with pytest.raises(InvalidArgument) as caught:
        choose(15, BASE, epoch_count=0, batch_size=0)
    assert len(caught.value.violations) == 2


def test_rate_and_multiplier_exclude_each_other() -> None:
    with pytest.raises(InvalidArgument, match="not both"):
        choose(15, BASE, learning_rate=0.1, learning_rate_multiplier=1.0)


def test_a_run_is_measured_after_each_epoch_and_five_times_at_least() -> None:
    long, short = Hyperparameters(6, 4, 0.001, 0.001), Hyperparameters(2, 4, 0.001, 0.001)
    assert measured_steps(10, long) == {3, 5, 8, 10, 13, 15}
    assert measured_steps(40, short) == {4, 8, 10, 12, 16, 20}
    assert measured_steps(1000, long, 50) >= {10, 20, 30, 40, 50}
    assert max(measured_steps(15, short)) == total_steps(15, short)


def test_each_choice_has_its_reason() -> None:
    few = dict(reasons(500, BASE))
    assert few["batch_size"] == "batches of 4 for fewer than 1,000 examples"
    assert few["epoch_count"] == "5 for at most 500 examples"
    assert few["learning_rate"] == "0.001 of the base model"
    assert few["peak_learning_rate"] == "the learning rate itself"
    assert few["warmup_steps"].startswith("no warm-up: ")
    many = dict(reasons(1000, BASE))
    assert many["batch_size"] == "batches of 16 for at least 1,000 examples"
    assert many["epoch_count"] == (
        "4 for 1,000 examples: 5 up to 500, fewer the more there are, 2 at 10,000, at least 1"
    )
    assert many["learning_rate"].startswith("a fifth of the 0.001 of the base model for at least ")
    assert many["peak_learning_rate"].startswith("4 times the learning rate: ")
    assert set(many) == set(asdict(choose(1000, BASE))) - {"seed"}


@pytest.mark.parametrize("examples", [1, 500, 501, 2500, 10_000, 10**6])
def test_a_reason_names_the_number_that_it_is_for(examples: int) -> None:
    chosen, why = choose(examples, BASE), dict(reasons(examples, BASE))
    assert why["epoch_count"].startswith(f"{chosen.epoch_count} for ")
    assert why["batch_size"].startswith(f"batches of {chosen.batch_size} ")


def test_a_warm_up_is_the_base_models() -> None:
    slow = BaseModel(name="b", weights="", warmup_steps=10)
    assert choose(15, slow).warmup_steps == 10
    assert dict(reasons(15, slow))["warmup_steps"].startswith("of the base model: ")


def test_what_was_given_is_called_so() -> None:
    given = dict(reasons(15, BASE, epoch_count=2, batch_size=64, learning_rate=0.1))
    assert [given[name] for name in ("epoch_count", "batch_size", "learning_rate")] == ["given"] * 3
    assert "4 times the learning rate, the most there is" in given["peak_learning_rate"]
    assert dict(reasons(15, BASE, learning_rate_multiplier=2.0))["learning_rate"] == (
        "2 times 0.001 of the base model"
    )


def test_the_adapter_is_the_base_models_unless_one_is_asked_for() -> None:
    base = BaseModel(name="b", weights="", lora_rank=4, lora_alpha=12)
    usual = choose(15, base)
    assert (usual.lora_rank, usual.lora_alpha, usual.lora_dropout) == (4, 12, 0.0)
    assert (usual.target_modules, usual.rslora) == ((), False)
    sized = choose(15, base, adapter_size=256)
    assert (sized.lora_rank, sized.lora_alpha) == (256, 512)
    both = choose(15, base, adapter_size=1, lora_alpha=3, lora_dropout=0.0, rslora=True)
    assert (both.lora_rank, both.lora_alpha, both.rslora) == (1, 3, True)
    named = choose(15, base, lora_dropout=0.1, target_modules=["q_proj", "mlp.up_proj", "q_proj"])
    assert (named.lora_rank, named.lora_dropout) == (4, 0.1)
    assert named.target_modules == ("q_proj", "mlp.up_proj")


def test_an_adapter_has_its_reasons() -> None:
    usual, sized = dict(reasons(15, BASE)), dict(reasons(15, BASE, adapter_size=16))
    assert usual["lora_rank"] == usual["lora_alpha"] == "of the base model"
    assert usual["target_modules"] == "every linear layer but the head"
    assert (sized["lora_rank"], sized["lora_alpha"]) == ("given", "2 times the rank")
    wanted: Any = {"lora_alpha": 3, "lora_dropout": 0.0, "target_modules": [], "rslora": False}
    asked = dict(reasons(15, BASE, **wanted))
    assert {asked[name] for name in wanted} == {"given"}


def test_who_goes_on_keeps_the_adapter_that_is_there() -> None:
    source = choose(15, BASE, adapter_size=2, target_modules=["q_proj", "v_proj"], rslora=True)
    again = choose(99, BASE, source=source, batch_size=8, lora_dropout=0.5)
    assert (again.lora_rank, again.lora_alpha, again.rslora) == (2, 4, True)
    assert again.target_modules == ("q_proj", "v_proj")
    assert (again.batch_size, again.lora_dropout) == (8, 0.5)
    why = dict(reasons(99, BASE, source=source, adapter_size=2))
    assert why["lora_rank"] == "given"
    assert why["lora_alpha"] == "of the tuned model that it goes on from"


def test_another_adapter_than_the_one_that_is_there_is_refused() -> None:
    source = choose(15, BASE, adapter_size=2, target_modules=["q_proj", "v_proj"])
    same: Any = {"adapter_size": 2, "lora_alpha": 4, "target_modules": ["v_proj", "q_proj"]}
    assert choose(15, BASE, source=source, rslora=False, **same).lora_rank == 2
    other: Any = {"adapter_size": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "rslora": True}
    with pytest.raises(InvalidArgument, match="leave it out") as caught:
        choose(15, BASE, source=source, **other)
    assert {violation.field for violation in caught.value.violations} == set(other)
