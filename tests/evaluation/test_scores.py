from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.card import Metric
from kamerton.evaluation.scores import Task, row_scores, scores, task_of

LABELS = ["spam", "ham", "ham", "other"] * 10


@pytest.mark.parametrize(
    ("rights", "metric"),
    [
        (LABELS, "normalised"),
        (['{"a": 1}', "[2]", '{"a": 3}', "none"], "json_equal"),
        (["1.5", "20.25", "1,300.10", "7"], "numeric"),
        ([str(number) for number in range(100, 140)], "normalised"),
        (["кошка", "the dog", "a cow"], "normalised"),
        (["We are sorry, your parcel will come tomorrow."] * 4, "chrf"),
        ([], "chrf"),
    ],
)
def test_the_right_answers_decide_how_answers_are_compared(
    rights: list[str], metric: Metric
) -> None:
    assert task_of(rights).metric == metric


def test_labels_are_classes_and_the_matrix_tells_them_apart() -> None:
    task = task_of(LABELS)
    given = ["Spam.", "ham", "spam", "no idea"] * 10
    found = scores(task, LABELS, given)
    assert (found.exact, found.normalised) == (0.25, 0.5)
    assert found.confusion is not None
    assert found.confusion.labels == ("ham", "spam", "other")
    assert found.confusion.counts == ((10, 10, 0, 0), (0, 10, 0, 0), (0, 0, 0, 10))
    # ham: precision 1, recall 1/2; spam: precision 1/2, recall 1; other: never right.
    assert found.f1 == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert found.json_valid is found.json_equal is found.numeric is None


def test_always_the_frequent_label_is_right_often_and_has_a_low_f1() -> None:
    rights = ["ham"] * 36 + ["spam"] * 4
    found = scores(task_of(rights), rights, ["ham"] * 40)
    assert found.normalised == 0.9
    assert found.f1 == pytest.approx(2 * 36 / 76 / 2)


def test_the_matrix_has_the_twenty_most_frequent_labels() -> None:
    rights = [f"label {number}" for number in range(25) for _ in range(30 - number)]
    found = scores(task_of(rights), rights, rights)
    assert found.f1 == 1.0 and found.confusion is not None
    assert found.confusion.labels == tuple(f"label {number}" for number in range(20))
    assert found.confusion.counts[19] == (*[0] * 19, 11, 0)


def test_json_is_compared_by_content() -> None:
    rights = ['{"a": 1, "b": [true]}'] * 4
    given = ['{"b":[true],"a":1}', '{"a": 1, "b": [1]}', '{"a": 1', '```json\n{"a": 1}\n```']
    found = scores(task_of(rights), rights, given)
    assert (found.json_valid, found.json_equal, found.exact) == (0.5, 0.25, 0.0)


@pytest.mark.parametrize(
    ("right", "answer", "near"),
    [
        ("100", "101", True),
        ("100", "98.9", False),
        ("-2.5", "−2,5", True),
        ("-2.5", "2.5", False),
        ("1,234", "1 234", True),
        ("12 %", "12", True),
        ("0", "0.0", True),
        ("0", "0.001", False),
        ("42", "The answer is 42", False),
        ("42", "", False),
        ("none", "None.", True),
    ],
)
def test_numbers_are_right_within_one_percent(right: str, answer: str, near: bool) -> None:
    assert row_scores("numeric", [right], [answer]) == [float(near)]


def test_a_row_without_an_answer_is_an_error_and_wrong() -> None:
    found = scores(Task("normalised"), ["yes", "no"], ["yes", " "])
    assert (found.errors, found.exact, found.row_count) == (1, 0.5, 2)


def test_perplexity_is_the_loss_raised() -> None:
    def perplexity(loss: float | None) -> float | None:
        return scores(Task("chrf"), ["a"], ["a"], loss).perplexity

    assert perplexity(1.5) == pytest.approx(math.exp(1.5))
    assert perplexity(None) is perplexity(1e6) is perplexity(math.nan) is None


odd = st.one_of(
    st.text(),
    st.sampled_from(["[" * 5000, "{", "NaN", "1e999", "[1e999]", "9" * 400, "٣", "\ud800", "{}"]),
)
tasks = st.sampled_from(
    [
        Task("json_equal", json=True),
        Task("numeric", numbers=True),
        Task("normalised", frozenset({"a"}), numbers=True),
        Task("chrf"),
    ]
)


@given(tasks, st.lists(st.tuples(odd, odd), min_size=1, max_size=5))
def test_no_answer_is_too_odd(task: Task, rows: list[tuple[str, str]]) -> None:
    rights, given = [right for right, _ in rows], [answer for _, answer in rows]
    found = scores(task, rights, given)
    assert 0 <= found.by(task.metric) <= 1
    assert 0 <= found.chrf <= 1 + 1e-9
