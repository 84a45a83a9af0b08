"""Following a tuning operation from outside until it ends, however long that takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console

from kamerton.client import Client, Operation, OperationMetadata
from kamerton.errors import NotFound, Unavailable
from kamerton.progress import RunProgress
from kamerton.types import Snapshot

_PATIENCE_SECONDS = 60.0
"""How long a server may be out of reach, for instance while it restarts."""
_REST = 10
"""After the steps of a long run were read, so many times as long nothing is asked."""
_DETAILS = {
    "held_out_loss": "heldOutLoss",
    "start_loss": "startLoss",
    "smoothed_loss": "smoothedLoss",
    "learning_rate": "learningRate",
    "gradient_norm": "gradientNorm",
    "trained_tokens": "trainedTokens",
    "tokens_per_second": "tokensPerSecond",
    "memory_bytes": "memoryBytes",
}
"""What is not known of every step, by its name on the wire."""


def follow(
    client: Client,
    operation: Operation,
    console: Console,
    pause: float = 0.5,
    on_snapshot: Callable[[Snapshot], object] = lambda snapshot: None,
) -> Operation:
    """Poll until the operation has ended, showing how far it is; returns its last state.

    `on_snapshot` sees every step once, in order, those before this call too."""
    name = operation["name"]
    steps = _Steps(client, operation["metadata"]["tunedModel"], on_snapshot)
    with RunProgress(console, operation["metadata"].get("totalSteps", 0)) as progress:
        while not _ended(operation):
            _show(progress, operation["metadata"], steps.read(operation))
            time.sleep(pause)
            operation = _poll(client, name, progress)
        _show(progress, operation["metadata"], steps.read(operation))
    return operation


def snapshots_of(client: Client, tuned_model: str) -> list[Snapshot]:
    """Every step of a run with all that is known of it; of an older server what the model tells.

    Raises NotFound when there is no such model."""
    try:
        return _all_steps(client, tuned_model)
    except NotFound:
        task = client.get_tuned_model(tuned_model).get("tuningTask", {})
        return [_snapshot(told) for told in task.get("snapshots", [])]


class _Steps:
    """The steps of a run, read again when there is a newer one."""

    def __init__(
        self, client: Client, tuned_model: str, on_snapshot: Callable[[Snapshot], object]
    ) -> None:
        self._client = client
        self._tuned_model = tuned_model
        self._on_snapshot = on_snapshot
        self._known: list[Snapshot] = []
        self._rest_until = 0.0
        self._has_details = True

    def read(self, operation: Operation) -> list[Snapshot]:
        told = operation["metadata"].get("snapshots", [])
        last = self._known[-1].step if self._known else 0
        is_resting = time.monotonic() < self._rest_until and not _ended(operation)
        if told and told[-1]["step"] > last and not is_resting:
            began = time.monotonic()
            self._known = self._details() or [_snapshot(step) for step in told]
            self._rest_until = time.monotonic() + _REST * (time.monotonic() - began)
            for snapshot in self._known:
                if snapshot.step > last:
                    self._on_snapshot(snapshot)
        return self._known

    def _details(self) -> list[Snapshot]:
        """Nothing when the server does not tell them."""
        if self._has_details:
            try:
                return _all_steps(self._client, self._tuned_model)
            except NotFound:
                self._has_details = False
            except Unavailable:
                return self._known
        return []


def _all_steps(client: Client, tuned_model: str) -> list[Snapshot]:
    answer = client.json("GET", f"/kamerton/v1/{tuned_model}/snapshots")
    return [_snapshot(told) for told in answer.get("snapshots", [])]


def _snapshot(told: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        step=told["step"],
        epoch=told.get("epoch", 0),
        mean_loss=told.get("meanLoss", 0.0),
        compute_time=datetime.fromisoformat(told["computeTime"]),
        **{ours: told[theirs] for ours, theirs in _DETAILS.items() if theirs in told},
    )


def _ended(operation: Operation) -> bool:
    return "response" in operation or "error" in operation


def _show(progress: RunProgress, metadata: OperationMetadata, steps: list[Snapshot]) -> None:
    snapshots = metadata.get("snapshots", [])
    if not snapshots:
        progress.note("waiting for its first step")
        return
    progress.note("")
    last = snapshots[-1]
    progress.show(last["step"], metadata.get("totalSteps", 0), last.get("meanLoss"), steps)


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
