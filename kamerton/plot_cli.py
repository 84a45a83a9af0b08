"""`kamerton plot`: the loss curve of a tuned model, or of a file of any tool, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kamerton.check_cli import data_errors
from kamerton.diagnose_cli import FILES, curve_of_file
from kamerton.errors import FailedPrecondition
from kamerton.options import LOCAL, ApiKey, Server, open_client
from kamerton.tune_cli import tuned_name

if TYPE_CHECKING:
    from kamerton.types import Snapshot

FORMATS = (".svg", ".png")


def plot(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="A tuned model of the server; or a loss curve of any tool, as a .csv or "
            "trainer_state.json.",
        ),
    ],
    picture: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="PICTURE", help="The file to write: .svg or .png."),
    ],
    server: Server = LOCAL,
    key: ApiKey = "",
) -> None:
    """Draw the loss curve of a run: training, held-out and smoothed loss, and the learning rate."""
    form = picture.suffix.lower()
    if form not in FORMATS:
        raise typer.BadParameter(f"{picture} is no picture; let it end in .svg or .png")
    title, snapshots = _curve(name, server, key)
    from kamerton.plot import curve_png, curve_svg
    from kamerton.terminal import printable

    is_svg = form == ".svg"
    drawn = curve_svg(snapshots, title).encode() if is_svg else curve_png(snapshots, title)
    picture.write_bytes(drawn)
    print(printable(f"wrote {picture}, steps {snapshots[0].step} to {snapshots[-1].step}"))


def _curve(name: str, server: str, key: str) -> tuple[str, list[Snapshot]]:
    """What the curve is called, and its steps; at least one."""
    file = Path(name)
    if file.is_file() or file.suffix.lower() in FILES:
        with data_errors():
            return file.name, curve_of_file(file)[0]
    from kamerton.watch import snapshots_of

    model = tuned_name(name)
    with open_client(server, key) as client:
        snapshots = snapshots_of(client, model)
    if not snapshots:
        raise FailedPrecondition(f"{model} has no steps to draw yet; see: kamerton watch {model}")
    return model, snapshots
