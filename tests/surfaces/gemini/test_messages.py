"""Nouns as published messages: every answer must be one, and hold what clients look for."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from google.longrunning import operations_pb2
from google.protobuf import json_format

from kamerton.inference.catalog import EMBEDDED
from kamerton.surfaces.documents import encode
from kamerton.surfaces.gemini import answers, messages, published
from kamerton.types import Chunk, Failure, State
from tests.surfaces.gemini.fake_service import START, operation, snapshots, tuned_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    from google.ai import generativelanguage_v1beta as published_types

TYPES = "type.googleapis.com/google.ai.generativelanguage.v1beta"


def strictly(made: dict[str, Any], kind: Any) -> Any:
    """As a client reads it that refuses every name it does not know."""
    return json_format.ParseDict(made, kind())


def test_an_operation_just_created_is_this_and_nothing_more() -> None:
    made = messages.operation(operation())
    assert made == {
        "name": "tunedModels/next-number-4kq0x9v1c2ab/operations/bvl8dymw0fhw",
        "metadata": {
            "@type": f"{TYPES}.CreateTunedModelMetadata",
            "totalSteps": 19,
            "tunedModel": "tunedModels/next-number-4kq0x9v1c2ab",
        },
    }


def test_a_running_operation() -> None:
    made = messages.operation(operation(snapshots=snapshots(7)))
    metadata = made["metadata"]
    assert (metadata["completedSteps"], metadata["totalSteps"]) == (7, 19)
    assert metadata["completedPercent"] == 36.842106
    assert metadata["snapshots"][0] == {
        "step": 1,
        "epoch": 1,
        "meanLoss": 7.0615,
        "computeTime": "2026-11-21T08:16:12.879270Z",
    }
    assert len(metadata["snapshots"]) == 7
    assert made.keys() == {"name", "metadata"}
    strictly(made, operations_pb2.Operation)


def test_a_finished_operation_carries_the_model() -> None:
    noun = operation(
        done=True,
        state=State.ACTIVE,
        snapshots=snapshots(19),
        start_time=START,
        complete_time=START + timedelta(seconds=20),
        reader_project_numbers=(7, 8),
    )
    made = messages.operation(noun)
    assert made["done"] is True
    assert made["metadata"]["completedPercent"] == 100
    assert made["response"]["@type"] == f"{TYPES}.TunedModel"
    assert made["response"]["state"] == "ACTIVE"
    assert made["response"]["readerProjectNumbers"] == ["7", "8"]
    assert "kamerton" not in made["response"] and "error" not in made
    parsed = strictly(made, operations_pb2.Operation)
    model = published_types.TunedModel.pb()()
    assert parsed.response.Unpack(model)
    assert model.tuning_task.hyperparameters.epoch_count == 5
    assert len(model.tuning_task.snapshots) == 19


def test_a_run_that_stopped_early_is_complete() -> None:
    noun = operation(done=True, state=State.ACTIVE, snapshots=snapshots(12))
    metadata = messages.operation(noun)["metadata"]
    assert (metadata["totalSteps"], metadata["completedSteps"]) == (12, 12)
    assert metadata["completedPercent"] == 100


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("Cancelled", 1),
        ("InvalidArgument", 3),
        ("ResourceExhausted", 8),
        ("FailedPrecondition", 9),
        ("Internal", 13),
        ("SomethingOfALaterVersion", 13),
    ],
)
def test_a_failed_operation(kind: str, code: int) -> None:
    failure = Failure(kind, "why")
    noun = operation(done=True, state=State.FAILED, failure=failure, complete_time=START)
    made = messages.operation(noun)
    assert made["done"] is True and made["error"] == {"code": code, "message": "why"}
    assert "response" not in made
    strictly(made, operations_pb2.Operation)
    model = messages.tuned_model(noun.tuned_model)
    assert model["kamerton"]["error"] == made["error"]
    assert model["kamerton"]["failure"] == {"message": "why"}
    assert "completeTime" not in model["tuningTask"]


def test_a_failure_tells_its_reason_and_its_place() -> None:
    failure = Failure("FailedPrecondition", "why", "NOT_FINITE", step=3, row=0)
    noun = operation(done=True, state=State.FAILED, failure=failure)
    made = messages.operation(noun)
    info = "type.googleapis.com/google.rpc.ErrorInfo"
    told = {"reason": "NOT_FINITE", "domain": "kamerton", "metadata": {"step": "3", "row": "0"}}
    assert made["error"]["details"] == [{"@type": info, **told}]
    strictly(made, operations_pb2.Operation)
    parsed = published.message(made, published.Operation)
    unpacked = published.ErrorInfo()
    assert parsed.error.details[0].Unpack(unpacked)
    assert dict(unpacked.metadata) == {"step": "3", "row": "0"}
    model = messages.tuned_model(noun.tuned_model)
    expected = {"reason": "NOT_FINITE", "step": 3, "row": 0, "message": "why"}
    assert model["kamerton"]["failure"] == expected


def test_a_cancelled_run_that_never_began_has_no_place() -> None:
    failure = Failure("Cancelled", "why", "CANCELLED")
    noun = operation(done=True, state=State.FAILED, failure=failure)
    (info,) = messages.operation(noun)["error"]["details"]
    assert info["reason"] == "CANCELLED" and "metadata" not in info


def test_a_failure_without_a_reason_is_still_exactly_one_error() -> None:
    made = messages.operation(operation(done=True, state=State.FAILED))
    assert made["error"]["code"] == 13 and "response" not in made


def test_new_snapshots_are_shown_at_once() -> None:
    for count in (1, 2, 2, 3):
        made = messages.operation(operation(snapshots=snapshots(count)))
        assert len(made["metadata"]["snapshots"]) == count
    other = snapshots(4)[1:]
    made = messages.operation(operation(snapshots=other))
    assert made["metadata"]["snapshots"][0]["step"] == 2
    made = messages.operation(operation(uid="another", snapshots=snapshots(3)[:1]))
    assert len(made["metadata"]["snapshots"]) == 1


def test_many_snapshots_are_thinned_evenly() -> None:
    for count in (400, 401, 799, 1000, 19_000):
        metadata = messages.operation(operation(total_steps=count, snapshots=snapshots(count)))
        steps = [snapshot["step"] for snapshot in metadata["metadata"]["snapshots"]]
        assert len(steps) == 400 and steps[0] == 1 and steps[-1] == count
        gaps = {after - before for before, after in pairwise(steps)}
        assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1


def test_a_tuned_model() -> None:
    made = messages.tuned_model(tuned_model(state=State.ACTIVE, top_k=0, snapshots=snapshots(2)))
    extension = made.pop("kamerton")
    strictly(made, published_types.TunedModel.pb())
    assert extension == {
        "exampleCount": 15,
        "truncatedExampleCount": 0,
        "totalSteps": 19,
        "peakLearningRate": 0.0005,
        "loraRank": 8,
        "hyperparameters": {
            "adapterSize": 8,
            "loraAlpha": 16,
            "loraDropout": 0.0,
            "targetModules": [],
            "rslora": False,
        },
        "earlyStopping": {"mode": "auto", "patience": 3, "minChange": 0.01},
    }
    assert made["tuningTask"]["hyperparameters"] == {
        "epochCount": 5,
        "batchSize": 4,
        "learningRate": 0.001,
    }
    assert made["topK"] == 0
    text = encode(made, pretty=True).decode()
    assert "secret-uid" not in text
    assert len([line for line in text.splitlines() if "state" in line]) == 1


def test_why_each_hyperparameter_was_chosen() -> None:
    why = (("epoch_count", "given"), ("warmup_steps", "no warm-up"))
    made = messages.tuned_model(tuned_model(reasons=why))["kamerton"]["hyperparameterReasons"]
    assert made == {"epochCount": "given", "warmupSteps": "no warm-up"}
    assert "kamerton" not in messages.tuned_model(tuned_model(reasons=why), extended=False)


def test_a_model_tuned_from_another_names_only_that() -> None:
    made = messages.tuned_model(tuned_model(source="first-abc"), extended=False)
    assert made["tunedModelSource"] == {
        "tunedModel": "tunedModels/first-abc",
        "baseModel": "models/gemini-1.0-pro-001",
    }
    assert "baseModel" not in made
    strictly(made, published_types.TunedModel.pb())


def test_times_are_utc_whatever_zone_they_come_in() -> None:
    zone = timezone(timedelta(hours=3))
    for moment in (
        datetime(2026, 11, 21, 8, 0, tzinfo=UTC),
        datetime(2026, 11, 21, 11, 0, tzinfo=zone),
        datetime(2026, 11, 21, 8, 0),
    ):
        made = messages.tuned_model(tuned_model(create_time=moment))
        assert made["createTime"] == "2026-11-21T08:00:00.000000Z"


def test_a_base_model_is_named_as_asked() -> None:
    made = messages.model(EMBEDDED, "gemini-1.5-pro")
    assert made["name"] == "models/gemini-1.5-pro"
    assert made["baseModelId"] == "kamerton-nano-001"
    assert all(made[name] for name in ("version", "displayName", "description"))
    strictly(made, published_types.Model.pb())


def test_an_answer_of_several_candidates() -> None:
    chunks = [
        Chunk("a", 0, None, 5, 1),
        Chunk("c", 1, None, 5, 1),
        Chunk("b", 0, "STOP", 5, 2),
        Chunk("d", 1, "MAX_TOKENS", 5, 3),
    ]
    made = answers.answer(chunks, "x", "id")
    assert [candidate["content"]["parts"][0]["text"] for candidate in made["candidates"]] == [
        "ab",
        "cd",
    ]
    assert [candidate["finishReason"] for candidate in made["candidates"]] == ["STOP", "MAX_TOKENS"]
    assert made["usageMetadata"] == {
        "promptTokenCount": 5,
        "candidatesTokenCount": 5,
        "totalTokenCount": 10,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
    }
    message = published.message(made, published_types.GenerateContentResponse.pb())
    assert message.candidates[1].index == 1


def test_even_no_answer_has_a_part() -> None:
    whole = answers.answer([], "x", "id")
    (piece,) = answers.answer_pieces(iter([]), "x", "id")
    for made in (whole, piece):
        assert made["candidates"][0]["content"]["parts"] == [{"text": ""}]
        assert made["candidates"][0]["finishReason"] == "STOP"


def test_an_answer_becomes_a_message_without_our_additions() -> None:
    model = published.message(messages.tuned_model(tuned_model()), published_types.TunedModel.pb())
    assert model.name == "tunedModels/next-number-4kq0x9v1c2ab"
