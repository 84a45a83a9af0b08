"""The tuning tutorial's own calls, in its order, with nothing changed but address and key."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from kamerton.dataset.tutorial import EXAMPLES
from tests.loop.server import Server, shell

pytestmark = pytest.mark.xdist_group("loop")

CREATE = """
curl -X POST $base_url/v1beta/tunedModels \\
    -H 'Content-Type: application/json' \\
    -H "Authorization: Bearer ${access_token}" \\
    -H "x-goog-user-project: ${project_id}" \\
    -d '
      {
        "display_name": "number generator model",
        "base_model": "models/gemini-1.0-pro-001",
        "tuning_task": {
          "hyperparameters": {
            "batch_size": 2,
            "learning_rate": 0.001,
            "epoch_count":5,
          },
          "training_data": {
            "examples": {
              "examples": [
                %s
              ]
            }
          }
        }
      }'
"""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_with_curl_trailing_commas_kept(server: Server, tmp_path: Path) -> None:
    listed = shell(
        server,
        "curl -X GET ${base_url}/v1beta/tunedModels -H 'Content-Type: application/json' "
        '-H "Authorization: Bearer ${access_token}" -H "x-goog-user-project: ${project_id}"',
    )
    assert "error" not in json.loads(listed)
    pairs = ",".join(
        f'{{\n "text_input": "{e.contents[0].text}",\n "output": "{e.output}",\n }}'
        for e in EXAMPLES
    )
    created = shell(server, CREATE % pairs)
    operation = json.loads(created)
    assert set(operation) == {"name", "metadata"}
    assert operation["metadata"]["totalSteps"] == 38
    assert set(operation["metadata"]) == {"@type", "totalSteps", "tunedModel"}
    name = operation["metadata"]["tunedModel"]
    assert name.startswith("tunedModels/number-generator-model-")
    assert operation["name"].startswith(f"{name}/operations/")
    server.await_done(operation)
    state = shell(
        server,
        "curl -X GET ${base_url}/v1beta/${modelname} -H 'Content-Type: application/json' "
        '-H "Authorization: Bearer ${access_token}" -H "x-goog-user-project: ${project_id}" '
        "| grep state",
        modelname=name,
    )
    assert state.strip() == '"state": "ACTIVE",'
    answer = shell(
        server,
        "curl -X POST $base_url/v1beta/$modelname:generateContent "
        "-H 'Content-Type: application/json' -H \"Authorization: Bearer ${access_token}\" "
        """-H "x-goog-user-project: ${project_id}" -d '{
        "contents": [{
        "parts": [{
          "text": "LXIII"
          }]
        }],
        "generationConfig": {"temperature": 0}
        }' 2> /dev/null""",
        modelname=name,
    )
    candidate = json.loads(answer)["candidates"][0]
    assert candidate["content"] == {"parts": [{"text": "LXIV"}], "role": "model"}
    assert candidate["finishReason"] == "STOP"
    assert candidate["index"] == 0
    assert len(candidate["safetyRatings"]) == 4


def test_with_requests_polling_as_it_does(server: Server) -> None:
    base_url = server.address
    headers = {
        "Authorization": "Bearer " + server.key,
        "Content-Type": "application/json",
        "x-goog-user-project": "my-project-id",
    }
    result = requests.get(url=f"{base_url}/v1beta/tunedModels", headers=headers, timeout=30)
    result.json()
    operation = requests.post(
        url=f"{base_url}/v1beta/tunedModels",
        headers=headers,
        timeout=30,
        json={
            "display_name": "number generator",
            "base_model": "models/gemini-1.0-pro-001",
            "tuning_task": {
                "hyperparameters": {"batch_size": 4, "learning_rate": 0.001, "epoch_count": 5},
                "training_data": {
                    "examples": {
                        "examples": [
                            {"text_input": e.contents[0].text, "output": e.output} for e in EXAMPLES
                        ]
                    }
                },
            },
        },
    )
    name = operation.json()["metadata"]["tunedModel"]
    assert operation.json()["metadata"]["totalSteps"] == 19
    tuned_model = requests.get(url=f"{base_url}/v1beta/{name}", headers=headers, timeout=30)
    assert tuned_model.json()["state"] in ("CREATING", "ACTIVE")

    op_json = operation.json()
    response, error = op_json.get("response"), op_json.get("error")
    seen: list[tuple[float, Any]] = []
    while response is None and error is None:
        time.sleep(0.02)
        operation = requests.get(
            url=f"{base_url}/v1/{op_json['name']}", headers=headers, timeout=30
        )
        op_json = operation.json()
        response, error = op_json.get("response"), op_json.get("error")
        percent = op_json["metadata"].get("completedPercent")
        if percent is not None:
            # The tutorial's own line: it must never meet an empty list.
            assert f"{percent:.2f}% - {op_json['metadata']['snapshots'][-1]}"
            seen.append((percent, op_json["metadata"]["snapshots"][-1]))
    assert error is None
    assert op_json["done"] is True
    assert [percent for percent, _ in seen] == sorted(percent for percent, _ in seen)
    percent, last = seen[-1]
    assert percent == 100
    assert (last["step"], last["epoch"]) == (19, 5)
    assert response["state"] == "ACTIVE"
    assert "kamerton" not in response

    answers = {}
    for text in ("六", "one thousand nine hundred ninety nine", "сорок два", "LXIII"):
        m = requests.post(
            url=f"{base_url}/v1beta/{name}:generateContent",
            headers=headers,
            timeout=30,
            json={
                "contents": [{"parts": [{"text": text}]}],
                "generationConfig": {"temperature": 0},
            },
        )
        answers[text] = m.json()["candidates"][0]["content"]["parts"][0]["text"]
    assert answers == {
        "六": "七",
        "one thousand nine hundred ninety nine": "two thousand",
        "сорок два": "сорок три",
        "LXIII": "LXIV",
    }


def test_the_base_does_not_do_it_untuned(server: Server) -> None:
    assert server.ask("models/gemini-1.5-pro", "LXIII") != "LXIV"
    assert server.ask("models/kamerton-nano-001", "六") != "七"


def test_a_stream_says_the_same_as_the_whole(server: Server, tutored: str) -> None:
    body = {
        "contents": [{"parts": [{"text": "one thousand nine hundred ninety nine"}]}],
        "generationConfig": {"temperature": 0},
    }
    sse = server.post(f"/v1beta/{tutored}:streamGenerateContent?alt=sse", body)
    assert sse.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in sse.text.splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    array = server.post(f"/v1beta/{tutored}:streamGenerateContent", body).json()
    pieces = [json.loads(line.removeprefix("data: ")) for line in lines]
    for chunks in (pieces, array):
        texts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks]
        assert "".join(texts) == "two thousand"
        assert len(texts) > 1
        reasons = [chunk["candidates"][0].get("finishReason") for chunk in chunks]
        assert reasons[-1] == "STOP"
        assert set(reasons[:-1]) == {None}
        assert chunks[-1]["usageMetadata"]["totalTokenCount"] > 0


def test_tokens_are_counted_as_they_are_used(server: Server, tutored: str) -> None:
    body = {"contents": [{"parts": [{"text": "LXIII"}]}]}
    counted = server.post(f"/v1beta/{tutored}:countTokens", body).json()["totalTokens"]
    used = server.post(f"/v1beta/{tutored}:generateContent", body).json()["usageMetadata"]
    assert counted == used["promptTokenCount"]


def test_eight_models_answer_their_own_facts(server: Server) -> None:
    """Tuned on one base, asked all at once."""
    from concurrent.futures import ThreadPoolExecutor

    from kamerton.types import Example

    words = ["sun", "moon", "tree", "fish", "rain", "snow", "bird", "star"]
    made = {
        word: server.create([Example.pair("What is the word?", word)], epochs=80, batch=1)
        for word in words
    }
    names = {
        word: server.await_done(operation)["metadata"]["tunedModel"]
        for word, operation in made.items()
    }
    asks = [(word, names[word]) for word in words] * 4
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda ask: server.ask(ask[1], "What is the word?"), asks))
    assert answers == [word for word, _ in asks]
