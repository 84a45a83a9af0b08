"""The drop-in client against the real server: what a fake one cannot know."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kamerton.genai as genai
from kamerton import errors
from kamerton.client import uploads
from kamerton.dataset.tutorial import PAIRS
from tests.loop.server import Server

pytestmark = pytest.mark.xdist_group("examples")


@pytest.fixture(autouse=True)
def pointed(server: Server) -> Iterator[None]:
    genai.configure(api_key=server.key, client_options={"api_endpoint": server.address})
    yield
    genai.configure()


@pytest.fixture(scope="module")
def tuned(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model tuned on the tutorial's pairs from a JSONL file on this machine."""
    genai.configure(api_key=server.key, client_options={"api_endpoint": server.address})
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    path.write_text("\n".join(json.dumps({"text_input": a, "output": b}) for a, b in PAIRS))
    started = genai.create_tuned_model(
        "gemini-1.5-pro", str(path), tuned_model_id="drop-in", epoch_count=5, learning_rate=0.001
    )
    steps = [status.completed_steps for status in started.wait_bar()]
    assert steps == sorted(steps)
    model = started.result()
    assert (model.name, model.state.name) == ("tunedModels/drop-in", "ACTIVE")
    assert not [file for file in genai.list_files() if file.display_name == "pairs.jsonl"]
    return model.name


def test_a_file_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PIECE_BYTES", 256 * 1024)
    content = os.urandom(700_000)
    file = genai.upload_file(io.BytesIO(content), name="in-pieces", mime_type="text/plain")
    assert (file.name, file.size_bytes, file.state.name) == ("files/in-pieces", 700_000, "ACTIVE")
    assert file.sha256_hash == hashlib.sha256(content).digest()
    assert genai.get_file("in-pieces") == file
    assert file in list(genai.list_files(page_size=1))
    with pytest.raises(errors.AlreadyExists):
        genai.upload_file(io.BytesIO(b""), name="in-pieces")
    file.delete()
    with pytest.raises((errors.NotFound, errors.PermissionDenied)):
        genai.get_file(file)


@pytest.mark.parametrize("lost", [0, 1, 2], ids=["first", "middle", "last"])
def test_a_piece_whose_answer_gets_lost(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    send, count = uploads._send, iter(range(9))

    def lossy(*arguments: Any) -> Any:
        response = send(*arguments)
        if next(count) == lost:
            raise errors.Unavailable("lost")
        return response

    monkeypatch.setattr(uploads, "PIECE_BYTES", 256 * 1024)
    monkeypatch.setattr(uploads, "_send", lossy)
    file = genai.upload_file(io.BytesIO(os.urandom(700_000)))
    assert file.size_bytes == 700_000
    file.delete()


def test_every_bad_line_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text_input": "1", "output": "2"}\n{"text_input": "3"}\nnothing\n')
    with pytest.raises(errors.InvalidArgument) as refused:
        genai.create_tuned_model("gemini-1.5-pro", path)
    assert "line 2" in str(refused.value) and "line 3" in str(refused.value)
    assert not [file for file in genai.list_files() if file.display_name == "bad.jsonl"]


def test_answers_whole_streamed_and_in_a_chat(tuned: str) -> None:
    model = genai.GenerativeModel(tuned, generation_config={"temperature": 0})
    assert model.generate_content("LXIII").text == "LXIV"
    streamed = model.generate_content("one thousand nine hundred ninety nine", stream=True)
    assert "".join(piece.text for piece in streamed) == streamed.text == "two thousand"
    assert streamed.usage_metadata.total_token_count > streamed.usage_metadata.prompt_token_count
    chat = model.start_chat()
    chat.send_message("forty one")
    assert [turn.parts[0].text for turn in chat.history] == ["forty one", "forty two"]
    assert model.count_tokens("LXIII").total_tokens < model.count_tokens("LXIII " * 9).total_tokens


def test_a_model_is_listed_changed_and_continued(tuned: str) -> None:
    assert genai.update_tuned_model(tuned, {"description": "counts"}).description == "counts"
    model = next(each for each in genai.list_tuned_models(page_size=1) if each.name == tuned)
    assert (model.description, model.source_model) == ("counts", "models/gemini-1.5-pro")
    model.top_k = 5
    assert genai.update_tuned_model(model).top_k == 5
    operation = genai.create_tuned_model(model, PAIRS, epoch_count=1)
    child = operation.result()
    assert (child.source_model, child.base_model) == (tuned, "models/gemini-1.5-pro")
    assert operation.name in [each.name for each in genai.list_operations()]
    genai.delete_tuned_model(child)


def test_a_cancelled_run_says_so(server: Server) -> None:
    operation = genai.create_tuned_model("gemini-1.5-pro", PAIRS, epoch_count=500)
    assert operation.cancel()
    with pytest.raises(errors.Cancelled):
        operation.result()
    model = genai.get_tuned_model(operation.metadata.tuned_model)
    assert model.state.name == "FAILED"
    assert model.tuning_task.error_message == errors.CANCELLED
    genai.delete_tuned_model(model)


def test_permissions(server: Server, tuned: str) -> None:
    other = "reader@example.com"
    permissions = genai.get_tuned_model(tuned).permissions
    granted = permissions.create("reader", "user", other)
    assert ("READER", other) in [(each.role.name, each.email_address) for each in permissions]
    assert genai.permission.get_permission(granted.name) == granted

    options = {"api_endpoint": server.address}
    genai.configure(api_key=server.key_of(other), client_options=options)
    assert genai.GenerativeModel(tuned).generate_content("1").text
    with pytest.raises(errors.PermissionDenied):
        genai.update_tuned_model(tuned, {"description": "mine"})

    genai.configure(api_key=server.key, client_options=options)
    assert granted.update({"role": "WRITER"}).role.name == "WRITER"
    permissions.create("reader", "everyone").delete()
    granted.delete()
    assert [each.role.name for each in permissions] == ["OWNER"]
