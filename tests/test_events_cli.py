"""`kamerton events`: what is printed, and until when it is followed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Run
from tests.fake_server import NAME, FakeServer, refusal

EVENTS = f"GET /kamerton/v1/{NAME}/events"
MODEL = f"GET /v1beta/{NAME}"


def event(number: int, kind: str, **more: Any) -> dict[str, Any]:
    time = f"2026-11-21T08:16:{number:02d}.000000Z"
    return {"number": number, "time": time, "kind": kind, "message": f"It was {kind}.", **more}


def page(*events: dict[str, Any]) -> dict[str, Any]:
    return {"events": list(events), "next": events[-1]["number"] if events else 0}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    fake = FakeServer()
    monkeypatch.setenv("KAMERTON_ENDPOINT", fake.endpoint)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    yield fake
    fake.close()


def test_a_line_for_each(server: FakeServer, run: Run) -> None:
    server.when(EVENTS, page(event(1, "queued"), event(2, "epoch", step=4)))
    status, out, _ = run("events", NAME)
    assert status == 0
    assert out.splitlines() == [
        "2026-11-21 08:16:01  queued                      It was queued.",
        "2026-11-21 08:16:02  epoch           step 4      It was epoch.",
    ]
    status, out, _ = run("events", NAME, "--json")
    assert [json.loads(line)["number"] for line in out.splitlines()] == [1, 2]


def test_what_a_message_holds_cannot_move_the_cursor(server: FakeServer, run: Run) -> None:
    server.when(EVENTS, page({**event(1, "failed"), "message": "\x1b[2Jgone"}))
    assert "\x1b" not in run("events", NAME)[1]


def test_followed_to_its_end_through_a_restart(server: FakeServer, run: Run) -> None:
    going_on, over = {"name": NAME, "state": "CREATING"}, {"name": NAME, "state": "ACTIVE"}
    server.when(MODEL, going_on, going_on, going_on, over)
    kinds = ("queued", "started", "active")
    told = [page(event(number, kind)) for number, kind in enumerate(kinds, start=1)]
    server.when(EVENTS, *told)
    server.answers[EVENTS].insert(1, (503, refusal(503, "UNAVAILABLE", "stopping")))
    status, out, err = run("events", NAME, "--follow")
    assert status == 0
    assert [line.split()[2] for line in out.splitlines()] == ["queued", "started", "active"]
    assert "trying again" in err
    asked = [call for call, _ in server.requests if "/events" in call]
    assert [call.partition("after=")[2].partition("&")[0] for call in asked] == ["0", "1", "1", "2"]


def test_more_lines_than_a_page_has(server: FakeServer, run: Run) -> None:
    many = [event(number, "epoch") | {"time": "2026-11-21T08:16:00Z"} for number in range(1, 1001)]
    server.when(EVENTS, page(*many), {"events": [event(9, "active")], "next": 1001})
    assert len(run("events", NAME)[1].splitlines()) == 1001
    assert "after=1000" in server.requests[-1][0]


def test_a_model_that_is_not_there(server: FakeServer, run: Run) -> None:
    assert run("events", NAME)[0] == 1
