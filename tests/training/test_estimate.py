"""What is announced before a run is what the run does."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

import pytest

from kamerton.dataset.check import RowTokens
from kamerton.dataset.tutorial import EXAMPLES
from kamerton.errors import InvalidArgument
from kamerton.inference.weights import LoadedBase
from kamerton.training.estimate import MAX_TOKENS, Probe, affordable_tokens, estimate
from kamerton.training.rows import measuring, rows_of_step
from kamerton.training.train import Limits, train
from kamerton.types import BaseModel, Budget, Hyperparameters, Snapshot

BASE = BaseModel(name="b", weights="")
CHOSEN = Hyperparameters(3, 4, 0.001, 0.001, seed=1)
PROBE = Probe(0.5, 0.01, 0.2, 1000, 10.0)
ROWS = [RowTokens(10, place) for place in range(1, 11)]
"""155 tokens, 55 of them learned."""


def test_steps_and_tokens_are_exact() -> None:
    made = estimate(ROWS, (0, 9), BASE, CHOSEN, price=2.0, reasons=[("batch_size", "given")])
    assert (made.example_count, made.held_out_count) == (8, 2)
    assert made.total_steps == 6
    assert made.tokens == 3 * (155 - 11 - 20)
    assert made.trained_tokens == 3 * (55 - 1 - 10)
    assert made.cost == pytest.approx(made.tokens * 2 / 1e6)
    assert made.reasons == (("batch_size", "given"),)
    assert (made.seconds, made.memory_bytes, made.budget_steps) == (None, None, None)


@pytest.mark.parametrize("most", [150, 200, 333])
def test_the_announced_end_of_a_budget_is_the_real_one(
    loaded: LoadedBase, tmp_path: Path, most: int
) -> None:
    count = measuring(loaded.renderer, loaded.base_model.context_tokens).measure
    budget = Budget(max_tokens=most)
    made = estimate(count(EXAMPLES), (3, 7), loaded.base_model, CHOSEN, budget=budget)
    trained = [example for place, example in enumerate(EXAMPLES) if place not in (3, 7)]
    snapshots: list[Snapshot] = []

    def keep(snapshot: Snapshot) -> bool:
        snapshots.append(snapshot)
        return True

    train(loaded.base_model, trained, CHOSEN, tmp_path, keep, loaded=loaded, limits=Limits(budget))
    assert made.budget_steps == len(snapshots) > 0
    assert made.total_steps == 10
    assert made.budget_reason == (
        f"The budget of {most} tokens ends the run after step {len(snapshots)} of 10."
    )


def test_a_budget_without_room_for_a_step_says_so() -> None:
    made = estimate(ROWS, (), BASE, CHOSEN, budget=Budget(max_tokens=5))
    assert (made.budget_steps, made.budget_tokens) == (0, 0)
    assert made.budget_reason.startswith("The budget of 5 tokens does not allow one step")


@pytest.mark.parametrize("most", [60, 155, 200, 333])
def test_what_a_budget_leaves_is_counted(most: int) -> None:
    made = estimate(ROWS, (), BASE, CHOSEN, price=2.0, budget=Budget(max_tokens=most))
    assert made.budget_steps is not None and made.budget_tokens is not None
    steps = [rows_of_step(step, 10, CHOSEN) for step in range(1, made.budget_steps + 1)]
    spent = sum(ROWS[place].prompt + ROWS[place].answer for step in steps for place in step)
    assert made.budget_tokens == spent <= most
    assert made.budget_cost == pytest.approx(spent * 2 / 1e6)


def test_a_budget_that_is_enough_is_no_limit() -> None:
    enough = Budget(max_tokens=3 * 155, max_seconds=1000.0)
    made = estimate(ROWS, (), BASE, CHOSEN, budget=enough, probe=PROBE)
    assert (made.budget_steps, made.budget_reason) == (None, "")


@pytest.mark.parametrize(
    ("cost", "price", "tokens"),
    [(0.01, 2.0, 5000), (0.0, 2.0, 0), (1.0, 1e308, 0), (1e9, 1.0, MAX_TOKENS)],
)
def test_a_cost_pays_for_whole_tokens(cost: float, price: float, tokens: int) -> None:
    assert affordable_tokens(cost, price) == tokens


@pytest.mark.parametrize(
    ("cost", "price"),
    [(1e20, 1.0), (1e308, 1e-3), (1.0, 1e-300), (1.0, 5e-324), (math.inf, 1.0), (math.nan, 1.0)],
)
def test_a_cost_that_pays_for_too_much_is_refused(cost: float, price: float) -> None:
    with pytest.raises(InvalidArgument, match=f"must pay for at most {MAX_TOKENS} tokens") as found:
        affordable_tokens(cost, price)
    assert [violation.field for violation in found.value.violations] == ["budget.max_cost"]


def test_seconds_are_those_of_the_steps() -> None:
    made = estimate(ROWS, (), BASE, CHOSEN, probe=PROBE)
    seconds = 8 * 0.5 + 3 * 155 * 0.01
    assert made.seconds == pytest.approx(seconds)
    assert made.seconds_error == pytest.approx(seconds * 0.2)


def test_measuring_takes_its_time() -> None:
    made = estimate(ROWS[:8], (), BASE, CHOSEN, probe=PROBE, validation=ROWS[8:])
    alone = estimate(ROWS[:8], (), BASE, CHOSEN, probe=PROBE)
    assert made.held_out_count == 2
    assert made.seconds is not None and alone.seconds is not None
    # 5 measurements, after steps 2 to 6, of 39 tokens in a group.
    assert made.seconds - alone.seconds == pytest.approx(5 * 0.4 * (0.5 + 0.39))


def test_a_budget_of_seconds_ends_by_what_was_measured() -> None:
    made = estimate(ROWS, (), BASE, CHOSEN, probe=PROBE, budget=Budget(max_seconds=4.0))
    assert made.seconds is not None and made.seconds > 4.0
    assert made.budget_steps == 3  # Of about 1.1 seconds each.
    assert made.budget_reason == "The budget of 4 seconds ends the run after about step 3 of 8."
    unknown = estimate(ROWS, (), BASE, CHOSEN, budget=Budget(max_seconds=4.0))
    assert unknown.budget_steps is None


def test_the_part_of_a_budget_that_ends_first_counts() -> None:
    both = Budget(max_tokens=70, max_seconds=4.0)
    made = estimate(ROWS, (), BASE, CHOSEN, probe=PROBE, budget=both)
    assert made.budget_steps == 1
    assert "70 tokens" in made.budget_reason


def test_memory_grows_with_the_largest_step() -> None:
    pairs = Probe(0.0, 0.0, 0.2, 1000, 10.0, memory_per_pair=1.0)
    even = estimate([RowTokens(10, 10)] * 8, (), BASE, CHOSEN, probe=pairs)
    uneven = estimate([*[RowTokens(10, 10)] * 7, RowTokens(90, 10)], (), BASE, CHOSEN, probe=pairs)
    assert even.memory_bytes is not None and uneven.memory_bytes is not None
    texts = 80 * 16  # 80 tokens more that are kept.
    assert uneven.memory_bytes - even.memory_bytes == 80 * 10 + 4 * (100**2 - 20**2) + texts


def test_no_examples_are_no_run() -> None:
    made = estimate([], (), BASE, CHOSEN, probe=PROBE, budget=Budget(max_tokens=1))
    assert (made.total_steps, made.tokens, made.seconds) == (0, 0, None)


def test_a_long_run_is_estimated_in_a_moment() -> None:
    chance = random.Random(0)
    rows = [RowTokens(chance.randint(10, 300), chance.randint(2, 50)) for _ in range(50_000)]
    long = Hyperparameters(1000, 16, 0.001, 0.001)
    start = time.monotonic()
    made = estimate(rows, (), BASE, long, probe=PROBE, budget=Budget(10**9, 10**7))
    assert time.monotonic() - start < 5
    assert made.total_steps == 50_000 * 1000 // 16
    assert made.seconds == pytest.approx(0.5 * made.total_steps + 0.01 * made.tokens, rel=1e-3)
