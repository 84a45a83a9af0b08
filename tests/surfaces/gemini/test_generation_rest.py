"""Prompts over HTTP: what may be asked, whole answers, streams, and clients that leave."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from kamerton.errors import FailedPrecondition, ResourceExhausted
from kamerton.surfaces.gemini import published
from kamerton.types import Chunk, Content, GenerationConfig
from tests.surfaces.gemini.fake_service import Http, Serving, Verbs, fields, problem

# The oldest published messages that we work with have no seed; it is ignored then.
HAS_SEED = "seed" in published.GenerateContentRequest().generation_config.DESCRIPTOR.fields_by_name
TUNED = "tunedModels/next-number-4kq0x9v1c2ab"
BASE = "models/gemini-1.5-pro"
HI = {"parts": [{"text": "hi"}]}


def asked(http: Http, verb: str = "generateContent", model: str = TUNED, **body: Any) -> Any:
    return http("POST", f"/v1beta/{model}:{verb}", json={"contents": [HI], **body})


# --- the request ---------------------------------------------------------------------------------


def test_contents(http: Http, verbs: Verbs) -> None:
    answer = asked(
        http,
        contents=[
            HI,
            {"role": "model", "parts": [{"text": "a"}, {"text": ""}, {"text": "b"}]},
            {"role": "user", "parts": [{"text": ""}]},
        ],
        system_instruction={"role": "system", "parts": [{"text": "be brief"}]},
        model="models/ignored",
        safetySettings=[
            {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"},
            {"category": 8, "threshold": 3},
        ],
        tools=[],
        toolConfig={},
        cachedContent="",
        labels={"a": "b"},
    )
    assert answer.status_code == 200, answer.text
    assert verbs.asked["contents"] == [
        Content("system", "be brief"),
        Content("user", "hi"),
        Content("model", "ab"),
        Content("user", ""),
    ]


def test_config(http: Http, verbs: Verbs) -> None:
    config = {
        "candidateCount": 8,
        "stopSequences": ["a", "b"],
        "max_output_tokens": "7",
        "temperature": 0.7,
        "topP": 0,
        "topK": 40.0,
        "seed": -5,
        "presencePenalty": -2,
        "frequencyPenalty": 0.1,
        "responseMimeType": "text/plain",
        "responseModalities": ["TEXT"],
        "thinkingConfig": {"thinkingBudget": 0},
        "speechConfig": {"x": 1},
        "brandNew": {},
    }
    assert asked(http, model=BASE, generationConfig=config).status_code == 200
    assert verbs.asked["base_model"] == "gemini-1.5-pro"
    assert verbs.asked["config"] == GenerationConfig(
        candidate_count=8,
        stop_sequences=("a", "b"),
        max_output_tokens=7,
        temperature=0.7,
        top_p=0.0,
        top_k=40,
        seed=-5 if HAS_SEED else None,
        presence_penalty=-2.0,
        frequency_penalty=0.1,
    )
    asked(http, generationConfig={})
    assert verbs.asked["config"] == GenerationConfig()
    unset: dict[str, Any] = {"maxOutputTokens": 0, "temperature": None, "stopSequences": []}
    asked(http, generationConfig=unset)
    assert verbs.asked["config"] == GenerationConfig()


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"candidateCount": 0}, "candidate_count"),
        ({"candidateCount": 9}, "candidate_count"),
        ({"candidateCount": 1_000_000}, "candidate_count"),
        ({"maxOutputTokens": -1}, "max_output_tokens"),
        ({"maxOutputTokens": 2**31}, "max_output_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "NaN"}, "temperature"),
        ({"topP": 1.01}, "top_p"),
        ({"topK": -1}, "top_k"),
        ({"presencePenalty": 2.1}, "presence_penalty"),
        ({"frequencyPenalty": -2.1}, "frequency_penalty"),
        pytest.param(
            {"seed": 2**31}, "seed", marks=pytest.mark.skipif(not HAS_SEED, reason="no such field")
        ),
        ({"stopSequences": ["a"] * 6}, "stop_sequences"),
        ({"stopSequences": ["a"] * 100_000}, "stop_sequences"),
        ({"stopSequences": [""]}, "stop_sequences"),
        ({"stopSequences": "a"}, "stop_sequences"),
        ({"responseMimeType": "application/json"}, "response_mime_type"),
        ({"responseSchema": {"type": "STRING"}}, "response_schema"),
        ({"responseLogprobs": True, "logprobs": 21}, "logprobs"),
        ({"logprobs": 5}, "logprobs"),
        ({"responseModalities": ["IMAGE"]}, "response_modalities"),
        ({"responseModalities": ["TEXT", "AUDIO"]}, "response_modalities"),
    ],
)
def test_config_out_of_range(http: Http, config: dict[str, Any], field: str) -> None:
    error = problem(asked(http, generationConfig=config), 400, "INVALID_ARGUMENT")
    assert fields(error) == [f"generation_config.{field}"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"contents": []}, "contents"),
        ({"contents": None}, "contents"),
        ({"contents": [{"role": "user"}]}, "contents[0].parts"),
        ({"contents": [{"parts": []}]}, "contents[0].parts"),
        ({"contents": [HI, {"role": "system", **HI}]}, "contents[1].role"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"newKind": 1}]}]}, "contents[0].parts[0]"),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "a/b", "data": "AA=="}}]}]},
            "contents[0].parts[0]",
        ),
        (
            {"contents": [HI, {"parts": [{"text": "a"}, {"fileData": {"fileUri": "x"}}]}]},
            "contents[1].parts[1]",
        ),
        ({"systemInstruction": {"parts": [{}]}}, "system_instruction.parts[0]"),
        ({"safetySettings": [{"category": "X"}]}, "safety_settings[0].category"),
        ({"tools": [{"functionDeclarations": [{"name": "f"}]}]}, "tools"),
        ({"tools": [{"brandNew": {}}]}, "tools"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "tool_config"),
        ({"cachedContent": "cachedContents/x"}, "cached_content"),
    ],
)
def test_requests_that_make_no_sense(http: Http, body: dict[str, Any], field: str) -> None:
    for verb in ("generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse"):
        error = problem(asked(http, verb, **body), 400, "INVALID_ARGUMENT")
        assert fields(error) == [field]


# --- whole answers -------------------------------------------------------------------------------


def test_a_whole_answer(http: Http) -> None:
    made = asked(http).json()
    (candidate,) = made["candidates"]
    assert candidate["content"] == {"parts": [{"text": "LXIV"}], "role": "model"}
    assert candidate["finishReason"] == "STOP" and candidate["index"] == 0
    assert len(candidate["safetyRatings"]) == len(made["promptFeedback"]["safetyRatings"]) == 4
    assert made["usageMetadata"] == {
        "promptTokenCount": 5,
        "candidatesTokenCount": 2,
        "totalTokenCount": 7,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 2}],
    }
    assert made["modelVersion"] == "next-number-4kq0x9v1c2ab" and made["responseId"]


@pytest.mark.parametrize("model", [TUNED, BASE])
def test_count_tokens(http: Http, verbs: Verbs, model: str) -> None:
    plain = asked(http, "countTokens", model).json()
    assert plain["totalTokens"] == 1
    request = {"model": model, "contents": [HI], "systemInstruction": HI, "generationConfig": {}}
    nested = {"contents": None, "generateContentRequest": request}
    assert asked(http, "countTokens", model, **nested).json()["totalTokens"] == 2
    assert [content.role for content in verbs.asked["contents"]] == ["system", "user"]
    problem(asked(http, "countTokens", model, contents=[]), 400, "INVALID_ARGUMENT")


# --- streams -------------------------------------------------------------------------------------


def test_a_fault_in_a_nested_request_is_named_where_it_stands(http: Http) -> None:
    body: dict[str, Any] = {"generateContentRequest": {"contents": [{"parts": []}]}}
    error = problem(http("POST", f"/v1/{TUNED}:countTokens", json=body), 400, "INVALID_ARGUMENT")
    (violation,) = error["details"][0]["fieldViolations"]
    assert violation["field"] == "generate_content_request.contents[0].parts"


def test_a_stream_of_events(http: Http) -> None:
    answer = asked(http, "streamGenerateContent?alt=sse")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    *events, end = answer.text.split("\n\n")
    assert end == "" and all(event.startswith("data: {") for event in events)
    assert not any("\n" in event for event in events)
    made = [json.loads(event.removeprefix("data: ")) for event in events]
    _check_pieces(made)


@pytest.mark.parametrize("query", ["", "?alt=json", "?$alt=json;enum-encoding=int"])
def test_a_stream_as_one_array(http: Http, query: str) -> None:
    answer = asked(http, f"streamGenerateContent{query}")
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text.startswith("[{") and answer.text.endswith("}]")
    assert answer.text.count(",\r\n{") == 1
    _check_pieces(answer.json())


def _check_pieces(made: list[dict[str, Any]]) -> None:
    texts = [piece["candidates"][0]["content"]["parts"][0]["text"] for piece in made]
    assert texts == ["LX", "IV"]
    assert ["finishReason" in piece["candidates"][0] for piece in made] == [False, True]
    assert [piece["usageMetadata"]["totalTokenCount"] for piece in made] == [6, 7]
    assert ["promptFeedback" in piece for piece in made] == [True, False]
    assert len({piece["responseId"] for piece in made}) == 1


def test_a_last_piece_without_text_has_a_part(http: Http, verbs: Verbs) -> None:
    verbs.chunks = [Chunk("a"), Chunk(""), Chunk("", finish_reason="MAX_TOKENS")]
    first, last = asked(http, "streamGenerateContent").json()
    assert first["candidates"][0]["content"]["parts"] == [{"text": "a"}]
    assert last["candidates"][0]["content"]["parts"] == [{"text": ""}]
    assert last["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_pieces_come_as_they_are_made(http: Http, verbs: Verbs) -> None:
    verbs.pause = 0.2
    verbs.chunks = [Chunk("a"), Chunk("b"), Chunk("c", finish_reason="STOP")]
    for query in ("", "?alt=sse"):
        address = f"{http.url}/v1beta/{TUNED}:streamGenerateContent{query}"
        with requests.post(
            address, json={"contents": [HI]}, headers={"x-goog-api-key": "owner-key"}, stream=True
        ) as answer:
            times = [time.monotonic() for _ in answer.iter_content(None)]
        assert times[-1] - times[0] > 0.3


@pytest.mark.parametrize("verb", ["generateContent", "streamGenerateContent"])
def test_an_error_before_the_first_piece_is_a_plain_error(
    http: Http, verbs: Verbs, verb: str
) -> None:
    verbs.error = FailedPrecondition("tunedModels/x is CREATING.")
    for query in ("", "?alt=sse"):
        problem(asked(http, verb + query), 400, "FAILED_PRECONDITION")
    verbs.error = None
    verbs.chunks = [ResourceExhausted("full")]
    problem(asked(http, verb + "?alt=sse"), 429, "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize(
    ("error", "code"), [(ResourceExhausted("out of memory"), 429), (RuntimeError("secret"), 500)]
)
def test_an_error_inside_a_stream_is_its_last_piece(
    http: Http, verbs: Verbs, error: Exception, code: int
) -> None:
    verbs.chunks = [Chunk("a"), error]
    events = asked(http, "streamGenerateContent?alt=sse").text.split("\n\n")
    assert len(events) == 3 and "secret" not in events[1]
    assert json.loads(events[1].removeprefix("data: "))["error"]["code"] == code
    elements = asked(http, "streamGenerateContent").json()
    assert elements[1]["error"]["code"] == code


# --- clients that leave, and many at once --------------------------------------------------------


@pytest.mark.parametrize("verb", ["generateContent", "streamGenerateContent?alt=sse"])
def test_a_client_that_leaves_stops_the_work(http: Http, verbs: Verbs, verb: str) -> None:
    verbs.pause = 0.05
    verbs.chunks = [Chunk("a") for _ in range(200)]
    body = json.dumps({"contents": [HI]}).encode()
    head = (
        f"POST /v1beta/{TUNED}:{verb} HTTP/1.1\r\nhost: x\r\nx-goog-api-key: owner-key\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", http.port)) as connection:
        connection.sendall(head.encode() + body)
        time.sleep(0.3)
        assert verbs.calls and not verbs.closed.is_set()
    assert verbs.closed.wait(1)


@pytest.mark.parametrize("verb", ["generateContent", "streamGenerateContent?alt=sse"])
def test_a_client_that_leaves_before_the_first_piece(http: Http, verbs: Verbs, verb: str) -> None:
    verbs.pause = 10
    body = json.dumps({"contents": [HI]})
    head = f"host: x\r\nx-goog-api-key: owner-key\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", http.port)) as connection:
        connection.sendall(f"POST /v1beta/{TUNED}:{verb} HTTP/1.1\r\n{head}{body}".encode())
        time.sleep(0.3)
        assert verbs.calls and not verbs.closed.is_set()
    assert verbs.closed.wait(2)


@pytest.fixture
def small(verbs: Verbs) -> Iterator[Http]:
    serving = Serving(max_pending_answers=2)
    made = Http(serving.url, serving.port)
    yield made
    made.close()
    serving.close()


def test_waiting_answers_have_a_limit_and_never_delay_reads(small: Http, verbs: Verbs) -> None:
    verbs.pause = 0.5
    statuses: list[int] = []

    def ask(verb: str) -> None:
        http = Http(small.url, small.port)
        statuses.append(asked(http, verb).status_code)
        http.close()

    threads = [
        threading.Thread(target=ask, args=(verb,))
        for verb in ("generateContent", "streamGenerateContent")
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    refused = asked(small)
    problem(refused, 429, "RESOURCE_EXHAUSTED")
    assert refused.headers["retry-after"]
    start = time.monotonic()
    assert small("GET", f"/v1/{TUNED}").status_code == 200
    assert time.monotonic() - start < 0.2
    for thread in threads:
        thread.join()
    assert statuses == [200, 200]
    assert asked(small).status_code == 200


def test_whoever_still_waits_when_the_server_stops_is_told(verbs: Verbs) -> None:
    serving = Serving()
    verbs.pause = 1.5
    answers: list[requests.Response] = []

    def ask() -> None:
        http = Http(serving.url, serving.port)
        answers.append(asked(http))
        http.close()

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.3)
    serving.close(patience=0)
    thread.join()
    problem(answers[0], 503, "UNAVAILABLE")
    assert verbs.closed.wait(2)
