"""`kamerton tune` and `kamerton watch`: a run on a server, from its examples to its loss curve."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kamerton.check_cli import Config, File, allowed, data_errors, opened_file
from kamerton.errors import InvalidArgument
from kamerton.options import (
    DEFAULT_BASE,
    LOCAL,
    Allow,
    ApiKey,
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
    Server,
    Validation,
    one_rate,
    open_client,
    print_json,
)

if TYPE_CHECKING:
    from rich.console import Console

    from kamerton.client import Client, Operation
    from kamerton.findings import Report

Name = Annotated[str, typer.Argument(metavar="NAME", help="tunedModels/ID, or ID alone.")]


def tune(
    file: File,
    base: Annotated[str, typer.Option(help="Base model, or tunedModels/ID.")] = DEFAULT_BASE,
    validation: Validation = None,
    epochs: Epochs = None,
    batch: Batch = None,
    rate: Rate = None,
    rate_multiplier: RateMultiplier = None,
    max_tokens: MaxTokens = None,
    max_seconds: MaxSeconds = None,
    max_cost: MaxCost = None,
    held_out: HeldOut = None,
    input_key: InputKey = "",
    output_key: OutputKey = "",
    allow: Allow = None,
    config: Config = None,
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    id_: Annotated[str, typer.Option("--id", help="Id of the tuned model.")] = "",
    watch_: Annotated[bool, typer.Option("--watch", help="Stay until the run has ended.")] = False,
    as_json: AsJson = False,
    server: Server = LOCAL,
    key: ApiKey = "",
) -> None:
    """Tune a model on the examples of a file, which is checked first: errors send nothing."""
    one_rate(rate, rate_multiplier)
    from kamerton.training.reading import read

    with data_errors():
        codes = allowed(file, allow, config)
        with opened_file(file, validation, input_key, output_key) as sources:
            # The server has the base model, and counts its tokens.
            reading = read(**sources, measuring=None, allow=codes)
        again = _check_command(file, validation, base, input_key, output_key, config)
        _tell(reading.report, again)
    with open_client(server, key) as client:
        operation = client.create_tuned_model(
            reading.examples,
            validation=reading.validation,
            base_model=base,
            display_name=name or file.stem[:40],
            tuned_model_id=id_,
            epoch_count=epochs,
            batch_size=batch,
            learning_rate=rate,
            learning_rate_multiplier=rate_multiplier,
            max_tokens=max_tokens,
            max_seconds=max_seconds,
            max_cost=max_cost,
            held_out=held_out,
            allow=codes,
        )
        if watch_:
            _watch(client, operation, as_json)
        elif as_json:
            print_json(operation)
        else:
            _print_created(operation, len(reading.examples))


def _check_command(
    file: Path,
    validation: Path | None,
    base: str,
    input_key: str,
    output_key: str,
    config: Path | None,
) -> str:
    """How to look at the same data the same way; of a tuned model the base is not known here."""
    known = "" if base == DEFAULT_BASE or base.startswith("tunedModels/") else base
    given = {
        "--validation": validation,
        "--base": known,
        "--input-key": input_key,
        "--output-key": output_key,
        "--config": config,
    }
    options = [text for option, value in given.items() if value for text in (option, str(value))]
    return shlex.join(["kamerton", "check", str(file), *options])


def _tell(report: Report, again: str) -> None:
    """The findings on stderr, a line each. Raises InvalidArgument when a run would be refused."""
    from rich.console import Console

    from kamerton.report_text import brief, count

    console = Console(stderr=True)
    for line in brief(report):
        console.print(line, soft_wrap=True)
    if errors := report.count("error"):
        raise InvalidArgument(
            f"{count(errors, 'error')} in {report.name}, nothing was sent; more about them: {again}"
        )


def _print_created(operation: Operation, example_count: int) -> None:
    metadata = operation["metadata"]
    print(f"tuned model  {metadata['tunedModel']}")
    print(f"operation    {operation['name']}")
    print(f"examples     {example_count}, in {metadata.get('totalSteps', 0)} steps")
    print(f"watch it     kamerton watch {metadata['tunedModel']}")


def watch(name: Name, as_json: AsJson = False, server: Server = LOCAL, key: ApiKey = "") -> None:
    """Show the progress of a run until it ends, and its loss curve; also after it has ended."""
    with open_client(server, key) as client:
        _watch(client, client.newest_operation(tuned_name(name)), as_json)


def _watch(client: Client, operation: Operation, as_json: bool) -> None:
    """Progress on stderr, and the outcome on stdout."""
    from rich.console import Console

    from kamerton.client import failure_of
    from kamerton.watch import follow

    name = operation["metadata"]["tunedModel"]
    try:
        operation = follow(client, operation, Console(stderr=True))
    except KeyboardInterrupt:
        print(
            f"The run goes on. Watch it again: kamerton watch {name}\n"
            f"Stop it: kamerton cancel {name}",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    if as_json:
        print_json(operation)
    else:
        print_curve(Console(), operation["metadata"].get("snapshots", []))
    failure = failure_of(operation)
    if failure:
        raise type(failure)(f"{name} was not tuned: {failure.message}")
    if not as_json:
        print(f"{name} is ready. Ask it: kamerton generate {name} TEXT")


def print_curve(console: Console, snapshots: Any) -> None:
    from kamerton.terminal import loss_curve

    points = [(snapshot["step"], snapshot.get("meanLoss", 0.0)) for snapshot in snapshots]
    if points:
        console.print(loss_curve(points, min(console.width, 100)))


def tuned_name(name: str) -> str:
    """`tunedModels/ID` for an id or any name below it, such as its operation's."""
    parts = name.split("/")
    if len(parts) > 1 and parts[0] != "tunedModels":
        raise InvalidArgument(f"{name} is not a tuned model; use tunedModels/ID, or ID alone")
    return f"tunedModels/{parts[1] if len(parts) > 1 else name}"
