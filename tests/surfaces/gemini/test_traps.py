"""Twenty traps that break unmodified clients: a test for each, by number, and some more after."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kamerton.errors import FailedPrecondition, ResourceExhausted
from kamerton.training.hyperparameters import epoch_of
from kamerton.types import Chunk, Failure, Hyperparameters, State
from tests.surfaces.gemini.fake_service import Http, Verbs, operation, problem, snapshots

MODEL = "tunedModels/next-number-4kq0x9v1c2ab"
OPERATION = f"{MODEL}/operations/bvl8dymw0fhw"
EXAMPLES = {"examples": {"examples": [{"textInput": "1", "output": "2"}]}}
BEARER = {"Authorization": "Bearer owner-key"}
HI = {"contents": [{"parts": [{"text": "hi"}]}]}
ALLOWED = {
    "operation": {"name", "metadata", "done", "error", "response"},
    "metadata": {
        "@type",
        "tunedModel",
        "totalSteps",
        "completedSteps",
        "completedPercent",
        "snapshots",
    },
    "snapshot": {"step", "epoch", "meanLoss", "computeTime"},
    "tuned model": {
        "@type",
        "name",
        "baseModel",
        "displayName",
        "state",
        "createTime",
        "updateTime",
        "tuningTask",
        "temperature",
        "topP",
        "topK",
    },
    "task": {"startTime", "completeTime", "snapshots", "hyperparameters"},
    "error": {"code", "message", "details"},
}
STAGES = [
    operation(),
    operation(snapshots=snapshots(3)),
    operation(done=True, state=State.ACTIVE, snapshots=snapshots(19)),
    operation(done=True, state=State.FAILED, failure=Failure("Cancelled", "c"), snapshots=()),
]


@pytest.fixture(params=range(len(STAGES)), ids=["queued", "running", "done", "failed"])
def made(request: pytest.FixtureRequest, http: Http, verbs: Verbs) -> dict[str, Any]:
    """An operation at every stage of its life, as /v1 tells it."""
    verbs.operation = STAGES[request.param]
    answer: dict[str, Any] = http("GET", f"/v1/{OPERATION}").json()
    return answer


def test_01_operations_have_no_field_of_their_own(made: dict[str, Any]) -> None:
    assert made.keys() <= ALLOWED["operation"]
    assert made["metadata"].keys() <= ALLOWED["metadata"]
    for snapshot in made["metadata"].get("snapshots", []):
        assert snapshot.keys() == ALLOWED["snapshot"]
    assert made.get("error", {}).keys() <= ALLOWED["error"]
    assert made.get("response", {}).keys() <= ALLOWED["tuned model"]


def test_02_03_neither_multiplier_nor_training_data_is_answered(http: Http, verbs: Verbs) -> None:
    for verbs.operation in STAGES:
        one = http("GET", f"/v1beta/{MODEL}").json()
        many = http("GET", "/v1beta/tunedModels").json()["tunedModels"]
        result = http("GET", f"/v1beta/{OPERATION}").json().get("response", one)
        for model in (one, *many, result):
            task = model["tuningTask"]
            assert task.keys() <= ALLOWED["task"]
            assert task["hyperparameters"].keys() == {"epochCount", "batchSize", "learningRate"}


def test_04_progress_and_snapshots_come_together(made: dict[str, Any]) -> None:
    shown = {"completedPercent", "completedSteps", "snapshots"} & made["metadata"].keys()
    assert shown in (set(), {"completedPercent", "completedSteps", "snapshots"})
    if shown:
        assert made["metadata"]["completedPercent"] > 0
        assert made["metadata"]["snapshots"]


def test_05_steps_and_epochs_start_at_one(http: Http, verbs: Verbs) -> None:
    assert epoch_of(1, 15, Hyperparameters(5, 4, 0.001, 0.001)) == 1
    verbs.operation = STAGES[1]
    for snapshot in http("GET", f"/v1/{OPERATION}").json()["metadata"]["snapshots"]:
        assert snapshot["step"] >= 1 and snapshot["epoch"] >= 1


def test_06_grep_finds_one_line_with_the_state(http: Http) -> None:
    text = http("GET", f"/v1beta/{MODEL}").text
    assert [line for line in text.split("\n") if "state" in line] == ['  "state": "CREATING",']
    assert text.endswith("\n")


def test_07_trailing_commas(http: Http) -> None:
    body = json.dumps({"baseModel": "m", "tuningTask": {"trainingData": EXAMPLES}})
    body = body.replace("}", ",}").replace("]", ",]")
    assert http("POST", "/v1beta/tunedModels", data=body).status_code == 200


def test_08_types_name_v1beta_even_at_v1(made: dict[str, Any]) -> None:
    start = "type.googleapis.com/google.ai.generativelanguage.v1beta."
    assert made["metadata"]["@type"] == start + "CreateTunedModelMetadata"
    if "response" in made:
        assert made["response"]["@type"] == start + "TunedModel"


def test_09_only_published_states(http: Http, verbs: Verbs) -> None:
    for verbs.operation in STAGES:
        state = http("GET", f"/v1beta/{MODEL}").json()["state"]
        assert state in ("CREATING", "ACTIVE", "FAILED")
    assert {state.value for state in State} == {"CREATING", "ACTIVE", "FAILED"}


def test_10_not_ready_is_400_and_full_is_429_never_503(http: Http, verbs: Verbs) -> None:
    verbs.error = FailedPrecondition("is CREATING")
    problem(http("POST", f"/v1/{MODEL}:generateContent", json=HI), 400, "FAILED_PRECONDITION")
    verbs.error = ResourceExhausted("full")
    problem(http("POST", f"/v1/{MODEL}:generateContent", json=HI), 429, "RESOURCE_EXHAUSTED")


# In test_uploads.py: 11, an upload session needs no credential, in
# test_a_session_needs_no_key_and_refuses_anothers; 12, every answer of one has
# X-Goog-Upload-Status, in test_pieces_with_query_and_repeat; 18, multipart bodies may have bare
# line feeds, in test_multipart.


def test_13_event_streams_hold_nothing_but_data(http: Http) -> None:
    text = http("POST", f"/v1/{MODEL}:streamGenerateContent?alt=sse", json=HI).text
    for line in text.split("\n"):
        assert line == "" or json.loads(line.removeprefix("data: "))["candidates"]


def test_14_without_asking_for_events_a_stream_is_one_array(http: Http) -> None:
    path = f"/v1/{MODEL}:streamGenerateContent?$alt=json;enum-encoding=int"
    assert len(http("POST", path, json=HI).json()) == 2


def test_15_every_candidate_has_a_text_part(http: Http, verbs: Verbs) -> None:
    endings: list[list[Chunk | Exception]] = [
        [],
        [Chunk("", finish_reason="STOP")],
        [Chunk("a"), Chunk("b")],
    ]
    for verbs.chunks in endings:
        whole = http("POST", f"/v1/{MODEL}:generateContent", json=HI).json()
        pieces = http("POST", f"/v1/{MODEL}:streamGenerateContent", json=HI).json()
        for answer in (whole, *pieces):
            (part,) = answer["candidates"][0]["content"]["parts"]
            assert part.keys() == {"text"}


def test_16_v1_models_is_geminis_to_whoever_asks_like_gemini(http: Http) -> None:
    for asked in (
        http("GET", "/v1/models"),
        http("GET", "/v1/models?key=owner-key", key=None),
        http("GET", "/v1/models", key=None, headers=BEARER | {"x-goog-user-project": "p"}),
        http("GET", "/v1/models", key=None, headers=BEARER | {"x-goog-api-client": "genai"}),
    ):
        assert "models/kamerton-nano-001" in {model["name"] for model in asked.json()["models"]}


def test_17_only_a_verb_is_cut_off_after_a_colon(http: Http, verbs: Verbs) -> None:
    http("POST", "/v1/models/ft:base:cancel:id:countTokens", json=HI)
    assert verbs.asked["base_model"] == "ft:base:cancel:id"
    error = problem(http("GET", "/v1/models/ft:base:org:suffix:id"), 404, "NOT_FOUND")
    assert "ft:base:org:suffix:id" in error["message"]


def test_19_patch_of_the_whole_resource_with_enums_as_numbers(http: Http, verbs: Verbs) -> None:
    verbs.operation = STAGES[2]
    whole = http("GET", f"/v1beta/{MODEL}").json() | {"state": 2, "displayName": "new"}
    path = f"/v1beta/{MODEL}?updateMask=displayName&%24alt=json%3Benum-encoding%3Dint"
    assert http("PATCH", path, json=whole).status_code == 200
    assert verbs.asked["changes"] == {"display_name": "new"}


def test_20_dropped_training_data_is_explained(http: Http) -> None:
    body = {"baseModel": "m", "displayName": "d", "tuningTask": {"hyperparameters": {}}}
    error = problem(http("POST", "/v1/tunedModels", json=body), 400, "INVALID_ARGUMENT")
    for words in ("training_data", "google-genai", "extra_body", "textInput"):
        assert words in error["message"]


# --- and some more ---


def test_the_end_is_told_in_all_three_ways_at_once(made: dict[str, Any]) -> None:
    ends = [name for name in ("response", "error") if name in made]
    assert len(ends) == (1 if made.get("done") else 0)
