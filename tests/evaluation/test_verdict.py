from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.card import Outcome
from kamerton.evaluation.verdict import interval, verdict


@pytest.mark.parametrize(
    ("base", "tuned", "outcome"),
    [
        ([0.0] * 20 + [1.0] * 20, [1.0] * 36 + [0.0] * 4, "better"),
        ([1.0] * 36 + [0.0] * 4, [0.0] * 20 + [1.0] * 20, "worse"),
        ([0.0] * 20 + [1.0] * 20, [1.0] * 2 + [0.0] * 18 + [1.0] * 20, "no_clear_gain"),
        ([1.0] * 40, [1.0] * 40, "no_clear_gain"),
        ([0.0] * 8, [1.0] * 8, "better"),
        ([0.0] * 7, [1.0] * 7, "too_few_rows"),
        ([], [], "too_few_rows"),
        ([0.3] * 30, [0.5] * 30, "better"),
    ],
)
def test_outcomes(base: list[float], tuned: list[float], outcome: Outcome) -> None:
    found = verdict("normalised", base, tuned)
    assert found.outcome == outcome
    assert found.sentence.startswith(
        {"no_clear_gain": "No clear gain", "too_few_rows": "Too few rows"}.get(
            outcome, outcome.capitalize()
        )
    )
    if outcome == "too_few_rows":
        assert found.low is found.high is None
    else:
        assert found.low is not None and found.gain is not None and found.high is not None
        assert found.low <= found.gain <= found.high


def test_three_of_eight_rows_may_be_chance() -> None:
    gains = np.array([1.0] * 3 + [0.0] * 5)
    plain = np.random.default_rng(1).choice(gains, (4000, 8)).mean(axis=1)
    assert np.quantile(plain, 0.025) > 0, "the plain bootstrap is sure"
    low, high = interval(gains)
    assert low < 0 < high


def test_the_interval_is_that_of_a_normal_mean_with_many_rows() -> None:
    gains = np.random.default_rng(3).normal(0.1, 0.2, 900)
    low, high = interval(gains)
    half = 1.96 * gains.std() / 30
    assert (low, high) == pytest.approx((gains.mean() - half, gains.mean() + half), abs=0.003)


def test_it_is_rarely_wrong_where_there_is_no_gain() -> None:
    draws = np.random.default_rng(4)
    wrong = 0
    for _ in range(60):
        gains = (draws.random(16) < 0.5).astype(float) - (draws.random(16) < 0.5)
        low, high = interval(gains)
        wrong += low > 0 or high < 0
    assert wrong <= 6


@given(st.lists(st.floats(-1, 1), min_size=8, max_size=12))
def test_turned_round_it_is_the_same_the_other_way(gains: list[float]) -> None:
    some = np.array(gains)
    low, high = interval(some)
    assert (-high, -low) == pytest.approx(interval(-some), abs=0.15)


def test_the_sentence_tells_both_and_how_sure_it_is() -> None:
    found = verdict("normalised", [0.0] * 30 + [1.0] * 10, [1.0] * 40)
    assert found.sentence.startswith(
        "Better: right answers went from 25 % to 100 % on 40 held-out rows, a gain of 75 points "
        "(95 % interval: "
    )
    assert verdict("normalised", [0.0] * 30, [1.0] * 30) == verdict(
        "normalised", [0.0] * 30, [1.0] * 30
    )
