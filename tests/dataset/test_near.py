from __future__ import annotations

import random

import numpy as np
import pytest

from kamerton.dataset import near
from kamerton.dataset.near import LEAST_CHARACTERS, Folded, Near
from kamerton.dataset.seen import Texts
from tests.dataset.checks.sets import texts


def rows(*inputs: str, answer: str = "ok") -> Near:
    found = Near()
    found.add(Texts(inputs), Texts([answer] * len(inputs)))
    return found


def shingles(text: str) -> set[str]:
    left = "".join(filter(str.isalnum, text.lower()))
    return {left[at : at + near.SHINGLE] for at in range(len(left) - near.SHINGLE + 1)}


def test_letters_and_digits_make_a_print() -> None:
    one, same, other, order = rows("Ёлка, 5 km!", "елка 5KM", "елка 6 km", "km 5 елка").prints
    assert one == same
    assert len({one, other, order}) == 3


def test_prints_are_the_same_in_every_process() -> None:
    assert rows("Hello, world 42").prints.tolist() == [13154263688608253776]


def test_the_share_of_equal_bins_is_the_similarity() -> None:
    choose, errors = random.Random(2), []
    for text in texts(40, length=40):
        words = text.split()
        for place in choose.sample(range(40), choose.randint(1, 12)):
            words[place] = "different"
        other = " ".join(words)
        wanted = len(shingles(text) & shingles(other)) / len(shingles(text) | shingles(other))
        both = Texts([text, other])
        sketches = Folded(both.units, both.starts).sketches
        errors.append((sketches[0] == sketches[1]).mean() - wanted)
    assert abs(np.mean(errors)) < 0.03
    assert np.abs(errors).max() < 0.25


def test_pairs_are_found_across_chunks() -> None:
    text = texts(1)[0]
    found = rows(text)
    found.add(Texts(["something else", text + "s"]), Texts(["ok", "ok"]))
    assert found.pairs(0.6).tolist() == [[0, 2]]


@pytest.mark.parametrize(("changed", "answer"), [("5", "ok"), ("4", "no")])
def test_digits_and_answers_must_be_equal(changed: str, answer: str) -> None:
    text = texts(1)[0]
    found = rows(f"{text} 4")
    found.add(Texts([f"{text} {changed} so"]), Texts([answer]))
    assert not len(found.pairs(0.6))


def test_short_texts_are_not_compared() -> None:
    text = "a" * (LEAST_CHARACTERS - 1)
    assert not len(rows(text, text).pairs(0.5))
    assert len(rows(text + "b", text + "b").pairs(0.5))


def test_empty_texts_and_emoji() -> None:
    found = rows("", "!!!", "🙂🙂", " ")
    assert not len(found.pairs(0.5))
    assert (found.prints[[0, 1, 3]] == 0).all() and found.prints[2]


def test_beyond_the_limits_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    text = texts(1)[0]
    monkeypatch.setattr(near, "MAX_ROWS", 1)
    assert not len(rows(text, text).pairs(0.5))
    monkeypatch.undo()
    monkeypatch.setattr(near, "MAX_UNITS", 50)
    found = rows(text, text)
    assert not len(found.pairs(0.5)) and not len(found.prints)
