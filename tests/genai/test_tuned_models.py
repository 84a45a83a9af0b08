"""Tuned models as scripts see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

import kamerton.genai as genai
from tests.fake_server import NAME, FakeServer, Json, snapshots


def told(state: str = "ACTIVE", **more: Any) -> Json:
    return {
        "name": NAME,
        "baseModel": "models/gemini-1.5-flash",
        "displayName": "next number",
        "state": state,
        "createTime": "2026-11-21T08:16:11.879270Z",
        "tuningTask": {
            "startTime": "2026-11-21T08:16:12Z",
            "snapshots": snapshots(3),
            "hyperparameters": {"epochCount": 5, "batchSize": 4, "learningRate": 0.001},
        },
        "temperature": 1,
        "topK": 64,
        **more,
    }


@pytest.fixture
def model(server: FakeServer) -> genai.types.TunedModel:
    server.when(f"GET /v1beta/{NAME}", told())
    return genai.get_tuned_model(NAME)


def test_fields_have_their_python_names(model: genai.types.TunedModel) -> None:
    assert model.state.name == "ACTIVE"
    assert model.state is genai.types.TunedModelState.ACTIVE
    assert int(model.state) == 2
    assert model.create_time == datetime(2026, 11, 21, 8, 16, 11, 879270, UTC)
    assert model.source_model == model.base_model == "models/gemini-1.5-flash"
    assert (model.display_name, model.temperature, model.top_k) == ("next number", 1.0, 64)
    chosen = model.tuning_task.hyperparameters
    assert chosen == genai.types.Hyperparameters(5, 4, 0.001)


def test_snapshots_are_read_either_way(model: genai.types.TunedModel) -> None:
    last = model.tuning_task.snapshots[-1]
    assert last.step == last["step"] == 3
    assert last.mean_loss == last["mean_loss"] == 7 / 3
    assert last.compute_time == datetime(2026, 11, 21, 8, 16, 13, tzinfo=UTC)
    with pytest.raises(AttributeError, match="mean_score"):
        _ = last.mean_score


def test_snapshots_are_rows_of_a_frame(model: genai.types.TunedModel) -> None:
    frame = pd.DataFrame(model.tuning_task.snapshots)
    assert list(frame.columns) == ["step", "epoch", "mean_loss", "compute_time"]
    assert frame["step"].tolist() == [1, 2, 3]


def test_why_it_failed_stands_where_scripts_look(server: FakeServer) -> None:
    error = {"code": 9, "message": "the loss is not finite"}
    server.when(f"GET /v1beta/{NAME}", told("FAILED", kamerton={"error": error}))
    task = genai.get_tuned_model(NAME).tuning_task
    assert task.error_message == task.description == "the loss is not finite"


def test_a_good_model_has_no_error(model: genai.types.TunedModel) -> None:
    assert model.tuning_task.error_message == model.tuning_task.description == ""


def test_a_continued_model_names_both_sources(server: FakeServer) -> None:
    source = {"tunedModel": "tunedModels/first", "baseModel": "models/gemini-1.5-flash"}
    answer = told(tunedModelSource=source)
    del answer["baseModel"]
    server.when("GET /v1beta/tunedModels", {"tunedModels": [answer]})
    (model,) = genai.list_tuned_models(page_size=7)
    assert model.source_model == "tunedModels/first"
    assert model.base_model == "models/gemini-1.5-flash"
    assert server.requests[0][0] == "GET /v1beta/tunedModels?pageSize=7"


def test_a_state_of_tomorrow_is_unspecified(server: FakeServer) -> None:
    server.when(f"GET /v1beta/{NAME}", told("PAUSED"))
    assert genai.get_tuned_model(NAME).state.name == "STATE_UNSPECIFIED"


def test_updates_name_what_they_change(server: FakeServer) -> None:
    server.when(f"PATCH /v1beta/{NAME}", told(description="v2"))
    changed = genai.update_tuned_model(NAME, {"description": "v2", "display_name": "n"})
    assert changed.description == "v2"
    call, body = server.requests[0]
    assert call.endswith("?updateMask=description%2Cdisplay_name")
    assert body == {"description": "v2", "displayName": "n"}


def test_a_changed_model_is_sent_back(server: FakeServer, model: genai.types.TunedModel) -> None:
    server.when(f"PATCH /v1beta/{NAME}", told())
    model.top_k = 3
    genai.update_tuned_model(model)
    body = server.requests[-1][1]
    assert body is not None and body["topK"] == 3
    with pytest.raises(TypeError, match="needs updates"):
        genai.update_tuned_model(NAME)


@pytest.mark.parametrize("given", [NAME, NAME.removeprefix("tunedModels/"), "model"])
def test_delete(server: FakeServer, model: genai.types.TunedModel, given: str) -> None:
    server.when(f"DELETE /v1beta/{NAME}", {})
    genai.delete_tuned_model(model if given == "model" else given)
    assert server.requests[-1] == (f"DELETE /v1beta/{NAME}", None)
    with pytest.raises(ValueError, match="is no tuned model"):
        genai.delete_tuned_model("models/x")
