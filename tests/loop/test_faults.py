"""What a run must survive: kills, cancels and deletes in its middle."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from kamerton.dataset.tutorial import EXAMPLES
from tests.loop.server import Server, await_ended

pytestmark = pytest.mark.xdist_group("faults")


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("victim") / "data",
        KAMERTON_LEASE_SECONDS="3",
        KAMERTON_STEP_SECONDS="4",
    )
    server.await_warm()
    yield server
    server.stop()


def await_step(server: Server, operation: dict[str, Any], step: int) -> list[dict[str, Any]]:
    """The snapshots, as soon as there are that many."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        metadata = server.get(f"/v1/{operation['name']}").json()["metadata"]
        if len(metadata.get("snapshots", [])) >= step:
            return list(metadata["snapshots"])
        time.sleep(0.01)
    raise AssertionError(server.logs())


def losses(snapshots: list[dict[str, Any]]) -> list[float]:
    return [snapshot["meanLoss"] for snapshot in snapshots]


@pytest.fixture(scope="module")
def straight(victim: Server) -> list[float]:
    """The losses of a run that nobody disturbs."""
    done = victim.await_done(victim.create(list(EXAMPLES), epochs=30))
    return losses(done["metadata"]["snapshots"])


@pytest.mark.parametrize("process", ["worker", "trainer_process"])
def test_a_run_survives_kill_9(victim: Server, straight: list[float], process: str) -> None:
    operation = victim.create(list(EXAMPLES), epochs=30)
    before = await_step(victim, operation, 30)
    doomed = victim.descendants()
    doomed[process].kill()
    done = victim.await_done(operation)
    after = done["metadata"]["snapshots"]
    assert done["response"]["state"] == "ACTIVE"
    assert after[: len(before)] == before
    assert [snapshot["step"] for snapshot in after] == list(range(1, 114))
    assert losses(after) == pytest.approx(straight, abs=1e-6)
    await_ended([doomed["trainer_process"]])
    assert victim.ask(done["metadata"]["tunedModel"], "three")


def test_a_run_survives_kill_9_of_the_server(victim: Server, straight: list[float]) -> None:
    operation = victim.create(list(EXAMPLES), epochs=30)
    before = await_step(victim, operation, 10)
    orphans = list(victim.descendants().values())
    victim.kill()
    await_ended(orphans)
    victim.start()
    done = victim.await_done(operation)
    after = done["metadata"]["snapshots"]
    assert after[: len(before)] == before
    assert losses(after) == pytest.approx(straight, abs=1e-6)
    victim.await_warm()


def test_the_engine_comes_back(victim: Server) -> None:
    victim.descendants()["engine_process"].kill()
    deadline = time.monotonic() + 60
    while True:
        body = {"contents": [{"parts": [{"text": "seven"}]}]}
        answer = victim.post("/v1beta/models/kamerton-nano-001:generateContent", body)
        if answer.status_code == 200:
            break
        assert answer.status_code == 503
        assert answer.json()["error"]["status"] == "UNAVAILABLE"
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_cancel_ends_a_run(victim: Server) -> None:
    operation = victim.create(list(EXAMPLES), epochs=1000)
    await_step(victim, operation, 2)
    waiting = victim.create(list(EXAMPLES))
    assert victim.post(f"/v1beta/{operation['name']}:cancel", {}).json() == {}
    done = victim.await_done(operation, 10)
    assert done["error"]["code"] == 1
    assert "response" not in done
    name = operation["metadata"]["tunedModel"]
    assert victim.get(f"/v1beta/{name}").json()["state"] == "FAILED"
    body = {"contents": [{"parts": [{"text": "seven"}]}]}
    refused = victim.post(f"/v1beta/{name}:generateContent", body)
    assert refused.status_code == 400
    assert refused.json()["error"]["status"] == "FAILED_PRECONDITION"
    assert victim.await_done(waiting)["response"]["state"] == "ACTIVE"


def test_a_trainer_that_hangs_is_ended_and_its_run_goes_on(
    victim: Server, straight: list[float]
) -> None:
    operation = victim.create(list(EXAMPLES), epochs=30)
    await_step(victim, operation, 10)
    victim.descendants()["trainer_process"].suspend()
    after = victim.await_done(operation)["metadata"]["snapshots"]
    assert losses(after) == pytest.approx(straight, abs=1e-6)


def test_a_run_whose_trainer_hangs_can_be_cancelled(victim: Server) -> None:
    operation = victim.create(list(EXAMPLES), epochs=1000)
    await_step(victim, operation, 2)
    victim.descendants()["trainer_process"].suspend()
    victim.post(f"/v1beta/{operation['name']}:cancel", {})
    assert victim.await_done(operation, 30)["error"]["code"] == 1


def test_delete_while_training_leaves_nothing(victim: Server) -> None:
    folders = victim.data / "tuned_models"
    before = {folder.name for folder in folders.iterdir()}
    operation = victim.create(list(EXAMPLES), epochs=1000, display_name="doomed")
    name = operation["metadata"]["tunedModel"]
    await_step(victim, operation, 2)
    (new,) = {folder.name for folder in folders.iterdir()} - before
    key = {"x-goog-api-key": victim.key}
    gone = requests.delete(f"{victim.address}/v1beta/{name}", headers=key, timeout=10)
    assert gone.json() == {}
    assert victim.get(f"/v1beta/{name}").status_code == 404
    assert victim.get(f"/v1/{operation['name']}").status_code == 404
    # The next run begins, so the deleted one has stopped; and its folder does not come back.
    again = victim.create(list(EXAMPLES))
    assert victim.await_done(again, 20)["response"]["state"] == "ACTIVE"
    assert not (folders / new).exists()


def test_a_damaged_adapter_is_refused_and_named(victim: Server) -> None:
    before = {folder.name for folder in (victim.data / "tuned_models").iterdir()}
    operation = victim.create(list(EXAMPLES), epochs=1)
    victim.await_done(operation)
    (uid,) = {folder.name for folder in (victim.data / "tuned_models").iterdir()} - before
    weights: Path = victim.data / "tuned_models" / uid / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    body = {"contents": [{"parts": [{"text": "seven"}]}]}
    name = operation["metadata"]["tunedModel"]
    refused = victim.post(f"/v1beta/{name}:generateContent", body)
    assert refused.status_code == 400
    assert "damaged" in refused.json()["error"]["message"]


def test_a_locked_database_delays_a_run_and_loses_nothing(
    victim: Server, straight: list[float]
) -> None:
    """A backup holds the database for longer than writers wait, and the worker dies meanwhile."""
    operation = victim.create(list(EXAMPLES), epochs=30)
    await_step(victim, operation, 10)
    with sqlite3.connect(victim.data / "kamerton.db", isolation_level=None) as backup:
        backup.execute("BEGIN IMMEDIATE")
        victim.descendants()["worker"].kill()
        time.sleep(6.5)
        backup.execute("ROLLBACK")
    backup.close()
    after = victim.await_done(operation)["metadata"]["snapshots"]
    assert [snapshot["step"] for snapshot in after] == list(range(1, 114))
    assert losses(after) == pytest.approx(straight, abs=1e-6)
    # A new run is worked on: there is a worker again.
    assert victim.await_done(victim.create(list(EXAMPLES)))["response"]["state"] == "ACTIVE"
