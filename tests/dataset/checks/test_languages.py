from __future__ import annotations

from tests.dataset.checks.sets import ENGLISH, RUSSIAN, findings, numbers, pairs


def test_one_language_is_clean() -> None:
    assert "K401" not in findings(pairs(60))
    assert "K401" not in findings(pairs(60, RUSSIAN))


def test_rows_in_another_language() -> None:
    rows = pairs(60, RUSSIAN)
    rows[4] = pairs(1, ENGLISH)[0]
    rows[5] = (rows[5][0], pairs(1, ENGLISH)[0][1])
    found = findings(rows)
    assert numbers(found, "K401") == [4, 5]
    assert found["K401"].hits[0].detail == "Latin letters, where most are Cyrillic"


def test_chinese_among_english() -> None:
    rows = pairs(60)
    rows[4] = ("我想知道我的订单什么时候能到谢谢您的帮助祝您愉快", rows[4][1])
    assert numbers(findings(rows), "K401") == [4]


def test_a_translation_task_is_not_mixed() -> None:
    rows = [(a, b) for (a, _), (b, _) in zip(pairs(60), pairs(60, RUSSIAN), strict=True)]
    assert "K401" not in findings(rows)


def test_names_in_other_letters_are_fine() -> None:
    rows = pairs(60, RUSSIAN)
    rows[4] = (f"{rows[4][0]} Kubernetes PostgreSQL", "Kubernetes")
    assert "K401" not in findings(rows)


def test_two_languages_by_halves_are_the_task() -> None:
    assert "K401" not in findings([*pairs(60), *pairs(60, RUSSIAN)])


def test_a_log_line_in_a_russian_question_is_too_mixed_to_tell() -> None:
    rows = pairs(60)
    rows[4] = ("Что значит эта строка: kernel panic not syncing attempted to kill init", rows[4][1])
    assert "K401" not in findings(rows)
