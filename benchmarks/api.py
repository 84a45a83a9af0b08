"""What a client sees of a server with 10,000 tuned models, idle and while a run trains."""

from __future__ import annotations

import http.client
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import insert

from kamerton.dataset.tutorial import EXAMPLES
from kamerton.settings import Settings
from kamerton.store import tuned_models
from kamerton.store.database import Database, OperationRow, SnapshotRow
from kamerton.types import Hyperparameters, State, TunedModel
from tests.loop.server import Server

MODELS = 10_000
STEPS = 19
ROUNDS = 4
CALLS = 60
PAUSE_SECONDS = 0.01
RATE_SECONDS = 8.0
OWNER = "owner@localhost"
Seconds = dict[str, list[float]]


def measure(console: Console) -> None:
    """Print how long calls take, and how many a second there can be."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        fill(data)
        server = Server(data)
        try:
            server.await_warm()
            server.key = server.key_of(OWNER)  # An administrator's would skip the permissions.
            latency(server, console)
            rate(server, console)
        finally:
            server.stop()


def fill(data: Path) -> None:
    """Tuned models of one owner, each with its operation and its snapshots."""
    data.mkdir()
    database = Database(Settings(data=data).database_address())
    database.migrate()
    start = datetime.now(UTC) - timedelta(days=30)
    snapshots = []
    with database.write() as session:
        for number in range(MODELS):
            model = tuned(number, start + timedelta(minutes=number))
            tuned_models.add(session, model, OWNER)
            session.add(
                OperationRow(
                    id=f"operation-{number}",
                    uid=model.uid,
                    create_time=model.create_time,
                    done=True,
                    cancelled=False,
                    attempt=1,
                    attempts_without_progress=0,
                )
            )
            snapshots += [
                {
                    "uid": model.uid,
                    "step": step,
                    "epoch": 1 + step // 4,
                    "mean_loss": 1 / step,
                    "compute_time": model.create_time,
                }
                for step in range(1, STEPS + 1)
            ]
        session.execute(insert(SnapshotRow), snapshots)
    database.close()


def tuned(number: int, time: datetime) -> TunedModel:
    return TunedModel(
        id=f"model-{number}",
        uid=f"{number:032x}",
        base_model="kamerton-nano-001",
        asked_base_model="models/kamerton-nano-001",
        state=State.ACTIVE,
        hyperparameters=Hyperparameters(5, 4, 0.001, 0.001),
        example_count=len(EXAMPLES),
        total_steps=STEPS,
        temperature=1.0,
        top_p=0.95,
        top_k=64,
        create_time=time,
        update_time=time,
        display_name=f"number generator {number}",
    )


def latency(server: Server, console: Console) -> None:
    """The same calls about the same run while it trains and after it has ended, in turns."""
    training: Seconds = {}
    idle: Seconds = {}
    for _ in range(ROUNDS):
        operation = server.create(list(EXAMPLES), epochs=1000)
        # From 400 steps on answers do not grow: so many snapshots are shown at most.
        while completed(server, operation) < 400:
            time.sleep(0.05)
        ask(server, operation, training)
        server.post(f"/v1beta/{operation['name']}:cancel", {})
        server.await_done(operation)
        ask(server, operation, idle)
    table = Table(title=f"{MODELS} tuned models, {ROUNDS * CALLS} calls each, in {ROUNDS} turns")
    table.add_column("GET of, in ms")
    for heading in ("idle: median", "p99", "a run trains: median", "p99", "times idle"):
        table.add_column(heading, justify="right")
    for call, seconds in training.items():
        cells = [1000 * value for value in (*figures(idle[call]), *figures(seconds))]
        table.add_row(call, *(f"{cell:.1f}" for cell in cells), f"{cells[2] / cells[0]:.1f}")
    console.print(table)


def figures(seconds: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]


def completed(server: Server, operation: dict[str, Any]) -> int:
    metadata = server.get(f"/v1/{operation['name']}").json()["metadata"]
    return int(metadata.get("completedSteps", 0))


def ask(server: Server, operation: dict[str, Any], seconds: Seconds) -> None:
    """Each call in turn, as clients poll: over one connection, with a pause."""
    paths = {
        "operation": operation["name"],
        "its model": operation["metadata"]["tunedModel"],
        "another model": "tunedModels/model-5000",
        "list of 10": "tunedModels",
    }
    with connected(server) as connection:
        for _ in range(CALLS):
            for call, path in paths.items():
                time.sleep(PAUSE_SECONDS)
                start = time.perf_counter()
                get(server, connection, path)
                seconds.setdefault(call, []).append(time.perf_counter() - start)


@contextmanager
def connected(server: Server) -> Iterator[http.client.HTTPConnection]:
    # The standard library's client: requests would take as much of a core as the server.
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"))
    try:
        yield connection
    finally:
        connection.close()


def get(server: Server, connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", f"/v1beta/{path}", headers={"x-goog-api-key": server.key})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    return answer.read()


def rate(server: Server, console: Console) -> None:
    """One client, one connection, one core for client and server together where there are two."""
    operation = server.create(list(EXAMPLES), epochs=1000)
    while not completed(server, operation):
        time.sleep(0.02)
    with trainer_apart(server), connected(server) as connection:
        first = json.loads(get(server, connection, operation["name"]))["metadata"]
        count, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < RATE_SECONDS:
            content = get(server, connection, operation["name"])
            count += 1
    steps = json.loads(content)["metadata"]["completedSteps"] - first["completedSteps"]
    console.print(
        f"Operation GET while its run trains: {count / passed:.0f} per second "
        f"(answers of {len(content) / 1024:.0f} KiB, client and server on one core); "
        f"meanwhile {steps / passed:.0f} steps per second were trained"
    )
    server.post(f"/v1beta/{operation['name']}:cancel", {})
    server.await_done(operation)


@contextmanager
def trainer_apart(server: Server) -> Iterator[None]:
    """The server and this client share a core, its children have the others."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        for thread in os.listdir(f"/proc/{server.process.pid}/task"):
            os.sched_setaffinity(int(thread), {cores[0]})
        os.sched_setaffinity(0, {cores[0]})
        for child in server.descendants().values():
            os.sched_setaffinity(child.pid, set(cores[1:]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


if __name__ == "__main__":
    measure(Console())
