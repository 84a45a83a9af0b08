"""`kamerton events`: the story of a run, line by line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from kamerton.errors import Unavailable
from kamerton.options import LOCAL, ApiKey, Server, open_client
from kamerton.tune_cli import Name, tuned_name

if TYPE_CHECKING:
    from kamerton.client import Client, RunEvent

_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0
"""How long a server may be out of reach, for instance while it restarts."""


def events(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", help="Stay until the run has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    server: Server = LOCAL,
    key: ApiKey = "",
) -> None:
    """Tell what happened in a run: queued, started, epochs, restarts, and how it ended."""
    with open_client(server, key) as client:
        model = tuned_name(name)
        for event in _followed(client, model) if follow else client.run_events(model):
            print(json.dumps(event, ensure_ascii=False) if as_json else _line(event), flush=True)


def _followed(client: Client, model: str) -> Iterator[RunEvent]:
    after = 0
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            # Asked first: what is told after the end is then in the story.
            is_over = client.get_tuned_model(model)["state"] != "CREATING"
            for event in client.run_events(model, after):
                after = event["number"]
                yield event
        except Unavailable:
            if time.monotonic() > give_up:
                raise
            print("the server does not answer; trying again", file=sys.stderr)
        else:
            give_up = time.monotonic() + _PATIENCE_SECONDS
            if is_over:
                return
        time.sleep(_PAUSE_SECONDS)


def _line(event: RunEvent) -> str:
    from kamerton.terminal import printable

    step = f"step {event['step']}" if "step" in event else ""
    moment = event["time"][:19].replace("T", " ")
    return printable(f"{moment}  {event['kind']:<14}  {step:<10}  {event['message']}")
