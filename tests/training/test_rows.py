from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.dataset.tutorial import EXAMPLES
from kamerton.inference.weights import LoadedBase
from kamerton.training import rows
from kamerton.training.batches import collate
from kamerton.training.hyperparameters import total_steps
from kamerton.training.rows import Row, encode, rows_of_step
from kamerton.types import Content, Example, Hyperparameters

CONTEXT = 64


def hyperparameters(epochs: int, batch: int, seed: int = 0) -> Hyperparameters:
    return Hyperparameters(epochs, batch, 0.001, 0.001, seed=seed)


def learned(row: Row) -> list[list[int]]:
    return [row.ids[start:end].tolist() for start, end in row.spans]


def test_only_the_answer_and_the_end_of_turn_carry_loss(loaded: LoadedBase) -> None:
    row = encode(loaded.renderer, Example.pair("one", "two"), CONTEXT)
    (answer,) = learned(row)
    assert loaded.renderer.text(answer) == "two"
    assert answer[-1] == loaded.renderer.end_of_turn
    assert answer.count(loaded.renderer.end_of_turn) == 1
    prompt = loaded.renderer.prompt([Content("user", "one")])
    assert row.ids[: -len(answer)].tolist() == prompt
    assert not row.truncated


def test_there_is_exactly_one_bos(loaded: LoadedBase) -> None:
    row = encode(loaded.renderer, Example.pair("<bos>one", "<bos>two"), CONTEXT)
    assert row.ids[0] == loaded.renderer.bos
    assert row.ids.count(loaded.renderer.bos) == 1


@pytest.mark.parametrize(("input_length", "output_length"), [(200, 3), (3, 200), (200, 200)])
def test_what_does_not_fit_is_cut_and_said(
    loaded: LoadedBase, input_length: int, output_length: int
) -> None:
    example = Example.pair("x" * input_length, "y" * output_length)
    row, whole = (encode(loaded.renderer, example, size) for size in (CONTEXT, 1000))
    assert row.truncated and not whole.truncated
    assert len(row.ids) == CONTEXT + 1
    assert row.ids[0] == loaded.renderer.bos
    assert 0 < row.learned < len(row.ids)
    assert row.cut_answer == whole.learned - row.learned
    assert row.cut_prompt + row.cut_answer == len(whole.ids) - len(row.ids)


def test_a_short_answer_survives_a_long_prompt(loaded: LoadedBase) -> None:
    row = encode(loaded.renderer, Example.pair("x" * 500, "two"), CONTEXT)
    (answer,) = learned(row)
    assert loaded.renderer.text(answer) == "two"
    assert answer[-1] == loaded.renderer.end_of_turn
    assert row.cut_answer == 0


@pytest.mark.parametrize("context", [24, 40, 56, 64, 80, 100])
def test_learned_turns_move_along_when_the_front_is_cut(loaded: LoadedBase, context: int) -> None:
    contents = (
        Content("user", "a" * 20),
        Content("model", "b" * 10),
        Content("user", "c" * 10),
        Content("model", "d" * 5, learn=False),
        Content("user", "e"),
    )
    example = Example(contents, "f" * 6)
    row, whole = (encode(loaded.renderer, example, size) for size in (context, 1000))
    end = loaded.renderer.end_of_turn
    letters = [loaded.renderer.text(turn) for turn in learned(row)]
    expected = ["b" * 10, "f" * 6]
    assert all(turn[-1] == end for turn in learned(row))
    assert len(letters) in (1, 2)
    assert letters == expected[-len(letters) :]
    assert all(start >= rows.LEAST_PROMPT for start, _ in row.spans)
    assert row.cut_answer == whole.learned - row.learned
    away = len(whole.ids) - len(row.ids)
    answers_away = sum(max(0, min(end, 1 + away) - start) for start, end in whole.spans)
    assert row.cut_prompt == away - answers_away
    assert len(row.ids) == min(context + 1, len(whole.ids))


def test_a_turn_whose_start_was_cut_is_only_read(loaded: LoadedBase) -> None:
    """Learned, its tail would be what the model says right after the start of everything."""
    contents = (Content("user", "a" * 20), Content("model", "b" * 40), Content("user", "e"))
    example = Example(contents, "f" * 6)
    whole = encode(loaded.renderer, example, 1000)
    (start, end), last = whole.spans
    cut = start - 1 + (end - start) // 2  # As many ids after BOS are away.
    row = encode(loaded.renderer, example, len(whole.ids) - cut - 1)
    assert row.ids[1:].tolist() == whole.ids[1 + cut :].tolist()
    assert row.spans == ((last[0] - cut, last[1] - cut),)
    assert row.cut_answer == end - start
    assert row.cut_prompt == start - 1


def test_an_answer_that_does_not_fit_at_all_is_nothing_to_learn(loaded: LoadedBase) -> None:
    row = encode(loaded.renderer, Example.pair("x" * 20, "yes"), 7)
    assert (row.learned, row.spans, row.cut_answer) == (0, (), 4)


def test_what_is_announced_is_what_is_trained(loaded: LoadedBase) -> None:
    examples = [
        *EXAMPLES,
        Example.pair("x" * 500, "y" * 500),
        Example((Content("user", "a"), Content("model", "b"), Content("user", "c")), "d"),
    ]
    measuring = rows.measuring(loaded.renderer, CONTEXT)
    counts = measuring.measure(examples)
    encoded = rows.encode_all(loaded.renderer, examples, CONTEXT)
    batch = collate([encoded], loaded.device)
    assert sum(count.answer for count in counts) == len(batch.targets)
    assert sum(count.prompt + count.answer for count in counts) == sum(
        len(row.ids) for row in encoded
    )
    assert [c.cut_prompt + c.cut_answer > 0 for c in counts] == [row.truncated for row in encoded]
    assert (measuring.context_tokens, measuring.special_tokens) == (
        CONTEXT,
        loaded.renderer.special_tokens,
    )


def test_many_are_encoded_as_one_by_one(
    loaded: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "TOGETHER", 4)
    assert rows.encode_all(loaded.renderer, EXAMPLES, CONTEXT) == [
        encode(loaded.renderer, example, CONTEXT) for example in EXAMPLES
    ]


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(0, 500),
)
def test_steps_within_counts_what_the_steps_train_on(
    lengths: list[int], epochs: int, batch: int, most: int
) -> None:
    chosen = hyperparameters(epochs, batch)
    total = total_steps(len(lengths), chosen)
    spent, steps = 0, 0
    for step in range(1, total + 1):
        spent += sum(lengths[row] for row in rows_of_step(step, len(lengths), chosen))
        if spent > most:
            break
        steps = step
    assert rows.steps_within(most, lengths, chosen) == steps


def test_rows_are_measured_with_others_of_their_length() -> None:
    assert rows.grouped([]) == []
    assert rows.grouped([600, 10, 2000, 500, 20]) == [[1, 4, 3], [0], [2]]


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
