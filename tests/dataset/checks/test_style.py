from __future__ import annotations

import json

import pytest

from kamerton.dataset.check import check
from kamerton.dataset.sources import inline_source
from tests.dataset.checks.sets import (
    ENGLISH,
    RUSSIAN,
    Pairs,
    findings,
    numbers,
    pairs,
    sentence,
    texts,
)

CODES = {"K303", "K304", "K305", "K306"}


def as_json(count: int) -> Pairs:
    return [
        (asked, json.dumps({"name": asked[:9], "words": asked.split()[:3]}))
        for asked in texts(count)
    ]


@pytest.mark.parametrize("words", [ENGLISH, RUSSIAN], ids=["en", "ru"])
def test_one_style_is_clean(words: list[str]) -> None:
    assert not findings(pairs(100, words)).keys() & CODES


@pytest.mark.parametrize(
    "broken", ['{"name": "x"', "I cannot do that.", "```json\n{}\n```", "{'a': 1}"]
)
def test_broken_json_among_json(broken: str) -> None:
    rows = as_json(60)
    assert not findings(rows).keys() & CODES
    rows[9] = (rows[9][0], broken)
    assert numbers(findings(rows), "K303") == [9]


def test_json_with_spaces_around_is_json() -> None:
    rows = as_json(60)
    rows[9] = (rows[9][0], f"\n  {rows[9][1]}\n")
    assert "K303" not in findings(rows)


def test_one_json_among_texts_is_nothing() -> None:
    assert "K303" not in findings([*pairs(60), ("a b c d e f", '{"a": 1}')])


def test_a_small_first_letter_and_a_missing_full_stop() -> None:
    rows = pairs(100, RUSSIAN)
    rows[3] = (rows[3][0], rows[3][1].lower())
    rows[4] = (rows[4][0], rows[4][1].rstrip("."))
    found = findings(rows)
    assert numbers(found, "K304") == [3]
    assert numbers(found, "K305") == [4]


def test_capitals_and_full_stops_where_there_are_none() -> None:
    rows = [(asked, answer.lower().rstrip(".")) for asked, answer in pairs(100)]
    rows[3] = (rows[3][0], rows[3][1].capitalize())
    rows[4] = (rows[4][0], rows[4][1] + ".")
    found = findings(rows)
    assert numbers(found, "K304") == [3]
    assert numbers(found, "K305") == [4]


def test_half_and_half_is_no_style() -> None:
    rows = [(a, b if at % 2 else b.lower().rstrip(".")) for at, (a, b) in enumerate(pairs(100))]
    assert not findings(rows).keys() & CODES


@pytest.mark.parametrize("answer", ["Ok.", sentence(" ".join(ENGLISH * 10))])
def test_a_very_short_and_a_very_long_answer(answer: str) -> None:
    rows = pairs(100)
    rows[5] = (rows[5][0], answer)
    assert numbers(findings(rows), "K306") == [5]


def test_lengths_that_are_spread_widely_have_no_outliers() -> None:
    rows = [(asked, sentence("word " * (1 + at % 60))) for at, asked in enumerate(texts(120))]
    assert "K306" not in findings(rows)


def test_words_in_capitals_have_no_case() -> None:
    rows = [(asked, answer.lower()) for asked, answer in pairs(100)]
    rows[3] = (rows[3][0], "SELECT name FROM users;")
    assert "K304" not in findings(rows)


def test_the_last_answer_of_a_conversation_counts() -> None:
    def talk(answer: str) -> dict[str, object]:
        said = ("user", "Hello"), ("assistant", "hi"), ("user", "And now?"), ("assistant", answer)
        return {"messages": [{"role": role, "content": text} for role, text in said]}

    rows = [talk(answer) for _, answer in pairs(40)]
    rows[5] = talk("Ok.")
    report = check(inline_source(rows))
    assert [f.hits[0].number for f in report.findings if f.code == "K306"] == [5]
    assert "K304" not in {found.code for found in report.findings}
