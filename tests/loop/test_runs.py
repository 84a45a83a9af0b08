"""Runs as callers see them: their story, early stopping, cancelling, epochs and diagnosis."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from kamerton.dataset.tutorial import EXAMPLES
from kamerton.inference.catalog import EMBEDDED
from kamerton.types import Example
from tests.loop.server import KAMERTON, Server

pytestmark = pytest.mark.xdist_group("loop")

NUMBERS = [Example.pair(str(number), str(number * 7919 % 1000)) for number in range(30)]
"""Nothing can be learned of them that helps with others: a run on them overfits."""


def name_of(operation: Mapping[str, Any]) -> str:
    return str(operation["metadata"]["tunedModel"])


def about(server: Server, name: str, what: str) -> dict[str, Any]:
    answer = server.get(f"/kamerton/v1/{name}/{what}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def story(server: Server, name: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = about(server, name, "events")["events"]
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    return events


def await_that(holds: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def begin_long(server: Server) -> dict[str, Any]:
    """A run that nothing but a request ends within a test, when it has taken its first steps."""
    operation = server.create(list(EXAMPLES), epochs=1000, batch=4)
    await_that(lambda: about(server, name_of(operation), "snapshots")["snapshots"])
    return operation


def cancel(server: Server, name: str, body: Mapping[str, Any]) -> None:
    answer = server.post(f"/kamerton/v1/{name}:cancel", body)
    assert (answer.status_code, answer.json()) == (200, {})


def test_the_story_of_a_run(server: Server, tutored: str) -> None:
    kinds = [event["kind"] for event in story(server, tutored)]
    assert kinds[:2] == ["queued", "started"]
    assert kinds[-1] == "active"
    assert kinds.count("epoch") == 5
    page = about(server, tutored, "events?after=1&pageSize=2")
    assert [event["number"] for event in page["events"]] == [2, 3]
    assert page["next"] == 3
    end = about(server, tutored, "events?after=10000")
    assert end == {"events": [], "next": 10000}


def test_every_step_as_json_and_as_a_table(server: Server, tutored: str, tmp_path: Path) -> None:
    told = about(server, tutored, "snapshots")["snapshots"]
    model = server.get(f"/v1beta/{tutored}").json()
    assert [s["meanLoss"] for s in told] == [
        s["meanLoss"] for s in model["tuningTask"]["snapshots"]
    ]
    assert all(s["learningRate"] > 0 and s["gradientNorm"] > 0 for s in told)
    assert about(server, tutored, "snapshots?after=17")["snapshots"] == told[17:]
    table = server.get(f"/kamerton/v1/{tutored}/snapshots?format=csv")
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [float(row["mean_loss"]) for row in rows] == [s["meanLoss"] for s in told]
    # The file is read by the command that reads those of other tools.
    (tmp_path / "curve.csv").write_text(table.text)
    found = subprocess.run(
        [*KAMERTON, "diagnose", str(tmp_path / "curve.csv"), "--json"],
        capture_output=True,
        check=True,
    )
    assert json.loads(found.stdout)["pattern"]


def test_a_diagnosis_and_the_request_that_follows_from_it(server: Server) -> None:
    operation = server.await_done(server.create(NUMBERS, epochs=1, batch=8))
    name = name_of(operation)
    found = about(server, name, "diagnosis")
    assert found["pattern"] == "too_short"
    assert found["summary"] and found["advice"]
    body = found["nextRequest"]
    assert body["baseModel"] == "models/gemini-1.0-pro-001"
    chosen = body["tuningTask"]["hyperparameters"]
    assert chosen["epochCount"] > 1 and chosen["batchSize"] == 8
    # It is a request as it stands, once it has data.
    pairs = [{"textInput": e.contents[0].text, "output": e.output} for e in NUMBERS]
    body["tuningTask"]["trainingData"] = {"examples": {"examples": pairs}}
    again = server.post("/v1beta/tunedModels?validateOnly=true", body)
    assert again.status_code == 200, again.text


def test_a_run_that_overfits_ends_early_and_keeps_its_best_step(
    server: Server, tmp_path: Path
) -> None:
    rows = (
        json.dumps({"text_input": e.contents[0].text, "output": e.output}) + "\n" for e in NUMBERS
    )
    (tmp_path / "numbers.jsonl").write_text("".join(rows))
    environment = {
        **os.environ,
        "KAMERTON_ENDPOINT": server.address,
        "KAMERTON_API_KEY": server.key,
    }

    def command(*arguments: str) -> str:
        found = subprocess.run(
            [*KAMERTON, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    options = ("--epochs", "40", "--rate", "0.005", "--early-stopping", "on", "--patience", "4")
    made = command("tune", "numbers.jsonl", *options, "--watch")
    name = re.findall(r"tunedModels/\S+", made)[0]
    model = json.loads(command("show", name, "--json"))
    ours = model["kamerton"]
    assert ours["earlyStopping"] == {"mode": "on", "patience": 4, "minChange": 0.01}
    steps = [snapshot["step"] for snapshot in model["tuningTask"]["snapshots"]]
    losses = {loss["step"]: loss["meanLoss"] for loss in ours["heldOut"]["losses"]}
    assert ours["keptStep"] == min(losses, key=lambda step: losses[step]) < steps[-1]
    assert steps[-1] < ours["totalSteps"]
    assert "Early stopping ended the run" in ours["stopReason"]
    shown = command("show", name)
    assert re.search(rf"kept step +{ours['keptStep']}\n", shown)
    told = command("events", name, "--follow")
    assert "stopped_early" in told and f"with the weights of step {ours['keptStep']}" in told
    lines = [json.loads(line) for line in command("events", name, "--json").splitlines()]
    assert lines == story(server, name)


def test_a_cancelled_run_that_is_kept_is_active(server: Server) -> None:
    operation = begin_long(server)
    name = name_of(operation)
    cancel(server, name, {"keep": True})
    done = server.await_done(operation)
    assert done["response"]["state"] == "ACTIVE"
    ours = server.get(f"/v1beta/{name}").json()["kamerton"]
    assert "on request" in ours["stopReason"] and ours["keptStep"] > 0
    assert server.ask(name, "4")
    assert "cancel_asked" in [event["kind"] for event in story(server, name)]


def test_a_cancelled_run_that_is_not_kept_fails_with_its_reason(server: Server) -> None:
    operation = begin_long(server)
    name = name_of(operation)
    cancel(server, name, {})
    error = server.await_done(operation)["error"]
    assert error["code"] == 1
    (info,) = error["details"]
    assert (info["reason"], info["domain"]) == ("CANCELLED", "kamerton")
    model = server.get(f"/v1beta/{name}").json()
    failure = model["kamerton"]["failure"]
    assert model["state"] == "FAILED" and failure["reason"] == "CANCELLED"
    assert info.get("metadata", {}).get("step") == str(failure["step"])
    assert failure["step"] > 0
    assert story(server, name)[-1]["kind"] == "failed"
    refused = server.get(f"/kamerton/v1/{name}/card")
    assert refused.status_code == 404 and "no report card" in refused.text


STOCK_PEFT = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained(sys.argv[1])
ids = torch.tensor([[2, 5, 9]])
plain = base(input_ids=ids).logits
tuned = PeftModel.from_pretrained(base, sys.argv[2])(input_ids=ids).logits
print(float((tuned - plain).abs().max()))
"""


def test_an_epoch_answers_and_can_be_taken_elsewhere(server: Server, tmp_path: Path) -> None:
    tuned = name_of(server.await_done(server.create(list(EXAMPLES), epochs=4, batch=5)))
    kept = about(server, tuned, "epochs")["epochs"]
    assert [epoch["epoch"] for epoch in kept] == [1, 2, 3, 4]
    assert [epoch["step"] for epoch in kept] == [3, 6, 9, 12]
    assert kept[2]["name"] == f"{tuned}@epoch-3" and kept[2]["meanLoss"] > 0
    prompt = {
        "contents": [{"parts": [{"text": "4"}]}],
        "generationConfig": {"temperature": 0, "responseLogprobs": True},
    }

    def answer(model: str, prefix: str = "/kamerton/v1") -> Any:
        found = server.post(f"{prefix}/{model}:generateContent", prompt)
        assert found.status_code == 200, found.text
        return found.json()["candidates"][0]["avgLogprobs"]

    own, third = answer(tuned), answer(f"{tuned}@epoch-3")
    assert own == pytest.approx(answer(tuned, "/v1beta"))
    assert own == pytest.approx(answer(f"{tuned}@epoch-4"))  # Nothing held out: the last step.
    assert third != pytest.approx(own) and third != pytest.approx(answer(f"{tuned}@epoch-1"))
    stream = server.post(f"/kamerton/v1/{tuned}@epoch-3:streamGenerateContent?alt=sse", prompt)
    assert stream.text.startswith("data: ")

    for name in (f"{tuned}@epoch-3", tuned):
        sent = server.get(f"/kamerton/v1/{name}:download")
        assert sent.status_code == 200 and sent.headers["content-type"] == "application/zip"
        folder = tmp_path / name.replace("/", "-")
        zipfile.ZipFile(io.BytesIO(sent.content)).extractall(folder)
        stock = subprocess.run(
            [KAMERTON[0], "-c", STOCK_PEFT, EMBEDDED.weights, str(folder)],
            capture_output=True,
            text=True,
        )
        assert stock.returncode == 0, stock.stderr
        assert float(stock.stdout.split()[-1]) > 0.01

    missing = server.post(f"/kamerton/v1/{tuned}@epoch-5:generateContent", prompt)
    assert missing.status_code == 404 and "kept are 1, 2, 3, 4" in missing.text


def test_epochs_answer_while_the_run_goes_on(server: Server) -> None:
    operation = begin_long(server)
    name = name_of(operation)
    epoch = await_that(lambda: about(server, name, "epochs")["epochs"])[0]["name"]
    prompt = {"contents": [{"parts": [{"text": "4"}]}]}
    answer = server.post(f"/kamerton/v1/{epoch}:generateContent", prompt)
    assert answer.status_code == 200, answer.text
    assert server.get(f"/v1beta/{name}").json()["state"] == "CREATING"
    refused = server.post(f"/kamerton/v1/{name}:generateContent", prompt)
    assert refused.status_code == 400 and "CREATING" in refused.text
    assert about(server, name, "diagnosis")["pattern"]
    cancel(server, name, {"keep": False})
    server.await_done(operation)


def test_others_are_told_nothing(server: Server, tutored: str) -> None:
    key = server.key_of("stranger@example.com")
    for method, path in (
        ("GET", f"{tutored}/events"),
        ("GET", f"{tutored}/snapshots"),
        ("GET", f"{tutored}/diagnosis"),
        ("GET", f"{tutored}/card"),
        ("GET", f"{tutored}/epochs"),
        ("GET", f"{tutored}:download"),
        ("GET", f"{tutored}@epoch-3:download"),
        ("POST", f"{tutored}:cancel"),
        ("POST", f"{tutored}@epoch-3:generateContent"),
    ):
        for name in (path, path.replace(tutored, "tunedModels/nobodys")):
            answer = requests.request(
                method,
                f"{server.address}/kamerton/v1/{name}",
                headers={"x-goog-api-key": key},
                json={"contents": [{"parts": [{"text": "4"}]}]} if "generate" in name else {},
                timeout=30,
            )
            assert answer.status_code == 403, (path, answer.text)
