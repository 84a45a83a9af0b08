from __future__ import annotations

import random

import pytest

from kamerton.dataset.check import check
from kamerton.dataset.sources import inline_source
from tests.dataset.checks.sets import ENGLISH, RUSSIAN, findings, numbers, pairs, texts

CODES = ("K201", "K202", "K203", "K204", "K205")
LANGUAGES = pytest.mark.parametrize("words", [ENGLISH, RUSSIAN], ids=["en", "ru"])


@LANGUAGES
def test_nothing_is_found_in_clean_rows(words: list[str]) -> None:
    found = findings(pairs(200, words), pairs(30, words, seed=9))
    assert not found.keys() & set(CODES)


@LANGUAGES
def test_rows_that_are_there_twice(words: list[str]) -> None:
    rows = pairs(100, words)
    found = findings([*rows, rows[7], rows[8], rows[7]])
    assert numbers(found, "K201") == [100, 101, 102]
    assert [hit.detail for hit in found["K201"].hits] == [
        "repeats example 7",
        "repeats example 8",
        "repeats example 7",
    ]
    assert not found.keys() & {"K202", "K203"}


@LANGUAGES
def test_another_answer_to_the_same_input(words: list[str]) -> None:
    rows = pairs(100, words)
    found = findings([*rows, (rows[5][0], "Something else."), (rows[5][0], rows[5][1])])
    assert numbers(found, "K203") == [100]
    assert found["K203"].hits[0].detail == "another answer than in example 5"
    assert numbers(found, "K201") == [101]


@LANGUAGES
def test_rows_that_differ_in_case_signs_or_a_word(words: list[str]) -> None:
    rows = pairs(200, words)
    asked = [asked for asked, _ in rows]
    dropped, changed = asked[2].split(), asked[3].split()
    del dropped[6]
    changed[4] = "xylophone"
    near = [
        asked[0].upper(),
        asked[1].replace(" ", ",  ") + "!",
        *map(" ".join, (dropped, changed)),
    ]
    rows += [(text, rows[at][1]) for at, text in enumerate(near)]
    found = findings(rows)
    assert numbers(found, "K202") == [200, 201, 202, 203]
    assert [hit.detail for hit in found["K202"].hits] == [
        f"is like example {at}" for at in range(4)
    ]


def test_rows_that_differ_in_a_number_are_different() -> None:
    long = texts(1)[0]
    rows = [(f"{long} {number} degrees", "Warm.") for number in range(3)]
    assert "K202" not in findings([*pairs(100), *rows])


def test_a_template_is_no_near_duplicate() -> None:
    choose = random.Random(1)
    names = [w.capitalize() for w in ENGLISH]
    rows = [
        (
            f"Write a friendly reminder to {first} {choose.choice(names)} about the invoice of "
            f"the {choose.choice(ENGLISH)} and the {choose.choice(ENGLISH)}, please",
            "Sure.",
        )
        for first in names * 10
    ]
    found = findings(list(dict.fromkeys(rows)))
    assert found["K202"].count if "K202" in found else 0 <= 2


def test_other_answers_make_rows_different() -> None:
    rows = pairs(100)
    words = rows[3][0].split()
    words[5] = "xylophone"
    assert "K202" not in findings([*rows, (" ".join(words), "Another answer.")])


def test_outputs_that_are_the_input() -> None:
    rows = pairs(60, RUSSIAN)
    rows[4] = (rows[4][0], rows[4][0])
    assert numbers(findings(rows), "K204") == [4]


@LANGUAGES
def test_rows_that_are_in_the_validation_data(words: list[str]) -> None:
    rows = pairs(100, words)
    held_out = [*pairs(20, words, seed=9), rows[3], (rows[8][0].upper() + "!", "Whatever.")]
    assert numbers(findings(rows, held_out), "K205") == [3, 8]


def test_signs_alone_do_not_leak() -> None:
    assert "K205" not in findings([*pairs(30), ("???", "What?")], [("!!!", "Oh!")])


def test_the_newest_turn_said_again_is_an_echo() -> None:
    def talk(answer: str) -> dict[str, object]:
        said = ("user", "Hello"), ("assistant", "Hi"), ("user", "How are you?")
        turns = [*said, ("assistant", answer)]
        return {"messages": [{"role": role, "content": text} for role, text in turns]}

    report = check(inline_source([talk("Fine."), talk("How are you?")]))
    assert [f.hits[0].number for f in report.findings if f.code == "K204"] == [1]
