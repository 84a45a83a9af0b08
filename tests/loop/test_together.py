"""Runs of one base model that are trained at the same time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psutil
import pytest

from kamerton.dataset.tutorial import EXAMPLES
from kamerton.types import Example
from tests.loop.server import Server

pytestmark = pytest.mark.xdist_group("faults")

REQUESTS: list[tuple[list[Example], int, int]] = [
    (list(EXAMPLES), 8, 4),
    (list(EXAMPLES[:9]), 8, 3),
    (list(EXAMPLES[2:8]), 20, 6),
    (list(EXAMPLES[4:]), 9, 5),
]
"""Examples, epochs and batch size of runs that nothing is wrong with."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("together") / "data", KAMERTON_LEASE_SECONDS="3")
    server.await_warm()
    yield server
    server.stop()


def steps(server: Server, operation: dict[str, Any]) -> list[dict[str, Any]]:
    found = server.get(f"/v1/{operation['name']}").json()
    snapshots: list[dict[str, Any]] = found["metadata"].get("snapshots", [])
    return snapshots


def reason(done: dict[str, Any]) -> str:
    (info,) = done["error"]["details"]
    return str(info["reason"])


def test_runs_together_end_as_they_do_one_after_another(shared: Server) -> None:
    """Also when one of them is cancelled, one is no number any more, and the trainer is killed."""
    alone = []
    for examples, epochs, batch in REQUESTS:
        done = shared.await_done(shared.create(examples, epochs, batch))
        alone.append([step["meanLoss"] for step in done["metadata"]["snapshots"]])

    with suspended(shared.descendants()["worker"]):  # So that it finds all of them at once.
        doomed = shared.create(list(EXAMPLES), epochs=1000)
        wild = shared.create(list(EXAMPLES), epochs=20)
        make_wild(shared, wild)
        operations = [shared.create(*request) for request in REQUESTS]
    deadline = time.monotonic() + 60
    while not all(len(steps(shared, operation)) >= 8 for operation in (doomed, *operations)):
        assert time.monotonic() < deadline, shared.logs()
        time.sleep(0.05)
    assert not any(shared.get(f"/v1/{o['name']}").json().get("done") for o in operations)
    assert shared.post(f"/v1beta/{doomed['name']}:cancel", {}).json() == {}
    assert reason(shared.await_done(doomed)) == "CANCELLED"
    shared.descendants()["trainer_process"].kill()

    for operation, expected in zip(operations, alone, strict=True):
        done = shared.await_done(operation)
        assert done["response"]["state"] == "ACTIVE", done
        told = done["metadata"]["snapshots"]
        assert [step["step"] for step in told] == list(range(1, len(expected) + 1))
        assert [step["meanLoss"] for step in told] == pytest.approx(expected, abs=1e-5)
    assert reason(shared.await_done(wild)) == "NOT_FINITE"
    stories = [shared.get(f"/kamerton/v1/{name_of(operation)}/events") for operation in operations]
    assert any("trainer_died" in story.text for story in stories)


def name_of(operation: dict[str, Any]) -> str:
    return str(operation["metadata"]["tunedModel"])


@contextmanager
def suspended(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def make_wild(server: Server, operation: dict[str, Any]) -> None:
    """Give a run that waits a learning rate that no request can ask for."""
    with closing(sqlite3.connect(server.data / "kamerton.db")) as database, database:
        database.execute(
            "UPDATE tuned_models SET hyperparameters = "
            "json_set(hyperparameters, '$.peak_learning_rate', 1e30) WHERE id = ?",
            [name_of(operation).removeprefix("tunedModels/")],
        )
