"""What the client sends when a run is asked for, and when a dataset is to be checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest

from kamerton.client import Client
from kamerton.types import Content, Example
from tests.fake_server import FakeServer

PAIRS = [Example.pair("1", "2")]
CHECK = "POST /kamerton/v1/datasets:check"


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    made = FakeServer()
    made.when("POST /v1beta/tunedModels", {"name": "tunedModels/x/operations/y"})
    made.when(CHECK, {"findings": [], "summary": {"errors": 0}})
    yield made
    made.close()


def sent(fake: FakeServer) -> Any:
    return fake.requests[-1][1]


def test_a_run_without_anything_of_ours(fake: FakeServer) -> None:
    Client(fake.endpoint).create_tuned_model(PAIRS, base_model="models/m")
    assert sent(fake)["tuning_task"].keys() == {"hyperparameters", "training_data"}


def test_a_run_with_budget_and_validation_data(fake: FakeServer) -> None:
    Client(fake.endpoint).create_tuned_model(
        PAIRS,
        base_model="models/m",
        validation=[Example.pair("3", "4")],
        max_tokens=9,
        max_cost=1.5,
        allow=["K204"],
    )
    task = sent(fake)["tuning_task"]
    assert task["kamerton"] == {"budget": {"max_tokens": 9, "max_cost": 1.5}, "allow": ["K204"]}
    assert task["validation_data"] == {
        "examples": {"examples": [{"text_input": "3", "output": "4"}]}
    }


def test_a_run_with_an_adapter_of_its_own(fake: FakeServer) -> None:
    Client(fake.endpoint).create_tuned_model(
        PAIRS, base_model="models/m", epoch_count=3, adapter_size=16, target_modules=["q_proj"]
    )
    task = sent(fake)["tuning_task"]
    assert task["hyperparameters"] == {"epoch_count": 3}
    chosen = {"adapter_size": 16, "target_modules": ["q_proj"]}
    assert task["kamerton"] == {"hyperparameters": chosen}


def test_checking_rows(fake: FakeServer) -> None:
    rows = [{"prompt": "1", "completion": "2"}]
    client = Client(fake.endpoint)
    found = client.check_dataset(rows, base_model="models/m", held_out=0.2, epoch_count=3)
    assert found["summary"] == {"errors": 0}
    assert sent(fake) == {
        "examples": rows,
        "base_model": "models/m",
        "hyperparameters": {"epoch_count": 3},
        "holdout": {"share": 0.2},
    }


def test_checking_a_file(fake: FakeServer) -> None:
    Client(fake.endpoint).check_dataset(file_uri="files/a", input_key="q", output_key="a")
    assert sent(fake) == {"file_uri": "files/a", "input_key": "q", "output_key": "a"}


def test_several_turns_go_as_a_file_which_is_deleted(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded: list[Any] = []

    def upload(connection: Client, content: BinaryIO, **facts: str) -> dict[str, str]:
        uploaded.extend(map(json.loads, content))
        return {"name": "files/a"}

    monkeypatch.setattr("kamerton.client.upload", upload)
    fake.when("DELETE /v1beta/files/a", {})
    turns = (
        Content("system", "s"),
        Content("user", "1"),
        Content("model", "2", learn=False),
        Content("user", "3"),
    )
    Client(fake.endpoint).create_tuned_model([Example(turns, "4")], base_model="m")
    (created, body), (deleted, _) = fake.requests
    assert (created, deleted) == ("POST /v1beta/tunedModels", "DELETE /v1beta/files/a")
    assert body and body["tuning_task"]["training_data"] == {"file_uri": "files/a"}
    (row,) = uploaded
    assert row["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "2", "weight": 0},
        {"role": "user", "content": "3"},
        {"role": "assistant", "content": "4"},
    ]
