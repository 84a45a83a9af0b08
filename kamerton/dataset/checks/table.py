"""The checks in words: one of them explained, and the page docs/checks.md, written by
`python -m kamerton.dataset.checks.table > docs/checks.md` from where benchmarks/ is."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kamerton.dataset.checks.registry import Check, all_checks
from kamerton.errors import InvalidArgument

MEASURED = Path("benchmarks/defects.json")
"""What benchmarks/defects.py measured, by code."""
_MEANING = {
    "error": "A run would be refused; it cannot be allowed.",
    "warning": "A run goes on, and likely comes out worse.",
    "note": "Worth a look.",
}
_THEMES = {
    "K1": "Rows that cannot be trained on",
    "K2": "Rows that say the same, or the opposite",
    "K3": "Outputs as a whole",
    "K4": "Left-overs in texts",
    "K5": "Personal data and secrets",
}


def explain(code: str) -> str:
    """What a check looks for, why it matters and what to do; plain text of some lines.

    Raises InvalidArgument for a code that no check has.
    """
    checks = all_checks()
    check = checks.get(code.strip().upper())
    if check is None:
        raise InvalidArgument(f"there is no check {code}; the codes are {', '.join(checks)}")
    parts = [
        f"{check.code} {check.name} ({check.severity})",
        check.about,
        check.why,
        check.advice,
        _MEANING[check.severity] + _allowing(check),
    ]
    return "\n\n".join(textwrap.fill(part, 88) for part in parts)


def _allowing(check: Check) -> str:
    if check.severity == "error":
        return ""
    return (
        f" Silence it with --allow {check.code}, or `# kamerton: allow {check.code}` in a config."
    )


def page(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """docs/checks.md; `measured` are recall and false alarms by code."""
    return "\n".join([*_head(), *_themes(), *_proof(measured)]) + "\n"


def _head() -> Iterator[str]:
    yield from ("# The checks", "")
    yield "This page is generated from the code: `python -m kamerton.dataset.checks.table`."
    yield from ("", "| severity | what it means |", "|---|---|")
    yield from (f"| {severity} | {meaning} |" for severity, meaning in _MEANING.items())
    yield ""
    yield "A warning or a note is silenced by its code: `--allow K204`, or a line with the comment"
    yield "`# kamerton: allow K204` in a config."


def _themes() -> Iterator[str]:
    for start, theme in _THEMES.items():
        yield from ("", f"## {theme}")
        for code, check in all_checks().items():
            if code.startswith(start):
                yield from ("", f"### {code} {check.name}", "")
                yield f"*{check.severity}*: {_escaped(check.about[0].lower() + check.about[1:])}"
                yield from (
                    "",
                    _escaped(check.why),
                    "",
                    f"**What to do:** {_escaped(check.advice)}",
                )


def _proof(measured: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not measured:
        return
    yield from ("", "## How well they find things", "")
    yield "`python -m benchmarks.defects` seeds every defect at random places into clean generated"
    yield "sets, English and Russian, and counts what is found, and what is found in clean rows."
    yield from ("", "| check | seeded | found | recall | clean rows with a false alarm |")
    yield "|---|---:|---:|---:|---:|"
    for code, check in all_checks().items():
        if of_code := measured.get(code):
            yield (
                f"| {code} {check.name} | {of_code['seeded']} | {of_code['found']} "
                f"| {of_code['recall']:.1%} | {of_code['false_alarms']:.2%} |"
            )


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;")


def main() -> None:
    print(page(json.loads(MEASURED.read_text()) if MEASURED.exists() else {}), end="")


if __name__ == "__main__":
    main()
