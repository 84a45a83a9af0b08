"""`kamerton diagnose`: what a loss curve means, of a tuned model or of any tool's file."""

from __future__ import annotations

import csv
import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kamerton.check_cli import data_errors
from kamerton.errors import InvalidArgument
from kamerton.options import LOCAL, ApiKey, AsJson, Server, open_client, print_json
from kamerton.tune_cli import tuned_name

if TYPE_CHECKING:
    from kamerton.training.curve import Run
    from kamerton.types import Snapshot

OPTIONS = {"epochCount": "--epochs", "batchSize": "--batch", "learningRate": "--rate"}
"""Of `kamerton tune`, by what they are called in JSON."""
FILES = (".csv", ".tsv", ".json")
"""What ends so is a file, even when it is not there."""
LOSS = ("loss", "mean_loss", "train_loss", "training_loss", "train/loss", "value")
HELD_OUT = (
    "held_out_loss", "eval_loss", "val_loss", "validation_loss", "valid_loss", "test_loss",
    "eval/loss", "val/loss",
)  # fmt: skip
STEP = ("step", "global_step", "iteration", "iter")
RATE = ("learning_rate", "lr")
"""Names of columns as tools write them, in the order in which they are looked for; case and
what is between words are the same."""

SUMMARY = "train_runtime"
"""In the line with which Hugging Face's trainer sums up a run: its loss is the mean of all."""

Row = Mapping[str, float]
"""The numbers of a line, by the names of their columns."""


def diagnose(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="A tuned model of the server; or a loss curve of any tool: a .csv with columns "
            "such as step, epoch, loss, val_loss, TensorBoard's export, or trainer_state.json.",
        ),
    ],
    as_json: AsJson = False,
    server: Server = LOCAL,
    key: ApiKey = "",
) -> None:
    """Say what a loss curve means: the pattern, its evidence, the cause, and what to try next."""
    path = Path(name)
    if path.is_file() or path.suffix.lower() in FILES:
        told = _of_file(path)
    else:  # The server knows more of a run than its curve.
        with open_client(server, key) as client:
            told = client.json("GET", f"/kamerton/v1/{tuned_name(name)}/diagnosis")
    if as_json:
        print_json(told)
    else:
        _print(told)


def _of_file(path: Path) -> dict[str, Any]:
    from kamerton.surfaces.reports import diagnosis
    from kamerton.training.curve import diagnose

    with data_errors():
        return diagnosis(diagnose(*curve_of_file(path)))


def _print(told: Mapping[str, Any]) -> None:
    """For people."""
    from rich.console import Console

    from kamerton.terminal import printable

    console = Console(highlight=False, markup=False)

    def line(text: str, style: str = "") -> None:
        console.print(printable(text), style=style, soft_wrap=not console.is_terminal)

    line(f"{told['pattern'].replace('_', ' ')} (confidence: {told['confidence']})", "bold")
    line(told["summary"])
    for point in told["evidence"]:
        line(f"  step {point['step']:>6,}  {point.get('value', math.nan):>8.4g}  {point['what']}")
    line(f"Likely cause: {told['cause']}")
    line(f"Do next: {told['advice']}")
    given = [f"{OPTIONS[name]} {value:g}" for name, value in told["hyperparameters"].items()]
    if given:
        line(f"Next run: kamerton tune FILE {' '.join(given)}")


# --- a file ----------------------------------------------------------------------------------


def curve_of_file(path: Path) -> tuple[list[Snapshot], Run]:
    """The curve in a file of some other tool. Raises InvalidArgument when there is none in it."""
    from kamerton.training.curve import Run

    text = path.read_text(encoding="utf-8-sig", errors="replace")
    rows = _log_history(text, path) if path.suffix.lower() == ".json" else _csv(text, path)
    snapshots = _snapshots(rows, path)
    epochs = max(snapshot.epoch for snapshot in snapshots)
    rates = [found for row in rows if (found := _first(row, RATE)) is not None]
    return snapshots, Run(
        example_count=0,
        held_out_count=0,
        epoch_count=epochs if any("epoch" in row for row in rows) else 0,
        batch_size=0,
        learning_rate=max(rates, default=0.0),
        total_steps=snapshots[-1].step,
    )


def _csv(text: str, path: Path) -> list[Row]:
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)
    return [_numbers(row.items()) for row in csv.DictReader(text.splitlines(), delimiter=delimiter)]


def _log_history(text: str, path: Path) -> list[Row]:
    """Of Hugging Face's `trainer_state.json`, or a list of objects."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidArgument(f"{path}, line {error.lineno}: no JSON ({error.msg})") from None
    except RecursionError:
        raise InvalidArgument(f"{path}: nested too deep for a loss curve") from None
    rows = content.get("log_history") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidArgument(f"{path}: no log_history in it, which is a list of objects")
    return [_numbers(row.items()) for row in rows]


def _numbers(cells: Iterable[tuple[Any, Any]]) -> Row:
    """What is a number of a line, under plain names."""
    found = {}
    for name, cell in cells:
        try:
            found[str(name).strip().lower().replace(" ", "_").replace("-", "_")] = float(cell)
        except (TypeError, ValueError):  # Text, or a cell that is empty or not there.
            continue
    return found


def _first(row: Row, names: Iterable[str]) -> float | None:
    return next((row[name] for name in names if name in row), None)


def _snapshots(rows: list[Row], path: Path) -> list[Snapshot]:
    """In the order of their steps; a loss on held-out examples belongs to the step before it."""
    from kamerton.types import NO_TIME, Snapshot

    has_steps = any(_first(row, STEP) is not None for row in rows)
    from_zero = not has_steps and any(row.get("epoch") == 0 for row in rows)  # As Keras counts.
    losses: dict[int, tuple[int, float]] = {}
    measured: dict[int, float] = {}
    for number, row in enumerate(rows, start=1):
        if not all(math.isfinite(row.get(name, 0.0)) for name in (*STEP, "epoch")):
            raise InvalidArgument(f"{path}, row {number}: its step or epoch is no number")
        step = round(_first(row, STEP) or 0) if has_steps else number
        if (held_out := _first(row, HELD_OUT)) is not None:
            measured[step] = held_out
        if (loss := _first(row, LOSS)) is not None and SUMMARY not in row:
            losses[step] = (max(1, math.ceil(row.get("epoch", 1)) + from_zero), loss)
    if not losses:
        seen = ", ".join(dict.fromkeys(name for row in rows for name in row)) or "none"
        raise InvalidArgument(
            f"{path}: no training loss in it; name its column loss, and others step, epoch and "
            f"val_loss. Columns with numbers: {seen}"
        )
    steps = sorted(losses)
    at = {steps[max(0, bisect_right(steps, step) - 1)]: step for step in sorted(measured)}
    shift = 1 if steps[0] == 0 else 0
    return [
        Snapshot(
            step + shift,
            *losses[step],
            NO_TIME,
            held_out_loss=measured[at[step]] if step in at else None,
        )
        for step in steps
    ]
