"""A report in SARIF 2.1.0, which code hosts show beside the lines of the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kamerton import __version__
from kamerton.dataset.checks.registry import all_checks
from kamerton.dataset.checks.table import explain
from kamerton.findings import Finding, Hit, Report

Json = dict[str, Any]
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(report: Report, file: Path, validation: Path | None = None) -> Json:
    """One run with a rule for every code that found something, and a result for every row."""
    uri = _uri(file)
    uri_beside = uri if validation is None else _uri(validation)
    # A code can find something in the validation data as well.
    rules = list({finding.code: finding for finding in report.findings}.values())
    places = {finding.code: place for place, finding in enumerate(rules)}
    results = [
        result
        for finding in report.findings
        for result in _results(
            finding, places[finding.code], uri_beside if finding.of_validation else uri
        )
    ]
    driver = {
        "name": "Kamerton",
        "semanticVersion": __version__,
        "rules": [_rule(finding) for finding in rules],
    }
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(finding: Finding) -> Json:
    return {
        "id": finding.code,
        "name": finding.name,
        "shortDescription": {"text": finding.name.replace("-", " ")},
        "fullDescription": {"text": all_checks()[finding.code].why},
        "help": {"text": explain(finding.code)},
        "defaultConfiguration": {"level": finding.severity},
    }


def _results(finding: Finding, index: int, uri: str) -> Iterator[Json]:
    """A finding about the dataset as a whole stands at its first line."""
    for hit in finding.hits or (None,):
        yield {
            "ruleId": finding.code,
            "ruleIndex": index,
            "level": finding.severity,
            "message": {"text": _message(finding, hit)},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": uri},
                        "region": {"startLine": _line(finding, hit)},
                    }
                }
            ],
        }


def _message(finding: Finding, hit: Hit | None) -> str:
    if hit is None:
        return f"{finding.message.rstrip('.')}. {finding.advice}"
    where = "" if finding.unit == "line" else f"{finding.unit} {hit.number}"
    place = ", ".join(filter(None, (where, hit.field)))
    what = ": ".join(filter(None, (place, hit.detail or finding.message)))
    return f"{what.rstrip('.')}. {finding.advice}"


def _line(finding: Finding, hit: Hit | None) -> int:
    """Items of an array and rows of Parquet have no line: those stand at the first."""
    return hit.number if hit and finding.unit == "line" else 1


def _uri(file: Path) -> str:
    """Relative to the working folder where it lies in there, as code hosts want it."""
    whole = file.absolute()
    try:
        return quote(whole.relative_to(Path.cwd()).as_posix())
    except ValueError:
        return whole.as_uri()
