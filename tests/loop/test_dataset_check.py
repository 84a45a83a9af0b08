"""Checks before and inside create, validation data and budgets, at the real server."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import psutil
import pytest
import requests

from kamerton.dataset.tutorial import EXAMPLES, PAIRS
from tests.loop.server import Server
from tests.loop.test_files import uploaded

pytestmark = pytest.mark.xdist_group("dataset_check")

CHECK = "/kamerton/v1/datasets:check"
ROWS = [{"text_input": f"What comes after {n}?", "output": f"{n + 1}"} for n in range(40)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("check") / "data"
    made = Server(data, KAMERTON_PRICE_PER_MILLION_TOKENS="2.5")
    made.await_warm()
    yield made
    made.stop()


def create(
    server: Server, task: Mapping[str, Any], query: str = "", epochs: int = 2
) -> requests.Response:
    data = {"trainingData": {"examples": {"examples": ROWS}}, **task}
    asked = {"hyperparameters": {"epochCount": epochs, "batchSize": 4}, **data}
    body = {"baseModel": "models/gemini-1.0-pro-001", "tuningTask": asked}
    return server.post(f"/v1beta/tunedModels{query}", body)


def tuned(server: Server, task: Mapping[str, Any], epochs: int = 2) -> dict[str, Any]:
    """The tuned model of a whole run."""
    answer = create(server, task, epochs=epochs)
    assert answer.status_code == 200, answer.text
    done = server.await_done(answer.json())
    assert "response" in done, done
    assert "kamerton" not in done["response"]
    model: dict[str, Any] = server.get(f"/v1beta/{done['response']['name']}").json()
    return model


def test_a_refusal_names_rows_and_findings(server: Server) -> None:
    rows = [*ROWS, {"text_input": "x", "output": " "}, ROWS[0]]
    answer = create(server, {"trainingData": {"examples": {"examples": rows}}})
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["status"] == "INVALID_ARGUMENT"
    place = "tuned_model.tuning_task.training_data.examples.examples[40].output"
    details = {detail["@type"].rpartition(".")[2]: detail for detail in error["details"]}
    assert [found["field"] for found in details["BadRequest"]["fieldViolations"]] == [place]
    assert details["ErrorInfo"]["reason"] == "DATASET_CHECK_FAILED"
    assert {"K101", "K201"} <= details["ErrorInfo"]["metadata"].keys()
    assert place in error["message"]


def test_held_out_examples_are_measured_and_told(server: Server) -> None:
    told = tuned(server, {"kamerton": {"earlyStopping": {"mode": "off"}}})["kamerton"]
    assert (told["exampleCount"], told["heldOut"]["count"]) == (40, 4)
    assert told["totalSteps"] == 18
    assert len(told["heldOut"]["rows"]) == 4
    assert told["heldOut"]["losses"][-1]["step"] == 18
    assert all(loss["meanLoss"] > 0 for loss in told["heldOut"]["losses"])
    assert told["statistics"]["exampleCount"] == 40 and told["statistics"]["tokens"]


def test_validation_data_are_measured_instead(server: Server) -> None:
    file = uploaded(server, gzip.compress("\n".join(map(json.dumps, ROWS[:6])).encode()))
    told = tuned(server, {"validationData": {"fileUri": file["uri"]}})["kamerton"]
    assert told["heldOut"]["count"] == 6 and "rows" not in told["heldOut"]
    assert told["totalSteps"] == 20 and told["heldOut"]["losses"]
    assert "K205" in [found["code"] for found in told["findings"]]


def test_a_run_obeys_its_budget(server: Server) -> None:
    preview = create(server, {}, "?validateOnly=true", epochs=5).json()["response"]["kamerton"]
    tokens = preview["estimate"]["tokens"]
    model = tuned(
        server,
        {"kamerton": {"budget": {"maxTokens": tokens // 2}, "earlyStopping": {"mode": "off"}}},
        epochs=5,
    )
    told, steps = model["kamerton"], model["tuningTask"]["snapshots"]
    assert told["budget"] == {"maxTokens": tokens // 2}
    assert 0 < len(steps) < told["totalSteps"]
    assert "budget" in told["stopReason"]


def test_validate_only_creates_nothing(server: Server) -> None:
    before = server.get("/v1beta/tunedModels").json()
    made = create(server, {}, "?validateOnly=true&tunedModelId=not-yet").json()
    assert made["done"] and made["metadata"]["totalSteps"] == 18
    assert made["response"]["kamerton"]["estimate"]["cost"] > 0
    assert server.get("/v1beta/tunedModels/not-yet").status_code == 404
    assert server.get("/v1beta/tunedModels").json() == before


def test_a_check_by_itself_learns_how_long_a_run_takes(server: Server) -> None:
    body = {"examples": [{"prompt": text, "completion": output} for text, output in PAIRS]}
    deadline = time.monotonic() + 90
    while True:
        started = time.monotonic()
        found = server.post(CHECK, body).json()
        assert time.monotonic() - started < 10
        if not found["estimate"].get("measuring"):
            break
        assert "seconds" not in found["estimate"]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert found["summary"]["errors"] == 0
    assert found["estimate"]["totalSteps"] == 19
    assert found["estimate"]["seconds"] > 0 and found["estimate"]["memoryBytes"] > 10**7
    before = server.descendants()
    assert "probe" not in before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"input": "1", "output": "2"}\n{"input": "1", "output": "\xe9"}\n', "line 2"),
        (gzip.compress(b'{"input": "1", "output": "2"}\n' * 1000, mtime=0)[:-20], "gzip"),
        (b'{"input": "1"', "it ends too early"),
        (b"question,answer\n1,2\n", "columns"),
        (b"", "no examples"),
        (bytes(range(256)) * 10, ""),
    ],
)
def test_broken_files_are_findings(server: Server, content: bytes, said: str) -> None:
    file = uploaded(server, content)
    answer = server.post(CHECK, {"fileUri": file["name"]})
    assert answer.status_code == 200, answer.text
    errors = [found for found in answer.json()["findings"] if found["severity"] == "error"]
    assert errors and said in json.dumps(errors)
    refused = create(server, {"trainingData": {"fileUri": file["name"]}})
    assert refused.status_code == 400 and said in refused.text


def test_the_tutorial_is_not_complained_about(server: Server) -> None:
    operation = server.create(list(EXAMPLES))
    told = server.get(f"/v1beta/{operation['metadata']['tunedModel']}").json()["kamerton"]
    assert told["summary"]["errors"] == 0
    assert [found["code"] for found in told["findings"]] in ([], ["K307"])
    server.await_done(operation)


def test_a_large_file_is_checked_in_bounded_memory(server: Server) -> None:
    row = {"text_input": "Сколько будет один и один? " * 40, "output": "Два и ещё немного."}
    lines = (json.dumps({**row, "text_input": f"{n} {row['text_input']}"}) for n in range(12_000))
    file = uploaded(server, "\n".join(lines).encode())
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    started = time.monotonic()
    answer = create(server, {"trainingData": {"fileUri": file["name"]}}, epochs=1)
    assert answer.status_code == 200, answer.text
    took = time.monotonic() - started
    grown = (process.memory_info().rss - before) / 2**20
    assert took < 30 and grown < 400, (took, grown)
    server.post(f"/v1beta/{answer.json()['name']}:cancel", {})
    server.await_done(answer.json())
