"""Following a run: every step is told once and in order, with all that the server knows of it."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import cast

import pytest
from rich.console import Console

from kamerton.client import Client, Operation
from kamerton.errors import NotFound
from kamerton.types import Snapshot
from kamerton.watch import follow, snapshots_of
from tests.fake_server import DONE, FAILED, NAME, OPERATION, FakeServer, Json, operation, snapshots

STEPS = f"/kamerton/v1/{NAME}/snapshots"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture
def client(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    made = Client(server.endpoint)
    yield made
    made.close()


def told(count: int) -> Json:
    details = {"heldOutLoss": 1.5, "smoothedLoss": 2.5, "learningRate": 0.001, "gradientNorm": 0.5}
    details |= {"trainedTokens": 12, "tokensPerSecond": 99.5, "memoryBytes": 640_000_000}
    return {"snapshots": [{**step, **details} for step in snapshots(count)]}


def followed(client: Client, state: Json) -> tuple[list[Snapshot], str]:
    seen: list[Snapshot] = []
    out = StringIO()
    follow(client, cast(Operation, state), Console(file=out, width=120), on_snapshot=seen.append)
    return seen, out.getvalue()


def test_every_step_is_told_once_with_all_that_is_known(
    server: FakeServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kamerton.watch._REST", 0)
    server.when(f"GET /v1/{OPERATION}", operation(1), operation(5), operation(5), DONE)
    server.when(f"GET {STEPS}", told(1), told(5), told(10))
    seen, out = followed(client, operation())
    assert [snapshot.step for snapshot in seen] == list(range(1, 11))
    assert seen[4].mean_loss == 1.4
    assert (seen[4].held_out_loss, seen[4].smoothed_loss, seen[4].start_loss) == (1.5, 2.5, None)
    assert (seen[4].trained_tokens, seen[4].memory_bytes) == (12, 640_000_000)
    assert "step 5/10, 50%, loss 1.4000, smoothed 2.5000, held-out 1.5000" in out
    assert [call for call, _ in server.requests].count(f"GET {STEPS}") == 3


def test_a_server_without_details_is_asked_for_them_once(
    server: FakeServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kamerton.watch._REST", 0)
    server.when(f"GET /v1/{OPERATION}", operation(1), operation(5), FAILED)
    seen, out = followed(client, operation())
    assert [snapshot.step for snapshot in seen] == [1, 2, 3, 4, 5]
    assert seen[0].smoothed_loss is None
    assert "step 5/10, 50%, loss 1.4000\n" in out
    assert [call for call, _ in server.requests].count(f"GET {STEPS}") == 1


def test_a_long_list_is_not_read_at_every_look_but_at_the_end(
    server: FakeServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kamerton.watch._REST", 1e6)
    server.when(f"GET /v1/{OPERATION}", *[operation(steps) for steps in range(1, 10)], DONE)
    server.when(f"GET {STEPS}", told(1), told(10))
    seen, _ = followed(client, operation())
    assert [snapshot.step for snapshot in seen] == list(range(1, 11))
    assert [call for call, _ in server.requests].count(f"GET {STEPS}") == 2


def test_a_run_that_is_over_is_told_as_well(server: FakeServer, client: Client) -> None:
    server.when(f"GET {STEPS}", told(10))
    seen, _ = followed(client, DONE)
    assert [snapshot.step for snapshot in seen] == list(range(1, 11))


def test_the_steps_of_a_model(server: FakeServer, client: Client) -> None:
    with pytest.raises(NotFound):
        snapshots_of(client, NAME)
    server.when(f"GET /v1beta/{NAME}", {"name": NAME, "tuningTask": {"snapshots": snapshots(3)}})
    assert [snapshot.mean_loss for snapshot in snapshots_of(client, NAME)] == [7, 3.5, 7 / 3]
    server.when(f"GET {STEPS}", told(3))
    assert [snapshot.held_out_loss for snapshot in snapshots_of(client, NAME)] == [1.5] * 3
