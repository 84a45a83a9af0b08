"""Runs over HTTP: what is asked of the verbs, and how their answers look."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kamerton.errors import FailedPrecondition
from kamerton.surfaces import reports
from kamerton.surfaces.epochs import epoch_name, split_epoch
from kamerton.training.hyperparameters import choose, reasons
from kamerton.types import BaseModel
from tests.service.conftest import CARD
from tests.surfaces.gemini.fake_service import Http, Verbs, fields, problem

ID = "next-number-4kq0x9v1c2ab"
MODEL = f"/kamerton/v1/tunedModels/{ID}"
TIME = "2026-11-21T08:16:11.879270Z"
HI = {"contents": [{"parts": [{"text": "hi"}]}]}
BASE = BaseModel(name="b", weights="")


def test_events(http: Http, verbs: Verbs) -> None:
    answer = http("GET", f"{MODEL}/events?after=6&pageSize=2")
    assert answer.json() == {
        "events": [
            {
                "number": 7,
                "time": TIME,
                "kind": "epoch",
                "message": "Epoch 1 is over.",
                "step": 4,
            },
            {"number": 8, "time": TIME, "kind": "active", "message": "Done."},
        ],
        "next": 8,
    }
    assert verbs.asked == {"tuned_model_id": ID, "after": 6, "most": 2}
    http("GET", f"{MODEL}/events?page_size=5000")
    assert verbs.asked == {"tuned_model_id": ID, "after": 0, "most": 1000}
    http("GET", f"{MODEL}/events")
    assert verbs.asked["most"] == 100


def test_snapshots_leave_out_what_is_not_known(http: Http, verbs: Verbs) -> None:
    first, second = http("GET", f"{MODEL}/snapshots?after=3").json()["snapshots"]
    assert first == {
        "step": 1,
        "epoch": 1,
        "meanLoss": 7.0615,
        "computeTime": "2026-11-21T08:16:12.879270Z",
        "startLoss": 9.0,
        "learningRate": 0.001,
        "trainedTokens": 12,
    }
    assert second.keys() == {"step", "epoch", "meanLoss", "computeTime"}
    assert verbs.asked == {"tuned_model_id": ID, "after": 3}


def test_snapshots_as_a_table(http: Http) -> None:
    answer = http("GET", f"{MODEL}/snapshots?format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=UTF-8"
    heading, first, second, end = answer.text.split("\n")
    assert heading == (
        "step,epoch,mean_loss,compute_time,held_out_loss,start_loss,smoothed_loss,learning_rate,"
        "gradient_norm,trained_tokens,tokens_per_second,memory_bytes"
    )
    assert first == "1,1,7.0615,2026-11-21T08:16:12.879270Z,,9.0,,0.001,,12,,"
    assert second.startswith("2,1,3.53075,") and end == ""


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("events?after=-1", "after"),
        ("events?after=x", "after"),
        ("events?pageSize=1.5", "page_size"),
        ("events?after=" + "9" * 30, "after"),
        ("snapshots?after=%D9%A1", "after"),
        ("snapshots?format=xml", "format"),
    ],
)
def test_bad_queries_are_named(http: Http, verbs: Verbs, query: str, field: str) -> None:
    error = problem(http("GET", f"{MODEL}/{query}"), 400, "INVALID_ARGUMENT")
    assert fields(error) == [field]
    assert verbs.calls == []


def test_a_diagnosis_with_the_next_request(http: Http, verbs: Verbs) -> None:
    made = http("GET", f"{MODEL}/diagnosis").json()
    assert made == {
        "pattern": "divergence",
        "confidence": "high",
        "summary": "The loss is not finite.",
        "cause": "The learning rate is too high.",
        "advice": "Take a tenth of it.",
        "evidence": [
            {"step": 3, "value": 2.5, "what": "last finite loss"},
            {"step": 4, "what": "not finite"},
        ],
        "hyperparameters": {"learningRate": 0.0001},
        "nextRequest": {
            "displayName": "next number",
            "baseModel": "models/gemini-1.0-pro-001",
            "tuningTask": {
                "hyperparameters": {"epochCount": 5, "batchSize": 4, "learningRate": 0.0001}
            },
        },
    }
    verbs.operation = replace(
        verbs.operation, tuned_model=replace(verbs.operation.tuned_model, source="other")
    )
    again = http("GET", f"{MODEL}/diagnosis").json()["nextRequest"]
    assert again["tunedModelSource"] == {"tunedModel": "tunedModels/other"}
    assert "baseModel" not in again
    asked: Any = {"adapter_size": 16, "target_modules": ["q_proj"]}
    changes: Any = {
        "hyperparameters": choose(15, BASE, **asked),
        "reasons": reasons(15, BASE, **asked),
    }
    verbs.operation = replace(
        verbs.operation, tuned_model=replace(verbs.operation.tuned_model, **changes)
    )
    task = http("GET", f"{MODEL}/diagnosis").json()["nextRequest"]["tuningTask"]
    chosen = {"adapterSize": 16, "targetModules": ["q_proj"]}  # What follows from them stays open.
    assert task["kamerton"] == {"hyperparameters": chosen}
    verbs.diagnosis = replace(verbs.diagnosis, request=())
    assert "nextRequest" not in http("GET", f"{MODEL}/diagnosis").json()


def test_a_card(http: Http) -> None:
    told = http("GET", f"{MODEL}/card").json()
    assert (told["rowCount"], told["verdict"]["outcome"]) == (12, "better")
    assert told["answers"][0]["fewShot"] == "seven"
    assert reports.card_of(told) == CARD


def test_epochs(http: Http) -> None:
    first, third = http("GET", f"{MODEL}/epochs").json()["epochs"]
    assert first == {"name": f"tunedModels/{ID}@epoch-1", "epoch": 1}
    assert third.pop("meanLoss") == pytest.approx(7.0615 / 12)
    assert third == {
        "name": f"tunedModels/{ID}@epoch-3",
        "epoch": 3,
        "step": 12,
        "heldOutLoss": 0.5,
    }


@pytest.mark.parametrize(
    ("body", "keep"), [(None, False), ({}, False), ({"keep": False}, False), ({"keep": True}, True)]
)
def test_cancel(http: Http, verbs: Verbs, body: Any, keep: bool) -> None:
    answer = http("POST", f"{MODEL}:cancel", json=body)
    assert (answer.status_code, answer.json()) == (200, {})
    assert verbs.calls == [("cancel", {"tuned_model_id": ID, "keep": keep})]


@pytest.mark.parametrize("body", [{"keep": 5}, {"kept": True}, {"keep": []}])
def test_a_cancel_that_is_not_understood_cancels_nothing(
    http: Http, verbs: Verbs, body: Any
) -> None:
    problem(http("POST", f"{MODEL}:cancel", json=body), 400, "INVALID_ARGUMENT")
    assert verbs.calls == []


@pytest.mark.parametrize(("suffix", "epoch"), [("", None), ("@epoch-3", 3), ("%40epoch-12", 12)])
def test_download(http: Http, verbs: Verbs, suffix: str, epoch: int | None) -> None:
    answer = http("GET", f"{MODEL}{suffix}:download")
    assert answer.content == b"PK" * 700_000
    assert answer.headers["content-length"] == "1400000"
    assert answer.headers["content-type"] == "application/zip"
    name = f"{ID}{suffix.replace('%40', '@')}.zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert verbs.asked == {"tuned_model_id": ID, "epoch": epoch}


@pytest.mark.parametrize("version", ["kamerton/v1", "v1beta"])
def test_epochs_are_asked_as_models_are(http: Http, verbs: Verbs, version: str) -> None:
    for name, epoch in ((ID, {}), (f"{ID}@epoch-3", {"epoch": 3})):
        answer = http("POST", f"/{version}/tunedModels/{name}:generateContent", json=HI)
        parts = answer.json()["candidates"][0]["content"]["parts"]
        assert parts == [{"text": "LXIV"}]
        assert answer.json()["modelVersion"] == name
        asked = {key: verbs.asked[key] for key in ("tuned_model", "epoch") if key in verbs.asked}
        assert asked == {"tuned_model": ID, **epoch}
    path = f"/{version}/tunedModels/{ID}@epoch-3:streamGenerateContent?alt=sse"
    assert http("POST", path, json=HI).text.count("data: ") == 2
    assert http("POST", f"/{version}/tunedModels/{ID}:countTokens", json=HI).json() == {
        "totalTokens": 1,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1}],
    }


@pytest.mark.parametrize(
    "name", ["@epoch-0", "@epoch-", "@epoch-3@epoch-4", "@epoch-99999", "@epoch-x", "@3", "X"]
)
def test_names_that_are_none(http: Http, verbs: Verbs, name: str) -> None:
    path = f"{MODEL}{name}"
    problem(http("GET", f"{path}:download"), 404, "NOT_FOUND")
    problem(http("POST", f"{path}:generateContent", json=HI), 404, "NOT_FOUND")
    problem(http("GET", f"{path}/events"), 404, "NOT_FOUND")
    problem(http("POST", f"{path}:cancel", json={}), 404, "NOT_FOUND")
    assert verbs.calls == []


def test_the_story_is_that_of_the_whole_run(http: Http) -> None:
    for what in ("/events", "/snapshots", "/diagnosis", "/card", "/epochs"):
        problem(http("GET", f"{MODEL}@epoch-3{what}"), 404, "NOT_FOUND")
    problem(http("POST", f"{MODEL}@epoch-3:cancel", json={}), 404, "NOT_FOUND")


def test_who_may(http: Http, verbs: Verbs) -> None:
    for what in ("/events", "/snapshots", "/diagnosis", "/card", "/epochs", ":download"):
        problem(http("GET", MODEL + what, key=None), 401, "UNAUTHENTICATED")
        assert http("GET", MODEL + what, key="reader-key").status_code == 200
    verbs.calls.clear()
    problem(http("POST", f"{MODEL}:cancel", key="reader-key", data="{"), 403, "PERMISSION_DENIED")
    problem(http("POST", f"{MODEL}:generateContent", key=None, json=HI), 401, "UNAUTHENTICATED")
    assert verbs.calls == []


def test_methods_and_refusals(http: Http, verbs: Verbs) -> None:
    problem(http("POST", f"{MODEL}/events"), 405, "UNIMPLEMENTED")
    problem(http("GET", f"{MODEL}:cancel"), 405, "UNIMPLEMENTED")
    problem(http("GET", f"{MODEL}:generateContent"), 405, "UNIMPLEMENTED")
    problem(http("GET", MODEL), 404, "NOT_FOUND")
    verbs.error = FailedPrecondition("it is CREATING")
    problem(http("GET", f"{MODEL}:download"), 400, "FAILED_PRECONDITION")


def test_names_of_epochs() -> None:
    assert split_epoch(epoch_name("tunedModels/x", 12)) == ("tunedModels/x", 12)
    for name in ("x", "x@epoch-0", "x@epoch-1a", "@epoch-1", "x@epoch-01"):
        assert split_epoch(name) == (name, None)
