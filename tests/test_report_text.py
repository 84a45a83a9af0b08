"""What people read of a report and an estimate: everything that is in it, and nothing harmful."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from kamerton.findings import Finding, Hit, Report
from kamerton.report_text import brief, print_estimate, print_report, print_verdict
from kamerton.types import Estimate, Hyperparameters
from tests.reports import ECHO, EMPTY, SORTED, STATISTICS, TOKENS, report

ESTIMATE = Estimate(
    hyperparameters=Hyperparameters(5, 4, 0.001, 0.002),
    reasons=(("epoch_count", "the usual number"),),
    example_count=180,
    held_out_count=20,
    total_steps=225,
    tokens=45_000,
    trained_tokens=9_000,
)


def shown(report: Report, width: int = 80) -> str:
    out = StringIO()
    print_report(Console(file=out, width=width), report)
    return out.getvalue()


def verdict(*findings: Finding, strict: bool = False) -> str:
    out = StringIO()
    print_verdict(Console(file=out, width=80), report(*findings), strict=strict)
    return out.getvalue()


def estimated(estimate: Estimate, **more: object) -> str:
    out = StringIO()
    print_estimate(Console(file=out, width=80), estimate, **more)  # type: ignore[arg-type]
    return out.getvalue()


def test_it_says_what_was_recognised() -> None:
    first, second = shown(report()).splitlines()[:2]
    assert first == "train.jsonl: JSON lines, 203 rows"
    assert second == "rows with text_input, output (200); messages (3)"


def test_a_finding_has_its_rows_and_the_advice() -> None:
    text = shown(report(EMPTY, ECHO, SORTED))
    assert "error K101 empty-output: 24 of 203 rows have an empty output\n" in text
    assert "    line 2, output: is empty\n    line 3, output" in text
    assert "    also lines 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 and 11 more\n" in text
    assert "    → Write the answers, or take the rows out.\n" in text
    assert "note K308 sorted-order: the rows are sorted by output\n    → Shuffle" in text
    assert "allowed: K305" in text


def test_rows_cannot_take_over_the_terminal() -> None:
    text = shown(report(ECHO, replace(ECHO, message="\x1b[2J", hits=())))
    assert "\x1b" not in text
    assert "Привет\\x1b[31m" in text
    many = replace(ECHO, hits=(replace(ECHO.hits[0], detail="a\nb" + "x" * 999),))
    assert "output: a\\nbxxx" in shown(report(many))
    assert "x…\n" in shown(report(many))


def test_statistics_are_a_table_and_a_histogram() -> None:
    text = shown(report())
    assert "input characters   12,345       3      40    60.8     120     999\n" in text
    assert "tokens" not in text
    bars = [line for line in text.splitlines() if "up to" in line]
    assert [line.split()[-1] for line in bars] == ["100", "70", "9"]
    assert bars[0].count("█") > bars[1].count("█") > bars[2].count("█")
    assert all(len(line) <= 80 for line in bars)
    counted = shown(report(statistics=replace(STATISTICS, tokens=TOKENS)))
    assert "rows by length in tokens" in counted
    assert "2 rows longer than the context, and cut" in counted


def test_nothing_to_count_is_no_table() -> None:
    empty = replace(STATISTICS, row_count=1, example_count=0, histogram=())
    assert "characters" not in shown(report(EMPTY, statistics=empty))


def test_lines_for_programs_are_not_broken() -> None:
    long = replace(EMPTY, message="word " * 60)
    assert any(len(line) > 290 for line in shown(report(long), width=40).splitlines())


@pytest.mark.parametrize(
    ("findings", "strict", "wanted"),
    [
        ((), False, "nothing found: ready to tune"),
        ((SORTED,), True, "1 note: ready to tune"),
        ((ECHO, SORTED), False, "1 warning, 1 note: a run would start; look at it first"),
        ((ECHO,), True, "1 warning: not accepted with --strict"),
        ((EMPTY, EMPTY, ECHO), False, "2 errors, 1 warning: a run would be refused"),
    ],
)
def test_the_last_line_says_what_it_means(
    findings: tuple[Finding, ...], strict: bool, wanted: str
) -> None:
    line = verdict(*findings, strict=strict)
    assert line.startswith(wanted)
    assert line.count("\n") == 1
    assert ("kamerton check --explain K" in line) == bool(findings)


def test_in_brief_it_is_a_line_each() -> None:
    lines = [line.plain for line in brief(report(EMPTY, ECHO, SORTED))]
    assert lines == [
        "error K101 empty-output: 24 of 203 rows have an empty output (lines 2, 3, 4 and 21 more)",
        "warning K204 echo: 1 of 203 rows has an output equal to its input (line 9)",
    ]


def test_an_estimate_says_what_was_not_measured() -> None:
    text = estimated(ESTIMATE, unmeasured="torch is not installed")
    assert "examples       180 to train on, 20 held out" in text
    assert "epochs         5  the usual number" in text
    assert "tokens         45,000  9,000 of them are learned" in text
    assert "time           not measured  torch is not installed" in text
    assert "memory" not in text and "cost" not in text and "budget" not in text


def test_an_estimate_with_everything() -> None:
    whole = replace(
        ESTIMATE,
        cost=0.045,
        seconds=200.0,
        seconds_error=31.0,
        memory_bytes=1_240_000_000,
        budget_steps=12,
        budget_reason="ends after step 12",
    )
    text = estimated(whole, price=1.0)
    assert "time           3 min 20 s ± 31.0 s" in text
    assert "memory         1.2 GB" in text
    assert "cost           0.045  at 1 per million tokens" in text
    assert "budget         ends after step 12" in text


def test_every_reason_is_shown_with_its_first_row() -> None:
    details = ["is empty", "is empty", "like line 7", "like line 8", "is a number", "is a list"]
    hits = tuple(Hit(number, "output", detail) for number, detail in enumerate(details, start=1))
    text = shown(report(replace(EMPTY, count=6, hits=hits)))
    for line in (1, 3, 5, 6):
        assert f"    line {line}, output: {details[line - 1]}\n" in text
    assert "    also lines 2, 4\n" in text  # Line 4 has the reason of line 3.
    many = tuple(Hit(number, "output", "is " + "x" * number) for number in range(1, 10))
    assert "    also lines 7, 8, 9\n" in shown(report(replace(EMPTY, count=9, hits=many)))


def test_it_says_when_near_duplicates_were_not_looked_for() -> None:
    text = "near-duplicates (K202) were not looked for: more than 100,000 rows\n"
    assert text in shown(report(statistics=replace(STATISTICS, example_count=100_001)))
    assert text not in shown(report(statistics=replace(STATISTICS, example_count=100_000)))
