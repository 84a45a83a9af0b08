from __future__ import annotations

import pytest

from benchmarks import defects
from benchmarks.defects import MOST_FALSE_ALARMS, Score, Trial, table
from benchmarks.defects_data.defects import Sower
from benchmarks.defects_data.sets import Kind, kinds
from kamerton.dataset.checks.registry import all_checks


@pytest.fixture(scope="module")
def trial() -> Trial:
    return defects.run(range(1), row_count=200, each=1)


@pytest.mark.parametrize("code", all_checks())
def test_seeded_defects_are_found_and_clean_rows_left_alone(trial: Trial, code: str) -> None:
    score = trial.scores[code]
    surprises = "\n".join(str(s) for s in trial.surprises if s.code == code)
    assert score.seeded, "no set has this defect"
    assert score.recall >= 0.9, surprises
    assert score.false_alarms <= MOST_FALSE_ALARMS, surprises


def test_the_result_has_what_the_page_of_checks_shows(trial: Trial) -> None:
    assert set(trial.result()) == set(all_checks())
    assert trial.result()["K101"].keys() == {"seeded", "found", "recall", "false_alarms"}
    assert table(trial).row_count == len(all_checks())


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: f"{kind.name} {kind.language}")
def test_a_set_is_the_same_for_the_same_seed_and_has_no_row_twice(kind: Kind) -> None:
    rows, again, other = kind.rows(1, 120), kind.rows(1, 120), kind.rows(2, 120)
    inputs = [row.input for row in rows]
    assert inputs == [row.input for row in again] != [row.input for row in other]
    assert len({(row.before, row.input) for row in rows}) == 120


def test_a_check_that_finds_nothing_or_everything_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Score(seeded=20, found=19, clean=100, alarmed=2).is_good
    assert not Score(seeded=20, found=18, clean=100).is_good
    assert not Score(seeded=20, found=20, clean=100, alarmed=3).is_good
    assert not Score(clean=100).is_good, "nobody tried it"

    monkeypatch.setattr(Sower, "echo", Sower.contradiction)
    monkeypatch.setattr(defects, "kinds", lambda: [next(kinds())])
    blind = defects.run(range(1), row_count=100, each=1)
    assert not blind.scores["K204"].found
    assert [s.code for s in blind.surprises if s.missed] == ["K204"]
