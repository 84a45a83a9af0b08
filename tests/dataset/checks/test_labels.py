from __future__ import annotations

import pytest

from tests.dataset.checks.sets import RUSSIAN, classified, findings, numbers, pairs, texts

STATES = ("Нормальные", "Аномалия", "Ошибка датчика")


def test_nothing_is_found_in_balanced_labels() -> None:
    found = findings(classified(200, STATES, RUSSIAN))
    assert not found.keys() & {"K301", "K302", "K307"}


def test_one_label_for_nearly_all() -> None:
    rows = classified(100, STATES, RUSSIAN)
    rows = [(asked, "Нормальные" if at < 82 else label) for at, (asked, label) in enumerate(rows)]
    found = findings(rows)
    assert found["K301"].count == 0
    assert found["K301"].message.startswith("'Нормальные' is 8")


def test_spellings_of_one_label_count_together() -> None:
    rows = [(asked, ("Yes", "yes ", "No")[at % 3]) for at, asked in enumerate(texts(90))]
    assert "K301" not in findings(rows)


@pytest.mark.parametrize(
    "wrong",
    ["нормальные", "Нормальные ", " Нормальные", "Нормальные.", "Нормалные", "Номральные"],
)
def test_a_label_that_is_another_one_misspelled(wrong: str) -> None:
    rows = classified(200, STATES, RUSSIAN)
    rows[17] = (rows[17][0], wrong)
    found = findings(rows)
    assert numbers(found, "K302") == [17]
    assert "'Нормальные' is frequent" in found["K302"].hits[0].detail
    assert "K307" not in found


@pytest.mark.parametrize(
    "labels", [("valid", "invalid"), ("class 1", "class 2"), ("male", "female")]
)
def test_labels_that_are_alike_and_both_meant(labels: tuple[str, ...]) -> None:
    assert "K302" not in findings(classified(100, labels))


@pytest.mark.parametrize(
    ("frequent", "rare"),
    [
        ("Vitamin A", "Vitamin B"),
        ("Class A", "Class C"),
        ("Type I", "Type IV"),
        ("Grade A", "Grade"),
    ],
)
def test_short_names_are_no_typos(frequent: str, rare: str) -> None:
    rows = classified(200, (frequent, "Something else"))
    rows[3] = (rows[3][0], rare)
    assert "K302" not in findings(rows)


def test_signs_are_labels_as_well() -> None:
    assert not findings(classified(200, (".", ",", "!", "?"))).keys() & {"K301", "K302", "K307"}


@pytest.mark.parametrize("wrong", ["Нормaльные", "HОРМАЛЬНЫЕ", "«Нормальные»", "Норммальные"])
def test_lookalikes_quotes_and_doubled_letters(wrong: str) -> None:
    rows = classified(200, STATES, RUSSIAN)
    rows[17] = (rows[17][0], wrong)
    assert numbers(findings(rows), "K302") == [17]


def test_some_long_answers_do_not_hide_the_labels() -> None:
    rows = classified(200, STATES, RUSSIAN)
    rows[17] = (rows[17][0], "нормальные")
    rows[18] = (rows[18][0], "Я не могу ответить на этот вопрос. " * 4)
    found = findings(rows)
    assert numbers(found, "K302") == [17]
    assert numbers(found, "K306") == [18]


def test_a_rare_label_with_another_number_is_no_typo() -> None:
    rows = classified(200, ("category 1", "category 2"))
    rows[3] = (rows[3][0], "category 3")
    assert "K302" not in findings(rows)


def test_texts_are_no_labels() -> None:
    found = findings(pairs(100))
    assert not found.keys() & {"K301", "K302", "K307"}


@pytest.mark.parametrize(
    ("count", "told"), [(1, "is only 1 example"), (15, "are only 15 examples")]
)
def test_few_examples(count: int, told: str) -> None:
    assert told in findings(pairs(count))["K307"].message


def test_twenty_examples_are_not_few() -> None:
    assert "K307" not in findings(pairs(20))


def test_a_label_with_few_examples() -> None:
    rows = classified(200, STATES, RUSSIAN)
    for place in (3, 4):
        rows[place] = (rows[place][0], "Пожар")
    found = findings(rows)
    assert numbers(found, "K307") == [3, 4]
    assert found["K307"].hits[0].detail == "'Пожар' has only 2 examples"
