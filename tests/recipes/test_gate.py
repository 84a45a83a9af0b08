"""The gate: what passes, what it prints, where it pastes it."""

from pathlib import Path

from kamerton.types import BaseModel
from recipes.kamerton_nano_001 import card, gate
from recipes.kamerton_nano_001.gate import Check, Column, Judge, Report
from recipes.kamerton_nano_001.heldout import TestSet
from recipes.kamerton_nano_001.pretrain import Plan, Progress

SETS = (TestSet("digits", (("1", "2"),)), TestSet("Roman", (("I", "II"),)))


def report(*checks: Check) -> Report:
    return Report(SETS, [Column("bare", [0.0, 2.5])], checks, 12.0)


def test_one_failed_demand_fails_the_base() -> None:
    good, bad = Check("a", "1", True), Check("b", "0", False)
    assert report(good).passed
    assert not report(good, bad).passed


def test_the_worst_set_decides_about_leaking() -> None:
    assert gate.leak(SETS, [0.0, 2.0]).passed
    found = gate.leak(SETS, [0.0, 2.5])
    assert not found.passed
    assert "Roman" in found.found


def test_the_table_goes_between_the_marks_of_the_card(tmp_path: Path) -> None:
    plan, progress = Plan(7, 1000, tmp_path), Progress(step=3, tokens=1001, targets=200)
    card.write(tmp_path, plan, progress)
    for _ in range(2):
        card.paste(tmp_path, "gate", report(Check("a", "1", True)).markdown())
    text = (tmp_path / "README.md").read_text()
    assert text.count("| **mean** | **1.2** |") == 1
    assert "Seed 7, 1,001 tokens in 3 steps" in text
    assert "## Limits" in text


def test_a_judge_tunes_and_asks_through_the_product(tiny: BaseModel, tmp_path: Path) -> None:
    judge = Judge(tiny, tmp_path)
    try:
        adapter = judge.tune([("1", "a"), ("2", "a")], seed=0, batch_size=2, epoch_count=1)
        answers = judge.answers(["1", "2", "3"], adapter)
        assert len(answers) == 3
        sets = [TestSet("seen", (("1", answers[0]), ("2", "never this")))]
        assert judge.scores(sets, adapter) == [50.0]
    finally:
        judge.close()
