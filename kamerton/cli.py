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

from kamerton import __version__, credentials_cli, errors
from kamerton.env_cli import env
from kamerton.errors import InvalidArgument, KamertonError
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

if TYPE_CHECKING:
    from rich.console import Console

    from kamerton.client import Client, Operation, TunedModel

DEFAULT_BASE = "kamerton-nano-001"
app = typer.Typer(
    name="kamerton",
    help="Tunes open language models behind the Gemini tuning API, on your own machine.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(credentials_cli.keys, name="keys")
app.add_typer(credentials_cli.tokens, name="tokens")

Name = Annotated[str, typer.Argument(metavar="NAME", help="tunedModels/ID, or ID alone.")]


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


@app.command()
def tune(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Examples: JSONL, JSON, CSV or TSV.")
    ],
    base: Annotated[str, typer.Option(help="Base model, or tunedModels/ID.")] = DEFAULT_BASE,
    epochs: Annotated[int | None, typer.Option(help="Times through all examples.")] = None,
    batch: Annotated[int | None, typer.Option(help="Examples per step.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    rate_multiplier: Annotated[
        float | None, typer.Option(help="Times the default learning rate, instead of --rate.")
    ] = None,
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    id_: Annotated[str, typer.Option("--id", help="Id of the tuned model.")] = "",
    watch_: Annotated[bool, typer.Option("--watch", help="Stay until the run has ended.")] = False,
    as_json: AsJson = False,
    server: Server = LOCAL,
    key: ApiKey = "",
) -> None:
    """Tune a model on the examples of a file."""
    if rate is not None and rate_multiplier is not None:
        raise typer.BadParameter("give --rate or --rate-multiplier, not both")
    from kamerton.dataset.formats import read_examples

    examples = read_examples(file)
    with open_client(server, key) as client:
        operation = client.create_tuned_model(
            examples,
            base_model=base,
            display_name=name or file.stem[:40],
            tuned_model_id=id_,
            epoch_count=epochs,
            batch_size=batch,
            learning_rate=rate,
            learning_rate_multiplier=rate_multiplier,
        )
        if watch_:
            _watch(client, operation, as_json)
        elif as_json:
            print_json(operation)
        else:
            _print_created(operation, len(examples))


def _print_created(operation: Operation, example_count: int) -> None:
    metadata = operation["metadata"]
    print(f"tuned model  {metadata['tunedModel']}")
    print(f"operation    {operation['name']}")
    print(f"examples     {example_count}, in {metadata.get('totalSteps', 0)} steps")
    print(f"watch it     kamerton watch {metadata['tunedModel']}")


@app.command()
def watch(name: Name, as_json: AsJson = False, server: Server = LOCAL, key: ApiKey = "") -> None:
    """Show the progress of a run until it ends, and its loss curve; also after it has ended."""
    with open_client(server, key) as client:
        _watch(client, client.newest_operation(_tuned(name)), as_json)


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
        _print_curve(Console(), operation["metadata"].get("snapshots", []))
    failure = failure_of(operation)
    if failure:
        raise type(failure)(f"{name} was not tuned: {failure.message}")
    if not as_json:
        print(f"{name} is ready. Ask it: kamerton generate {name} TEXT")


def _print_curve(console: Console, snapshots: Any) -> None:
    from kamerton.terminal import loss_curve

    points = [(snapshot["step"], snapshot.get("meanLoss", 0.0)) for snapshot in snapshots]
    if points:
        console.print(loss_curve(points, min(console.width, 100)))


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
def show(name: Name, as_json: AsJson = False, server: Server = LOCAL, key: ApiKey = "") -> None:
    """Show one tuned model and its loss curve."""
    with open_client(server, key) as client:
        model = client.get_tuned_model(_tuned(name))
    if as_json:
        print_json(model)
        return
    from rich.console import Console

    from kamerton.terminal import printable

    for label, value in _facts(model):
        print(f"{label:<15}{printable(str(value))}")
    _print_curve(Console(), model.get("tuningTask", {}).get("snapshots", []))


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
        "base model": model.get("baseModel") or source.get("baseModel"),
        "tuned from": source.get("tunedModel"),
        "created": model.get("createTime"),
        "started": task.get("startTime"),
        "completed": task.get("completeTime"),
        **{_spaced(k): v for k, v in task.get("hyperparameters", {}).items()},
        "steps": f"{steps} of {own.get('totalSteps', '?')}",
    }
    for label, value in lines.items():
        if value not in (None, ""):
            yield label, value


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
    try:
        return client.get_tuned_model(f"tunedModels/{model}")["name"]
    except (errors.NotFound, errors.PermissionDenied):
        return f"models/{model}"


@app.command()
def cancel(name: Name, server: Server = LOCAL, key: ApiKey = "") -> None:
    """Stop the run of a tuned model; the model becomes FAILED."""
    with open_client(server, key) as client:
        operation = client.newest_operation(_tuned(name))
        if operation.get("done"):
            raise errors.FailedPrecondition(f"the run of {_tuned(name)} is already over")
        client.cancel(operation["name"])
    print(f"asked {_tuned(name)} to stop")


@app.command()
def delete(name: Name, server: Server = LOCAL, key: ApiKey = "") -> None:
    """Delete a tuned model with its weights; a run that is going on is stopped first."""
    with open_client(server, key) as client:
        client.delete_tuned_model(_tuned(name))
    print(f"deleted {_tuned(name)}")


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


def _tuned(name: str) -> str:
    """`tunedModels/ID` for an id or any name below it, such as its operation's."""
    parts = name.split("/")
    if len(parts) > 1 and parts[0] != "tunedModels":
        raise InvalidArgument(f"{name} is not a tuned model; use tunedModels/ID, or ID alone")
    return f"tunedModels/{parts[1] if len(parts) > 1 else name}"
