"""`kamerton check` and `kamerton estimate`: what would go wrong with a run, and what it takes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kamerton.errors import FailedPrecondition, InvalidArgument, KamertonError
from kamerton.options import (
    DEFAULT_BASE,
    STDIN,
    Allow,
    AsJson,
    Batch,
    Epochs,
    HeldOut,
    InputKey,
    MaxCost,
    MaxSeconds,
    MaxTokens,
    OutputKey,
    Rate,
    RateMultiplier,
    Validation,
    file_source,
    holdout_of,
    one_rate,
    print_json,
)

if TYPE_CHECKING:
    from kamerton.findings import Report
    from kamerton.training.estimate import Probe
    from kamerton.types import BaseModel, Estimate

CONFIGS = ("kamerton.toml", "kamerton.yaml")
"""Looked for beside the data and in the working folder."""
_ALLOW = re.compile(r"#\s*kamerton:\s*allow\b(?P<codes>.*)")
_CODES = re.compile(
    r"\s*(?P<codes>K\d{3}(?:(?:\s*,\s*|\s+)K\d{3})*)(?!\s*,|\s+K\d)(?:\s|$)", re.IGNORECASE
)
"""A reason may follow after a blank; what begins like a code is none."""
MOST_HITS = 10_000
"""Rows that a finding names for programs."""

_FILE = typer.Argument(metavar="FILE", help="Examples in any format; - reads standard input.")
File = Annotated[Path, _FILE]
Base = Annotated[
    str,
    typer.Option(help="Base model: a name, a folder or a hub id; only its tokenizer is needed."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit status 1 when there are warnings.")]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A text file with lines such as `# kamerton: allow K204`; by default kamerton.toml "
        "or kamerton.yaml beside the data or here.",
    ),
]
EXIT_CODES = (
    "Exit status: 0 ready; 1 warnings with --strict; 2 errors, a file that cannot be read, or "
    "wrong usage."
)


def check(
    file: Annotated[Path | None, _FILE] = None,
    validation: Validation = None,
    base: Base = DEFAULT_BASE,
    input_key: InputKey = "",
    output_key: OutputKey = "",
    strict: Strict = False,
    as_json: AsJson = False,
    as_sarif: Annotated[bool, typer.Option("--sarif", help="SARIF 2.1.0 on stdout.")] = False,
    allow: Allow = None,
    config: Config = None,
    explain: Annotated[
        str, typer.Option(metavar="CODE", help="Say what a code means; needs no file.")
    ] = "",
) -> None:
    """Check a dataset before anything is spent on it. Nothing is sent anywhere."""
    with data_errors():
        if explain:
            from kamerton.dataset.checks.table import explain as explained

            print(explained(explain.upper()))
            return
        if file is None:
            raise typer.BadParameter("give a FILE to check, or a code to --explain")
        if as_json and as_sarif:
            raise typer.BadParameter("give --json or --sarif, not both")
        from kamerton.checking import find_base, measuring_of
        from kamerton.dataset.check import check

        codes = allowed(file, allow, config)
        measuring = measuring_of(find_base(base))
        with opened_file(file, validation, input_key, output_key) as sources:
            report = check(**sources, measuring=measuring, allow=codes, most_hits=MOST_HITS)
    if as_json:
        from kamerton.surfaces.reports import report as as_fields

        print_json(as_fields(report))
    elif as_sarif:
        from kamerton.sarif import sarif

        print_json(sarif(report, file, validation))
    else:
        _print_checked(report, strict)
    raise typer.Exit(_status(report, strict))


def estimate(
    file: File,
    validation: Validation = None,
    base: Base = DEFAULT_BASE,
    epochs: Epochs = None,
    batch: Batch = None,
    rate: Rate = None,
    rate_multiplier: RateMultiplier = None,
    max_tokens: MaxTokens = None,
    max_seconds: MaxSeconds = None,
    max_cost: MaxCost = None,
    price: Annotated[
        float | None, typer.Option(min=0.0, help="What a million tokens cost.")
    ] = None,
    held_out: HeldOut = None,
    input_key: InputKey = "",
    output_key: OutputKey = "",
    strict: Strict = False,
    as_json: AsJson = False,
    allow: Allow = None,
    config: Config = None,
) -> None:
    """Say what a run on a dataset would be and take: steps, tokens, time, memory, cost.

    Every row is read and counted exactly. Time and memory are measured by training for some
    seconds on this machine; without torch they are left out.
    """
    from kamerton.checking import find_base, measuring_of, plan
    from kamerton.training.hyperparameters import choose
    from kamerton.training.reading import read
    from kamerton.types import Budget

    hyperparameters: dict[str, Any] = {
        "epoch_count": epochs,
        "batch_size": batch,
        "learning_rate": rate,
        "learning_rate_multiplier": rate_multiplier,
    }
    one_rate(rate, rate_multiplier)
    with data_errors():
        if max_cost is not None:
            max_tokens = _affordable(max_cost, price, max_tokens)
        base_model = find_base(base)
        choose(1, base_model, **hyperparameters)  # To say at once what cannot be.
        codes = allowed(file, allow, config)
        measuring = measuring_of(base_model)
        with opened_file(file, validation, input_key, output_key) as sources:
            reading = read(**sources, measuring=measuring, allow=codes, count_all=True)
        made, unmeasured = None, ""
        if not reading.report.count("error"):
            probe, unmeasured = _probed(base_model)
            made = plan(
                reading,
                base_model,
                budget=Budget(max_tokens, max_seconds),
                holdout=holdout_of(held_out),
                price=price,
                probe=probe,
                **hyperparameters,
            )
    _print_estimated(reading.report, made, unmeasured, price, as_json, strict)
    raise typer.Exit(_status(reading.report, strict))


@contextmanager
def data_errors() -> Iterator[None]:
    """What cannot be read or understood ends in one line and status 2, never in 1."""
    try:
        yield
    except KamertonError as error:
        message = error.message
    except IsADirectoryError as error:
        message = f"{error.filename} is a folder; give one file of it"
    except OSError as error:
        message = f"{error.filename or 'the file'}: {error.strerror or error}"
    else:
        return
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(2)


def allowed(file: Path, given: list[str] | None, config: Path | None) -> tuple[str, ...]:
    """The codes to silence: those of the command line, and those of the config."""
    codes = [code.strip().upper() for item in given or () for code in item.split(",")]
    for path in [config] if config else _configs(file):
        codes += _codes_in(path)
    return tuple(dict.fromkeys(codes))


def _configs(file: Path) -> list[Path]:
    """The first there is, beside the data before here."""
    folders = (Path(),) if file == STDIN else (file.parent, Path())
    found = (folder / name for folder in folders for name in CONFIGS)
    return [path for path in found if path.is_file()][:1]


def _codes_in(path: Path) -> Iterator[str]:
    from kamerton.dataset.survey import silenced

    text = path.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if comment := _ALLOW.search(line):
            codes = _CODES.match(comment["codes"])
            if codes is None:
                raise InvalidArgument(
                    f"{path}, line {number}: {comment[0].strip()!r} names no code; "
                    "write for instance: # kamerton: allow K204, K305"
                )
            found = re.findall(r"K\d{3}", codes["codes"].upper())
            try:
                silenced(found)
            except InvalidArgument as error:
                raise InvalidArgument(
                    f"{path}, line {number}: {error.violations[0].description}"
                ) from None
            yield from found


@contextmanager
def opened_file(
    file: Path, validation: Path | None, input_key: str, output_key: str
) -> Iterator[dict[str, Any]]:
    """What the checks need to read a file with its validation data; how far they are stands on
    stderr."""
    from rich.console import Console

    from kamerton.terminal import ReadingProgress

    with ExitStack() as opened:
        source = opened.enter_context(file_source(file, input_key, output_key))
        beside = None
        if validation is not None:
            beside = opened.enter_context(file_source(validation, input_key, output_key))
        progress = opened.enter_context(ReadingProgress(Console(stderr=True)))
        yield {"source": source, "validation": beside, "on_rows": progress.rows}


def _print_checked(report: Report, strict: bool) -> None:
    from rich.console import Console

    from kamerton.report_text import print_report, print_verdict

    console = Console()
    print_report(console, report)
    print_verdict(console, report, strict=strict)


def _status(report: Report, strict: bool) -> int:
    if report.count("error"):
        return 2
    return 1 if strict and report.count("warning") else 0


def _affordable(max_cost: float, price: float | None, max_tokens: int | None) -> int:
    """The tokens that a cost pays for, or fewer if fewer are allowed."""
    if not price:
        raise typer.BadParameter("--max-cost needs --price, what a million tokens cost")
    from kamerton.training.estimate import affordable_tokens

    paid = affordable_tokens(max_cost, price)
    return paid if max_tokens is None else min(paid, max_tokens)


def _probed(base: BaseModel) -> tuple[Probe | None, str]:
    """How fast the base model trains here, or why that cannot be measured."""
    from rich.console import Console

    from kamerton.training.probe import probe

    console = Console(stderr=True)
    try:
        with console.status("measuring how fast it trains here, some seconds ..."):
            return probe(base), ""
    except FailedPrecondition as error:
        return None, error.message


def _print_estimated(
    report: Report,
    made: Estimate | None,
    unmeasured: str,
    price: float | None,
    as_json: bool,
    strict: bool,
) -> None:
    if as_json:
        from kamerton.surfaces import reports

        fields = reports.report(report)
        print_json(fields if made is None else fields | {"estimate": reports.estimate(made)})
        return
    from rich.console import Console

    from kamerton.report_text import print_estimate, print_report, print_verdict

    console = Console()
    print_report(console, report)
    if made is not None:
        print_estimate(console, made, price=price, unmeasured=unmeasured)
        console.print()
    print_verdict(console, report, strict=strict)
