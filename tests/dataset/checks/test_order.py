from __future__ import annotations

import pytest

from tests.dataset.checks.sets import Pairs, classified, findings, pairs

LABELS = ("yes", "no", "maybe")


def test_a_shuffled_set_is_in_no_order() -> None:
    assert "K308" not in findings(pairs(100))
    assert "K308" not in findings(classified(100, LABELS))


def test_rows_grouped_by_label() -> None:
    rows = sorted(classified(100, LABELS), key=lambda row: row[1])
    assert findings(rows)["K308"].message == "The rows are grouped by their label."


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (sorted(pairs(50)), "their input"),
        (sorted(pairs(50), key=lambda row: row[1]), "their output"),
        (sorted(pairs(50), key=lambda row: len(row[0])), "the length of their input"),
        (sorted(pairs(50), key=lambda row: -len(row[1])), "the length of their output"),
    ],
)
def test_sorted_rows(rows: Pairs, told: str) -> None:
    found = findings(rows)["K308"]
    assert found.message == f"The rows are sorted by {told}."
    assert found.severity == "note"


def test_inputs_of_one_length_are_not_sorted() -> None:
    rows = [(f"{at * 7919 % 100:02d} apples", answer) for at, (_, answer) in enumerate(pairs(50))]
    assert "K308" not in findings(rows)


def test_few_of_one_label_side_by_side_are_no_order() -> None:
    rows = [(asked, "no" if at in (7, 8) else "yes") for at, (asked, _) in enumerate(pairs(40))]
    assert "K308" not in findings(rows)
