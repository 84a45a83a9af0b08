"""Asking models: every form of a prompt, settings, streams and conversations."""

from __future__ import annotations

from typing import Any

import pytest
import requests

import kamerton.genai as genai
from kamerton import errors
from kamerton.client.connection import GENERATION_SECONDS
from tests.fake_server import NAME, FakeServer, Json, refusal

GENERATE = f"POST /v1beta/{NAME}:generateContent"
STREAM = f"POST /v1beta/{NAME}:streamGenerateContent"


def answer(text: str, **more: Any) -> Json:
    return {
        "candidates": [
            {
                "content": {"parts": [{"text": text}], "role": "model"},
                "index": 0,
                "safetyRatings": [
                    {"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}
                ],
                **more,
            }
        ],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8},
        "modelVersion": "next-number",
    }


@pytest.fixture
def model(server: FakeServer) -> genai.GenerativeModel:
    server.when(GENERATE, answer("LXIV", finishReason="STOP"))
    server.when(STREAM, [answer("LX"), answer("IV", finishReason="MAX_TOKENS")])
    return genai.GenerativeModel(NAME)


def body(server: FakeServer) -> Json:
    sent = server.requests[-1][1]
    assert sent is not None
    return sent


def test_an_answer_is_read_by_its_names(model: genai.GenerativeModel) -> None:
    response = model.generate_content("LXIII")
    assert response.text == response.parts[0].text == "LXIV"
    candidate = response.candidates[0]
    assert candidate.finish_reason.name == "STOP"
    assert candidate.content.role == "model"
    assert candidate.safety_ratings[0].probability.name == "NEGLIGIBLE"
    assert response.usage_metadata.total_token_count == 8
    assert not response.prompt_feedback.block_reason
    assert response.model_version == "next-number"
    assert response.to_dict()["candidates"][0]["content"]["parts"] == [{"text": "LXIV"}]
    assert [piece.text for piece in response] == ["LXIV"]
    assert "LXIV" in repr(response)


USER = {"role": "user", "parts": [{"text": "a"}]}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("a", [USER]),
        (["a", "b"], [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]),
        ({"text": "a"}, [USER]),
        ({"parts": ["a"]}, [USER]),
        ({"role": "user", "parts": "a"}, [USER]),
        (genai.types.Content([genai.types.Part("a")], "user"), [USER]),
        (
            [{"role": "model", "parts": ["b"]}, {"parts": [{"text": "a"}]}],
            [{"role": "model", "parts": [{"text": "b"}]}, USER],
        ),
    ],
)
def test_forms_of_a_prompt(
    server: FakeServer, model: genai.GenerativeModel, given: Any, sent: list[Json]
) -> None:
    model.generate_content(given)
    assert body(server)["contents"] == sent


@pytest.mark.parametrize("wrong", ["", [], None, [1], {"inline_data": {}}, ["a", b"b"]])
def test_what_is_no_text_is_refused_here(model: genai.GenerativeModel, wrong: Any) -> None:
    with pytest.raises(TypeError):
        model.generate_content(wrong)


def test_settings_of_the_call_go_before_the_models(server: FakeServer) -> None:
    server.when("POST /v1beta/models/gemini-1.5-pro:generateContent", answer("x"))
    model = genai.GenerativeModel(
        "gemini-1.5-pro",
        generation_config={"temperature": 1, "topK": 3},
        system_instruction="Count.",
        safety_settings={"HARASSMENT": "block_none"},
    )
    config = genai.types.GenerationConfig(temperature=0.2, stop_sequences=("a", "b"))
    model.generate_content("1", generation_config=config, safety_settings="BLOCK_ONLY_HIGH")
    sent = body(server)
    assert sent["generationConfig"] == {
        "temperature": 0.2,
        "topK": 3,
        "stop_sequences": ["a", "b"],
    }
    assert sent["systemInstruction"] == {"parts": [{"text": "Count."}]}
    assert {each["threshold"] for each in sent["safetySettings"]} == {"BLOCK_ONLY_HIGH"}


@pytest.mark.parametrize(
    "settings",
    [
        {"HARM_CATEGORY_HATE_SPEECH": "BLOCK_NONE"},
        {"hate": "block_none"},
        {genai.types.HarmCategory.HARM_CATEGORY_HATE_SPEECH: 4},
        [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}],
    ],
)
def test_forms_of_safety_settings(server: FakeServer, settings: Any) -> None:
    server.when(GENERATE, answer("x"))
    genai.GenerativeModel(NAME, safety_settings=settings).generate_content("1")
    expected = [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}]
    assert body(server)["safetySettings"] == expected
    for wrong in ({"": "BLOCK_NONE"}, {"hate": "perhaps"}):
        with pytest.raises(ValueError):
            genai.GenerativeModel(NAME, safety_settings=wrong)


def test_a_stream_is_whole_at_its_end(model: genai.GenerativeModel) -> None:
    response = model.generate_content("LXIII", stream=True)
    assert not response.prompt_feedback.block_reason
    with pytest.raises(genai.types.IncompleteIterationError, match="resolve"):
        _ = response.text
    assert [piece.text for piece in response] == ["LX", "IV"]
    assert response.text == "LXIV"
    assert response.candidates[0].finish_reason.name == "MAX_TOKENS"
    assert [piece.text for piece in response] == ["LX", "IV"]


def test_a_stream_is_resolved(model: genai.GenerativeModel) -> None:
    response = model.generate_content("LXIII", stream=True)
    response.resolve()
    assert response.text == "LXIV"


def test_a_stream_that_breaks_says_why_once(
    server: FakeServer, model: genai.GenerativeModel
) -> None:
    server.when(STREAM, [answer("LX"), refusal(503, "UNAVAILABLE", "the engine died")])
    response = model.generate_content("LXIII", stream=True)
    with pytest.raises(errors.Unavailable, match="the engine died"):
        response.resolve()
    assert response.text == "LX"


def test_a_refusal_of_a_stream_is_raised_at_the_call(
    server: FakeServer, model: genai.GenerativeModel
) -> None:
    server.when(STREAM, refusal(400, "FAILED_PRECONDITION", "is CREATING"), status=400)
    with pytest.raises(errors.FailedPrecondition, match="is CREATING"):
        model.generate_content("LXIII", stream=True)


def test_text_needs_one_candidate_with_parts(
    server: FakeServer, model: genai.GenerativeModel
) -> None:
    one = answer("x")["candidates"][0]
    server.when(GENERATE, {"candidates": [one, {**one, "index": 1}]})
    with pytest.raises(ValueError, match="2 candidates"):
        _ = model.generate_content("1").text
    server.when(GENERATE, {"candidates": [{"finishReason": "SAFETY"}]})
    with pytest.raises(ValueError, match="SAFETY"):
        _ = model.generate_content("1").text


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_sends_all_turns(
    server: FakeServer, model: genai.GenerativeModel, stream: bool
) -> None:
    chat = model.start_chat(
        history=[{"role": "user", "parts": "1"}, {"role": "model", "parts": "2"}]
    )
    response = chat.send_message("LXIII", stream=stream)
    response.resolve()
    assert chat.last is response
    assert [(turn.role, turn.parts[0].text) for turn in chat.history] == [
        ("user", "1"),
        ("model", "2"),
        ("user", "LXIII"),
        ("model", "LXIV"),
    ]
    chat.send_message("and?", stream=stream).resolve()
    assert [turn["role"] for turn in body(server)["contents"]] == ["user", "model"] * 2 + ["user"]
    sent, received = chat.rewind()
    assert (sent.parts[0].text, received.parts[0].text) == ("and?", "LXIV")
    assert len(chat.history) == 4


def test_a_chat_waits_for_its_stream(model: genai.GenerativeModel) -> None:
    chat = model.start_chat()
    chat.send_message("LXIII", stream=True)
    with pytest.raises(genai.types.IncompleteIterationError):
        chat.send_message("and?")


def test_a_refused_message_leaves_a_chat_as_it_was(
    server: FakeServer, model: genai.GenerativeModel
) -> None:
    chat = model.start_chat()
    chat.send_message("LXIII")
    server.when(GENERATE, refusal(429, "RESOURCE_EXHAUSTED", "full"), status=429)
    with pytest.raises(errors.ResourceExhausted):
        chat.send_message("and?")
    assert len(chat.history) == 2


def test_count_tokens_counts_the_system_instruction_too(server: FakeServer) -> None:
    server.when(f"POST /v1beta/{NAME}:countTokens", {"totalTokens": 12})
    model = genai.GenerativeModel(NAME, system_instruction="Count.")
    assert model.count_tokens("LXIII").total_tokens == 12
    asked = body(server)["generateContentRequest"]
    assert asked["model"] == NAME
    assert asked["systemInstruction"] == {"parts": [{"text": "Count."}]}


@pytest.mark.parametrize("nothing", [[], (), None, ""])
def test_tokens_of_nothing_are_not_counted(model: genai.GenerativeModel, nothing: Any) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        model.count_tokens(nothing)


@pytest.mark.parametrize("none", [None, []])
def test_no_tools_are_as_good_as_none(server: FakeServer, none: Any) -> None:
    server.when(GENERATE, answer("x"))
    server.when(f"POST /v1beta/{NAME}:countTokens", {"totalTokens": 3})
    model = genai.GenerativeModel(NAME, None, None, none, none, "Count.")
    assert model.generate_content("1", tools=none, tool_config=none).text == "x"
    assert body(server)["systemInstruction"] == {"parts": [{"text": "Count."}]}
    assert model.count_tokens("1", tools=none, tool_config=none).total_tokens == 3
    assert model.start_chat().send_message("1", tools=none, tool_config=none).text == "x"


def test_tools_are_refused_here(server: FakeServer, model: genai.GenerativeModel) -> None:
    given: dict[str, Any]
    for given in ({"tools": [print]}, {"tool_config": {"function_calling_config": "any"}}):
        for call in (model.generate_content, model.count_tokens, model.start_chat().send_message):
            with pytest.raises(ValueError, match="call no functions"):
                call("1", **given)
        with pytest.raises(ValueError, match="call no functions"):
            genai.GenerativeModel(NAME, **given)
    assert server.requests == []


def test_request_options_say_how_long_a_call_may_take(
    model: genai.GenerativeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def request(session: Any, *arguments: Any, **more: Any) -> Any:
        seen.append(more["timeout"][1])
        return send(session, *arguments, **more)

    send = requests.Session.request
    monkeypatch.setattr(requests.Session, "request", request)
    model.generate_content("1", request_options=genai.types.RequestOptions(timeout=7))
    model.generate_content("1", request_options=genai.types.RequestOptions(retry=object()))
    assert seen == [7, GENERATION_SECONDS]
