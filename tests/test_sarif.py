"""SARIF as code hosts read it: rules, results, and places in the file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kamerton import __version__
from kamerton.findings import Finding
from kamerton.sarif import Json, sarif
from tests.reports import ECHO, EMPTY, SORTED, report


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run_of(*findings: Finding, file: str = "data/train set.jsonl") -> Json:
    made = json.loads(json.dumps(sarif(report(*findings), Path(file))))
    assert made["version"] == "2.1.0"
    assert made["$schema"].endswith("sarif-2.1.0.json")
    (run,) = made["runs"]
    assert isinstance(run, dict)
    return run


def test_every_code_is_a_rule_and_every_row_a_result() -> None:
    run = run_of(EMPTY, ECHO, SORTED)
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["semanticVersion"]) == ("Kamerton", __version__)
    assert [rule["id"] for rule in driver["rules"]] == ["K101", "K204", "K308"]
    for rule in driver["rules"]:
        for part in ("help", "shortDescription", "fullDescription"):  # GitHub wants all of them.
            assert rule[part]["text"]
    assert len(run["results"]) == 20 + 1 + 1
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "data/train%20set.jsonl"
        assert place["region"]["startLine"] >= 1
    assert {result["level"] for result in run["results"]} == {"error", "warning", "note"}
    assert run["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] == 2
    assert run["results"][-1]["message"]["text"].startswith("the rows are sorted by output. ")


def test_a_row_without_a_line_is_named_in_the_message() -> None:
    run = run_of(replace(ECHO, unit="item"))
    (result,) = run["results"]
    assert result["message"]["text"].startswith("item 9, output: Привет")
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 1


def test_a_clean_file_has_no_results() -> None:
    run = run_of()
    assert run["results"] == [] and run["tool"]["driver"]["rules"] == []


def test_a_file_elsewhere_has_a_whole_address() -> None:
    run = run_of(ECHO, file="/elsewhere/train.jsonl")
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "file:///elsewhere/train.jsonl"


def test_what_is_in_the_validation_file_stands_there() -> None:
    beside = replace(EMPTY, message="v.jsonl: 1 row", hits=EMPTY.hits[:1], of_validation=True)
    made = sarif(report(EMPTY, beside, ECHO), Path("train.jsonl"), Path("data/v.jsonl"))
    (run,) = made["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["K101", "K204"]
    places = [
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in run["results"]
    ]
    assert places == ["train.jsonl"] * 20 + ["data/v.jsonl", "train.jsonl"]
    assert [rules[result["ruleIndex"]] for result in run["results"]] == ["K101"] * 21 + ["K204"]
