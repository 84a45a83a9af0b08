"""What several commands share: their options, and what they make of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from kamerton.client import Client
    from kamerton.settings import Settings

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
