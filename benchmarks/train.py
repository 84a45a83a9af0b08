"""`make bench-train`: the training step and whole jobs against TRL, both sides in one run.

Each side lives in a process of its own, so that its peak memory is its own; they take turns, round
by round, and only one computes at a time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks import floor, machine, markdown, shapes
from benchmarks.sides import JOB_STEPS, Measured, Spec, best_of, compare, search
from benchmarks.stock_settings import GOOD, Settings
from kamerton.inference.catalog import EMBEDDED
from kamerton.types import BaseModel

OURS, DEFAULT, BEST = "Kamerton", "TRL, its defaults", "TRL, best found"
JOBS = 16
"""At once, against one after another."""
STEPS = {"embedded": 4}
"""Of a round; of larger base models one."""
QUICK = msgspec.json.encode(GOOD).decode()
"""TRL's settings that are measured with where they are not searched for."""
WITHOUT: dict[str, dict[str, bool]] = {
    "all of it": {},
    "compiled as well": {"compiled": True},
    "a small model in float32 only": {"half": False},
    "stock modules, not by hand": {"by_hand": False},
    "and the stock head, at answers only": {"by_hand": False, "fused_head": False},
}
"""Switches that matter to one run by itself; what is by hand has no other head."""
SHAPES = ("embedded", "270m", "job", "jobs")


def main(arguments: Sequence[str] | None = None) -> None:
    asked = _asked(arguments)
    start = time.monotonic()
    print(f"{machine.words()}\n\n{floor.FORMULA}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for shape in asked.shape or SHAPES:
            if shape == "job":
                _job(asked.rounds, asked.quick)
            elif shape == "jobs":
                _jobs(asked.rounds, 4 if asked.quick else JOBS)
            elif shape == "embedded":
                _steps(shape, EMBEDDED, asked)
            else:
                _steps(shape, shapes.make(shape, Path(folder) / shape), asked)
        if asked.base:
            _steps(asked.base.name, shapes.of_folder(asked.base), asked)
    print(f"\nAll of it took {(time.monotonic() - start) / 60:.1f} minutes.")


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.train", description=__doc__)
    parser.add_argument(
        "--shape",
        action="append",
        choices=[*SHAPES, *shapes.GEMMA_3],
        help="what to measure, several times; by default: " + ", ".join(SHAPES),
    )
    parser.add_argument("--base", type=Path, help="a folder with a base model, as well")
    parser.add_argument("--steps", type=int, help="of a round")
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up; default 3")
    parser.add_argument(
        "--quick", action="store_true", help="no search for TRL's settings, no ablation"
    )
    asked = parser.parse_args(arguments)
    if asked.base and not asked.shape:
        asked.shape = []
    return asked


def _steps(name: str, base: BaseModel, asked: argparse.Namespace) -> None:
    """Bare steps, all sides; then ours with each part left out."""
    steps = asked.steps or STEPS.get(name, 1)
    print(f"\n## {name}: {steps} steps of 4 rows in a round, {asked.rounds} rounds\n", flush=True)
    settings = QUICK if asked.quick else _search(Spec(engine="trl", base=base, kind="trials"))

    def side(**more: object) -> Spec:
        return msgspec.structs.replace(
            Spec(engine="ours", base=base, steps=steps, rounds=asked.rounds), **more
        )

    sides = compare(
        {
            OURS: side(),
            DEFAULT: side(engine="trl"),
            BEST: side(engine="trl", settings=settings),
        }
    )
    print(markdown.steps(sides, {DEFAULT: "times defaults", BEST: "times best"}))
    _say_memory(sides)
    if not asked.quick:
        found = compare({name: side(switches=off) for name, off in WITHOUT.items()})
        print("\nWhat each part brings:\n")
        first = next(iter(WITHOUT))
        print(markdown.steps(found, {first: f"times {first}"}), flush=True)


def _say_memory(sides: dict[str, Measured]) -> None:
    ours, best = sides[OURS], sides[BEST]
    if not (ours.failure or best.failure):
        share = ours.peak_bytes / best.peak_bytes
        print(f"\nPeak memory: {share:.0%} of that of TRL's best settings.", flush=True)


def _search(spec: Spec) -> str:
    """TRL's fastest settings for this; every trial is printed."""
    rows, trials = [], []
    for trial in search(spec):
        trials.append(trial)
        settings = msgspec.json.decode(trial.settings, type=Settings)
        rows.append([str(settings), f"{trial.seconds:.2f}", "yes" if trial.is_best else ""])
    print("TRL's settings, one changed after another, and kept where it is faster:\n")
    print(markdown.table(["settings", "seconds", "best so far"], rows) + "\n", flush=True)
    return best_of(trials)


def _job(rounds: int, quick: bool) -> None:
    """The fifteen pairs, warm: from rows of text to a saved adapter."""
    print(f"\n## The job of fifteen pairs, {JOB_STEPS} steps, warm, {rounds} rounds\n", flush=True)
    spec = Spec(engine="trl", base=EMBEDDED, kind="job trials")
    settings = QUICK if quick else _search(spec)
    ours = Spec(engine="ours", base=EMBEDDED, kind="jobs", rounds=rounds)
    stock = msgspec.structs.replace(ours, engine="trl")
    sides = compare(
        {
            OURS: ours,
            DEFAULT: stock,
            BEST: msgspec.structs.replace(stock, settings=settings),
        }
    )
    rows = []
    for name, found in sides.items():
        if found.failure:
            rows.append([f"{name}: {markdown.last_line(found)}", *[""] * 4])
            continue
        times = f"{sides[OURS].times(found):.2f}" if not sides[OURS].failure else ""
        rows.append(
            [
                name,
                f"{found.seconds:.2f}",
                f"{found.spread:.0%}",
                f"{found.peak_bytes / 1e9:.2f}",
                f"{found.loss:.3f}",
                times,
            ]
        )
    headings = ["side", "seconds", "spread", "peak GB", "mean loss", "times Kamerton's"]
    print(markdown.table(headings, rows), flush=True)


def _jobs(rounds: int, count: int) -> None:
    """The same job many times: one after another, and all at once."""
    print(f"\n## {count} jobs of fifteen pairs on one base, {rounds} rounds\n", flush=True)
    spec = Spec(engine="ours", base=EMBEDDED, kind="jobs", jobs=count, rounds=rounds)
    sides = compare(
        {
            "one after another": spec,
            "together": msgspec.structs.replace(spec, at_once=True),
            "at once, steps not put together": msgspec.structs.replace(
                spec, at_once=True, switches={"together": False}
            ),
        }
    )
    first = sides["one after another"]
    rows = []
    for name, found in sides.items():
        if found.failure or first.failure:
            rows.append([f"{name}: {markdown.last_line(found or first)}", *[""] * 5])
            continue
        rows.append(
            [
                name,
                f"{60 * count / found.seconds:.0f}",
                f"{found.seconds:.2f}",
                f"{found.spread:.0%}",
                f"{found.peak_bytes / 1e9:.2f}",
                f"{found.loss:.5f}",
                f"{found.times(first):.2f}",
            ]
        )
    headings = ["", "jobs/min", "seconds", "spread", "peak GB", "loss of the first", "times"]
    print(markdown.table(headings, rows), flush=True)


if __name__ == "__main__":
    main()
