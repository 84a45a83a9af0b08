"""The `kamerton` command: the server, and everything a person asks of one from a terminal.

Whatever is slow to import is imported inside the command that needs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kamerton import __version__, base_cli, check_cli, credentials_cli, errors, gate_cli
from kamerton.convert_cli import convert
from kamerton.diagnose_cli import diagnose
from kamerton.env_cli import env
from kamerton.errors import KamertonError
from kamerton.evaluate_cli import evaluate
from kamerton.events_cli import events
from kamerton.options import (
    EXIT_CODES,
    LOCAL,
    ApiKey,
    AsJson,
    Data,
    Server,
    chosen_settings,
    open_client,
    print_json,
)
from kamerton.plot_cli import plot
from kamerton.tune_cli import Name, print_curve, tune, tuned_name, watch

if TYPE_CHECKING:
    from kamerton.client import Client, TunedModel

app = typer.Typer(
    name="kamerton",
    help="Tunes open language models behind the Gemini tuning API, on your own machine.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(base_cli.app, name="base")
app.add_typer(credentials_cli.keys, name="keys")
app.add_typer(credentials_cli.tokens, name="tokens")


def main() -> None:
    """The console entry point: errors are one line that says what to do next."""
    try:
        app(prog_name="kamerton")
    except KamertonError as error:
        print(f"error: {_with_advice(error)}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # A folder that cannot be written, a file that is none.
        where = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        sys.exit(1)


def _with_advice(error: KamertonError) -> str:
    if isinstance(error, errors.Unauthenticated | errors.InvalidKey):
        return f"{error.message} (pass --key, or set KAMERTON_API_KEY)"
    return error.message


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")
    ] = None,
    data: Data = None,
    open_: Annotated[
        bool, typer.Option("--open", help="No credentials needed; loopback addresses only.")
    ] = False,
    grpc: Annotated[bool, typer.Option("--grpc", help="Serve gRPC as well, with TLS.")] = False,
    grpc_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for gRPC; 0: any free one.")
    ] = None,
) -> None:
    """Run the server here until Ctrl-C.

    It prints its address and, at first start, the owner's key. Every other setting is an
    environment variable KAMERTON_....
    """
    from kamerton.surfaces.serve import serve as run

    run(
        chosen_settings(
            data=data,
            host=host,
            port=port,
            open=open_ or None,
            grpc=grpc or None,
            grpc_port=grpc_port,
        )
    )


app.command(epilog=check_cli.EXIT_CODES)(check_cli.check)
app.command(epilog=check_cli.EXIT_CODES)(check_cli.estimate)
app.command()(convert)
app.command()(tune)
app.command()(watch)
app.command()(events)
app.command()(diagnose)
app.command()(plot)
app.command()(evaluate)
app.command(epilog=gate_cli.EXIT_CODES)(gate_cli.gate)


@app.command()
def models(as_json: AsJson = False, server: Server = LOCAL, key: ApiKey = "") -> None:
    """List base models and tuned models."""
    with open_client(server, key) as client:
        base, tuned = client.list_models(), client.list_tuned_models()
    if as_json:
        print_json({"models": base, "tunedModels": tuned})
        return
    from kamerton.terminal import printable

    rows = [(model["name"], "base", model.get("displayName", "")) for model in base]
    rows += [(model["name"], model["state"], model.get("displayName", "")) for model in tuned]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for name, state, display_name in rows:
        print(printable(f"{name:{widths[0]}}  {state:{widths[1]}}  {display_name}".rstrip()))


@app.command()
def show(
    name: Name,
    card: Annotated[bool, typer.Option("--card", help="Show its report card as well.")] = False,
    as_json: AsJson = False,
    server: Server = LOCAL,
    key: ApiKey = "",
) -> None:
    """Show one tuned model and its loss curve."""
    from kamerton.card_text import print_card
    from kamerton.watch import snapshots_of

    with open_client(server, key) as client:
        model = client.get_tuned_model(tuned_name(name))
        snapshots = [] if as_json else snapshots_of(client, tuned_name(name))
        found = gate_cli.stored_card(client, tuned_name(name)) if card and not as_json else None
    if as_json:
        print_json(model)
        return
    from rich.console import Console

    from kamerton.terminal import printable

    for label, value in _facts(model):
        print(f"{label:<15}{printable(str(value))}")
    print_curve(Console(), snapshots)
    if found is not None:
        print_card(Console(highlight=False), found)


def _facts(model: TunedModel) -> Iterator[tuple[str, object]]:
    """What there is to say about a tuned model, line by line."""
    task = model.get("tuningTask", {})
    own = model.get("kamerton", {})
    steps = max((snapshot["step"] for snapshot in task.get("snapshots", [])), default=0)
    source = model.get("tunedModelSource", {})
    lines = {
        "name": model["name"],
        "display name": model.get("displayName"),
        "description": model.get("description"),
        "state": model["state"],
        "error": own.get("error", {}).get("message"),
        "reason": own.get("failure", {}).get("reason"),
        "base model": model.get("baseModel") or source.get("baseModel"),
        "tuned from": source.get("tunedModel"),
        "created": model.get("createTime"),
        "started": task.get("startTime"),
        "completed": task.get("completeTime"),
        **{_spaced(k): v for k, v in task.get("hyperparameters", {}).items()},
        "steps": f"{steps} of {own.get('totalSteps', '?')}",
        "kept step": own.get("keptStep"),
        "findings": _counted(own.get("findings", [])),
        "held out": own.get("heldOut", {}).get("count"),
        "held-out loss": _last_loss(own.get("heldOut", {}).get("losses", [])),
        "stopped early": own.get("stopReason"),
        "verdict": own.get("verdict"),
    }
    for label, value in lines.items():
        if value not in (None, ""):
            yield label, value


def _counted(findings: list[dict[str, Any]]) -> str:
    """`2 warnings, 1 note`: what the dataset check said."""
    from collections import Counter

    numbers = Counter(finding["severity"] for finding in findings)
    return ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for noun, n in numbers.items())


def _last_loss(losses: list[dict[str, Any]]) -> str:
    return f"{losses[-1]['meanLoss']:.4f} after step {losses[-1]['step']}" if losses else ""


def _spaced(camel: str) -> str:
    """`learningRate` as people write it."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in camel)


@app.command()
def generate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="tunedModels/ID, models/NAME, or the bare name."),
    ],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The prompt.")],
    temperature: Annotated[float | None, typer.Option(help="0 is greedy and repeatable.")] = None,
    top_p: Annotated[float | None, typer.Option()] = None,
    top_k: Annotated[int | None, typer.Option()] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same text.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print as it comes.")] = False,
    as_json: AsJson = False,
    server: Server = LOCAL,
    key: ApiKey = "",
) -> None:
    """Ask a tuned or a base model. A bare name is a tuned model if there is one of that name."""
    from kamerton.types import GenerationConfig

    config = GenerationConfig(
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_output_tokens=max_tokens,
        seed=seed,
    )
    with open_client(server, key) as client:
        name = _tuned_or_base(client, model)
        pieces = (
            client.stream_generate(name, text, config)
            if stream
            else iter([client.generate(name, text, config)])
        )
        for piece in pieces:
            _print_piece(piece, as_json, stream)
    if not as_json:
        print()


def _print_piece(piece: Any, as_json: bool, stream: bool) -> None:
    from kamerton.client import answer_text
    from kamerton.terminal import printable

    if as_json:
        print(json.dumps(piece, ensure_ascii=False, indent=None if stream else 2), flush=True)
        return
    text = answer_text(piece)
    print(printable(text) if sys.stdout.isatty() else text, end="", flush=True)
    reasons = [c.get("finishReason") for c in piece.get("candidates", [])]
    if "MAX_TOKENS" in reasons:
        print("\n(cut off: the answer reached its longest length)", file=sys.stderr)


def _tuned_or_base(client: Client, model: str) -> str:
    if "/" in model:
        return model
    if "@" in model:  # An epoch of a tuned model.
        return f"tunedModels/{model}"
    try:
        return client.get_tuned_model(f"tunedModels/{model}")["name"]
    except (errors.NotFound, errors.PermissionDenied):
        return f"models/{model}"


@app.command()
def cancel(
    name: Name,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Make the model of the best step so far, if there is one."),
    ] = False,
    server: Server = LOCAL,
    key: ApiKey = "",
) -> None:
    """Stop the run of a tuned model; the model becomes FAILED, unless what it has is kept."""
    with open_client(server, key) as client:
        operation = client.newest_operation(tuned_name(name))
        if operation.get("done"):
            raise errors.FailedPrecondition(f"the run of {tuned_name(name)} is already over")
        if keep:
            client.cancel_and_keep(tuned_name(name))
        else:
            client.cancel(operation["name"])
    print(f"asked {tuned_name(name)} to stop{' and to keep what it has' if keep else ''}")


@app.command()
def delete(name: Name, server: Server = LOCAL, key: ApiKey = "") -> None:
    """Delete a tuned model with its weights; a run that is going on is stopped first."""
    with open_client(server, key) as client:
        client.delete_tuned_model(tuned_name(name))
    print(f"deleted {tuned_name(name)}")


app.command()(env)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running.")] = False,
    record: Annotated[
        Path | None, typer.Option(help="Write what the terminal showed to this SVG file.")
    ] = None,
) -> None:
    """Run the Gemini tuning tutorial against a server of its own, and compare the answers."""
    from kamerton.demo import run

    run(keep=keep, record=record)


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)
