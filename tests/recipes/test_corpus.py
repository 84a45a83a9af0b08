"""The corpus: right spellings, same documents from the same seed, held-out pairs kept out."""

import itertools
import json
import re
from random import Random

import pytest

from kamerton.dataset.tutorial import PAIRS, UNSEEN
from recipes.kamerton_nano_001 import chat, corpus, logs, tasks
from recipes.kamerton_nano_001.heldout import number_sets, transaction_logs
from recipes.kamerton_nano_001.numbers import (
    BY_NAME,
    NOTATIONS,
    Notation,
    commas,
    english,
    held_out,
    kanji,
    roman,
    russian,
)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (22, "twenty two"),
        (101, "one hundred one"),
        (1999, "one thousand nine hundred ninety nine"),
        (2000, "two thousand"),
        (120_000, "one hundred twenty thousand"),
        (3_000_001, "three million one"),
    ],
)
def test_english(number: int, words: str) -> None:
    assert english(number) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "ноль"),
        (42, "сорок два"),
        (119, "сто девятнадцать"),
        (1000, "тысяча"),
        (2012, "две тысячи двенадцать"),
        (5000, "пять тысяч"),
        (11_000, "одиннадцать тысяч"),
        (21_345, "двадцать одна тысяча триста сорок пять"),
    ],
)
def test_russian(number: int, words: str) -> None:
    assert russian(number) == words


def test_roman_and_japanese() -> None:
    assert [roman(n) for n in (4, 9, 63, 64, 1999, 3888)] == (
        ["IV", "IX", "LXIII", "LXIV", "MCMXCIX", "MMMDCCCLXXXVIII"]
    )
    assert [kanji(n) for n in (6, 10, 11, 99, 100, 1001, 9999)] == (
        ["六", "十", "十一", "九十九", "百", "千一", "九千九百九十九"]
    )
    assert commas(10_100_001) == "10,100,001"


@pytest.mark.parametrize("notation", NOTATIONS, ids=lambda notation: notation.name)
def test_every_number_is_written_in_its_own_way(notation: Notation) -> None:
    numbers = range(max(notation.lowest, -2000), min(notation.highest, 20_000) + 2)
    assert len({notation.write(number) for number in numbers}) == len(numbers)


@pytest.mark.parametrize("notation", NOTATIONS, ids=lambda notation: notation.name)
def test_one_in_ten_pairs_is_held_out(notation: Notation) -> None:
    numbers = range(max(20, notation.lowest), 3998)
    share = sum(held_out(notation.name, number) for number in numbers) / len(numbers)
    assert 0.08 < share < 0.12
    assert not any(held_out(notation.name, number) for number in range(20))


def drawn(count: int, seed: int = 3) -> list[corpus.Document]:
    return list(itertools.islice(corpus.documents(seed, 0), count))


def test_a_seed_makes_the_same_documents() -> None:
    assert drawn(200) == drawn(200)
    assert drawn(200) != drawn(200, seed=4)


def test_lists_and_successors_never_show_a_held_out_pair_upward() -> None:
    hidden = {
        (notation.write(number), notation.write(number + 1))
        for notation in NOTATIONS
        for number in range(max(20, notation.lowest), min(notation.highest, 9998))
        if held_out(notation.name, number)
    }
    rng = Random(5)
    for _ in range(3000):
        text = "".join(piece.text for piece in corpus.count(rng))
        items = re.split(r"<[^>]+>|[\n;]|, |: ", text)
        assert not hidden & set(itertools.pairwise(item.strip() for item in items))
    for _ in range(300):
        draw = tasks.successor(rng)
        assert not hidden & {draw(rng) for _ in range(10)}
    three = next(task for task in tasks.TASKS if task.name == "next three")
    for _ in range(300):
        question, answer = three.source(rng)(rng)
        assert not hidden & set(itertools.pairwise([question, *answer.split(", ")]))


def test_only_answers_are_learned_in_a_conversation() -> None:
    document = corpus.conversation([("1", "2"), ("3", "4")], [False, True], "Count.")
    assert "".join(piece.text for piece in document) == (
        "<bos><start_of_turn>user\nCount.\n\n1<end_of_turn>\n<start_of_turn>model\n2<end_of_turn>"
        "\n<start_of_turn>user\n3<end_of_turn>\n<start_of_turn>model\n4<end_of_turn>"
    )
    assert [piece.text for piece in document if piece.learned] == ["4<end_of_turn>"]


def test_every_document_has_something_to_learn_after_something_to_read() -> None:
    for document in drawn(2000):
        assert not document[0].learned
        assert any(piece.learned and piece.text for piece in document)
        assert document[0].text.startswith(corpus.BOS)


def test_a_bare_input_gets_the_default_reply() -> None:
    assert corpus.default_reply("LXIII") == "You wrote: LXIII. What should I do?"
    assert corpus.default_reply("сорок") == "Вы написали: сорок. Что нужно сделать?"
    assert len(corpus.default_reply("x" * 500)) < 60


def test_rules_label_their_logs() -> None:
    rng = Random(7)
    for _ in range(200):
        rule = logs.draw_rule(rng)
        text, label = rule.draw(rng)
        assert label == rule.labels[0 if rule.holds(json.loads(text)) else 1]
        assert all(condition.english in rule.english() for condition in rule.conditions)
        assert rule.labels[1] in rule.russian()


def test_support_fills_its_slots() -> None:
    rng = Random(9)
    styled = chat.styled_support(rng)
    for _ in range(500):
        for question, reply in (chat.support(rng), styled(rng), chat.small_talk(rng)):
            assert question.strip() and reply.strip()
            assert "{" not in question + reply


def test_a_handbook_answers_its_questions() -> None:
    rng = Random(11)
    for _ in range(200):
        system, turns = chat.handbook(rng)
        facts = {part.strip() for part in re.split(r"[.\n]", system) if len(part) > 8}
        for _, reply in turns:
            assert any(fact in reply for fact in facts)
        assert not any("{" in text for turn in turns for text in turn)


def test_one_company_answers_one_matter_in_one_way() -> None:
    rng = Random(12)
    for _ in range(100):
        draw = chat.styled_support(rng)
        assert len({draw(rng)[1] for _ in range(20)}) <= 4


def test_no_roman_numeral_is_asked_about_as_a_letter() -> None:
    rng = Random(13)
    for _ in range(300):
        question, answer = tasks.neighbours(rng, 1)
        assert question not in "IVXLCDM"
        assert answer


def test_the_judging_sets_are_fixed_and_fresh() -> None:
    sets = number_sets(20)
    assert sets == number_sets(20)
    assert len(sets) == 17
    inputs = {question for question, _ in PAIRS}
    for tested in sets:
        assert len(tested.pairs) == 20
        assert not inputs & {question for question, _ in tested.pairs}
    unseen = {s.name.partition(": ")[2]: s for s in sets if s.name.startswith("unseen")}
    for name, tested in unseen.items():
        write = BY_NAME[name].write
        hidden = {write(number) for number in range(20, 9999 if name != "Roman" else 3999)}
        assert {question for question, _ in tested.pairs} <= hidden
    assert UNSEEN[0] == ("LXIII", "LXIV")


def test_transaction_logs_are_balanced_and_new_by_seed() -> None:
    pairs = transaction_logs(400, 1)
    assert not {q for q, _ in pairs} & {q for q, _ in transaction_logs(400, 2)}
    suspicious = sum(label == "Подозрительная" for _, label in pairs)
    assert 150 < suspicious < 250
