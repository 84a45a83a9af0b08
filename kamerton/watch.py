"""Following a tuning operation from outside until it ends, however long that takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console

from kamerton.client import Client, Operation, OperationMetadata, Snapshot
from kamerton.errors import Unavailable
from kamerton.terminal import RunProgress

_PATIENCE_SECONDS = 60.0
"""How long a server may be out of reach, for instance while it restarts."""


def follow(
    client: Client,
    operation: Operation,
    console: Console,
    pause: float = 0.5,
    each_poll: Callable[[Operation], None] | None = None,
) -> Operation:
    """Poll until the operation has ended, showing how far it is; returns its last state."""
    name = operation["name"]
    with RunProgress(console, operation["metadata"].get("totalSteps", 0)) as progress:
        while not _ended(operation):
            _show(progress, operation["metadata"])
            time.sleep(pause)
            operation = _poll(client, name, progress)
            if each_poll:
                each_poll(operation)
        _show(progress, operation["metadata"])
    return operation


def snapshots_of(operation: Operation) -> list[Snapshot]:
    return operation["metadata"].get("snapshots", [])


def _ended(operation: Operation) -> bool:
    return "response" in operation or "error" in operation


def _show(progress: RunProgress, metadata: OperationMetadata) -> None:
    snapshots = metadata.get("snapshots", [])
    if not snapshots:
        progress.note("waiting for its first step")
        return
    progress.note("")
    last = snapshots[-1]
    progress.show(last["step"], metadata.get("totalSteps", 0), last.get("meanLoss"))


def _poll(client: Client, name: str, progress: RunProgress) -> Operation:
    """The operation's state, outliving a restart of the server."""
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return client.get_operation(name)
        except Unavailable:
            if time.monotonic() > give_up:
                raise
            progress.note("the server does not answer; trying again")
            time.sleep(1)
