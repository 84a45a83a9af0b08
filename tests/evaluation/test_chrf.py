from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.chrf import CHRF

from kamerton.evaluation.chrf import chrf

FIELD = CHRF()
"""The implementation that papers report."""
few = st.text(alphabet="ab .é中", max_size=12)


@given(st.one_of(few, st.text(max_size=30)), st.one_of(few, st.text(max_size=30)))
def test_as_sacrebleu_scores_it(right: str, answer: str) -> None:
    if "".join(right.split()) or "".join(answer.split()):
        expected = FIELD.sentence_score(answer, [right]).score / 100
        assert chrf(right, answer) == pytest.approx(expected, abs=1e-9)


def test_what_is_the_same_is_one_and_what_shares_nothing_is_zero() -> None:
    assert chrf("Hello, world", "Hello,  world") == pytest.approx(1.0)
    assert chrf("", " ") == 1.0
    assert chrf("abc", "xyz") == chrf("abc", "") == 0.0


def test_what_is_missing_costs_more_than_what_is_too_much() -> None:
    assert chrf("the red house", "the red") < chrf("the red", "the red house")
