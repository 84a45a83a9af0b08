from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import kamerton
from kamerton.dataset.checks.registry import all_checks
from kamerton.dataset.checks.table import MEASURED, explain, page
from kamerton.errors import InvalidArgument

ROOT = Path(kamerton.__file__).parent.parent


def test_the_page_is_what_the_code_says() -> None:
    measured = ROOT / MEASURED
    expected = page(json.loads(measured.read_text()) if measured.exists() else {})
    assert (ROOT / "docs" / "checks.md").read_text() == expected, (
        "python -m kamerton.dataset.checks.table > docs/checks.md"
    )


def test_the_command_prints_the_page() -> None:
    command = [sys.executable, "-m", "kamerton.dataset.checks.table"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed == (ROOT / "docs" / "checks.md").read_text()


def test_measured_shares_are_shown() -> None:
    figures = {"seeded": 200, "found": 199, "recall": 0.995, "false_alarms": 0.0012}
    assert "| K101 empty-output | 200 | 199 | 99.5% | 0.12% |" in page({"K101": figures})


def test_a_check_is_explained() -> None:
    text = explain("k101")
    assert text.startswith("K101 empty-output (error)")
    assert "have an empty output" in text and "--allow" not in text
    assert "--allow K501" in explain("K501")


@pytest.mark.parametrize("code", ["K108", "K109"])
def test_a_check_that_names_no_rows_speaks_of_the_file(code: str) -> None:
    assert "Rows that" not in explain(code) and all_checks()[code].what in explain(code)


@pytest.mark.parametrize("code", ["K501", "K502", "K503", "K504"])
def test_finding_personal_data_may_be_the_task(code: str) -> None:
    assert "is the task, allow" in all_checks()[code].advice


def test_an_unknown_code_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match=r"no check K999.*K101, K102"):
        explain("K999")


@pytest.mark.parametrize("check", all_checks().values(), ids=lambda check: check.code)
def test_every_check_is_described_in_sentences(check) -> None:  # type: ignore[no-untyped-def]
    verb = check.what.split(" ")[0]
    rowless = check.code in ("K108", "K109")
    assert rowless or (verb.islower() and not verb.endswith("s") and not check.what.endswith("."))
    for sentence in (check.about, check.advice, check.why):
        assert sentence[0].isupper() and sentence.endswith(".")
    assert check.name == check.name.lower() and " " not in check.name
