"""Verbs of a few lines, and a server over them on a free port."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import requests
import uvicorn

from kamerton.card import Card
from kamerton.errors import InvalidKey, NotFound, PermissionDenied, Unauthenticated
from kamerton.findings import Finding, Hit, Report, Spread, Statistics
from kamerton.inference.catalog import Catalog
from kamerton.service.access import RIGHTS
from kamerton.service.datasets import Outcome
from kamerton.service.readings import Data
from kamerton.service.runs import Diagnosed, Epoch
from kamerton.service.tuned_models import Preview
from kamerton.settings import Settings
from kamerton.surfaces import server
from kamerton.types import (
    Caller,
    Chunk,
    Diagnosis,
    Estimate,
    Event,
    Evidence,
    Hyperparameters,
    Operation,
    Page,
    Permission,
    Scope,
    Snapshot,
    State,
    TunedModel,
)
from tests.service.conftest import CARD

PERMISSION = Permission("100000000000000001", "USER", "bob@x.org", "READER")
START = datetime(2026, 11, 21, 8, 16, 11, 879270, tzinfo=UTC)
FOUND = Finding(
    "K203",
    "contradiction",
    "warning",
    "2 of 15 rows have the same input as another and a different output",
    "Decide which output is right, and remove the others.",
    2,
    "example",
    (Hit(3, "output", "like example 1"), Hit(7)),
)

REPORT = Report(
    "examples",
    "inline rows",
    (("text_input, output", 15),),
    (FOUND,),
    Statistics(15, 15, Spread(30, 1, 2, 2.0, 3, 3), Spread(30, 1, 2, 2.0, 3, 3), ((4, 15),)),
    ("K307",),
)
ESTIMATE = Estimate(
    Hyperparameters(5, 4, 0.001, 0.0005), (("batch_size", "few examples"),), 15, 0, 19, 900, 150
)
SCOPES: dict[str, frozenset[Scope]] = {
    "owner-key": frozenset({"infer", "tuning"}),
    "reader-key": frozenset({"infer"}),
}


def snapshots(count: int) -> tuple[Snapshot, ...]:
    return tuple(
        Snapshot(step, 1 + step // 100, 7.0615 / step, START + timedelta(seconds=step))
        for step in range(1, count + 1)
    )


def tuned_model(**changes: Any) -> TunedModel:
    made = TunedModel(
        id="next-number-4kq0x9v1c2ab",
        uid="secret-uid",
        base_model="kamerton-nano-001",
        asked_base_model="models/gemini-1.0-pro-001",
        state=State.CREATING,
        hyperparameters=Hyperparameters(5, 4, 0.001, 0.0005),
        example_count=15,
        total_steps=19,
        temperature=1.0,
        top_p=0.95,
        top_k=64,
        create_time=START,
        update_time=START,
        display_name="next number",
    )
    return replace(made, **changes)


def operation(done: bool = False, **changes: Any) -> Operation:
    return Operation("bvl8dymw0fhw", tuned_model(**changes), done=done)


class Chunks:
    """An answer that any thread may close, as those of the engine."""

    def __init__(
        self, chunks: Sequence[Chunk | Exception], pause: float, closed: threading.Event
    ) -> None:
        self._chunks = iter(list(chunks))
        self._pause = pause
        self._stop = threading.Event()
        self._closed = closed

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._stop.wait(self._pause):
            raise StopIteration
        chunk = next(self._chunks)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def close(self) -> None:
        self._stop.set()
        self._closed.set()


@dataclass
class Verbs:
    """The service: remembers what it was asked, and answers what a test told it to."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    error: Exception | None = None
    operation: Operation = field(default_factory=operation)
    outcome: Outcome = field(default_factory=lambda: Outcome(REPORT, ESTIMATE, True))
    chunks: list[Chunk | Exception] = field(
        default_factory=lambda: [
            Chunk("LX", prompt_tokens=5, output_tokens=1),
            Chunk("IV", finish_reason="STOP", prompt_tokens=5, output_tokens=2),
        ]
    )
    diagnosis: Diagnosis = field(
        default_factory=lambda: Diagnosis(
            "divergence",
            "high",
            "The loss is not finite.",
            "The learning rate is too high.",
            "Take a tenth of it.",
            (Evidence(3, 2.5, "last finite loss"), Evidence(4, math.nan, "not finite")),
            (("learning_rate", 0.0001),),
        )
    )
    pause: float = 0.0
    """Before each chunk."""
    wait: float = 0.0
    """For an operation, whatever was asked."""
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def asked(self) -> dict[str, Any]:
        return self.calls[-1][1]

    def note(self, name: str, **arguments: Any) -> None:
        self.calls.append((name, arguments))
        if self.error:
            raise self.error

    def authenticate(self, app: Any, *, bearer: str | None, key: str | None) -> Caller:
        if not (bearer or key):
            raise Unauthenticated("No credential.")
        if bearer and bearer not in SCOPES:
            raise Unauthenticated("The bearer token is not valid.")
        if key and key not in SCOPES:
            raise InvalidKey("API key not valid. Please pass a valid API key.")
        return Caller("owner@localhost", SCOPES[bearer or key or ""])

    def require(self, caller: Caller, verb: str) -> None:
        scope = RIGHTS[verb].scope
        if scope not in caller.scopes:
            raise PermissionDenied(f"the scope {scope} is missing")

    def create(self, app: Any, caller: Caller, **arguments: Any) -> Operation:
        self.note("create", **arguments)
        return self.operation

    def preview(self, app: Any, caller: Caller, **arguments: Any) -> Preview:
        self.note("preview", **arguments)
        return Preview(replace(self.operation.tuned_model, report=REPORT), ESTIMATE, False)

    def check_dataset(self, app: Any, caller: Caller, data: Data, **arguments: Any) -> Outcome:
        self.note("check", data=data, **arguments)
        return self.outcome

    def get(self, app: Any, caller: Caller, tuned_model_id: str) -> TunedModel:
        self.note("get", tuned_model_id=tuned_model_id)
        if tuned_model_id != self.operation.tuned_model.id:
            raise NotFound(f"There is no tuned model {tuned_model_id}.")
        return self.operation.tuned_model

    def list_(self, app: Any, caller: Caller, **arguments: Any) -> Page[TunedModel]:
        self.note("list", **arguments)
        return Page((self.operation.tuned_model,), "more")

    def patch(
        self, app: Any, caller: Caller, tuned_model_id: str, changes: Mapping[str, Any]
    ) -> TunedModel:
        self.note("patch", tuned_model_id=tuned_model_id, changes=dict(changes))
        return self.operation.tuned_model

    def delete(self, app: Any, caller: Caller, tuned_model_id: str) -> None:
        self.note("delete", tuned_model_id=tuned_model_id)

    def cancel(self, app: Any, caller: Caller, tuned_model_id: str, *, keep: bool = False) -> None:
        self.note("cancel", tuned_model_id=tuned_model_id, keep=keep)

    def events(
        self, app: Any, caller: Caller, tuned_model_id: str, **arguments: Any
    ) -> list[Event]:
        self.note("events", tuned_model_id=tuned_model_id, **arguments)
        return [Event(7, START, "epoch", "Epoch 1 is over.", 4), Event(8, START, "active", "Done.")]

    def run_snapshots(
        self, app: Any, caller: Caller, tuned_model_id: str, *, after: int
    ) -> list[Snapshot]:
        self.note("snapshots", tuned_model_id=tuned_model_id, after=after)
        first, second = snapshots(2)
        return [replace(first, start_loss=9.0, learning_rate=0.001, trained_tokens=12), second]

    def diagnose(self, app: Any, caller: Caller, tuned_model_id: str) -> Diagnosed:
        self.note("diagnose", tuned_model_id=tuned_model_id)
        return Diagnosed(self.operation.tuned_model, self.diagnosis)

    def card(self, app: Any, caller: Caller, tuned_model_id: str) -> Card:
        self.note("card", tuned_model_id=tuned_model_id)
        return CARD

    def epochs(self, app: Any, caller: Caller, tuned_model_id: str) -> list[Epoch]:
        self.note("epochs", tuned_model_id=tuned_model_id)
        return [Epoch(1, None), Epoch(3, replace(snapshots(12)[-1], held_out_loss=0.5))]

    def download(self, app: Any, caller: Caller, tuned_model_id: str, epoch: int | None) -> BytesIO:
        self.note("download", tuned_model_id=tuned_model_id, epoch=epoch)
        return BytesIO(b"PK" * 700_000)

    def get_operation(self, app: Any, caller: Caller, model: str, operation_id: str) -> Operation:
        self.note("get_operation", tuned_model_id=model, operation_id=operation_id)
        return self.operation

    def wait_operation(
        self, app: Any, caller: Caller, model: str, operation_id: str, **arguments: Any
    ) -> Operation:
        self.note("wait_operation", **arguments)
        end = time.monotonic() + self.wait
        while time.monotonic() < end and not arguments["gone"]():
            time.sleep(0.01)
        return self.operation

    def create_permission(
        self, app: Any, caller: Caller, tuned_model_id: str, **arguments: Any
    ) -> Permission:
        self.note("create_permission", tuned_model_id=tuned_model_id, **arguments)
        return PERMISSION

    def get_permission(self, app: Any, caller: Caller, *ids: str) -> Permission:
        self.note("get_permission", ids=ids)
        return PERMISSION

    def list_permissions(
        self, app: Any, caller: Caller, tuned_model_id: str, **arguments: Any
    ) -> Page[Permission]:
        self.note("list_permissions", tuned_model_id=tuned_model_id, **arguments)
        return Page((PERMISSION,))

    def patch_permission(
        self, app: Any, caller: Caller, tuned_model_id: str, permission_id: str, role: Any
    ) -> Permission:
        self.note(
            "patch_permission",
            tuned_model_id=tuned_model_id,
            permission_id=permission_id,
            role=role,
        )
        return PERMISSION

    def delete_permission(self, app: Any, caller: Caller, *ids: str) -> None:
        self.note("delete_permission", ids=ids)

    def transfer_ownership(self, app: Any, caller: Caller, tuned_model_id: str, email: str) -> None:
        self.note("transfer_ownership", tuned_model_id=tuned_model_id, email=email)

    def list_operations(
        self, app: Any, caller: Caller, model: str | None, **arguments: Any
    ) -> Page[Operation]:
        self.note("list_operations", tuned_model_id=model, **arguments)
        return Page((self.operation,))

    def cancel_operation(self, app: Any, caller: Caller, model: str, operation_id: str) -> None:
        self.note("cancel_operation", tuned_model_id=model, operation_id=operation_id)

    def generate(self, app: Any, caller: Caller, **arguments: Any) -> Iterator[Chunk]:
        self.note("generate", **arguments)
        return Chunks(self.chunks, self.pause, self.closed)

    def count_tokens(self, app: Any, caller: Caller, **arguments: Any) -> int:
        self.note("count_tokens", **arguments)
        return sum(len(content.text.split()) for content in arguments["contents"])


def app(**settings: Any) -> Any:
    idle = SimpleNamespace(warming=lambda: None)
    loading = SimpleNamespace(warming=lambda: "loading the model")
    return SimpleNamespace(
        settings=Settings(**settings),
        catalog=Catalog.of("", Settings().aliases),
        engine=loading,
        runner=idle,
    )


class Serving:
    """A server in a thread of this process."""

    def __init__(self, served: Any = None, **settings: Any) -> None:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        self.port: int = listening.getsockname()[1]
        built = server.build(served or app(**settings))
        self._server = uvicorn.Server(server.config(built))
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def close(self, patience: int = 5) -> None:
        self._server.config.timeout_graceful_shutdown = patience
        self._server.should_exit = True
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Http:
    """Calls as curl would make them; `key=None` sends no credential."""

    def __init__(self, url: str, port: int) -> None:
        self.url, self.port = url, port
        self._session = requests.Session()

    def __call__(
        self, method: str, path: str, key: str | None = "owner-key", **arguments: Any
    ) -> requests.Response:
        headers = dict(arguments.pop("headers", {}))
        if key:
            headers["x-goog-api-key"] = key
        return self._session.request(
            method, self.url + path, headers=headers, timeout=20, **arguments
        )

    def close(self) -> None:
        self._session.close()

    def raw(self, data: bytes) -> bytes:
        """Bytes out, bytes in, until the server closes or pauses."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(data)
            connection.settimeout(1)
            received = b""
            try:
                while piece := connection.recv(65536):
                    received += piece
            except (TimeoutError, ConnectionResetError):
                pass
            return received


def problem(response: requests.Response, status: int, name: str) -> dict[str, Any]:
    """The error of an answer, which must have exactly the published shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json; charset=UTF-8"
    error: dict[str, Any] = response.json()["error"]
    assert error["code"] == status and error["status"] == name and error["message"]
    assert error.keys() <= {"code", "message", "status", "details"}
    return error


def fields(error: Mapping[str, Any]) -> Sequence[str]:
    """The fields that an error complains about."""
    return [
        violation["field"]
        for detail in error.get("details", [])
        for violation in detail.get("fieldViolations", [])
    ]
