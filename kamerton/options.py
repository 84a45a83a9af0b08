"""What several commands share: their options, and what they make of them."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from kamerton.client import Client
    from kamerton.dataset.chunks import Source
    from kamerton.settings import Settings
    from kamerton.types import Holdout

DEFAULT_BASE = "kamerton-nano-001"
STDIN = Path("-")
LOCAL = "http://127.0.0.1:8080"
EXIT_CODES = (
    "Exit status: 0 done; 1 it failed, and a line on stderr says why; 2 wrong usage; "
    "130 interrupted."
)

Server = Annotated[
    str, typer.Option("--server", envvar="KAMERTON_ENDPOINT", help="Address of the server.")
]
ApiKey = Annotated[
    str, typer.Option("--key", envvar="KAMERTON_API_KEY", help="API key, as the server gave it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Where the server keeps everything that must last."),
]

Validation = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Examples to measure with, never trained on.")
]
InputKey = Annotated[str, typer.Option(metavar="NAME", help="Column with the inputs.")]
OutputKey = Annotated[str, typer.Option(metavar="NAME", help="Column with the outputs.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="CODE", help="Silence a warning or note, such as K204; repeatable."),
]
Epochs = Annotated[int | None, typer.Option(help="Times through all examples.")]
Batch = Annotated[int | None, typer.Option(help="Examples per step.")]
Rate = Annotated[float | None, typer.Option(help="Learning rate.")]
RateMultiplier = Annotated[
    float | None, typer.Option(help="Times the default learning rate, instead of --rate.")
]
AdapterSize = Annotated[
    int | None,
    typer.Option(
        min=1, max=256, metavar="RANK", help="Rank of the adapter; by default the base model's."
    ),
]
Alpha = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1024,
        help="Weight of the adapter, over its rank; by default twice --adapter-size.",
    ),
]
Dropout = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        min=0.0,
        max=0.999,
        help="Share of the adapter's inputs that a step leaves out; by default none.",
    ),
]
TargetModules = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="Ends of the names of the layers to adapt, such as q_proj,v_proj; by default every "
        "linear layer but the head.",
    ),
]
RsLora = Annotated[
    bool, typer.Option("--rslora", help="Divide alpha by the root of the rank, as rsLoRA does.")
]
MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="End the run before it trains on more tokens.")
]
MaxSeconds = Annotated[
    float | None, typer.Option(min=0.001, help="End the run before it takes longer.")
]
MaxCost = Annotated[
    float | None, typer.Option(min=0.0, help="End the run before its tokens cost more.")
]
HeldOut = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        min=0.0,
        max=0.5,
        help="Share of the examples to measure with instead of training on; by default 0.1, from "
        "20 examples on; 0 for none.",
    ),
]
EarlyStopping = Annotated[
    Literal["auto", "on", "off"] | None,
    typer.Option(
        help="End the run when it gets no better; auto, the default: only where there are "
        "held-out examples to tell.",
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1000,
        help="Measurements in a row without an improvement, by default 3; without held-out "
        "examples, tenths of the run.",
    ),
]
MinChange = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=10.0,
        metavar="NATS",
        help="By how much the loss must fall to count as better, by default 0.01.",
    ),
]

ReportTo = Annotated[
    str,
    typer.Option(
        metavar="TRACKER",
        help="Log every step there as well: tensorboard (event files in ./runs), wandb, mlflow or "
        "trackio.",
    ),
]


@contextmanager
def file_source(file: Path, input_key: str, output_key: str) -> Iterator[Source]:
    """The rows of a file, or of standard input. OSError when it cannot be opened."""
    from kamerton.dataset.sources import source_of

    with tempfile.TemporaryFile() if file == STDIN else file.open("rb") as content:
        if file == STDIN:  # Formats are told apart by looking ahead.
            shutil.copyfileobj(sys.stdin.buffer, content)
            content.seek(0)
        name = "standard input" if file == STDIN else file.name
        yield source_of(content, name, input_key=input_key, output_key=output_key)


@contextmanager
def open_client(server: str, key: str) -> Iterator[Client]:
    from kamerton.client import Client

    client = Client(server, key)
    try:
        yield client
    finally:
        client.close()


def chosen_settings(**chosen: Any) -> Settings:
    """The settings of a server; what is None was not given on the command line."""
    from kamerton.settings import load

    return load(**chosen)


def print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def one_rate(rate: float | None, rate_multiplier: float | None) -> None:
    """The learning rate can be given in one way."""
    if rate is not None and rate_multiplier is not None:
        raise typer.BadParameter("give --rate or --rate-multiplier, not both")


def names_in(text: str) -> list[str] | None:
    """Names with commas between them; None for none at all."""
    return [name for part in text.split(",") if (name := part.strip())] or None


def holdout_of(share: float | None) -> Holdout | None:
    """How examples are held out by --held-out; None for not at all."""
    from kamerton.types import Holdout

    if share == 0:
        return None
    return Holdout() if share is None else Holdout(share)
