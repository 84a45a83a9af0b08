"""Base models as scripts see them."""

from __future__ import annotations

import pytest

import kamerton.genai as genai
from kamerton import errors
from tests.fake_server import NAME, FakeServer

NANO = {
    "name": "models/kamerton-nano-001",
    "baseModelId": "kamerton-nano-001",
    "inputTokenLimit": 1024,
    "supportedGenerationMethods": ["generateContent", "createTunedModel"],
    "topP": 0.95,
    "somethingNew": {"deep": 1},
}


def test_pages_are_walked_as_they_are_needed(server: FakeServer) -> None:
    second = {**NANO, "name": "models/second"}
    server.when(
        "GET /v1beta/models", {"models": [NANO], "nextPageToken": "n"}, {"models": [second]}
    )
    models = genai.list_models()
    assert next(models).name == "models/kamerton-nano-001"
    assert len(server.requests) == 1
    assert [model.name for model in models] == ["models/second"]
    assert [call for call, _ in server.requests] == [
        "GET /v1beta/models?pageSize=50",
        "GET /v1beta/models?pageSize=50&pageToken=n",
    ]


def test_fields_have_their_python_names(server: FakeServer) -> None:
    server.when("GET /v1beta/models/kamerton-nano-001", NANO)
    model = genai.get_model("kamerton-nano-001")
    assert isinstance(model, genai.types.Model)
    assert (model.input_token_limit, model.top_p, model.temperature) == (1024, 0.95, None)
    assert "createTunedModel" in model.supported_generation_methods
    assert genai.get_base_model(model) == model


def test_get_model_knows_tuned_models(server: FakeServer) -> None:
    server.when(f"GET /v1beta/{NAME}", {"name": NAME, "state": "ACTIVE"})
    assert isinstance(genai.get_model(NAME), genai.types.TunedModel)
    with pytest.raises(ValueError, match="is no base model"):
        genai.get_base_model(NAME)


@pytest.mark.parametrize(("wrong", "kind"), [("files/x", ValueError), (7, TypeError)])
def test_what_is_no_model_is_refused_here(wrong: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        genai.get_model(wrong)


def test_refusals_are_kamertons_errors(server: FakeServer) -> None:
    with pytest.raises(errors.NotFound, match="is not there"):
        genai.get_model("models/none")
