"""Routes, credentials, spellings and errors over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kamerton.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    KamertonError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    Violation,
)
from kamerton.service.readings import Data
from kamerton.types import Content, Example, GenerationConfig, State
from tests.surfaces.gemini.fake_service import Http, Verbs, fields, operation, problem, snapshots

MODEL = "tunedModels/next-number-4kq0x9v1c2ab"
OPERATION = f"{MODEL}/operations/bvl8dymw0fhw"
PROMPT = {"contents": [{"parts": [{"text": "hi"}]}]}
# The body of the curl tutorial, trailing commas included.
TUTORIAL = """
      {
        "display_name": "number generator model",
        "base_model": "models/gemini-1.0-pro-001",
        "tuning_task": {
          "hyperparameters": {
            "batch_size": 2,
            "learning_rate": 0.001,
            "epoch_count":5,
          },
          "training_data": {
            "examples": {
              "examples": [
                {
                    "text_input": "1",
                    "output": "2",
                },{
                    "text_input": "three",
                    "output": "four",
                }
              ]
            }
          }
        }
      }"""


def created(http: Http, body: Any = None, query: str = "", **changes: Any) -> Any:
    asked = {
        "baseModel": "models/gemini-1.0-pro-001",
        "tuningTask": {
            "trainingData": {"examples": {"examples": [{"textInput": "1", "output": "2"}]}}
        },
        **changes,
    }
    return http("POST", f"/v1beta/tunedModels{query}", json=asked if body is None else body)


# --- models --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_models(http: Http, version: str) -> None:
    listed = http("GET", f"/{version}/models?pageSize=50").json()
    assert [model["name"] for model in listed["models"]] == [
        "models/gemini-1.5-flash-001-tuning",
        "models/kamerton-nano-001",
    ]
    assert "nextPageToken" not in listed
    for name in ("kamerton-nano-001", "gemini-1.5-pro", "gemini-1.5-flash-001-tuning"):
        model = http("GET", f"/{version}/models/{name}").json()
        assert model["name"] == f"models/{name}"
        assert "createTunedModel" in model["supportedGenerationMethods"]


def test_an_unknown_model(http: Http) -> None:
    error = problem(http("GET", "/v1beta/models/palm"), 404, "NOT_FOUND")
    assert error["message"].startswith("models/palm is not found for API version v1beta")


@pytest.mark.parametrize("query", ["pageSize=x", "pageSize=-1", "page_size=1.5", "pageToken=%21"])
def test_a_bad_page(http: Http, query: str) -> None:
    error = problem(http("GET", f"/v1beta/models?{query}"), 400, "INVALID_ARGUMENT")
    assert fields(error) in (["page_size"], ["page_token"])


# --- tuned models --------------------------------------------------------------------------------


def test_the_tutorial(http: Http, verbs: Verbs) -> None:
    verbs.operation = operation(id="number-generator-model-dzlmi0gswwqb", total_steps=38)
    answer = http("POST", "/v1beta/tunedModels", data=TUTORIAL)
    assert answer.status_code == 200
    assert len(answer.content) == 296  # as the original's
    assert answer.text.endswith("}\n") and '\n  "name"' in answer.text
    assert verbs.asked == {
        "base_model": "gemini-1.0-pro-001",
        "asked_base_model": "models/gemini-1.0-pro-001",
        "data": Data(examples=[Example.pair("1", "2"), Example.pair("three", "four")]),
        "tuned_model_id": "",
        "display_name": "number generator model",
        "description": "",
        "reader_project_numbers": (),
        "epoch_count": 5,
        "batch_size": 2,
        "learning_rate": 0.001,
    }


def test_everything_that_can_be_asked(http: Http, verbs: Verbs) -> None:
    data = {"examples": {"examples": [{"text_input": "1", "output": "2"}]}}
    answer = created(
        http,
        query="?tunedModelId=mine&%24alt=json%3Benum-encoding%3Dint",
        name="tunedModels/ignored",
        state=2,
        baseModel="gemini-x",
        description="words",
        temperature=0.7,
        topP="0.9",
        top_k=3,
        readerProjectNumbers=["12"],
        tuningTask={
            "hyperparameters": {"learningRateMultiplier": 0.3},
            "trainingData": data,
            "snapshots": [{"step": 1}],
        },
        kamerton={"exampleCount": 3},
    )
    assert answer.status_code == 200, answer.text
    asked = verbs.asked
    assert asked.pop("data").examples
    assert asked == {
        "base_model": "gemini-x",
        "asked_base_model": "models/gemini-x",
        "tuned_model_id": "mine",
        "display_name": "",
        "description": "words",
        "reader_project_numbers": (12,),
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 3,
        "learning_rate_multiplier": 0.3,
    }


@pytest.mark.parametrize(
    "source",
    [
        {"tunedModelSource": {"tunedModel": "tunedModels/a", "baseModel": "models/b"}},
        {"baseModel": "tunedModels/a"},
    ],
)
def test_tuning_a_tuned_model(http: Http, verbs: Verbs, source: dict[str, Any]) -> None:
    data = {"examples": {"examples": [{"text_input": "1", "output": "2"}]}}
    assert created(http, {**source, "tuningTask": {"trainingData": data}}).status_code == 200
    assert verbs.asked["source"] == "a"
    assert "base_model" not in verbs.asked


def test_a_wrapped_body(http: Http, verbs: Verbs) -> None:
    inner = json.loads(TUTORIAL.replace(",\n          }", "}").replace(",\n                }", "}"))
    body = {"tunedModel": inner, "tunedModelId": "mine"}
    assert created(http, body).status_code == 200
    assert verbs.asked["tuned_model_id"] == "mine"
    assert verbs.asked["display_name"] == "number generator model"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"baseModel": ""}, "tuned_model.base_model"),
        ({"baseModel": None}, "tuned_model.base_model"),
        ({"baseModel": "m" * 1_000_000}, "tuned_model.base_model"),
        ({"baseModel": "tunedModels/../x"}, "tuned_model.tuned_model_source.tuned_model"),
        ({"tuningTask": {}}, "tuned_model.tuning_task.training_data"),
        ({"tuningTask": {"trainingData": {"examples": {"examples": []}}}}, None),
        ({"tuning_tusk": {}}, "tuned_model"),
        ({"tuningTask": {"fileUri": "x"}}, "tuned_model.tuning_task"),
    ],
)
def test_a_create_of_bad_form(http: Http, changes: dict[str, Any], field: str | None) -> None:
    answer = created(http, **changes)
    error = problem(answer, 400, "INVALID_ARGUMENT")
    assert fields(error) == [field or "tuned_model.tuning_task.training_data"]
    assert len(answer.content) < 2000


def test_a_verbs_complaint_names_the_field_of_the_request(http: Http, verbs: Verbs) -> None:
    verbs.error = InvalidArgument(
        "several",
        (
            Violation("examples[7].output", "5210 characters, at most 5000"),
            Violation("epoch_count", "too many"),
            Violation("display_name", "too long"),
            Violation("tuned_model_id", "bad"),
            Violation("base_model", "unknown"),
        ),
    )
    error = problem(created(http), 400, "INVALID_ARGUMENT")
    assert fields(error) == [
        "tuned_model.tuning_task.training_data.examples.examples[7].output",
        "tuned_model.tuning_task.hyperparameters.epoch_count",
        "tuned_model.display_name",
        "tuned_model_id",
        "tuned_model.base_model",
    ]


def test_many_complaints_are_cut_and_counted(http: Http, verbs: Verbs) -> None:
    verbs.error = InvalidArgument("many", tuple(Violation("x", "bad") for _ in range(250)))
    error = problem(created(http), 400, "INVALID_ARGUMENT")
    assert len(fields(error)) == 101
    assert error["details"][0]["fieldViolations"][-1]["description"] == "and 150 more"


def test_get_list_delete_cancel(http: Http, verbs: Verbs) -> None:
    assert http("GET", f"/v1/{MODEL}").json()["displayName"] == "next number"
    listed = http("GET", "/v1beta/tunedModels?page_size=5000&pageToken=t&filter=owner%3Ame").json()
    assert verbs.asked == {"page_size": 1000, "page_token": "t", "filter": "owner:me"}
    assert listed["nextPageToken"] == "more"
    assert http("GET", "/v1beta/tunedModels").ok and verbs.asked["page_size"] == 10
    assert http("DELETE", f"/v1beta/{MODEL}", data="{}").text == "{}\n"
    assert http("POST", f"/v1beta/{MODEL}:cancel", data="").text == "{}\n"
    names = [name for name, _ in verbs.calls]
    assert names == ["get", "list", "list", "delete", "cancel"]


@pytest.mark.parametrize("id", ["unknown", "..", "%00", "a%2Fb", "A", "x" * 64, "a:b", "%F0%28"])
def test_an_unknown_tuned_model(http: Http, id: str) -> None:
    problem(http("GET", f"/v1beta/tunedModels/{id}"), 404, "NOT_FOUND")


# --- patch ---------------------------------------------------------------------------------------


def patched(http: Http, verbs: Verbs, query: str, **body: Any) -> dict[str, Any]:
    answer = http("PATCH", f"/v1beta/{MODEL}{query}", json=body)
    assert answer.status_code == 200, answer.text
    changes: dict[str, Any] = verbs.asked["changes"]
    return changes


def test_patch_writes_what_the_mask_names(http: Http, verbs: Verbs) -> None:
    whole = {**http("GET", f"/v1beta/{MODEL}").json(), "state": 2, "topK": 5}
    changes = patched(http, verbs, "?updateMask=description,displayName", **whole)
    assert changes == {"description": None, "display_name": "next number"}
    changes = patched(http, verbs, "?update_mask=top_k,readerProjectNumbers", **whole)
    assert changes == {"top_k": 5, "reader_project_numbers": None}


def test_patch_without_a_mask_writes_what_is_there(http: Http, verbs: Verbs) -> None:
    body = {"state": "ACTIVE", "description": "", "temperature": 0.7, "displayName": None}
    assert patched(http, verbs, "", **body) == {"description": None, "temperature": 0.7}
    wrapped = {"tunedModel": {"top_p": 0.5}}
    assert patched(http, verbs, "", **wrapped) == {"top_p": 0.5}


def test_what_a_run_changed_meanwhile_does_no_harm_in_a_mask(http: Http, verbs: Verbs) -> None:
    mask = "description,tuningTask.startTime,tuningTask.snapshots,state,updateTime"
    assert patched(http, verbs, f"?updateMask={mask}", description="d") == {"description": "d"}


def test_patch_with_the_mask_beside_a_wrapped_body(http: Http, verbs: Verbs) -> None:
    wrapped = {"tunedModel": {"topP": 0.5, "topK": 3}, "updateMask": "topK,description"}
    assert patched(http, verbs, "", **wrapped) == {"top_k": 3, "description": None}
    assert patched(http, verbs, "?updateMask=topP", **wrapped) == {"top_p": 0.5}


@pytest.mark.parametrize("query", ["?updateMask=state", "?updateMask=displayName,tuningTask", ""])
def test_patch_of_what_cannot_change(http: Http, query: str) -> None:
    answer = http("PATCH", f"/v1beta/{MODEL}{query}", json={"state": "FAILED"})
    assert fields(problem(answer, 400, "INVALID_ARGUMENT")) == ["update_mask"]


# --- operations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_operations(http: Http, verbs: Verbs, version: str) -> None:
    verbs.operation = operation(done=True, state=State.ACTIVE, snapshots=snapshots(19))
    got = http("GET", f"/{version}/{OPERATION}").json()
    assert got["response"]["state"] == "ACTIVE" and got["name"] == OPERATION
    assert http("POST", f"/{version}/{OPERATION}:cancel", json={}).text == "{}\n"
    for path, model in ((f"{MODEL}/operations", "next-number-4kq0x9v1c2ab"), ("operations", None)):
        assert len(http("GET", f"/{version}/{path}").json()["operations"]) == 1
        assert verbs.asked == {"tuned_model_id": model, "page_size": 50, "page_token": ""}
    problem(http("DELETE", f"/{version}/{OPERATION}"), 501, "UNIMPLEMENTED")
    problem(http("PUT", f"/{version}/{OPERATION}"), 405, "UNIMPLEMENTED")


def test_waiting_for_an_operation(http: Http, verbs: Verbs) -> None:
    got = http("POST", f"/v1/{OPERATION}:wait", json={"timeout": "2.5s"}).json()
    assert got["name"] == OPERATION
    assert verbs.asked["seconds"] == 2.5
    for body in (None, {}, {"timeout": "86400s"}):
        http("POST", f"/v1/{OPERATION}:wait", json=body)
        assert verbs.asked["seconds"] == 600
    wrong = http("POST", f"/v1/{OPERATION}:wait", json={"timeout": "-1s"})
    assert "timeout" in problem(wrong, 400, "INVALID_ARGUMENT")["message"]
    problem(http("POST", f"/v1/{OPERATION}:wait", json={"timeout": 5}), 400, "INVALID_ARGUMENT")


def test_a_base_model_can_be_chosen_by_the_name_that_notebooks_look_for(http: Http) -> None:
    found = http("GET", "/v1beta/models").json()["models"]
    chosen = [m["name"] for m in found if "createTunedModel" in m["supportedGenerationMethods"]]
    assert [name for name in chosen if "flash" in name] == ["models/gemini-1.5-flash-001-tuning"]
    first = http("GET", "/v1beta/models?pageSize=1").json()
    rest = http("GET", f"/v1beta/models?pageSize=9&pageToken={first['nextPageToken']}").json()
    assert first["models"] + rest["models"] == found


def test_who_may_not_call_does_not_get_to_send_a_body(http: Http, verbs: Verbs) -> None:
    head = "POST /v1/tunedModels HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000000\r\n"
    for credential, status in (("", 401), ("x-goog-api-key: reader-key\r\n", 403)):
        answer = http.raw(f"{head}{credential}\r\n{{".encode())
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert verbs.calls == []


# --- permissions ---------------------------------------------------------------------------------

PERMISSION = f"{MODEL}/permissions/100000000000000001"


@pytest.mark.parametrize("asked", [{"granteeType": 1, "role": 3}, {"role": "READER"}])
def test_permissions(http: Http, verbs: Verbs, asked: dict[str, Any]) -> None:
    body = {"grantee_type": "USER", "emailAddress": "bob@x.org", **asked}
    shown = {
        "name": PERMISSION,
        "granteeType": "USER",
        "emailAddress": "bob@x.org",
        "role": "READER",
    }
    path = f"/v1beta/{MODEL}/permissions?%24alt=json%3Benum-encoding%3Dint"
    assert http("POST", path, json=body).json() == shown
    assert verbs.asked == {
        "tuned_model_id": "next-number-4kq0x9v1c2ab",
        "grantee_type": "USER",
        "email": "bob@x.org",
        "role": "READER",
    }
    assert http("GET", f"/v1/{MODEL}/permissions?pageSize=3").json() == {"permissions": [shown]}
    assert verbs.asked["page_size"] == 3
    assert http("GET", f"/v1/{PERMISSION}").json() == shown
    assert http("DELETE", f"/v1/{PERMISSION}").text == "{}\n"


def test_patch_of_a_permission_takes_only_the_role(http: Http, verbs: Verbs) -> None:
    whole = {"name": PERMISSION, "granteeType": 1, "emailAddress": "bob@x.org", "role": 2}
    for query in ("?updateMask=role", ""):
        assert http("PATCH", f"/v1beta/{PERMISSION}{query}", json=whole).status_code == 200
        assert verbs.asked == {
            "tuned_model_id": "next-number-4kq0x9v1c2ab",
            "permission_id": "100000000000000001",
            "role": "WRITER",
        }
    wrong = http("PATCH", f"/v1beta/{PERMISSION}?updateMask=emailAddress", json=whole)
    assert "email_address" in problem(wrong, 400, "INVALID_ARGUMENT")["message"]
    wrong = http("PATCH", f"/v1beta/{PERMISSION}?updateMask=role", json={"rolle": 2})
    assert "rolle" in problem(wrong, 400, "INVALID_ARGUMENT")["message"]


def test_ownership_is_handed_over(http: Http, verbs: Verbs) -> None:
    path = f"/v1beta/{MODEL}:transferOwnership"
    assert http("POST", path, json={"emailAddress": "bob@x.org"}).json() == {}
    assert verbs.asked["email"] == "bob@x.org"


# --- credentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"x-goog-api-key": "owner-key"}),
        ("?key=owner-key", {}),
        ("?%24key=owner-key", {}),
        ("", {"Authorization": "Bearer owner-key", "x-goog-user-project": "p"}),
        ("", {"authorization": "bearer owner-key"}),
        ("?key=reader-key", {"Authorization": "Bearer owner-key"}),
    ],
)
def test_credentials(http: Http, query: str, headers: dict[str, str]) -> None:
    answer = http("DELETE", f"/v1beta/{MODEL}{query}", key=None, headers=headers)
    assert answer.status_code == 200


def test_bad_credentials(http: Http) -> None:
    def error(status: int, name: str, **headers: str) -> dict[str, Any]:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return problem(http("GET", "/v1/models", key=None, headers=named), status, name)

    error(401, "UNAUTHENTICATED")
    error(401, "UNAUTHENTICATED", Authorization="Bearer secret-thing")
    error(401, "UNAUTHENTICATED", Authorization="Basic secret-thing")
    invalid = error(400, "INVALID_ARGUMENT", x_goog_api_key="secret-thing")
    assert invalid["message"].startswith("API key not valid")
    assert invalid["details"][0]["reason"] == "API_KEY_INVALID"
    assert "secret-thing" not in json.dumps(invalid)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "tunedModels"),
        ("PATCH", MODEL),
        ("DELETE", MODEL),
        ("POST", f"{MODEL}:cancel"),
        ("POST", f"{OPERATION}:cancel"),
    ],
)
def test_whoever_may_only_infer_cannot_write(
    http: Http, verbs: Verbs, method: str, path: str
) -> None:
    # Even with a body that makes no sense: who may not, learns nothing else.
    answer = http(method, f"/v1beta/{path}", key="reader-key", data="nonsense")
    problem(answer, 403, "PERMISSION_DENIED")
    assert not verbs.calls


def test_whoever_may_infer_can_read_and_ask(http: Http) -> None:
    for path in ("models", "tunedModels", MODEL, OPERATION, "operations"):
        assert http("GET", f"/v1beta/{path}", key="reader-key").status_code == 200
    answer = http("POST", f"/v1beta/{MODEL}:generateContent", key="reader-key", json=PROMPT)
    assert answer.status_code == 200


# --- paths, queries and errors -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "nothing", 404, "NOT_FOUND"),
        ("GET", "", 404, "NOT_FOUND"),
        ("GET", "models/", 404, "NOT_FOUND"),
        ("GET", "models/a/b", 404, "NOT_FOUND"),
        ("POST", "models/a:b:c", 405, "UNIMPLEMENTED"),
        ("PUT", MODEL, 405, "UNIMPLEMENTED"),
        ("GET", "models/x:generateContent", 405, "UNIMPLEMENTED"),
        ("POST", "models/x:embedContent", 501, "UNIMPLEMENTED"),
        ("POST", "models/x:batchGenerateContent", 501, "UNIMPLEMENTED"),
    ],
)
def test_paths_that_lead_nowhere(
    http: Http, method: str, path: str, status: int, name: str
) -> None:
    problem(http(method, f"/v1beta/{path}"), status, name)


def test_only_known_verbs_are_cut_off(http: Http, verbs: Verbs) -> None:
    http("POST", "/v1/models/ft:base:org:suffix:id:generateContent", json=PROMPT)
    assert verbs.asked["base_model"] == "ft:base:org:suffix:id"


def test_paths_are_decoded(http: Http, verbs: Verbs) -> None:
    answer = http("POST", "/v1/models%2Fgemini-1.5-pro%3AgenerateContent", json=PROMPT)
    assert answer.status_code == 200 and verbs.asked["base_model"] == "gemini-1.5-pro"


@pytest.mark.parametrize("query", ["prettyPrint=false", "%24prettyPrint=false", "prettyPrint=0"])
def test_one_line_when_asked(http: Http, query: str) -> None:
    assert "\n" not in http("GET", f"/v1/models?{query}").text


def test_other_query_parameters_are_ignored(http: Http) -> None:
    query = "alt=json&$alt=json;enum-encoding=int&quotaUser=x&$.xgafv=2&fields=a&uploadType=b&z"
    assert http("GET", f"/v1/models?{query}").status_code == 200
    problem(http("GET", "/v1/models?alt=proto"), 400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (InvalidArgument("m"), 400, "INVALID_ARGUMENT"),
        (FailedPrecondition("m"), 400, "FAILED_PRECONDITION"),
        (PermissionDenied("m"), 403, "PERMISSION_DENIED"),
        (NotFound("m"), 404, "NOT_FOUND"),
        (AlreadyExists("m"), 409, "ALREADY_EXISTS"),
        (ResourceExhausted("m"), 429, "RESOURCE_EXHAUSTED"),
        (Internal("m"), 500, "INTERNAL"),
        (Unimplemented("m"), 501, "UNIMPLEMENTED"),
        (Unavailable("m"), 503, "UNAVAILABLE"),
    ],
)
def test_errors_of_verbs(
    http: Http, verbs: Verbs, error: KamertonError, status: int, name: str
) -> None:
    verbs.error = error
    answer = http("GET", f"/v1beta/{MODEL}")
    assert problem(answer, status, name)["message"] == "m"
    assert ("retry-after" in answer.headers) == (status in (429, 503))


# --- bad input -----------------------------------------------------------------------------------

BAD_BODIES = [
    b"{",
    b"[]",
    b"1",
    b"\xff\xfe{\x00}\x00",
    b"\x00",
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b'{"a": ' + b"9" * 5000 + b"}",
    b'{"displayName": "\\ud800"}',
    b"[" * 500_000,
    b'{"a":' * 20_000,
    b'{"contents": {}, "tuningTask": 5}',
    b'{"contents": [[]], "tuningTask": []}',
    b'{"contents": "hi", "tuningTask": "x"}',
    b'{"contents": [null], "tuningTask": {"trainingData": []}}',
    b'{"contents": [{"parts": {}}], "displayName": {}}',
    b'{"contents": [{"parts": [{"text": 1}]}], "readerProjectNumbers": 1}',
    b'{"contents": [{"parts": [{"inlineData": {"data": "!"}}]}], "temperature": "x"}',
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "tunedModels"),
        ("PATCH", MODEL),
        ("POST", f"{MODEL}:generateContent"),
        ("POST", "models/gemini-1.5-pro:streamGenerateContent"),
        ("POST", f"{MODEL}:countTokens"),
    ],
)
def test_bad_bodies_are_the_callers_mistake(
    http: Http, method: str, path: str, body: bytes
) -> None:
    problem(http(method, f"/v1beta/{path}", data=body), 400, "INVALID_ARGUMENT")


def test_too_long_a_body(http: Http, verbs: Verbs) -> None:
    body = b" " * (21 * 1024 * 1024)
    answer = http("POST", f"/v1beta/{MODEL}:generateContent", data=body)
    error = problem(answer, 400, "INVALID_ARGUMENT")
    assert error["message"].startswith("Request payload size exceeds the limit:")

    def pieces() -> Any:
        for _ in range(21):
            yield body[: 1024 * 1024]

    answer = http("POST", f"/v1beta/{MODEL}:generateContent", data=pieces())
    problem(answer, 400, "INVALID_ARGUMENT")
    assert created(http, data := json.loads(TUTORIAL_STRICT) | {"description": " " * len(body)}).ok
    assert verbs.asked["description"] == data["description"]


TUTORIAL_STRICT = TUTORIAL.replace("5,\n", "5\n").replace('2",\n', '2"\n').replace('r",\n', 'r"\n')


def test_compressed_bodies(http: Http) -> None:
    answer = http("POST", "/v1/tunedModels", data=b"x", headers={"Content-Encoding": "gzip"})
    problem(answer, 400, "INVALID_ARGUMENT")


def test_contents_reach_the_verb(http: Http, verbs: Verbs) -> None:
    http("POST", f"/v1beta/{MODEL}:generateContent", json=PROMPT)
    assert verbs.asked == {
        "tuned_model": "next-number-4kq0x9v1c2ab",
        "contents": [Content("user", "hi")],
        "config": GenerationConfig(),
    }
