"""The operation that makes a tuned model: how far it is, waiting for it, ending it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from kamerton.client.connection import Json, failure
from kamerton.errors import Cancelled, KamertonError, Unavailable
from kamerton.genai.configuration import connection
from kamerton.genai.decoding import decode
from kamerton.genai.names import operation_name
from kamerton.genai.tuned_models import TunedModel, TuningSnapshot, decode_tuned_model

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 60.0
"""How long a server may be out of reach, for instance while it restarts."""


@dataclass
class CreateTunedModelMetadata:
    """How far the tuning is."""

    tuned_model: str = ""
    """`tunedModels/{id}`."""
    total_steps: int = 0
    completed_steps: int = 0
    completed_percent: float = 0.0
    snapshots: list[TuningSnapshot] = field(default_factory=list)


class CreateTunedModelOperation:
    """A tuning that was started, and in the end its tuned model."""

    def __init__(self, told: Json) -> None:
        self._told = told

    @property
    def name(self) -> str:
        """`tunedModels/{id}/operations/{id}`."""
        return str(self._told["name"])

    @property
    def metadata(self) -> CreateTunedModelMetadata:
        return decode(CreateTunedModelMetadata, self._told.get("metadata", {}))

    def update(self) -> None:
        """Ask the server how far it is; a server that is restarting is waited for."""
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                self._told = connection().json("GET", f"/v1beta/{self.name}")
                return
            except Unavailable:
                if time.monotonic() > give_up:
                    raise
                time.sleep(1)

    def done(self) -> bool:
        """Whether it has ended, well or not; asks the server."""
        if not self._ended():
            self.update()
        return self._ended()

    def running(self) -> bool:
        return not self.done()

    def result(self, timeout: float | None = None) -> TunedModel:
        """Wait for the tuned model. Raises why there is none, or TimeoutError after `timeout`
        seconds."""
        if error := self.exception(timeout):
            raise error
        return decode_tuned_model(self._told["response"])

    def exception(self, timeout: float | None = None) -> KamertonError | None:
        """Wait for the end; why it ended without a model, None when there is one."""
        give_up = None if timeout is None else time.monotonic() + timeout
        while not self.done():
            if give_up is not None and time.monotonic() > give_up:
                raise TimeoutError(f"{self.name} has not ended within {timeout} seconds")
            time.sleep(_POLL_SECONDS)
        return failure(self._told["error"]) if "error" in self._told else None

    def cancel(self) -> bool:
        """End the tuning; its model is FAILED then. False when it had ended before."""
        if self.done():
            return False
        connection().json("POST", f"/v1beta/{self.name}:cancel", {})
        return True

    def cancelled(self) -> bool:
        return self.done() and isinstance(self.exception(), Cancelled)

    def wait_bar(self, **tqdm: Any) -> Generator[CreateTunedModelMetadata, None, TunedModel]:
        """Progress bar on stderr and the metadata again and again, until the tuning has ended.

        Raises why there is no model. The bar is not tqdm's, so `tqdm` changes nothing.
        """
        from rich.console import Console

        from kamerton.progress import RunProgress

        with RunProgress(Console(stderr=True), self.metadata.total_steps) as progress:
            while not self.done():
                _show(progress, self.metadata)
                yield self.metadata
                time.sleep(_POLL_SECONDS)
            _show(progress, self.metadata)
        return self.result()

    def _ended(self) -> bool:
        return "response" in self._told or "error" in self._told

    def __repr__(self) -> str:
        metadata = self.metadata
        state = "ended" if self._ended() else "running"
        steps = f"{metadata.completed_steps}/{metadata.total_steps} steps"
        return f"<CreateTunedModelOperation {self.name} {state}, {steps}>"


def _show(progress: Any, metadata: CreateTunedModelMetadata) -> None:
    loss = metadata.snapshots[-1].mean_loss if metadata.snapshots else None
    progress.show(metadata.completed_steps, metadata.total_steps, loss)


def get_operation(name: str) -> CreateTunedModelOperation:
    """An operation as it is now.

    Raises `errors.PermissionDenied` when its model is missing or not shared with the caller (to an
    administrator `errors.NotFound`), and `errors.NotFound` when the model has no such operation.
    """
    path = f"/v1beta/{operation_name(name)}"
    return CreateTunedModelOperation(connection().json("GET", path))


def list_operations() -> Iterator[CreateTunedModelOperation]:
    """The operations of all tuned models that the caller may see."""
    for told in connection().pages("/v1beta/operations", "operations"):
        yield CreateTunedModelOperation(told)
