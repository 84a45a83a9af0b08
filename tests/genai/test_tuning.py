"""Starting to tune: every form of training data, and what is sent with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pytest

import kamerton.genai as genai
from kamerton import errors
from kamerton.client.connection import Connection
from kamerton.genai import files
from tests.fake_server import NAME, FakeServer, Json, operation, refusal

CREATE = "POST /v1beta/tunedModels"
ROWS = [{"text_input": "1", "output": "2"}, {"text_input": "three", "output": "four"}]
INLINE = {
    "examples": {
        "examples": [
            {"textInput": "1", "output": "2"},
            {"textInput": "three", "output": "four"},
        ]
    }
}


@pytest.fixture
def ready(server: FakeServer) -> FakeServer:
    server.when(CREATE, operation())
    return server


@pytest.fixture
def uploads(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was uploaded; every file becomes files/abc."""
    sent: list[bytes] = []

    def upload(connection: Connection, content: BinaryIO, **about: str) -> Json:
        sent.append(content.read())
        return {"name": "files/abc", "displayName": about["display_name"]}

    monkeypatch.setattr(files, "upload", upload)
    server.when("DELETE /v1beta/files/abc", {})
    return sent


def data_sent(server: FakeServer) -> Any:
    (body,) = [body for call, body in server.requests if call.startswith(CREATE) and body]
    return body["tuningTask"]["trainingData"]


def test_everything_that_was_chosen_is_sent(ready: FakeServer) -> None:
    started = genai.create_tuned_model(
        "models/gemini-3.0-flash-001",
        ROWS,
        tuned_model_id="next-number",
        display_name="next number",
        description="counts",
        temperature=0.0,
        top_p=0.9,
        top_k=3,
        epoch_count=5,
        batch_size=4,
        learning_rate=0.001,
    )
    assert started.metadata.tuned_model == NAME
    call, body = ready.requests[0]
    assert call == f"{CREATE}?tunedModelId=next-number"
    assert body == {
        "baseModel": "models/gemini-3.0-flash-001",
        "displayName": "next number",
        "description": "counts",
        "temperature": 0.0,
        "topP": 0.9,
        "topK": 3,
        "tuningTask": {
            "hyperparameters": {"epochCount": 5, "batchSize": 4, "learningRate": 0.001},
            "trainingData": INLINE,
        },
    }


def test_what_was_not_chosen_is_left_to_the_server(ready: FakeServer) -> None:
    genai.create_tuned_model("gemini-1.5-pro", ROWS, learning_rate_multiplier=2)
    assert ready.requests[0] == (
        CREATE,
        {
            "baseModel": "models/gemini-1.5-pro",
            "tuningTask": {
                "hyperparameters": {"learningRateMultiplier": 2},
                "trainingData": INLINE,
            },
        },
    )


def test_a_tuned_model_is_continued(ready: FakeServer) -> None:
    genai.create_tuned_model(genai.types.TunedModel(name=NAME), ROWS)
    body = ready.requests[0][1]
    assert body is not None and body["tunedModelSource"] == {"tunedModel": NAME}
    assert "baseModel" not in body


def test_both_names_of_the_id(ready: FakeServer) -> None:
    genai.create_tuned_model("gemini-1.5-pro", ROWS, id="a", tuned_model_id="a")
    assert ready.requests[0][0] == f"{CREATE}?tunedModelId=a"
    with pytest.raises(ValueError, match="mean the same"):
        genai.create_tuned_model("gemini-1.5-pro", ROWS, id="a", tuned_model_id="b")


@pytest.mark.parametrize(
    "data",
    [
        ROWS,
        iter(ROWS),
        [("1", "2"), ["three", "four"]],
        {"text_input": [1, "three"], "output": ("2", "four")},
        pd.DataFrame(ROWS),
    ],
    ids=["rows", "iterator", "pairs", "columns", "frame"],
)
def test_forms_in_memory(ready: FakeServer, data: Any) -> None:
    genai.create_tuned_model("gemini-1.5-pro", data)
    assert data_sent(ready) == INLINE


FILES = {
    "rows.json": json.dumps(ROWS),
    "columns.json": '{"text_input": ["1", "three"], "output": ["2", "four"]}',
    "table.csv": "text_input,output\r\n1,2\r\nthree,four\r\n",
    "table": "output,text_input\n2,1\nfour,three\n",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", [str, Path])
def test_files_that_are_read_here(ready: FakeServer, tmp_path: Path, name: str, kind: type) -> None:
    (tmp_path / name).write_text(FILES[name], encoding="utf-8-sig")
    genai.create_tuned_model("gemini-1.5-pro", kind(tmp_path / name))
    assert data_sent(ready) == INLINE


def test_a_file_on_the_web(ready: FakeServer) -> None:
    ready.when("GET /data/table.csv", FILES["table.csv"])
    genai.create_tuned_model("gemini-1.5-pro", f"{ready.endpoint}/data/table.csv?raw=1")
    assert data_sent(ready) == INLINE
    with pytest.raises(errors.InvalidArgument, match="cannot be read"):
        genai.create_tuned_model("gemini-1.5-pro", f"{ready.endpoint}/none.csv")


@pytest.mark.parametrize("name", ["named.csv", "named.json", "named.jsonl"])
def test_other_names_of_the_columns(ready: FakeServer, tmp_path: Path, name: str) -> None:
    rows = [{"question": row["text_input"], "answer": row["output"]} for row in ROWS]
    text = {
        "named.csv": "question,answer\n1,2\nthree,four\n",
        "named.json": json.dumps(rows),
        "named.jsonl": "\n".join(map(json.dumps, rows)),
    }[name]
    (tmp_path / name).write_text(text)
    path = str(tmp_path / name)
    genai.create_tuned_model("gemini-1.5-pro", path, input_key="question", output_key="answer")
    assert data_sent(ready) == INLINE


def test_jsonl_is_uploaded_for_as_long_as_it_is_needed(
    ready: FakeServer, uploads: list[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text('{"contents": []}\n')
    genai.create_tuned_model("gemini-1.5-pro", str(path))
    assert uploads == [b'{"contents": []}\n']
    assert data_sent(ready) == {"fileUri": "files/abc"}
    assert [call for call, _ in ready.requests] == [CREATE, "DELETE /v1beta/files/abc"]


def test_an_upload_is_deleted_after_a_refusal_too(
    server: FakeServer, uploads: list[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text("{}\n")
    server.when(CREATE, refusal(400, "INVALID_ARGUMENT", "line 1: has nothing"), status=400)
    server.when("DELETE /v1beta/files/abc", refusal(500, "INTERNAL", "oh"), status=500)
    with pytest.raises(errors.InvalidArgument, match="line 1"):
        genai.create_tuned_model("gemini-1.5-pro", path)
    assert server.requests[-1][0] == "DELETE /v1beta/files/abc"


@pytest.mark.parametrize(
    "given",
    [
        genai.types.File(name="files/abc", uri="http://elsewhere/v1beta/files/abc"),
        "files/abc",
        "http://127.0.0.1:8080/v1beta/files/abc",
    ],
)
def test_an_uploaded_file_is_used_and_stays(ready: FakeServer, given: Any) -> None:
    genai.create_tuned_model("gemini-1.5-pro", given)
    assert data_sent(ready) == {"fileUri": "files/abc"}
    assert len(ready.requests) == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([*ROWS, {"text_input": "x"}, ("a",)], r"data\[2\]: has no 'output'.*data\[3\]: must be"),
        (["ab"], "must be a pair"),
        ([{"text_input": "x", "output": None}], "must hold text, not None"),
        ({"text_input": ["x"], "output": [float("nan")]}, "must hold text, not nan"),
        ({"text_input": ["x"]}, "no column 'output', only text_input"),
    ],
)
def test_bad_rows_are_named_all_at_once(server: FakeServer, data: Any, said: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=said):
        genai.create_tuned_model("gemini-1.5-pro", data)
    assert server.requests == []


def test_columns_of_different_length(server: FakeServer) -> None:
    with pytest.raises(ValueError):
        genai.create_tuned_model("gemini-1.5-pro", {"text_input": ["1", "2"], "output": ["2"]})


def test_a_path_that_is_not_there(server: FakeServer) -> None:
    with pytest.raises(FileNotFoundError):
        genai.create_tuned_model("gemini-1.5-pro", "none.jsonl")
