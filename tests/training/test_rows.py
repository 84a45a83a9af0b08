from __future__ import annotations

from collections import Counter

import pytest

from kamerton.inference.weights import LoadedBase
from kamerton.training.rows import encode, rows_of_step
from kamerton.types import Content, Example, Hyperparameters

CONTEXT = 64


def hyperparameters(epochs: int, batch: int, seed: int = 0) -> Hyperparameters:
    return Hyperparameters(epochs, batch, 0.001, 0.001, seed=seed)


def test_only_the_answer_and_the_end_of_turn_carry_loss(loaded: LoadedBase) -> None:
    row = encode(loaded.renderer, Example.pair("one", "two"), CONTEXT)
    answer = row.ids[row.answer_start :]
    assert loaded.renderer.text(answer) == "two"
    assert answer[-1] == loaded.renderer.end_of_turn
    assert answer.count(loaded.renderer.end_of_turn) == 1
    assert row.ids[: row.answer_start] == tuple(loaded.renderer.prompt([Content("user", "one")]))


def test_there_is_exactly_one_bos(loaded: LoadedBase) -> None:
    row = encode(loaded.renderer, Example.pair("<bos>one", "<bos>two"), CONTEXT)
    assert row.ids[0] == loaded.renderer.bos
    assert row.ids.count(loaded.renderer.bos) == 1


@pytest.mark.parametrize(("input_length", "output_length"), [(200, 3), (3, 200), (200, 200)])
def test_what_does_not_fit_is_cut_and_said(
    loaded: LoadedBase, input_length: int, output_length: int
) -> None:
    example = Example.pair("x" * input_length, "y" * output_length)
    row = encode(loaded.renderer, example, CONTEXT)
    assert row.truncated
    assert len(row.ids) == CONTEXT + 1
    assert row.ids[0] == loaded.renderer.bos
    assert 0 < row.answer_start < len(row.ids)


def test_a_short_answer_survives_a_long_prompt(loaded: LoadedBase) -> None:
    row = encode(loaded.renderer, Example.pair("x" * 500, "two"), CONTEXT)
    assert loaded.renderer.text(row.ids[row.answer_start :]) == "two"
    assert row.ids[-1] == loaded.renderer.end_of_turn


@pytest.mark.parametrize("count", [1, 3, 15, 16])
@pytest.mark.parametrize("batch", [1, 4, 40])
def test_every_row_is_seen_once_an_epoch(count: int, batch: int) -> None:
    chosen = hyperparameters(5, batch)
    steps = -(-count * 5 // batch)
    stream = [row for step in range(1, steps + 1) for row in rows_of_step(step, count, chosen)]
    assert len(stream) == count * 5
    assert Counter(stream) == Counter({row: 5 for row in range(count)})
    for epoch in range(5):
        assert sorted(stream[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_a_step_can_hold_the_end_of_one_epoch_and_the_start_of_the_next() -> None:
    chosen = hyperparameters(2, 4)
    assert len(rows_of_step(4, 15, chosen)) == 4
    assert len(rows_of_step(8, 15, chosen)) == 2


def test_the_order_depends_on_the_seed_and_nothing_else() -> None:
    first = [rows_of_step(step, 15, hyperparameters(5, 4, seed=1)) for step in range(1, 20)]
    again = [rows_of_step(step, 15, hyperparameters(5, 4, seed=1)) for step in range(1, 20)]
    other = [rows_of_step(step, 15, hyperparameters(5, 4, seed=2)) for step in range(1, 20)]
    assert first == again
    assert first != other
