from __future__ import annotations

from collections.abc import Sequence

from kamerton.evaluation.few_shot import choose, prompt
from kamerton.types import Content, Example
from tests.evaluation.candidates import labelled


def words(turns: Sequence[Content]) -> int:
    return sum(len(turn.text.split()) for turn in turns)


def test_labels_take_turns_the_frequent_first() -> None:
    shots = choose(labelled(60), words, 1000)
    assert [shot.output for shot in shots] == ["ham", "spam", "ham", "spam", "ham"]
    assert shots == choose(labelled(60), words, 1000)
    assert len(set(shots)) == 5


def test_they_are_short_and_not_the_shortest() -> None:
    texts = [Example.pair("word " * length, f"answer {length}") for length in range(1, 31)]
    lengths = [words(shot.contents) for shot in choose(texts, words, 1000)]
    assert len(lengths) == 5 and max(lengths) <= 15 and lengths != [1, 2, 3, 4, 5]


def test_they_fit_into_the_tokens_left() -> None:
    texts = [Example.pair("word " * length, "right") for length in (2, 4, 6, 8, 50)]
    shots = choose(texts, words, 10)
    assert shots and sum(words(shot.contents) + 1 for shot in shots) <= 10
    assert choose(texts, words, 2) == ()
    assert choose([], words, 100) == ()


def test_no_question_twice() -> None:
    assert len(choose([Example.pair("same", str(number)) for number in range(9)], words, 99)) == 1


def test_the_prompt_is_a_conversation_that_ends_with_the_question() -> None:
    system = Content("system", "Be brief.")
    shot = Example((Content("system", "Other."), Content("user", "1")), "2")
    row = Example((system, Content("user", "5")), "6")
    assert prompt([shot], row) == [
        system,
        Content("user", "1"),
        Content("model", "2"),
        Content("user", "5"),
    ]
    assert prompt([], row) == list(row.contents)
