"""What Kamerton takes and tells beyond the published messages of the Gemini API."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from google.rpc import error_details_pb2

from kamerton.errors import BadDataset, InvalidArgument, Violation
from kamerton.findings import Report
from kamerton.service.plans import Options
from kamerton.service.readings import Data
from kamerton.surfaces import errors, reports
from kamerton.surfaces.gemini import extension, grpc_methods, messages
from kamerton.training.hyperparameters import choose
from kamerton.types import NAMES, BaseModel, Budget, EarlyStopping, Holdout, State
from tests.surfaces.gemini.fake_service import (
    ESTIMATE,
    FOUND,
    REPORT,
    Http,
    Verbs,
    fields,
    operation,
    problem,
    snapshots,
    tuned_model,
)
from tests.surfaces.gemini.grpc_client import Serving, details, refused, tuned

PAIR = {"text_input": "1", "output": "2"}
INLINE = {"examples": {"examples": [PAIR]}}
TASK = "tuned_model.tuning_task"
BASE = BaseModel(name="b", weights="")


def create(http: Http, task: Any, query: str = "", **around: Any) -> Any:
    model = {"baseModel": "models/gemini-1.0-pro-001", "tuningTask": task}
    body = {**around, "tunedModel": model} if around else model
    return http("POST", f"/v1beta/tunedModels{query}", json=body)


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "holdout", "early"),
    [
        (
            {"maxTokens": "20000", "maxSeconds": 60, "maxCost": 1.5},
            {"share": 0.2, "atLeast": 5, "fromExamples": 30, "seed": 7},
            {"earlyStopping": {"mode": "on", "patience": "5", "minChange": 0.1}},
        ),
        (
            {"max_tokens": 20000, "max_seconds": "60", "max_cost": "1.5"},
            {"share": "0.2", "at_least": 5.0, "from_examples": "30", "seed": 7},
            {"early_stopping": {"mode": "on", "patience": 5, "min_change": "0.1"}},
        ),
    ],
)
def test_options_in_both_spellings(
    http: Http,
    verbs: Verbs,
    budget: dict[str, Any],
    holdout: dict[str, Any],
    early: dict[str, Any],
) -> None:
    ours = {"budget": budget, "holdout": holdout, "allow": ["K204"], **early}
    assert create(http, {"trainingData": INLINE, "kamerton": ours}).status_code == 200
    stopping = EarlyStopping("on", 5, 0.1)
    wanted = Options(Budget(20000, 60.0), 1.5, Holdout(0.2, 5, 30, 7), ("K204",), stopping)
    assert verbs.asked["options"] == wanted


@pytest.mark.parametrize(
    "chosen",
    [
        {"adapterSize": 16, "loraAlpha": "8", "loraDropout": 0.5, "targetModules": ["q_proj"],
         "rslora": True},
        {"adapter_size": "16", "lora_alpha": 8, "lora_dropout": "0.5",
         "target_modules": ["q_proj"], "rslora": "true"},
    ],
)  # fmt: skip
def test_an_adapter_in_both_spellings(http: Http, verbs: Verbs, chosen: dict[str, Any]) -> None:
    given = {"trainingData": INLINE, "hyperparameters": {"epochCount": 3}}
    assert create(http, {**given, "kamerton": {"hyperparameters": chosen}}).status_code == 200
    asked = {name: verbs.asked.get(name) for name in NAMES}
    assert asked == {
        "epoch_count": 3,
        "batch_size": None,
        "learning_rate": None,
        "learning_rate_multiplier": None,
        "adapter_size": 16,
        "lora_alpha": 8,
        "lora_dropout": 0.5,
        "target_modules": ("q_proj",),
        "rslora": True,
    }
    assert "options" not in verbs.asked


@pytest.mark.parametrize("names", [("inputKey", "outputKey"), ("input_key", "output_key")])
def test_a_file_and_its_columns(http: Http, verbs: Verbs, names: tuple[str, str]) -> None:
    task: dict[str, Any] = {
        "training_data": {"file_uri": "files/a"},
        "validation_data": {"fileUri": "files/b", names[0]: "q", names[1]: "a"},
        "kamerton": dict(zip(names, ("вопрос", "ответ"), strict=True)),
    }
    assert create(http, task).status_code == 200
    columns = ("вопрос", "ответ")
    assert verbs.asked["data"] == Data("files/a", columns=columns)
    assert verbs.asked["validation"] == Data("files/b", columns=("q", "a"))
    task["validation_data"] = {"examples": [PAIR]}
    assert create(http, task).status_code == 200
    assert verbs.asked["validation"] == Data(rows=[PAIR])
    assert "options" not in verbs.asked


def test_validation_rows_may_have_any_shape(http: Http, verbs: Verbs) -> None:
    rows = [{"messages": []}, {"input": "1", "output": "2"}]
    for examples in (rows, {"examples": rows}):
        task = {"trainingData": INLINE, "validationData": {"examples": examples}}
        assert create(http, task).status_code == 200
        assert verbs.asked["validation"] == Data(rows=rows)


def test_nothing_asked_is_nothing_said(http: Http, verbs: Verbs) -> None:
    nothing: tuple[Any, ...] = (None, {}, {"budget": None}, {"budget": {}, "allow": []})
    for ours in nothing:
        assert create(http, {"trainingData": INLINE, "kamerton": ours}).status_code == 200
        assert verbs.asked.keys().isdisjoint({"options", "validation"})


@pytest.mark.parametrize(
    ("task", "field", "said"),
    [
        ({"kamerton": {"budgett": {}}}, f"{TASK}.kamerton", 'Unknown name "budgett"'),
        ({"kamerton": {"budget": {"max": 1}}}, f"{TASK}.kamerton.budget", 'Unknown name "max"'),
        ({"kamerton": {"budget": {"maxTokens": "x"}}}, f"{TASK}.kamerton.budget.max_tokens",
         "must be a whole number"),
        ({"kamerton": {"budget": {"maxTokens": "9" * 40}}}, f"{TASK}.kamerton.budget.max_tokens",
         "must be a whole number of 64 bits"),
        ({"kamerton": {"budget": {"maxTokens": 1.5}}}, f"{TASK}.kamerton.budget.max_tokens",
         "must be a whole number"),
        ({"kamerton": {"budget": {"maxSeconds": []}}}, f"{TASK}.kamerton.budget.max_seconds",
         "must be a finite number"),
        ({"kamerton": {"earlyStopping": {"mode": 5}}}, f"{TASK}.kamerton.early_stopping.mode",
         "must be a string"),
        ({"kamerton": {"earlyStopping": {"wait": 5}}}, f"{TASK}.kamerton.early_stopping",
         'Unknown name "wait"'),
        ({"kamerton": {"budget": 5}}, f"{TASK}.kamerton.budget", "must be an object"),
        ({"kamerton": {"hyperparameters": {"adapterSize": 1.5}}},
         f"{TASK}.kamerton.hyperparameters.adapter_size", "must be a whole number"),
        ({"kamerton": {"hyperparameters": {"targetModules": "q_proj"}}},
         f"{TASK}.kamerton.hyperparameters.target_modules", "must be a list"),
        ({"kamerton": {"hyperparameters": {"rslora": "perhaps"}}},
         f"{TASK}.kamerton.hyperparameters.rslora", "must be true or false"),
        ({"kamerton": {"hyperparameters": {"epochCount": 5}}},
         f"{TASK}.kamerton.hyperparameters", 'Unknown name "epochCount"'),
        ({"kamerton": {"hyperparameters": []}},
         f"{TASK}.kamerton.hyperparameters", "must be an object"),
        ({"kamerton": {"allow": "K204"}}, f"{TASK}.kamerton.allow", "must be a list"),
        ({"kamerton": {"allow": [7]}}, f"{TASK}.kamerton.allow[0]", "must be a string"),
        ({"kamerton": {"inputKey": 7}}, f"{TASK}.kamerton.input_key", "must be a string"),
        ({"kamerton": 5}, f"{TASK}.kamerton", "must be an object"),
        ({"validationData": []}, f"{TASK}.validation_data", "must be an object"),
        ({"validationData": {"file": "x"}}, f"{TASK}.validation_data", 'Unknown name "file"'),
        ({"validationData": {"examples": 5}}, f"{TASK}.validation_data.examples", "a list"),
        ({"validationData": {"examples": [PAIR], "inputKey": "q"}},
         f"{TASK}.validation_data.input_key", "no file"),
        ({"validationData": {}}, f"{TASK}.validation_data", "is missing"),
        ({"validationData": {"fileUri": "files/a", "examples": [PAIR]}},
         f"{TASK}.validation_data.file_uri", "together"),
    ],
)  # fmt: skip
def test_bad_forms_are_named(
    http: Http, verbs: Verbs, task: dict[str, Any], field: str, said: str
) -> None:
    error = problem(create(http, {"trainingData": INLINE, **task}), 400, "INVALID_ARGUMENT")
    assert fields(error) == [field]
    assert said in error["message"]
    assert verbs.calls == []


def test_complaints_of_the_verb_name_the_fields(http: Http, verbs: Verbs) -> None:
    names = ("budget.max_cost", "holdout.share", "allow", "input_key")
    chosen = ("adapter_size", "lora_alpha", "lora_dropout", "target_modules", "rslora")
    others = ("validation_examples[3].output", "validation_file_uri", "validation_input_key")
    verbs.error = InvalidArgument.all_of(
        [Violation(name, "bad") for name in (*names, *chosen, *others)]
    )
    error = problem(create(http, {"trainingData": INLINE}), 400, "INVALID_ARGUMENT")
    assert fields(error) == [
        *(f"{TASK}.kamerton.{name}" for name in names),
        *(f"{TASK}.kamerton.hyperparameters.{name}" for name in chosen),
        f"{TASK}.validation_data.examples.examples[3].output",
        f"{TASK}.validation_data.file_uri",
        f"{TASK}.validation_data.input_key",
    ]


# --- validateOnly --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "around"),
    [
        ("?validateOnly=true", {}),
        ("?validate_only=True", {}),
        ("", {"validateOnly": True}),
        ("", {"validate_only": "true"}),
    ],
)
def test_validate_only(http: Http, verbs: Verbs, query: str, around: dict[str, Any]) -> None:
    answer = create(http, {"trainingData": INLINE}, query, **around)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert [name for name, _ in verbs.calls] == ["preview"]
    assert made.keys() == {"done", "metadata", "response"}
    assert made["done"] is True and made["metadata"]["totalSteps"] == 19
    response = made["response"]
    assert response.keys().isdisjoint({"name", "state", "createTime", "updateTime"})
    assert response["baseModel"] == "models/gemini-1.0-pro-001"
    assert response["kamerton"]["findings"][0]["code"] == "K203"
    assert response["kamerton"]["estimate"] == reports.estimate(ESTIMATE)


def test_validate_only_tells_the_name_that_was_asked_for(http: Http, verbs: Verbs) -> None:
    verbs.operation = operation(id="mine")
    query = "?validateOnly=1&tunedModelId=mine"
    made = create(http, {"trainingData": INLINE}, query).json()
    assert made["metadata"]["tunedModel"] == made["response"]["name"] == "tunedModels/mine"


def test_validate_only_may_be_said_to_be_false(http: Http, verbs: Verbs) -> None:
    for query, around in (("?validateOnly=false", {}), ("", {"validateOnly": False})):
        assert "name" in create(http, {"trainingData": INLINE}, query, **around).json()
    wrong = create(http, {"trainingData": INLINE}, "?validateOnly=perhaps")
    assert fields(problem(wrong, 400, "INVALID_ARGUMENT")) == ["validate_only"]
    inside = http("POST", "/v1beta/tunedModels", json={"validateOnly": True})
    assert "Unknown name" in problem(inside, 400, "INVALID_ARGUMENT")["message"]


# --- refusals ------------------------------------------------------------------------------------


def bad_dataset(count: int = 2) -> BadDataset:
    empty = replace(FOUND, code="K101", severity="error", message="2 rows have an empty output")
    report = replace(
        REPORT, findings=(empty, *(replace(FOUND, code=f"K2{n:02}") for n in range(count)))
    )
    rows = tuple(Violation(f"examples[{n}].output", "is empty") for n in range(2))
    return BadDataset(InvalidArgument.all_of(rows).message, rows, 0, report)


def test_a_refusal_carries_every_finding(http: Http, verbs: Verbs) -> None:
    verbs.error = bad_dataset()
    error = problem(create(http, {"trainingData": INLINE}), 400, "INVALID_ARGUMENT")
    assert fields(error)[0] == f"{TASK}.training_data.examples.examples[0].output"
    assert error["message"].startswith(fields(error)[0])
    (info,) = [d for d in error["details"] if d["@type"].endswith("google.rpc.ErrorInfo")]
    assert (info["reason"], info["domain"]) == ("DATASET_CHECK_FAILED", "kamerton")
    assert info["metadata"].keys() == {"K101", "K200", "K201"}
    assert info["metadata"]["K101"] == (
        "2 rows have an empty output; examples 3, 7; "
        "Decide which output is right, and remove the others."
    )


def test_the_same_finding_in_both_kinds_of_data_is_told_twice() -> None:
    error = bad_dataset(count=0)
    again = replace(error.report.findings[0], message="validation data: 1 row has an empty output")
    error.report = replace(error.report, findings=(*error.report.findings, again))
    (_, info) = errors.details(error)
    assert info["metadata"]["K101"].count("an empty output") == 2


def test_a_refusal_of_more_than_is_named_says_how_much() -> None:
    error = bad_dataset()
    error.more = 300
    (bad, _) = errors.details(error)
    assert bad["fieldViolations"][-1]["description"] == "and 300 more"
    assert InvalidArgument.all_of(error.violations, 300).message.endswith("; and 300 more")


def test_a_refusal_over_grpc(rpc: Serving, verbs: Verbs) -> None:
    verbs.error = bad_dataset(count=60)
    error = refused(lambda: rpc("CreateTunedModel", tuned(("1", "2"))), grpc_methods._CODES[3])
    (info,) = details(error, error_details_pb2.ErrorInfo)
    assert info.reason == "DATASET_CHECK_FAILED" and "K101" in info.metadata


# --- answers -------------------------------------------------------------------------------------


def test_a_tuned_model_tells_what_was_found() -> None:
    losses = tuple(replace(s, held_out_loss=1.25) if s.step == 4 else s for s in snapshots(5))
    model = tuned_model(
        uid="with-report",
        report=REPORT,
        held_out_count=4,
        holdout=Holdout(seed=3),
        held_out_rows=(1, 5, 8, 9),
        budget=Budget(max_tokens=1000),
        stop_reason="The budget ended the run.",
        early_stopping=EarlyStopping("off"),
        kept_step=4,
        verdict="Better than its base model.",
        snapshots=losses,
    )
    made = messages.tuned_model(model)["kamerton"]
    assert made["heldOut"] == {
        "count": 4,
        "share": 0.1,
        "seed": 3,
        "rows": [1, 5, 8, 9],
        "rowsShown": 4,
        "losses": [{"step": 4, "meanLoss": 1.25}],
    }
    assert made["budget"] == {"maxTokens": 1000}
    assert made["stopReason"] == "The budget ended the run."
    assert made["earlyStopping"] == {"mode": "off", "patience": 3, "minChange": 0.01}
    assert (made["keptStep"], made["verdict"]) == (4, "Better than its base model.")
    assert made["summary"] == {"errors": 0, "warnings": 1, "notes": 0}
    assert made["findings"][0]["rows"][0] == {
        "example": 3,
        "field": "output",
        "detail": "like example 1",
    }
    assert made["statistics"]["exampleCount"] == 15
    json.dumps(made)


def test_a_tuned_model_tells_its_adapter_as_it_is_asked_for() -> None:
    chosen = choose(15, BASE, adapter_size=4, lora_dropout=0.5, target_modules=["q_proj"])
    told = messages.tuned_model(tuned_model(hyperparameters=chosen))["kamerton"]
    assert told["loraRank"] == 4
    assert told["hyperparameters"] == {
        "adapterSize": 4,
        "loraAlpha": 8,
        "loraDropout": 0.5,
        "targetModules": ["q_proj"],
        "rslora": False,
    }
    given = {"tuningTask": {"kamerton": {"hyperparameters": told["hyperparameters"]}}}
    again = extension.lifted({"tuned_model": given}, {}).arguments
    assert choose(15, BASE, **again) == chosen


def test_nothing_of_that_stands_in_an_operation() -> None:
    noun = operation(done=True, state=State.ACTIVE, report=REPORT, budget=Budget(5))
    assert "kamerton" not in json.dumps(messages.operation(noun)).replace("kamerton-nano-001", "")


def test_a_report_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Report] = []

    def report(noun: Report) -> dict[str, Any]:
        written.append(noun)
        return {"findings": []}

    monkeypatch.setattr(extension, "_written", {})
    monkeypatch.setattr(reports, "report", report)
    for _ in range(3):
        assert messages.tuned_model(tuned_model(report=REPORT))["kamerton"]["findings"] == []
    messages.tuned_model(tuned_model(uid="another", report=REPORT))
    assert len(written) == 2
