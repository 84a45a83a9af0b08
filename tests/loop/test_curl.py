"""curl and requests, beyond the tutorial: uploads, streams, permissions, changes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.loop.server import Server, shell

pytestmark = [
    pytest.mark.xdist_group("clients"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

LINES = b'{"text_input": "1", "output": "2"}\n{"text_input": "seven", "output": "eight"}\n'

# What curl users keep in their scripts to upload a file.
START = """
curl -s "$base_url/upload/v1beta/files?key=$access_token" -D "$headers" -o /dev/null \\
    -H "X-Goog-Upload-Protocol: resumable" -H "X-Goog-Upload-Command: start" \\
    -H "X-Goog-Upload-Header-Content-Length: $(wc -c < "$file")" \\
    -H "X-Goog-Upload-Header-Content-Type: application/jsonl" \\
    -H "Content-Type: application/json" -d "$metadata"
session=$(grep -i "^x-goog-upload-url:" "$headers" | cut -d" " -f2 | tr -d "\\r")
"""
SEND = """
curl -s "$session" -H "X-Goog-Upload-Offset: 0" -H "X-Goog-Upload-Command: upload, finalize" \\
    --data-binary "@$file"
"""


@pytest.fixture
def lines(tmp_path: Path) -> dict[str, str]:
    """Variables of the scripts: a file to send, what it is, and where to keep headers."""
    file = tmp_path / "lines.jsonl"
    file.write_bytes(LINES)
    return {
        "file": str(file),
        "headers": str(tmp_path / "headers"),
        "metadata": json.dumps({"file": {"display_name": "lines"}}),
    }


def delete(server: Server, name: str) -> None:
    script = 'curl -s -X DELETE "$base_url/v1beta/$name" -H "x-goog-api-key: $access_token"'
    assert json.loads(shell(server, script, name=name)) == {}


def test_a_file_is_uploaded_and_trained_on(server: Server, lines: dict[str, str]) -> None:
    file = json.loads(shell(server, START + SEND, **lines))["file"]
    assert file["displayName"] == "lines"
    assert file["mimeType"] == "application/jsonl"
    assert file["sizeBytes"] == str(len(LINES))
    assert file["state"] == "ACTIVE"
    create = """
curl -s "$base_url/v1beta/tunedModels?key=$access_token" -d '{
    "base_model": "models/gemini-1.0-pro-001",
    "tuning_task": {
        "hyperparameters": {"epoch_count": 2, "batch_size": 1},
        "training_data": {"file_uri": "'"$uri"'"},
    },
}'
"""
    operation = json.loads(shell(server, create, uri=file["uri"]))
    assert operation["metadata"]["totalSteps"] == 4
    delete(server, file["name"])  # What was read already is not needed again.
    assert server.await_done(operation)["response"]["state"] == "ACTIVE"
    delete(server, operation["metadata"]["tunedModel"])


def test_metadata_in_single_quotes(server: Server, lines: dict[str, str]) -> None:
    """So it stands in the API's own example, where the shell is to put in a variable."""
    lines["metadata"] = "{'file': {'display_name': 'lines'}}"
    file = json.loads(shell(server, START + SEND, **lines))["file"]
    assert file["displayName"] == "lines"
    delete(server, file["name"])


def test_a_file_in_pieces_with_a_question_between(server: Server, lines: dict[str, str]) -> None:
    pieces = """
head -c 20 "$file" | curl -s "$session" -D - -o /dev/null --data-binary @- \\
    -H "X-Goog-Upload-Offset: 0" -H "X-Goog-Upload-Command: upload"
curl -s "$session" -D - -o /dev/null -d "" -H "X-Goog-Upload-Command: query"
tail -c +21 "$file" | curl -s "$session" -D - --data-binary @- \\
    -H "X-Goog-Upload-Offset: 20" -H "X-Goog-Upload-Command: upload, finalize"
"""
    printed = shell(server, START + pieces, **lines).replace("\r", "").lower()
    assert printed.count("x-goog-upload-status: active") == 2
    assert printed.count("x-goog-upload-status: final") == 1
    assert "x-goog-upload-size-received: 20\n" in printed
    assert f'"sizebytes": "{len(LINES)}"' in printed
    (name,) = re.findall(r'"(files/[^"]+)"', printed)
    delete(server, name)


def test_a_cancelled_upload_is_gone(server: Server, lines: dict[str, str]) -> None:
    cancel = """
curl -s "$session" -d "" -H "X-Goog-Upload-Command: cancel"
curl -s "$session" -d "" -H "X-Goog-Upload-Command: query" -o /dev/null -w "%{http_code}"
"""
    assert shell(server, START + cancel, **lines).endswith("404")


def test_a_body_that_is_the_file(server: Server, lines: dict[str, str]) -> None:
    raw = """
curl -s "$base_url/upload/v1beta/files?uploadType=media&key=$access_token" \\
    -H "Content-Type: application/jsonl" --data-binary "@$file"
"""
    file = json.loads(shell(server, raw, **lines))["file"]
    assert (file["mimeType"], file["sizeBytes"]) == ("application/jsonl", str(len(LINES)))
    delete(server, file["name"])


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_a_body_of_two_parts(server: Server, newline: str) -> None:
    head = "--=_1{0}Content-Type: application/json{0}{0}{1}{0}--=_1{0}Content-Type: text/csv{0}{0}"
    body = head.format(newline, json.dumps({"file": {"displayName": "two"}})).encode()
    body += LINES + f"{newline}--=_1--".encode()
    answer = requests.post(
        f"{server.address}/upload/v1beta/files?uploadType=multipart&key={server.key}",
        headers={"Content-Type": 'multipart/related; boundary="=_1"'},
        data=body,
        timeout=30,
    )
    file = answer.json()["file"]
    assert (file["displayName"], file["mimeType"]) == ("two", "text/csv")
    assert file["sizeBytes"] == str(len(LINES))
    delete(server, file["name"])


def test_a_stream_of_events(server: Server, tutored: str) -> None:
    script = """
curl -s -N "$base_url/v1beta/$model:streamGenerateContent?alt=sse&key=$access_token" \\
    -H "Content-Type: application/json" --no-buffer \\
    -d '{"contents": [{"parts": [{"text": "LXIII"}]}], "generation_config": {"temperature": 0}}'
"""
    events = shell(server, script, model=tutored).replace("\r", "").removesuffix("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events.split("\n\n")]
    texts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks]
    assert "".join(texts) == "LXIV"


def call(server: Server, method: str, path: str, body: Any = None) -> Any:
    answer = requests.request(
        method,
        f"{server.address}/v1beta/{path}",
        headers={"Authorization": f"Bearer {server.key}"},
        json=body,
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_tuned_model_is_shared_changed_and_deleted(server: Server) -> None:
    examples = {"examples": {"examples": [{"text_input": "1", "output": "2"}]}}
    body = {
        "base_model": "models/gemini-1.0-pro-001",
        "tuning_task": {"training_data": examples, "hyperparameters": {"epoch_count": 1000}},
    }
    operation = call(server, "POST", "tunedModels", body)
    name = operation["metadata"]["tunedModel"]
    changed = call(server, "PATCH", f"{name}?updateMask=display_name", {"displayName": "new"})
    assert changed["displayName"] == "new"
    grant = {"granteeType": "EVERYONE", "role": "READER"}
    given = call(server, "POST", f"{name}/permissions", grant)
    assert given["name"].startswith(f"{name}/permissions/")
    roles = [each["role"] for each in call(server, "GET", f"{name}/permissions")["permissions"]]
    assert sorted(roles) == ["OWNER", "READER"]
    writer = call(server, "PATCH", f"{given['name']}?updateMask=role", {"role": "WRITER"})
    assert writer["role"] == "WRITER"
    assert call(server, "DELETE", given["name"]) == {}
    assert call(server, "POST", f"{operation['name']}:cancel", {}) == {}
    assert server.await_done(operation)["error"]["code"] == 1
    assert call(server, "DELETE", name) == {}
    assert name not in json.dumps(call(server, "GET", "tunedModels?pageSize=1000"))
