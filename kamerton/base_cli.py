"""`kamerton base`: base models beside the embedded one, in the data folder of a server, also while
it runs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kamerton.errors import InvalidArgument, KamertonError, NotFound
from kamerton.options import EXIT_CODES, AsJson, Data, chosen_settings, print_json

if TYPE_CHECKING:
    from kamerton.inference.intake import OnBytes
    from kamerton.inference.records import Record
    from kamerton.types import BaseModel

app = typer.Typer(
    help="Base models beside the embedded one, in the data folder of a server, also while it runs.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is called here.")]


@app.command()
def add(
    name: Name,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="A folder, which stays where it is, or a Hugging Face hub id such as "
            "google/gemma-3-270m-it, which is fetched into the data folder.",
        ),
    ],
    revision: Annotated[
        str, typer.Option(help="Branch, tag or commit on the hub; without it the newest commit.")
    ] = "",
    quantization: Annotated[
        str,
        typer.Option(
            metavar="nf4", help="Hold the weights in 4 bits (QLoRA); needs kamerton\\[qlora]."
        ),
    ] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Take in a base model: safetensors only, and never code from a model.

    A gated model needs a token of an account that has accepted its licence, in the environment
    variable HF_TOKEN.
    """
    from kamerton.inference import families, intake

    folder = chosen_settings(data=data).data
    with _hashing() as on_bytes:
        try:
            record = intake.add(
                folder,
                name,
                source,
                revision=revision,
                quantization=quantization,
                on_bytes=on_bytes,
            )
        except InvalidArgument as error:
            raise typer.BadParameter(error.message) from None
    if as_json:
        print_json(_facts(record.base_model, record))
        return
    _print(record.base_model, record)
    for quirk in families.of(record.model_type).quirks:
        print(f"  {'note':11} {quirk}")
    print(f"\nnext: kamerton tune FILE --base {name}")
    print(f"or see first whether it works here: kamerton base check {name}")


@app.command(name="list")
def list_(data: Data = None, as_json: AsJson = False) -> None:
    """List the base models that there are, with their licences."""
    from kamerton.inference import records
    from kamerton.inference.catalog import Catalog

    settings = chosen_settings(data=data)
    known = {record.base_model.name: record for record in records.read(settings.data)}
    found = [(base, known.get(base.name)) for base in Catalog.read(settings).list()]
    if as_json:
        print_json([_facts(base, record) for base, record in found])
        return
    for number, (base, record) in enumerate(found):
        if number:
            print()
        _print(base, record)


@app.command()
def check(
    name: Name,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Try a base model here: files, prompts, an answer, three steps of tuning, the adapter again.

    Every byte is hashed and the weights are loaded, which takes its time for a large one.
    """
    # What libraries say while they are imported and used is for those who develop with them.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)

    from kamerton.inference import intake, records
    from kamerton.inference.catalog import Catalog
    from kamerton.training import self_test

    settings = chosen_settings(data=data)
    base = Catalog.read(settings).find(name)
    record = records.find(settings.data, base.name)

    def damaged() -> Iterator[str]:
        if record is not None:
            with _hashing() as on_bytes:
                yield from intake.damaged(record, on_bytes)

    checks = []
    for one in self_test.run(base, damaged, device):
        checks.append(one)
        if not as_json:
            sign = "good" if one.is_good else "BAD "
            print(f"{sign}  {one.name:8} {one.seconds:6.1f} s  {one.detail}", flush=True)
    is_good = all(one.is_good for one in checks)
    if as_json:
        shown = [
            {"name": one.name, "good": one.is_good, "detail": one.detail, "seconds": one.seconds}
            for one in checks
        ]
        print_json({"name": base.name, "good": is_good, "checks": shown})
    raise typer.Exit(0 if is_good else 1)


@app.command()
def remove(name: Name, data: Data = None, as_json: AsJson = False) -> None:
    """Forget a base model; files that were fetched are removed, a folder that was named stays.

    Models that were tuned on it answer again once the same one is added under the same name.
    """
    from kamerton.inference import intake, records

    folder = chosen_settings(data=data).data
    record = records.find(folder, name)
    own = records.own_folder(folder, name)
    if not intake.NAME.fullmatch(name) or (record is None and not own.is_dir()):
        raise NotFound(
            f"no base model called {name} was added to {folder}: see them with kamerton base list"
        )
    removed = records.remove(folder, name)
    if as_json:
        print_json({"name": name, "removed": True, "filesRemoved": removed})
        return
    stays = "" if removed or record is None else f"; its files stay in {record.base_model.weights}"
    print(f"removed {name}{' and its files' if removed else stays}")


@contextmanager
def _hashing() -> Iterator[OnBytes]:
    """How far the files are read, on stderr, if somebody looks at it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("hashing {task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def on_bytes(name: str, done: int, size: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=size)
            bars.update(tasks[name], completed=done)

        yield on_bytes


def _print(base: BaseModel, record: Record | None) -> None:
    facts = _facts(base, record)
    print(base.name)
    for key, label in _LABELS:
        if facts.get(key):
            print(f"  {label:11} {facts[key]}")


_LABELS = (
    ("family", "family"),
    ("parameters", "parameters"),
    ("size", "size"),
    ("held", "held in"),
    ("licence", "licence"),
    ("terms", "terms"),
    ("source", "source"),
    ("where", "where"),
    ("problem", "problem"),
)


def _facts(base: BaseModel, record: Record | None) -> dict[str, object]:
    """What is known of a base model; of one that was not added, what its folder says."""
    from kamerton.inference import facts

    shown: dict[str, object] = {"name": base.name}
    folder = Path(base.weights).expanduser()
    if record is not None:
        source = f"{record.source}@{record.revision}" if record.revision else record.source
        shown |= {
            "family": f"{record.family} ({record.model_type})",
            "parameters": facts.parameters_text(record.parameters),
            "size": _bytes(record.size),
            "held": _held(record.dtype, base),
            "licence": record.licence or "not named by its files",
            "terms": record.terms,
            "source": source,
        }
    elif folder.is_dir():
        try:
            found = facts.read(folder)
            shown |= {
                "family": f"{found.family.name} ({found.model_type})",
                "parameters": facts.parameters_text(found.parameters),
                "size": _bytes(sum(file.stat().st_size for file in folder.glob("*.safetensors"))),
                "held": _held(found.dtype, base),
            }
        except KamertonError as error:
            shown["problem"] = error.message
    shown["where"] = str(folder) if folder.is_dir() or folder.is_absolute() else base.weights
    if record is not None and not folder.is_dir():
        shown["problem"] = f"the folder is gone: put it back, or kamerton base remove {base.name}"
    return shown


def _held(dtype: str, base: BaseModel) -> str:
    return f"4 bits ({base.quantization}), stored in {dtype}" if base.quantization else dtype


def _bytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
