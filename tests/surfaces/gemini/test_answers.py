"""Requests to generate, read and checked, and answers with probabilities and token counts."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf import json_format

from kamerton.errors import InvalidArgument
from kamerton.surfaces.body import Json
from kamerton.surfaces.gemini import answers, form, published
from kamerton.types import Chunk, Content, GenerationConfig, TokenChoice, TokenLogprob

HI = {"parts": [{"text": "hi"}]}
KNOWN = published.GenerateContentRequest().generation_config.DESCRIPTOR.fields_by_name


def request(**body: Any) -> Any:
    return form.message(
        {"contents": [HI], **body}, published.GenerateContentRequest, ignored=answers.IGNORED
    )


def config(**given: Any) -> GenerationConfig:
    return answers.generation_config(request(generationConfig=given))


def refused(body: Json) -> tuple[str, str]:
    """Field and complaint of the one thing that is wrong."""
    with pytest.raises(InvalidArgument) as caught:
        made = request(**body)
        answers.contents(made)
        answers.generation_config(made)
    (violation,) = caught.value.violations
    return violation.field, violation.description


# --- the request ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"responseLogprobs": False}, None),
        ({"responseLogprobs": False, "logprobs": 0}, None),
        ({"logprobs": 0}, None),
        ({"responseLogprobs": True}, 0),
        ({"responseLogprobs": True, "logprobs": 0}, 0),
        ({"response_logprobs": True, "logprobs": 20}, 20),
    ],
)
def test_how_many_logprobs_are_asked_for(given: Json, expected: int | None) -> None:
    assert config(**given).logprobs == expected


@pytest.mark.parametrize(
    "given",
    [
        {"logprobs": 5},
        {"logprobs": 5, "responseLogprobs": False},
        {"logprobs": 21, "responseLogprobs": True},
        {"logprobs": -1, "responseLogprobs": True},
        {"logprobs": "many", "responseLogprobs": True},
    ],
)
def test_logprobs_that_cannot_be_told(given: Json) -> None:
    assert refused({"generationConfig": given})[0] == "generation_config.logprobs"


def test_values_at_the_ends_of_their_ranges() -> None:
    low = config(
        candidateCount=1, maxOutputTokens=1, temperature=0, topP=0, topK=0, presencePenalty=-2
    )
    assert (low.candidate_count, low.max_output_tokens, low.temperature) == (1, 1, 0.0)
    assert (low.top_p, low.top_k, low.presence_penalty) == (0.0, 0, -2.0)
    high = config(
        candidateCount=8,
        maxOutputTokens=2**31 - 1,
        temperature=2,
        topP=1,
        topK=2**31 - 1,
        frequencyPenalty=2,
        stopSequences=["a", "b", "c", "d", "e"],
    )
    assert (high.candidate_count, high.temperature, high.top_p) == (8, 2.0, 1.0)
    assert len(high.stop_sequences) == 5 and high.frequency_penalty == 2.0


@pytest.mark.skipif("seed" not in KNOWN, reason="no such field in these messages")
def test_a_seed_is_any_32_bit_integer() -> None:
    assert config(seed=-(2**31)).seed == -(2**31)
    assert config(seed=2**31 - 1).seed == 2**31 - 1
    assert refused({"generationConfig": {"seed": 2**31}})[0] == "generation_config.seed"


def test_nothing_given_and_zero_tokens_leave_it_to_the_model() -> None:
    assert config() == config(maxOutputTokens=0, topK=None) == GenerationConfig()


@pytest.mark.parametrize(
    "given",
    [
        {"responseMimeType": "application/json"},
        {"responseSchema": {"type": "OBJECT"}},
        {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}},
        pytest.param(
            {"responseJsonSchema": {"type": "object"}},
            marks=pytest.mark.skipif("response_json_schema" not in KNOWN, reason="no such field"),
        ),
    ],
)
def test_json_mode_is_refused_in_words(given: Json) -> None:
    field, complaint = refused({"generationConfig": given})
    assert field.startswith("generation_config.response_")
    assert "JSON mode is not available yet" in complaint


def test_another_mime_type_is_refused_without_talk_of_json() -> None:
    field, complaint = refused({"generationConfig": {"responseMimeType": "image/png"}})
    assert field == "generation_config.response_mime_type" and "JSON" not in complaint


@pytest.mark.parametrize(
    "ignored",
    [
        {"labels": {"a": "b"}},
        {"store": True},
        {"serviceTier": "flex"},
        {"thinkingConfig": {"thinkingBudget": 0}},
        {"brandNew": [{}]},
        {"tools": [], "toolConfig": {}, "cachedContent": ""},
        {"safetySettings": []},
        {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]},
        {"generationConfig": {"thinkingConfig": {"includeThoughts": True}, "brandNew": 1}},
        {"generationConfig": {"speechConfig": "x", "mediaResolution": "MEDIA_RESOLUTION_LOW"}},
        {"generationConfig": {"enableEnhancedCivicAnswers": True, "responseModalities": ["TEXT"]}},
    ],
)
def test_what_changes_nothing_here(ignored: Json) -> None:
    made = request(**ignored)
    assert answers.contents(made) == [Content("user", "hi")]
    assert answers.generation_config(made) == GenerationConfig()


@pytest.mark.parametrize(
    "part",
    [
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
        {"fileData": {"fileUri": "https://x/y"}},
        {"functionCall": {"name": "f"}},
        {"functionResponse": {"name": "f", "response": {}}},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK"}},
    ],
)
def test_parts_that_are_not_text(part: Json) -> None:
    field, complaint = refused({"contents": [HI, {"role": "model", "parts": [part]}]})
    assert field == "contents[1].parts[0]" and "only text is supported" in complaint


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"contents": []}, "contents"),
        ({"contents": "hi"}, "contents"),
        ({"contents": [{}]}, "contents[0].parts"),
        ({"contents": [{"parts": [{"text": None}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"role": "function", **HI}]}, "contents[0].role"),
        ({"contents": [{"role": "User", **HI}]}, "contents[0].role"),
        ({"safetySettings": [{"category": "HARM"}]}, "safety_settings[0].category"),
        ({"safetySettings": [{"threshold": "LOW"}]}, "safety_settings[0].threshold"),
        ({"tools": [{"codeExecution": {}}]}, "tools"),
        ({"cachedContent": "cachedContents/x"}, "cached_content"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}, "tool_config"),
        (
            {"generationConfig": {"responseModalities": ["AUDIO"]}},
            "generation_config.response_modalities",
        ),
    ],
)
def test_requests_that_are_refused(body: Json, field: str) -> None:
    assert refused(body)[0] == field


# --- the answer ----------------------------------------------------------------------------------


def chosen(*logprobs: float, top: int = 0) -> tuple[TokenChoice, ...]:
    """Tokens of those log probabilities, each beside `top` others."""
    others = tuple(TokenLogprob(n, f"t{n}", -float(n + 1)) for n in range(top))
    return tuple(
        TokenChoice(TokenLogprob(40 + n, f"c{n}", value), others)
        for n, value in enumerate(logprobs)
    )


TWO = [
    Chunk("a", 0, None, 5, 1, chosen(-0.5, top=2)),
    Chunk("c", 1, None, 5, 1, chosen(-3.0, -1.0, top=2)),
    Chunk("b", 0, "STOP", 5, 2, chosen(-1.0, top=2)),
    Chunk("", 1, "MAX_TOKENS", 5, 3, ()),
]


def read(made: Json) -> Any:
    """As the messages that clients have."""
    return published.message(made, published.GenerateContentResponse)


def test_each_candidate_has_its_own_logprobs() -> None:
    first, second = read(answers.answer(TWO, "x", "id")).candidates
    assert first.avg_logprobs == pytest.approx(-0.75)
    assert second.avg_logprobs == pytest.approx(-2.0)
    found = first.logprobs_result
    assert [token.log_probability for token in found.chosen_candidates] == [-0.5, -1.0]
    assert [token.token_id for token in found.chosen_candidates] == [40, 40]
    assert [token.token for token in found.chosen_candidates] == ["c0", "c0"]
    tops = [[token.token for token in top.candidates] for top in found.top_candidates]
    assert tops == [["t0", "t1"], ["t0", "t1"]]
    assert len(second.logprobs_result.chosen_candidates) == 2
    # Every name is a published one, in the oldest messages that we work with as in the newest.
    for candidate in answers.answer(TWO, "x", "id")["candidates"]:
        json_format.ParseDict({"candidates": [candidate]}, published.GenerateContentResponse())


def test_pieces_tell_the_logprobs_of_their_tokens_and_the_last_the_mean_of_all() -> None:
    pieces = list(answers.answer_pieces(iter(TWO), "x", "id"))
    made = [piece["candidates"][0] for piece in pieces]
    told = [
        [token["logProbability"] for token in each["logprobsResult"]["chosenCandidates"]]
        for each in made
    ]
    assert told == [[-0.5], [-3.0, -1.0], [-1.0], []]
    assert [each.get("avgLogprobs") for each in made] == [None, None, -0.75, -2.0]


def test_without_alternatives_only_the_chosen_tokens_are_told() -> None:
    (candidate,) = answers.answer([Chunk("a", 0, "STOP", 5, 1, chosen(-0.1))], "x", "id")[
        "candidates"
    ]
    assert candidate["logprobsResult"] == {
        "chosenCandidates": [{"token": "c0", "tokenId": 40, "logProbability": -0.1}]
    }


def test_an_empty_answer_has_no_mean() -> None:
    (candidate,) = answers.answer([Chunk("", 0, "STOP", 5, 0, ())], "x", "id")["candidates"]
    assert "avgLogprobs" not in candidate
    assert candidate["logprobsResult"] == {"chosenCandidates": []}


def test_a_number_as_short_as_it_can_be() -> None:
    as_float32 = -0.10000000149011612
    (candidate,) = answers.answer([Chunk("a", 0, "STOP", 5, 1, chosen(as_float32))], "x", "id")[
        "candidates"
    ]
    (token,) = candidate["logprobsResult"]["chosenCandidates"]
    assert token["logProbability"] == -0.1
    assert math.isclose(candidate["avgLogprobs"], -0.1, rel_tol=1e-6)


def test_nobody_is_told_what_was_not_asked_for() -> None:
    chunks = [Chunk("a", 0, None, 5, 1), Chunk("b", 0, "STOP", 5, 2)]
    for made in (answers.answer(chunks, "x", "id"), *answers.answer_pieces(iter(chunks), "", "")):
        assert not {"avgLogprobs", "logprobsResult"} & made["candidates"][0].keys()


def test_counts_are_told_by_modality() -> None:
    expected = {
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
    }
    *_, last = answers.answer_pieces(iter(TWO), "x", "id")
    for made in (answers.answer(TWO, "x", "id"), last):
        assert made["usageMetadata"].items() >= expected.items()
        assert made["usageMetadata"]["totalTokenCount"] == 10
        assert read(made).usage_metadata.total_token_count == 10
    assert answers.token_count(7) == {
        "totalTokens": 7,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}],
    }
