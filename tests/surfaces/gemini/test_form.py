"""Requests into published messages: what is accepted, and how complaints name a field."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from kamerton.errors import InvalidArgument
from kamerton.surfaces.gemini import answers, form, published


def create(**tuned_model: Any) -> Any:
    return form.message({"tunedModel": tuned_model}, published.CreateTunedModelRequest, strict=True)


def hyperparameters(**given: Any) -> Any:
    return create(tuningTask={"hyperparameters": given}).tuned_model.tuning_task.hyperparameters


@pytest.mark.parametrize("given", [4, 4.0, "4", "4.0", 4e0])
@pytest.mark.parametrize("name", ["epochCount", "epoch_count"])
def test_integers(given: object, name: str) -> None:
    assert hyperparameters(**{name: given}).epoch_count == 4


@pytest.mark.parametrize("given", [0.001, "0.001", "1e-3"])
def test_floats(given: object) -> None:
    assert form.shortest(hyperparameters(learningRate=given).learning_rate) == 0.001


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (1.5, "must be a whole number"),
        ("1.5", "must be a whole number"),
        ("four", "must be a whole number"),
        ("", "must be a whole number"),
        ("NaN", "must be a whole number"),
        ("1e999", "must be a whole number"),
        ("9" * 41, "must be a whole number"),
        (True, "must be a whole number"),
        ([4], "must be a whole number"),
        ({}, "must be a whole number"),
        (2**31, "must be between -2147483648 and 2147483647"),
    ],
)
def test_what_is_no_integer(given: object, complaint: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        hyperparameters(epochCount=given)
    (violation,) = caught.value.violations
    assert violation.field == "tuned_model.tuning_task.hyperparameters.epoch_count"
    assert violation.description == complaint
    assert caught.value.message == f"Invalid value at '{violation.field}': {complaint}"


@pytest.mark.parametrize("given", ["NaN", "Infinity", "-Infinity", "x", True, [], 1e39, "1e999"])
def test_what_is_no_float(given: object) -> None:
    with pytest.raises(InvalidArgument, match=r"hyperparameters\.learning_rate"):
        hyperparameters(learningRate=given)


def test_unknown_names_are_refused_with_their_place() -> None:
    with pytest.raises(InvalidArgument) as caught:
        create(tuningTask={"foo": 1, "hyperparameters": {"epochs": 5}}, bar=2)
    unknown = "Invalid JSON payload received. Unknown name"
    assert caught.value.message.split("\n") == [
        f"{unknown} \"foo\" at 'tuned_model.tuning_task': Cannot find field.",
        f"{unknown} \"epochs\" at 'tuned_model.tuning_task.hyperparameters': Cannot find field.",
        f"{unknown} \"bar\" at 'tuned_model': Cannot find field.",
    ]


def test_everything_wrong_is_told_at_once() -> None:
    examples = [{"textInput": 1, "output": "a"}, {"text_input": "b", "output": None}, None, "x"]
    with pytest.raises(InvalidArgument) as caught:
        create(
            displayName=5,
            state="QUEUED",
            tuningTask={"trainingData": {"examples": {"examples": examples}}, "snapshots": {}},
        )
    data = "tuned_model.tuning_task.training_data.examples.examples"
    assert [violation.field for violation in caught.value.violations] == [
        "tuned_model.display_name",
        "tuned_model.state",
        f"{data}[0].text_input",
        f"{data}[2]",
        f"{data}[3]",
        "tuned_model.tuning_task.snapshots",
    ]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"createTime": "yesterday"}, "tuned_model.create_time"),
        ({"createTime": 5}, "tuned_model.create_time"),
        ({"baseModel": "a", "tunedModelSource": {}}, "tuned_model"),
        ({"displayName": "a\0b"}, "tuned_model.display_name"),
        ({"readerProjectNumbers": [2**63]}, "tuned_model.reader_project_numbers[0]"),
        ({"tuningTask": []}, "tuned_model.tuning_task"),
    ],
)
def test_what_only_the_parser_finds(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        create(**given)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert "google" not in caught.value.message


def test_endless_lists_are_not_read() -> None:
    examples = [{"textInput": "1", "output": "2"}] * (form.MAX_ITEMS + 1)
    with pytest.raises(InvalidArgument, match="has 200001 items, at most 200000"):
        create(tuningTask={"trainingData": {"examples": {"examples": examples}}})


def test_both_members_of_a_choice() -> None:
    with pytest.raises(InvalidArgument, match="only one of the fields of 'learning_rate_option'"):
        hyperparameters(learningRate=0.1, learningRateMultiplier=2)


def test_spellings_nulls_numbers_of_enums_and_offsets() -> None:
    made = create(
        display_name="a",
        description=None,
        state=2,
        createTime="2026-11-21T10:16:11.5+02:00",
        readerProjectNumbers=["1", 2],
    ).tuned_model
    assert (made.display_name, made.state, list(made.reader_project_numbers)) == ("a", 2, [1, 2])
    assert made.create_time.ToJsonString() == "2026-11-21T08:16:11.500Z"


def test_a_generation_request_drops_what_is_new() -> None:
    made = form.message(
        {
            "contents": [{"parts": [{"text": "a", "newThing": 1}]}],
            "generationConfig": {
                "topK": "5",
                "thinkingConfig": {"thinkingLevel": "ENORMOUS"},
                "mediaResolution": "NEW",
            },
            "labels": {"a": "b"},
            "serviceTier": "x",
            "store": True,
        },
        published.GenerateContentRequest,
        ignored=answers.IGNORED,
    )
    assert made == published.GenerateContentRequest(
        contents=[{"parts": [{"text": "a"}]}], generation_config={"top_k": 5}
    )


@pytest.mark.parametrize(
    "value", [0.001, 0.1, 7.0615, 1e-30, 3.4e38, 0.0, -2.5, 100 / 3, 1 / 3, 16777217.0]
)
def test_shortest_is_the_same_32_bit_float(value: float) -> None:
    as_float = struct.unpack("f", struct.pack("f", value))[0]
    short = form.shortest(as_float)
    assert struct.pack("f", short) == struct.pack("f", as_float)
    assert len(repr(short)) <= len(repr(as_float))
