"""Whether loss curves are read right: real runs that are spoilt on purpose, and what is said.

`python -m benchmarks.diagnosis` judges the curves in `curves.jsonl`; with `--fresh` they are made
anew first, by some 500 runs on the embedded base, and with `--docs` figures
and pictures of docs/diagnosis.md are made of them.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, cycle, islice
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

from rich.console import Console
from rich.table import Table

from benchmarks.diagnosis_sets import (
    FIFTH,
    FIRST,
    FOURTH,
    JUDGED,
    SECOND,
    THIRD,
    Pair,
    Task,
    conflicting,
    pairs,
    shuffled,
)
from kamerton.errors import FailedPrecondition
from kamerton.inference.catalog import EMBEDDED
from kamerton.training.curve import Point, Run, diagnose
from kamerton.training.hyperparameters import choose, epoch_of, total_steps
from kamerton.types import NO_TIME, Diagnosis, EarlyStopping, Hyperparameters, Pattern, Snapshot

DOCS = Path(__file__).parents[1] / "docs"
CURVES = Path(__file__).with_name("curves.jsonl")
LEAST_RIGHT = 0.9
MARK = "<!-- made by benchmarks/diagnosis.py -->"
Part = Literal["first", "second", "third", "fourth", "fifth", "judged"]
TASKS: Mapping[Part, Mapping[str, Task]] = {
    "first": FIRST,
    "second": SECOND,
    "third": THIRD,
    "fourth": FOURTH,
    "fifth": FIFTH,
    "judged": JUDGED,
}
FIRST_SEED: Mapping[Part, int] = {
    "first": 100,
    "second": 900,
    "third": 500,
    "fourth": 1300,
    "fifth": 1700,
    "judged": 2100,
}
TWICE = (50, 120)
ONCE: Mapping[Part, Sequence[int]] = {
    "fourth": (100, 150, 60, 50, 70, 80, 40, 90, 80, 120, 60),
    "fifth": (60, 100, 70, 50, 80, 40, 90, 120, 60, 70, 60, 100),
    "judged": (60, 90, 80, 50, 70, 60, 100, 80, 90, 50, 120, 70),
}
"""Numbers of examples: of each task both, each with two seeds, or of each task one with its own
seed, and then of the first ones once more."""

ACCEPTED: Mapping[str, tuple[Pattern, ...]] = {
    "enough epochs": ("healthy",),
    "too few epochs": ("still_falling", "too_short"),
    "too many epochs": ("plateau", "overfitting"),
    "rate x 30": ("divergence", "not_converging"),
    "rate / 100": ("too_slow",),
    "shuffled labels": ("not_converging", "overfitting"),
    "conflicting rows": ("not_converging", "overfitting"),
    "12 rows, 40 epochs": ("overfitting",),
}
"""What a run is follows from what was done to it, and was written down before any was judged. Of
a rate that is far too high some runs come back from their climb and some do not; of epochs that
are too many some only add nothing and some do harm; what does not follow from its input is not
learned, or is learned by heart. Too few steps to tell is what too few epochs are."""

UNHARMED: Mapping[str, tuple[Pattern, ...]] = {
    "too few epochs": ("healthy",),
    "rate x 30": ("healthy", "plateau", "divergence"),
    "12 rows, 40 epochs": ("plateau",),
}
"""What is right instead where a run came out as well as one that was not spoilt."""

REFERENCE = "reference"
REFERENCE_STEPS = 320
LEARNED = 0.3
HELD_OUT = 24
"""Further rows of the same task, never trained on and never spoilt."""


@dataclass(frozen=True)
class Curve:
    """One run: what was done, and what it showed."""

    part: Part
    task: str
    cause: str
    seed: int
    example_count: int
    held_out_count: int
    answer_tokens: float
    """Of an example: the mean."""
    hyperparameters: Hyperparameters
    snapshots: tuple[Snapshot, ...]
    is_unharmed: bool = False
    """Whether it came out as well as if nothing had been done to it."""

    @property
    def accepted(self) -> tuple[Pattern, ...]:
        """What is right to say of it."""
        usual = ACCEPTED[self.cause]
        return UNHARMED.get(self.cause, usual) if self.is_unharmed else usual

    @property
    def held_out(self) -> list[Point]:
        return [
            Point(s.step, s.held_out_loss) for s in self.snapshots if s.held_out_loss is not None
        ]


# --- making them -----------------------------------------------------------------------------


def made(part: Part) -> Iterator[Curve]:
    """The runs of one part. How long a run must be is read off another one, of other rows and
    another seed, that is long enough for anything; it is kept to compare the others with."""
    references = {}
    for task, size, _ in places(part):
        if (task, size) not in references:
            references[task, size] = reference(part, task, size)
            yield references[task, size]
    for task, size, seed in places(part):
        if needed := epochs_needed(references[task, size]):
            yield from _spoilt(part, task, size, seed, needed)


def places(part: Part) -> list[tuple[str, int, int]]:
    """A task, a number of examples and a seed."""
    tasks, seeds = TASKS[part], count(FIRST_SEED[part] + 1)
    if part in ONCE:
        return list(zip(cycle(tasks), ONCE[part], seeds, strict=False))
    return [(task, size, seed) for seed in islice(seeds, 2) for task in tasks for size in TWICE]


def reference(part: Part, task: str, size: int) -> Curve:
    seed = FIRST_SEED[part]
    epochs = math.ceil(REFERENCE_STEPS * 4 / size)
    return _run(part, task, REFERENCE, seed, pairs(task, size, seed), epochs=epochs)


def epochs_needed(curve: Curve) -> float | None:
    """Until the held-out loss is as low as it gets, nearly; None for a task that the base model
    does not learn, which is no healthy set."""
    lowest = min(point.loss for point in curve.held_out)
    if lowest > LEARNED:
        return None
    reached = next(point for point in curve.held_out if point.loss <= nearly(lowest))
    return reached.step * 4 / curve.example_count


def nearly(loss: float) -> float:
    return 1.1 * loss + 0.02


def _spoilt(part: Part, task: str, size: int, seed: int, needed: float) -> Iterator[Curve]:
    """Every cause once."""
    rows = pairs(task, size, seed)
    enough = math.ceil(1.2 * needed)
    run: Callable[..., Curve] = lambda cause, rows, **more: _run(  # noqa: E731
        part, task, cause, seed, rows, **more
    )
    yield run("enough epochs", rows, epochs=enough)
    if needed >= 2.5:
        yield run("too few epochs", rows, epochs=math.floor(0.4 * needed))
    yield run("rate x 30", rows, rate=30 * EMBEDDED.learning_rate)
    yield run("rate / 100", rows, rate=EMBEDDED.learning_rate / 100)
    yield run("shuffled labels", shuffled(rows, seed), epochs=enough)
    yield run("conflicting rows", conflicting(rows, seed), epochs=enough)
    has_held_out = seed % 2 == 0
    few = pairs(task, 12, f"few {size} {seed}")
    yield run("12 rows, 40 epochs", few, epochs=40, has_held_out=has_held_out)
    if has_held_out and 3 * needed * size / 4 <= 2 * REFERENCE_STEPS:
        yield run("too many epochs", rows, epochs=math.ceil(3 * needed))


def _run(
    part: Part,
    task: str,
    cause: str,
    seed: int,
    rows: Sequence[Pair],
    *,
    epochs: int | None = None,
    rate: float | None = None,
    has_held_out: bool = True,
) -> Curve:
    from kamerton.library import tune

    known = {text for text, _ in rows}
    more = [pair for pair in pairs(task, HELD_OUT, f"held out {seed}") if pair[0] not in known]
    snapshots: list[Snapshot] = []
    try:
        tune(
            [_row(pair) for pair in rows],
            validation=[_row(pair) for pair in more] if has_held_out else None,
            holdout=None,
            epoch_count=epochs,
            learning_rate=rate,
            seed=seed,
            early_stopping=EarlyStopping("off"),
            card_share=0.0,
            on_snapshot=lambda snapshot: _kept(snapshots, snapshot),
        )
    except FailedPrecondition:  # The step after the last one was not finite.
        step = len(snapshots) + 1
        snapshots.append(Snapshot(step, snapshots[-1].epoch, math.nan, NO_TIME))
    chosen = choose(len(rows), EMBEDDED, epoch_count=epochs, learning_rate=rate, seed=seed)
    held_out = len(more) if has_held_out else 0
    tokens = fmean(s.trained_tokens / chosen.batch_size for s in snapshots if s.trained_tokens)
    return Curve(part, task, cause, seed, len(rows), held_out, tokens, chosen, tuple(snapshots))


def _kept(snapshots: list[Snapshot], snapshot: Snapshot) -> bool:
    snapshots.append(snapshot)
    return True


def _row(pair: Pair) -> dict[str, str]:
    return {"text_input": pair[0], "output": pair[1]}


# --- keeping them ----------------------------------------------------------------------------


def written(curve: Curve) -> str:
    """A line of `curves.jsonl`."""
    held_out = ((s.step, s.held_out_loss) for s in curve.snapshots)
    measured = {step: _short(loss) for step, loss in held_out if loss is not None}
    line = {
        "part": curve.part,
        "task": curve.task,
        "cause": curve.cause,
        "seed": curve.seed,
        "examples": curve.example_count,
        "held_out": curve.held_out_count,
        "answer_tokens": _short(curve.answer_tokens),
        "epochs": curve.hyperparameters.epoch_count,
        "rate": curve.hyperparameters.learning_rate,
        "losses": [_short(s.mean_loss) for s in curve.snapshots],
        "held_out_losses": measured,
    }
    return json.dumps(line)


def _short(loss: float) -> float:
    return float(f"{loss:.4g}")


def read(line: str) -> Curve:
    kept: dict[str, Any] = json.loads(line)
    chosen = choose(
        kept["examples"],
        EMBEDDED,
        epoch_count=kept["epochs"],
        learning_rate=kept["rate"],
        seed=kept["seed"],
    )
    tokens = round(kept["answer_tokens"] * chosen.batch_size)
    snapshots = tuple(
        Snapshot(
            step,
            epoch_of(step, kept["examples"], chosen),
            loss,
            NO_TIME,
            held_out_loss=kept["held_out_losses"].get(str(step)),
            trained_tokens=tokens,
        )
        for step, loss in enumerate(kept["losses"], start=1)
    )
    names = ("part", "task", "cause", "seed", "examples", "held_out", "answer_tokens")
    part, task, cause, seed, examples, held_out, answer_tokens = (kept[name] for name in names)
    return Curve(part, task, cause, seed, examples, held_out, answer_tokens, chosen, snapshots)


# --- judging them ----------------------------------------------------------------------------


def said(curve: Curve, *, bare: bool = False, part: float = 1.0) -> Diagnosis:
    """What is said of a run; `bare` when nothing is known but its losses, as of another tool's
    file. At a `part` of it the run still goes on."""
    if bare:
        return diagnose([replace(s, trained_tokens=None) for s in curve.snapshots], Run())
    chosen = curve.hyperparameters
    run = Run(
        example_count=curve.example_count,
        held_out_count=curve.held_out_count,
        epoch_count=chosen.epoch_count,
        batch_size=chosen.batch_size,
        learning_rate=chosen.learning_rate,
        total_steps=total_steps(curve.example_count, chosen),
        default_learning_rate=EMBEDDED.learning_rate,
        is_over=part == 1.0,
    )
    return diagnose(curve.snapshots[: round(len(curve.snapshots) * part)], run)


def alarms(curves: Sequence[Curve]) -> Counter[Pattern]:
    """What is said while runs that turn out well still go on, after each tenth."""
    fine = [curve for curve in curves if curve.cause in ("enough epochs", "too few epochs")]
    return Counter(
        said(curve, part=tenths / 10).pattern for curve in fine for tenths in range(1, 10)
    )


def is_right(curve: Curve, diagnosis: Diagnosis) -> bool:
    return diagnosis.pattern in curve.accepted


def compared(curves: Sequence[Curve]) -> list[Curve]:
    """The runs to judge, and whether they came out nearly as well as the best run of their task
    to which nothing was done."""
    best: dict[tuple[Part, str], float] = {}
    for curve in curves:
        if curve.cause in (REFERENCE, "enough epochs", "too many epochs"):
            end = curve.held_out[-1].loss
            best[curve.part, curve.task] = min(end, best.get((curve.part, curve.task), end))
    return [
        replace(curve, is_unharmed=_came_out(curve) <= nearly(best[curve.part, curve.task]))
        for curve in curves
        if curve.cause != REFERENCE
    ]


def _came_out(curve: Curve) -> float:
    return curve.held_out[-1].loss if curve.held_out else math.inf


Cells = list[list[str]]


def confusion(curves: Sequence[Curve], *, bare: bool = False) -> Cells:
    """What was done to a run, and how often which pattern was named, under a heading; a star
    marks what is right."""
    named = {name: Counter[Pattern]() for name in (*ACCEPTED, *map(_unharmed, UNHARMED))}
    right = {**ACCEPTED, **{_unharmed(cause): patterns for cause, patterns in UNHARMED.items()}}
    for curve in curves:
        is_other = curve.is_unharmed and curve.cause in UNHARMED
        name = _unharmed(curve.cause) if is_other else curve.cause
        named[name][said(curve, bare=bare).pattern] += 1
    patterns = [p for p in get_args(Pattern) if any(counts[p] for counts in named.values())]
    rows = [["what was done", *(pattern.replace("_", " ") for pattern in patterns), "right"]]
    for name, counts in named.items():
        if counts:
            cells = [_cell(counts[pattern], pattern in right[name]) for pattern in patterns]
            share = sum(counts[pattern] for pattern in right[name])
            rows.append([name, *cells, f"{share} of {counts.total()}"])
    return rows


def _unharmed(cause: str) -> str:
    return f"{cause}, came out well"


def _cell(count: int, is_right: bool) -> str:
    return f"{count}{'*' if is_right else ''}" if count else ""


def table(rows: Cells, title: str) -> Table:
    """For a terminal."""
    made = Table(title=title)
    for place, heading in enumerate(rows[0]):
        made.add_column(heading, justify="right" if place else "left", no_wrap=not place)
    for row in rows[1:]:
        made.add_row(*row)
    return made


def share_right(curves: Sequence[Curve], *, bare: bool = False) -> float:
    return fmean(is_right(curve, said(curve, bare=bare)) for curve in curves)


def report(curves: Sequence[Curve], console: Console) -> float:
    """Everything there is to print; the share of right answers on runs that are judged."""
    judged, others = _parts(curves)
    known = f"{len(others)} runs by which thresholds were set"
    console.print(table(confusion(others), known))
    console.print(table(confusion(judged), f"{len(judged)} runs of other tasks and seeds"))
    console.print(table(confusion(judged, bare=True), "The same, when only losses are known"))
    for line in _shares(curves):
        console.print(line)
    for curve in judged:
        if not is_right(curve, found := said(curve)):
            console.print(
                f"{curve.cause}, {curve.task} {curve.example_count}, seed {curve.seed}: "
                f"{found.pattern} ({found.confidence}). {found.summary}",
                markup=False,
                highlight=False,
            )
    return share_right(judged)


def _parts(curves: Sequence[Curve]) -> tuple[list[Curve], list[Curve]]:
    """Those that are judged, and those by which thresholds were set."""
    judged = [curve for curve in curves if curve.part == "judged"]
    return judged, [curve for curve in curves if curve.part != "judged"]


def _shares(curves: Sequence[Curve]) -> Iterator[str]:
    """How many are right, in lines."""
    judged, others = _parts(curves)
    right = share_right(others)
    yield f"Right on the {len(others)} runs by which thresholds were set: {right:.1%}."
    yield f"Right on the {len(judged)} runs that are judged: {share_right(judged):.1%}."
    yield f"Right on these when only the losses are known: {share_right(judged, bare=True):.1%}."
    for confidence in ("high", "medium", "low"):
        some = [curve for curve in judged if said(curve).confidence == confidence]
        if some:
            right = share_right(some)
            yield f"Right where confidence was {confidence}: {right:.1%} of {len(some)}."
    live = ", ".join(f"{count} times {name}" for name, count in alarms(judged).most_common())
    yield f"Said of runs that turn out well, after each tenth of them: {live}."


def document(curves: Sequence[Curve]) -> None:
    """Writes the figures into docs/diagnosis.md, between their marks."""
    page = DOCS / "diagnosis.md"
    heading, *rows = confusion(_parts(curves)[0])
    lines = [heading, ["---"] + ["---:"] * (len(heading) - 1), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    text += "\n\n" + "\n".join(f"- {line}" for line in _shares(curves))
    before, after = page.read_text().split(MARK)[::2]
    page.write_text(f"{before}{MARK}\n{text}\n{MARK}{after}")


def draw(curves: Sequence[Curve]) -> None:
    """A picture of each cause for docs/diagnosis.md: the first that was read with confidence."""
    from kamerton.plot import curve_svg

    for cause in ACCEPTED:
        found = (
            (curve, diagnosis)
            for curve in sorted(curves, key=lambda curve: curve.part != "judged")
            if curve.cause == cause and curve.held_out_count
            if is_right(curve, diagnosis := said(curve)) and diagnosis.confidence != "low"
        )
        if drawn := next(found, None):
            curve, diagnosis = drawn
            name = re.sub(r"\W+", "-", cause)
            marks = [(point.step, point.value, point.what) for point in diagnosis.evidence]
            title = f"{cause}: {diagnosis.pattern.replace('_', ' ')}"
            svg = curve_svg(curve.snapshots, title, marks)
            (DOCS / "pictures" / f"diagnosis-{name}.svg").write_text(svg)


def main() -> int:
    """1 when too few are right."""
    if "--fresh" in sys.argv[1:]:
        with CURVES.open("w") as file:
            for curve in chain.from_iterable(map(made, TASKS)):
                print(written(curve), file=file, flush=True)
    curves = compared([read(line) for line in CURVES.read_text().splitlines()])
    if "--docs" in sys.argv[1:]:
        document(curves)
        draw(curves)
    return 0 if report(curves, Console(width=120)) >= LEAST_RIGHT else 1


if __name__ == "__main__":
    sys.exit(main())
