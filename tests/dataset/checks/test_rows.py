from __future__ import annotations

import pytest

from kamerton.dataset.check import RowTokens
from kamerton.dataset.checks.registry import ROW_CHECKS
from kamerton.dataset.chunks import Chunk
from kamerton.dataset.seen import Seen
from kamerton.findings import Hit
from kamerton.types import Content, Example
from tests.dataset.checks.looks import look, look_at_examples

ASKED = Content("user", "Сколько будет 2 + 2?")


def conversation(*turns: Content, output: str = "4") -> Example:
    return Example(turns, output)


@pytest.mark.parametrize("nothing", ["", " \t\n", "\u00a0\u3000", "\u200b", "\ufeff \x00"])
def test_a_side_that_shows_nothing_is_empty(nothing: str) -> None:
    pairs = [("вопрос", "ответ"), ("вопрос", nothing), (nothing, "ответ"), ("?", ".")]
    [output] = look("K101", *pairs)
    assert (output.number, output.field) == (2, "output")
    [input_] = look("K102", *pairs)
    assert (input_.number, input_.field) == (3, "text_input")


def test_it_says_what_kind_of_nothing_there_is() -> None:
    details = [hit.detail for hit in look("K101", ("q", ""), ("q", "  "), ("q", "\u200b"))]
    assert details == ["is empty", "has only white space", "has only invisible characters"]


@pytest.mark.parametrize("something", ["0", ".", "👍", "日", "\U00020000", "ё", "-"])
def test_anything_visible_is_not_empty(something: str) -> None:
    assert not look("K101", ("q", something))
    assert not look("K102", (something, "a"))


def test_every_learned_answer_of_a_conversation_must_say_something() -> None:
    silent = Content("model", " ")
    read_only = Content("model", " ", learn=False)
    examples = [
        conversation(ASKED, silent, ASKED),
        conversation(ASKED, read_only, ASKED),
        conversation(ASKED, Content("model", "4"), ASKED),
        conversation(ASKED, Content("model", "4"), ASKED, output=" "),
        conversation(ASKED, Content("model", "4"), ASKED, output="\u200b"),
    ]
    assert [hit.number for hit in look_at_examples("K101", *examples)] == [1, 4, 5]


def test_a_conversation_in_which_no_user_says_anything_has_an_empty_input() -> None:
    unasked = conversation(Content("system", "Отвечай кратко."), Content("user", " "))
    [hit] = look_at_examples("K102", unasked, conversation(ASKED, ASKED))
    assert (hit.number, hit.field) == (1, "input")


def test_lengths_have_limits() -> None:
    pairs = [("и" * 40_000, "а" * 5_000), ("и" * 40_001, "а"), ("и", "👍" * 5_001)]
    assert look("K104", *pairs) == [Hit(2, "text_input", "40001 characters, at most 40000")]
    assert look("K105", *pairs) == [Hit(3, "output", "5001 characters, at most 5000")]


def test_limits_of_a_conversation_are_those_of_its_texts() -> None:
    answers = (ASKED, Content("model", "а" * 3_000))
    assert not look_at_examples("K105", Example((*answers, *answers, ASKED), "а" * 3_000))
    assert look_at_examples("K105", Example((ASKED, Content("model", "а" * 5_001), ASKED), "а"))
    halves = (Content("user", "и" * 20_000), Content("user", "и" * 20_000))
    assert not look_at_examples("K104", Example(halves, "а"))
    assert look_at_examples("K104", Example((*halves, Content("user", "!")), "а"))


def test_what_the_reader_could_not_use_is_told() -> None:
    hit = Hit(7, "output", "is missing")
    seen = Seen(Chunk([], [], [], unreadable=[hit], unlearned=[Hit(8)]))
    assert list(ROW_CHECKS["K103"].look(seen)) == [hit]
    assert list(ROW_CHECKS["K107"].look(seen)) == [Hit(8)]


def test_what_would_be_cut_is_counted() -> None:
    seen = Seen(Chunk([4, 5, 6, 7], list("abcd"), list("abcd")))
    seen.tokens = {
        0: RowTokens(10, 5),
        1: RowTokens(10, 5, cut_prompt=3),
        2: RowTokens(8, 90, cut_prompt=1, cut_answer=1),
        3: RowTokens(99, 0, cut_answer=2),
    }
    assert list(ROW_CHECKS["K106"].look(seen)) == [
        Hit(5, "", "3 prompt tokens would be cut"),
        Hit(6, "", "1 prompt token and 1 answer token would be cut"),
    ]
    [nothing] = ROW_CHECKS["K107"].look(seen)
    assert nothing.number == 7
