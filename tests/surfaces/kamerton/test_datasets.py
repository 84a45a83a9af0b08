"""datasets:check over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from kamerton.errors import InvalidArgument, ResourceExhausted, Violation
from kamerton.service.datasets import Outcome
from kamerton.service.plans import Options
from kamerton.service.readings import Data
from kamerton.surfaces import reports
from kamerton.types import Budget, Holdout
from tests.surfaces.gemini.fake_service import ESTIMATE, REPORT, Http, Verbs, fields, problem

PATH = "/kamerton/v1/datasets:check"
ROWS = [{"messages": []}, {"prompt": "1", "completion": "2"}, 7]


def test_rows_of_any_shape(http: Http, verbs: Verbs) -> None:
    for examples in (ROWS, {"examples": ROWS}):
        answer = http("POST", PATH, json={"examples": examples})
        assert answer.status_code == 200, answer.text
        assert verbs.asked == {"data": Data(rows=ROWS)}
    estimate = {**reports.estimate(ESTIMATE), "measuring": True}
    assert answer.json() == {**reports.report(REPORT), "estimate": estimate}
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"


def test_everything_that_can_be_asked(http: Http, verbs: Verbs) -> None:
    body = {
        "fileUri": "files/a",
        "validationData": {"file_uri": "files/b", "inputKey": "r"},
        "baseModel": "models/gemini-x",
        "hyperparameters": {
            "epochCount": "3",
            "batch_size": 2,
            "learningRate": 0.01,
            "adapterSize": "16",
            "target_modules": ["q_proj"],
        },
        "budget": {"maxTokens": 9},
        "holdout": {"seed": 1},
        "allow": ["K201"],
        "inputKey": "q",
        "output_key": "a",
    }
    assert http("POST", PATH, json=body).status_code == 200
    assert verbs.asked == {
        "data": Data("files/a", columns=("q", "a")),
        "validation": Data("files/b", columns=("r", "")),
        "base_model": "gemini-x",
        "options": Options(Budget(9), holdout=Holdout(seed=1), allow=("K201",)),
        "epoch_count": 3,
        "batch_size": 2,
        "learning_rate": 0.01,
        "adapter_size": 16,
        "target_modules": ("q_proj",),
    }


def test_without_an_estimate(http: Http, verbs: Verbs) -> None:
    verbs.outcome = Outcome(REPORT)
    assert http("POST", PATH, json={"examples": []}).json() == reports.report(REPORT)
    assert verbs.asked == {"data": Data(rows=[])}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "examples"),
        ({"examples": "x"}, "examples"),
        ({"examples": ROWS, "fileUri": "files/a"}, "file_uri"),
        ({"fileUri": 5}, "file_uri"),
        ({"examples": ROWS, "baseModel": 5}, "base_model"),
        ({"examples": ROWS, "hyperparameters": {"epochCount": "x"}}, "hyperparameters.epoch_count"),
        ({"examples": ROWS, "hyperparameters": {"epochs": 1}}, "hyperparameters"),
        ({"examples": ROWS, "budget": {"maxTokens": "x"}}, "budget.max_tokens"),
        ({"examples": ROWS, "budget": {"tokens": 1}}, "budget"),
        ({"examples": ROWS, "validationData": 5}, "validation_data"),
        ({"examples": ROWS, "more": 5}, ""),
    ],
)
def test_bad_forms_are_named(http: Http, verbs: Verbs, body: Any, field: str) -> None:
    error = problem(http("POST", PATH, json=body), 400, "INVALID_ARGUMENT")
    assert fields(error) == [field]
    assert verbs.calls == []


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"examples": NaN}', b"[" * 500_000])
def test_bad_bodies_are_the_callers_mistake(http: Http, body: bytes) -> None:
    problem(http("POST", PATH, data=body), 400, "INVALID_ARGUMENT")


def test_complaints_of_the_verb_name_the_fields(http: Http, verbs: Verbs) -> None:
    names = ("epoch_count", "validation_examples[2].output", "file_uri", "budget.max_cost")
    verbs.error = InvalidArgument.all_of([Violation(name, "bad") for name in names])
    error = problem(http("POST", PATH, json={"examples": ROWS}), 400, "INVALID_ARGUMENT")
    assert fields(error) == [
        "hyperparameters.epoch_count",
        "validation_data.examples[2].output",
        "file_uri",
        "budget.max_cost",
    ]
    verbs.error = ResourceExhausted("busy")
    busy = http("POST", PATH, json={"examples": ROWS})
    problem(busy, 429, "RESOURCE_EXHAUSTED")
    assert busy.headers["retry-after"]


def test_who_may(http: Http, verbs: Verbs) -> None:
    problem(http("POST", PATH, key=None, data="nonsense"), 401, "UNAUTHENTICATED")
    problem(http("POST", PATH, key="reader-key", data="nonsense"), 403, "PERMISSION_DENIED")
    assert verbs.calls == []


def test_paths_and_methods(http: Http) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        answer = http(method, PATH)
        assert answer.status_code == 405
        if method != "HEAD":
            problem(answer, 405, "UNIMPLEMENTED")
    for path in ("", "datasets", "datasets:count", "v1/datasets:check"):
        problem(http("POST", f"/kamerton/v1/{path}", json={}), 404, "NOT_FOUND")


def test_a_body_over_the_limit(http: Http) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nx-goog-api-key: owner-key\r\n"
    answer = http.raw(f"{head}Content-Length: {65 * 1024 * 1024}\r\n\r\n".encode())
    assert b"Request payload size exceeds the limit:" in answer


def test_one_line_when_asked(http: Http) -> None:
    assert "\n" not in http("POST", f"{PATH}?prettyPrint=false", json={"examples": ROWS}).text
