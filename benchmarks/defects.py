"""Whether the checks find what is wrong, and only that: every defect, seeded into clean sets."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from benchmarks.defects_data.defects import Seed, Sower
from benchmarks.defects_data.files import source, spoilt_sets
from benchmarks.defects_data.sets import Kind, Row, kinds
from kamerton.dataset.check import Measuring, check
from kamerton.dataset.checks.registry import all_checks
from kamerton.dataset.chunks import Source
from kamerton.findings import Report
from kamerton.inference.catalog import EMBEDDED, tokenizer_folder
from kamerton.inference.prompts import Renderer
from kamerton.training.rows import measuring

RESULT = Path(__file__).with_suffix(".json")
LEAST_RECALL = 0.95
MOST_FALSE_ALARMS = 0.02
OF_SETS = ("K108", "K109", "K301", "K307", "K308")
"""Said of a set as a whole: seeded and counted by sets."""


@dataclass(slots=True)
class Score:
    """How well one check does."""

    seeded: int = 0
    found: int = 0
    clean: int = 0
    """Rows, or sets, without a defect that it looked at."""
    alarmed: int = 0
    """Those in which it found something."""

    @property
    def recall(self) -> float:
        return self.found / self.seeded if self.seeded else 0.0

    @property
    def false_alarms(self) -> float:
        return self.alarmed / self.clean if self.clean else 0.0

    @property
    def is_good(self) -> bool:
        return self.recall >= LEAST_RECALL and self.false_alarms <= MOST_FALSE_ALARMS


@dataclass(frozen=True, slots=True)
class Surprise:
    """A defect that was missed, or a finding where there is none."""

    code: str
    missed: bool
    kind: Kind
    what: str

    def __str__(self) -> str:
        how = "missed" if self.missed else "false alarm"
        return f"{self.code} {how} ({self.kind.name}, {self.kind.language}): {self.what}"


class Trial:
    """Checks sets, and keeps the score of each code."""

    def __init__(self) -> None:
        self.scores: defaultdict[str, Score] = defaultdict(Score)
        self.surprises: list[Surprise] = []

    def clean(self, kind: Kind, rows: list[Row]) -> None:
        """A set without defects."""
        report = _checked(source(kind, rows))
        self._count_alarms(kind, rows, report)
        for code in OF_SETS:
            self.scores[code].clean += 1
        for finding in report.findings:
            if finding.code in OF_SETS:
                self.scores[finding.code].alarmed += 1
                self.surprises.append(Surprise(finding.code, False, kind, finding.message))

    def sown(self, kind: Kind, rows: list[Row], each: int, chance: Random) -> None:
        """A set with so many of each defect that a row can have."""
        sower = Sower(kind, rows, chance)
        sower.sow(each)
        known = {row.input for row in rows}
        fresh = [row for row in kind.rows("validation", 50) if row.input not in known]
        report = _checked(source(kind, rows), source(kind, fresh + sower.held_out))
        self._count_found(kind, rows, report, sower.seeds)
        self._count_alarms(kind, rows, report)

    def spoilt(self, kind: Kind, code: str, spoilt: Source) -> None:
        """A set that has this defect as a whole."""
        found = code in {finding.code for finding in _checked(spoilt).findings}
        self._count(kind, code, found, "the whole set")

    def _count(self, kind: Kind, code: str, found: bool, what: str) -> None:
        self.scores[code].seeded += 1
        self.scores[code].found += found
        if not found:
            self.surprises.append(Surprise(code, True, kind, what))

    def _count_found(
        self, kind: Kind, rows: list[Row], report: Report, seeds: Sequence[Seed]
    ) -> None:
        numbers = {row: number for number, row in enumerate(rows, _first(kind))}
        hit = {finding.code: {h.number for h in finding.hits} for finding in report.findings}
        for seed in seeds:
            found = any(numbers[row] in hit.get(seed.code, ()) for row in seed.rows)
            self._count(kind, seed.code, found, " | ".join(map(_shown, seed.rows)))

    def _count_alarms(self, kind: Kind, rows: list[Row], report: Report) -> None:
        clean = {number: row for number, row in enumerate(rows, _first(kind)) if not row.codes}
        by_rows = [code for code in all_checks() if code not in OF_SETS]
        for code in by_rows:
            self.scores[code].clean += len(clean)
        for finding in report.findings:
            if finding.code not in by_rows:
                continue
            # Nobody knows which the rows are that are not named: they are taken for alarms.
            self.scores[finding.code].alarmed += finding.count - len(finding.hits)
            for hit in finding.hits:
                if row := clean.get(hit.number):
                    self.scores[finding.code].alarmed += 1
                    what = f"{hit.detail}: {_shown(row)}"
                    self.surprises.append(Surprise(finding.code, False, kind, what))

    def result(self) -> dict[str, dict[str, float]]:
        """By code, as docs/checks.md is made of it."""
        return {
            code: {
                "seeded": self.scores[code].seeded,
                "found": self.scores[code].found,
                "recall": round(self.scores[code].recall, 4),
                "false_alarms": round(self.scores[code].false_alarms, 5),
            }
            for code in all_checks()
        }


def _first(kind: Kind) -> int:
    """What the first row of a set is counted as."""
    return 0 if kind.shape == "inline" else 1


def _shown(row: Row) -> str:
    return f"{row.input[-250:]!r} -> {row.output[-250:]!r}"


@lru_cache(maxsize=1)
def _measuring() -> Measuring:
    return measuring(Renderer.load(tokenizer_folder(EMBEDDED)), EMBEDDED.context_tokens)


def _checked(source: Source, validation: Source | None = None) -> Report:
    return check(source, validation=validation, measuring=_measuring())


def run(seeds: Iterable[int], row_count: int, each: int) -> Trial:
    """Every kind of set, once clean and once for each way to spoil it; `each` are the rows that
    get a defect, for every code."""
    trial = Trial()
    for seed in seeds:
        for kind in kinds():
            chance = Random(f"{kind.name} {kind.language} {seed}")
            trial.clean(kind, kind.rows(seed, row_count))
            trial.sown(kind, kind.rows(f"sown {seed}", row_count), each, chance)
            rows = kind.rows(f"spoilt {seed}", row_count // 3)
            for code, spoilt in spoilt_sets(kind, rows, chance):
                trial.spoilt(kind, code, spoilt)
    return trial


def table(trial: Trial) -> Table:
    made = Table(title="Defects found, and false alarms in clean rows (* in clean sets)")
    for heading in ("check", "seeded", "found", "recall", "false alarms", ""):
        made.add_column(heading, justify="left" if heading == "check" else "right")
    for code, check_ in all_checks().items():
        score = trial.scores[code]
        made.add_row(
            f"{code} {check_.name}" + (" *" if code in OF_SETS else ""),
            str(score.seeded),
            str(score.found),
            f"{score.recall:.1%}",
            f"{score.false_alarms:.2%}",
            "" if score.is_good else "[red]missed",
        )
    return made


def main() -> int:
    """1 when a target is missed. The surprises of codes that are named as arguments are told."""
    trial = run(range(3), row_count=1200, each=2)
    console = Console(width=100)
    console.print(table(trial))
    for surprise in trial.surprises:
        if surprise.code in sys.argv[1:]:
            console.print(str(surprise), markup=False, highlight=False)
    RESULT.write_text(json.dumps(trial.result(), indent=1) + "\n")
    return 0 if all(trial.scores[code].is_good for code in all_checks()) else 1


if __name__ == "__main__":
    sys.exit(main())
