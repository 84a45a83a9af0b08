"""`kamerton tune` and `kamerton watch`: a run on a server, from its examples to its loss curve."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kamerton.check_cli import Config, File, allowed, data_errors, opened_file
from kamerton.errors import InvalidArgument, NotFound, Unavailable
from kamerton.options import (
    DEFAULT_BASE,
    LOCAL,
    AdapterSize,
    Allow,
    Alpha,
    ApiKey,
    AsJson,
    Batch,
    Dropout,
    EarlyStopping,
    Epochs,
    HeldOut,
    InputKey,
    MaxCost,
    MaxSeconds,
    MaxTokens,
    MinChange,
    OutputKey,
    Patience,
    Rate,
    RateMultiplier,
    ReportTo,
    RsLora,
    Server,
    TargetModules,
    Validation,
    names_in,
    one_rate,
    open_client,
    print_json,
)

if TYPE_CHECKING:
    from rich.console import Console

    from kamerton.client import Client, Operation
    from kamerton.findings import Report
    from kamerton.types import Snapshot

Name = Annotated[str, typer.Argument(metavar="NAME", help="tunedModels/ID, or ID alone.")]


def tune(
    file: File,
    base: Annotated[str, typer.Option(help="Base model, or tunedModels/ID.")] = DEFAULT_BASE,
    validation: Validation = None,
    epochs: Epochs = None,
    batch: Batch = None,
    rate: Rate = None,
    rate_multiplier: RateMultiplier = None,
    adapter_size: AdapterSize = None,
    alpha: Alpha = None,
    dropout: Dropout = None,
    target_modules: TargetModules = "",
    rslora: RsLora = False,
    max_tokens: MaxTokens = None,
    max_seconds: MaxSeconds = None,
    max_cost: MaxCost = None,
    held_out: HeldOut = None,
    early_stopping: EarlyStopping = None,
    patience: Patience = None,
    min_change: MinChange = None,
    input_key: InputKey = "",
    output_key: OutputKey = "",
    allow: Allow = None,
    config: Config = None,
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    id_: Annotated[str, typer.Option("--id", help="Id of the tuned model.")] = "",
    watch_: Annotated[bool, typer.Option("--watch", help="Stay until the run has ended.")] = False,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Try three learning rates, and keep the best run of them."),
    ] = False,
    halving: Annotated[
        bool, typer.Option("--halving", help="Sweep six learning rates by successive halving.")
    ] = False,
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Of a sweep, keep every run.")
    ] = False,
    report_to: ReportTo = "",
    as_json: AsJson = False,
    server: Server = LOCAL,
    key: ApiKey = "",
) -> None:
    """Tune a model on the examples of a file, which is checked first: errors send nothing."""
    one_rate(rate, rate_multiplier)
    swept = sweep or halving
    if report_to and (swept or not watch_):
        raise typer.BadParameter(
            "--report-to needs --watch, and no sweep: what is watched is logged"
        )
    if keep_all and not swept:
        raise typer.BadParameter("--keep-all is for a sweep: give --sweep or --halving as well")
    if report_to:
        from kamerton.trackers import check_tracker

        check_tracker(report_to)
    from kamerton.training.reading import read

    with data_errors():
        codes = allowed(file, allow, config)
        with opened_file(file, validation, input_key, output_key) as sources:
            # The server has the base model, and counts its tokens.
            reading = read(**sources, measuring=None, allow=codes)
        again = _check_command(file, validation, base, input_key, output_key, config)
        _tell(reading.report, again)
    with open_client(server, key) as client:
        asked: dict[str, Any] = {
            "validation": reading.validation,
            "base_model": base,
            "display_name": name or file.stem[:40],
            "tuned_model_id": id_,
            "epoch_count": epochs,
            "batch_size": batch,
            "learning_rate": rate,
            "learning_rate_multiplier": rate_multiplier,
            "adapter_size": adapter_size,
            "lora_alpha": alpha,
            "lora_dropout": dropout,
            "target_modules": names_in(target_modules),
            "rslora": rslora or None,
            "max_tokens": max_tokens,
            "max_seconds": max_seconds,
            "max_cost": max_cost,
            "held_out": held_out,
            "early_stopping": early_stopping,
            "patience": patience,
            "min_change": min_change,
            "allow": codes,
        }
        if sweep or halving:
            from kamerton.sweep_cli import sweep as run_sweep

            run_sweep(
                client,
                reading.examples,
                asked,
                halving=halving,
                keep_all=keep_all,
                as_json=as_json,
            )
            return
        operation = client.create_tuned_model(reading.examples, **asked)
        if watch_:
            _watch(client, operation, as_json, report_to)
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


def watch(
    name: Name,
    report_to: ReportTo = "",
    as_json: AsJson = False,
    server: Server = LOCAL,
    key: ApiKey = "",
) -> None:
    """Show the progress of a run until it ends, and its loss curve; also after it has ended."""
    with open_client(server, key) as client:
        _watch(client, client.newest_operation(tuned_name(name)), as_json, report_to)


def _watch(client: Client, operation: Operation, as_json: bool, report_to: str) -> None:
    """Progress on stderr, and the outcome on stdout."""
    from rich.console import Console

    from kamerton.client import failure_of
    from kamerton.watch import follow

    name = operation["metadata"]["tunedModel"]
    snapshots: list[Snapshot] = []
    try:
        with _tracker(client, name, report_to) as log:

            def tell(snapshot: Snapshot) -> None:
                snapshots.append(snapshot)
                log(snapshot)

            operation = follow(client, operation, Console(stderr=True), on_snapshot=tell)
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
        print_curve(Console(), snapshots)
    failure = failure_of(operation)
    if failure:
        raise type(failure)(f"{name} was not tuned: {failure.message}")
    if not as_json:
        _say_what_came_of_it(client, name)
        print(f"{name} is ready. Ask it: kamerton generate {name} TEXT")


def _say_what_came_of_it(client: Client, name: str) -> None:
    """The verdict, and what the curve means; nothing where the server has just gone."""
    try:
        own: Any = client.get_tuned_model(name).get("kamerton", {})
        told = client.json("GET", f"/kamerton/v1/{name}/diagnosis")
    except (NotFound, Unavailable):
        return
    curve = f"The curve: {told['pattern'].replace('_', ' ')} (confidence: {told['confidence']})."
    for text in (own.get("stopReason"), own.get("verdict"), f"{curve} {told['summary']}"):
        if text:
            print(text)
    if told["hyperparameters"]:
        print(f"{told['advice']} More: kamerton diagnose {name}")


@contextmanager
def _tracker(client: Client, name: str, kind: str) -> Iterator[Callable[[Snapshot], None]]:
    """What logs a step of the run in a tracker; nothing does when none was asked for."""
    if not kind:
        yield lambda snapshot: None
        return
    from kamerton.trackers import open_tracker

    model = client.get_tuned_model(name)
    chosen: dict[str, float | str] = dict(model.get("tuningTask", {}).get("hyperparameters", {}))
    if base := model.get("baseModel"):
        chosen["baseModel"] = base
    with open_tracker(kind, name.split("/")[1], chosen, Path("runs")) as tracker:
        yield tracker.log


def print_curve(console: Console, snapshots: Sequence[Snapshot]) -> None:
    from kamerton.terminal import run_curve

    if snapshots:
        console.print(run_curve(snapshots, min(console.width, 100)))


def tuned_name(name: str) -> str:
    """`tunedModels/ID` for an id or any name below it, such as its operation's."""
    parts = name.split("/")
    if len(parts) > 1 and parts[0] != "tunedModels":
        raise InvalidArgument(f"{name} is not a tuned model; use tunedModels/ID, or ID alone")
    return f"tunedModels/{parts[1] if len(parts) > 1 else name}"
