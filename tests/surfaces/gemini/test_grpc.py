"""The Gemini API over gRPC: what is served, to whom, and what is refused."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from kamerton.errors import (
    AlreadyExists,
    Cancelled,
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
from kamerton.surfaces.gemini import form, grpc_methods, methods, published
from kamerton.surfaces.gemini.rpcs import RPCS
from kamerton.types import Example, State
from tests.surfaces.gemini.fake_service import Verbs, operation, snapshots
from tests.surfaces.gemini.grpc_client import (
    MODEL,
    OWNER,
    Serving,
    details,
    opened,
    prompt,
    refused,
    tuned,
    wrong_fields,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    from google.ai import generativelanguage_v1beta as published_types

OPERATION = f"{MODEL}/operations/bvl8dymw0fhw"


# --- methods -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, rpc in RPCS.items() if rpc.service])
def test_every_published_method_is_there(rpc: Serving, name: str) -> None:
    try:
        list(rpc.stream(name, b""))
    except grpc.RpcError as error:
        assert isinstance(error, grpc.Call)
        assert error.details() != "Method not found!"


def test_what_is_not_there_is_unimplemented(rpc: Serving) -> None:
    path = "/google.ai.generativelanguage.v1beta.CacheService/ListCachedContents"
    call: Any = rpc.channel.unary_unary(path)
    refused(lambda: call(b"", metadata=OWNER), grpc.StatusCode.UNIMPLEMENTED)


def test_create(rpc: Serving, verbs: Verbs) -> None:
    asked = tuned(("1", "2"), ("three", "four"), display_name="numbers", temperature=0.7)
    asked["tuned_model"]["tuning_task"]["hyperparameters"] = {
        "epoch_count": 5,
        "learning_rate": 0.001,
    }
    made = rpc("CreateTunedModel", {**asked, "tuned_model_id": "my-numbers"})
    assert made.name == OPERATION
    assert not made.done
    metadata = published_types.CreateTunedModelMetadata.pb()()
    assert made.metadata.Unpack(metadata)
    assert (metadata.total_steps, metadata.tuned_model) == (19, MODEL)
    assert verbs.asked["tuned_model_id"] == "my-numbers"
    assert verbs.asked["data"].examples == [Example.pair("1", "2"), Example.pair("three", "four")]
    assert (verbs.asked["epoch_count"], verbs.asked["learning_rate"]) == (5, 0.001)
    assert (verbs.asked["temperature"], verbs.asked["display_name"]) == (0.7, "numbers")


def test_a_finished_operation(rpc: Serving, verbs: Verbs) -> None:
    verbs.operation = operation(
        done=True, state=State.ACTIVE, snapshots=snapshots(19), total_steps=19
    )
    found = rpc("GetOperation", {"name": OPERATION})
    assert found.done
    metadata, model = published_types.CreateTunedModelMetadata.pb()(), published.TunedModel()
    assert found.metadata.Unpack(metadata) and found.response.Unpack(model)
    assert (metadata.completed_steps, metadata.completed_percent) == (19, 100)
    assert len(metadata.snapshots) == len(model.tuning_task.snapshots) == 19
    assert model.state == published.TunedModel.State.ACTIVE


def test_operations_of_no_model_are_all_of_the_callers(rpc: Serving, verbs: Verbs) -> None:
    found = rpc("ListOperations", {"page_size": 7})
    assert [each.name for each in found.operations] == [OPERATION]
    assert (verbs.asked["tuned_model_id"], verbs.asked["page_size"]) == (None, 7)
    rpc("ListOperations", {"name": MODEL})
    assert verbs.asked["tuned_model_id"] == MODEL.partition("/")[2]


@pytest.mark.parametrize("paths", [["display_name", "top_k"], ["displayName", " topK"]])
def test_a_mask_in_either_spelling(rpc: Serving, verbs: Verbs, paths: list[str]) -> None:
    changed = {"name": MODEL, "description": "not in the mask", "top_k": 3}
    rpc("UpdateTunedModel", {"tuned_model": changed, "update_mask": {"paths": paths}})
    assert verbs.asked["changes"] == {"display_name": None, "top_k": 3}


def test_without_a_mask_what_is_there_is_changed(rpc: Serving, verbs: Verbs) -> None:
    rpc("UpdateTunedModel", {"tuned_model": {"name": MODEL, "description": "new", "state": 2}})
    assert verbs.asked["changes"] == {"description": "new"}


@pytest.mark.parametrize("public_url", ["", "https://tuner.example.com/"])
def test_methods_are_told_the_http_address(
    loop: asyncio.AbstractEventLoop,
    tmp_path: Path,
    verbs: Verbs,
    public_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[methods.Call] = []

    def listed(call: methods.Call, request: Any) -> Any:
        seen.append(call)
        return {}

    monkeypatch.setitem(RPCS, "ListModels", replace(RPCS["ListModels"], function=listed))
    serving = Serving(loop, tmp_path, public_url=public_url)
    serving("ListModels")
    serving.close()
    assert seen[0].address == (public_url.rstrip("/") or serving.url)


# --- who is calling ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ([], grpc.StatusCode.UNAUTHENTICATED),
        ([("authorization", "Basic abc")], grpc.StatusCode.UNAUTHENTICATED),
        ([("authorization", "Bearer nobody")], grpc.StatusCode.UNAUTHENTICATED),
        ([("x-goog-api-key", "nobody")], grpc.StatusCode.INVALID_ARGUMENT),
        ([("x-goog-api-key", "owner-key")], grpc.StatusCode.OK),
        ([("authorization", "Bearer owner-key")], grpc.StatusCode.OK),
        ([("authorization", "bearer  owner-key ")], grpc.StatusCode.OK),
        (
            [("x-goog-api-key", "owner-key"), ("authorization", "Bearer nobody")],
            grpc.StatusCode.UNAUTHENTICATED,
        ),
        ([("x-goog-api-key", "owner-key"), ("x-other-bin", b"\x00\xff")], grpc.StatusCode.OK),
    ],
)
def test_credentials(rpc: Serving, metadata: Any, code: grpc.StatusCode) -> None:
    if code is grpc.StatusCode.OK:
        assert rpc("ListModels", metadata=metadata).models
    else:
        refused(lambda: rpc("ListModels", metadata=metadata), code)


def test_a_bad_key_is_told_in_a_way_programs_can_read(rpc: Serving) -> None:
    bad = [("x-goog-api-key", "nobody")]
    error = refused(lambda: rpc("ListModels", metadata=bad), grpc.StatusCode.INVALID_ARGUMENT)
    (found,) = details(error, error_details_pb2.ErrorInfo)
    assert found.reason == "API_KEY_INVALID"


def test_the_scope_is_checked_before_any_work(rpc: Serving, verbs: Verbs) -> None:
    reader = [("x-goog-api-key", "reader-key")]
    for request in (tuned(), b"\xff" * 10):
        refused(
            lambda request=request: rpc("CreateTunedModel", request, metadata=reader),
            grpc.StatusCode.PERMISSION_DENIED,
        )
    assert not verbs.calls
    assert rpc("GetOperation", {"name": OPERATION}, metadata=reader).name == OPERATION


def test_whoever_may_not_call_does_not_get_to_send(rpc: Serving) -> None:
    """The answer comes although the request never does."""
    more = threading.Event()
    call = opened(rpc.channel, "stream_unary", "CreateTunedModel")

    def never() -> Iterator[bytes]:
        more.wait(20)
        yield b""

    started = time.monotonic()
    refused(lambda: call(never(), timeout=20), grpc.StatusCode.UNAUTHENTICATED)
    assert time.monotonic() - started < 5
    more.set()


@pytest.mark.parametrize("kind", ["plaintext", "no authority", "other name"])
def test_tls_is_needed(rpc: Serving, kind: str) -> None:
    if kind == "plaintext":
        channel = grpc.insecure_channel(rpc.endpoint)
    elif kind == "no authority":
        channel = grpc.secure_channel(rpc.endpoint, grpc.ssl_channel_credentials())
    else:
        trusted = grpc.ssl_channel_credentials(rpc.authority)
        other = [("grpc.ssl_target_name_override", "evil.example")]
        channel = grpc.secure_channel(rpc.endpoint, trusted, other)
    with channel:
        call = opened(channel, "unary_unary", "ListModels")
        refused(lambda: call(b"", metadata=OWNER, timeout=5), grpc.StatusCode.UNAVAILABLE)


# --- what is wrong with a request ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "request_", "field"),
    [
        ("GenerateContent", prompt(temperature=float("nan")), "generation_config.temperature"),
        ("GenerateContent", prompt(top_p=float("-inf")), "generation_config.top_p"),
        ("GenerateContent", prompt(temperature=3), "generation_config.temperature"),
        ("GenerateContent", prompt(stop_sequences=["a\0"]), "generation_config.stop_sequences[0]"),
        ("GenerateContent", prompt("a\0"), "contents[0].parts[0].text"),
        (
            "StreamGenerateContent",
            {**prompt(), "safety_settings": [{}, {"category": 999}]},
            "safety_settings[1].category",
        ),
        (
            "CreateTunedModel",
            tuned(("1", "2"), ("3", "\0")),
            "tuned_model.tuning_task.training_data.examples.examples[1].output",
        ),
        ("CreateTunedModel", tuned(display_name="\0"), "tuned_model.display_name"),
        ("CreateTunedModel", tuned(temperature=float("inf")), "tuned_model.temperature"),
        (
            "CreatePermission",
            {"parent": MODEL, "permission": {"grantee_type": 9}},
            "permission.grantee_type",
        ),
        ("ListTunedModels", {"page_size": -1}, "page_size"),
        ("ListTunedModels", {"filter": "a\0b"}, "filter"),
    ],
)
def test_values_that_json_could_not_say_either(
    rpc: Serving, verbs: Verbs, name: str, request_: Any, field: str
) -> None:
    error = refused(lambda: rpc.stream(name, request_), grpc.StatusCode.INVALID_ARGUMENT)
    assert wrong_fields(error) == [field]
    assert not verbs.calls


def test_too_many_items(rpc: Serving, verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MAX_ITEMS", 3)
    asked = tuned(*[("1", "2")] * 4)
    error = refused(lambda: rpc("CreateTunedModel", asked), grpc.StatusCode.INVALID_ARGUMENT)
    assert wrong_fields(error) == ["tuned_model.tuning_task.training_data.examples.examples"]


def test_what_changes_nothing_may_be_anything(rpc: Serving) -> None:
    asked = published.GenerateContentRequest(**prompt())
    fields = asked.generation_config.DESCRIPTOR.fields_by_name
    if "media_resolution" not in fields:
        pytest.skip("the oldest published messages have no such field")
    asked.generation_config.media_resolution = 99
    assert rpc("GenerateContent", asked.SerializeToString()).candidates


@pytest.mark.parametrize("sent", [b"\xff\xff\xff", b"\x1a\x02\xc3\x28"], ids=["bytes", "no UTF-8"])
def test_what_is_no_message(rpc: Serving, sent: bytes) -> None:
    error = refused(lambda: rpc("ListModels", sent), grpc.StatusCode.INVALID_ARGUMENT)
    assert "ListModelsRequest" in error.details()


def test_a_call_without_a_request(rpc: Serving) -> None:
    call = opened(rpc.channel, "stream_unary", "ListModels")
    refused(lambda: call(iter(()), metadata=OWNER, timeout=20), grpc.StatusCode.INVALID_ARGUMENT)


def test_a_request_over_the_limit(rpc: Serving) -> None:
    sent = bytes(64 * 1024 * 1024 + 1)
    refused(lambda: rpc("CreateTunedModel", sent), grpc.StatusCode.RESOURCE_EXHAUSTED)
    refused(lambda: rpc("CreateTunedModel", b"\xff" * 8_000_000), grpc.StatusCode.INVALID_ARGUMENT)


def test_a_request_that_does_not_come(rpc: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_methods, "REQUEST_SECONDS", 0.2)
    more = threading.Event()
    call = opened(rpc.channel, "stream_unary", "ListModels")

    def late() -> Iterator[bytes]:
        more.wait(20)
        yield b""

    refused(lambda: call(late(), metadata=OWNER, timeout=20), grpc.StatusCode.INVALID_ARGUMENT)
    more.set()


# --- errors of the verbs -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidArgument("no"), grpc.StatusCode.INVALID_ARGUMENT),
        (FailedPrecondition("no"), grpc.StatusCode.FAILED_PRECONDITION),
        (PermissionDenied("no"), grpc.StatusCode.PERMISSION_DENIED),
        (NotFound("no"), grpc.StatusCode.NOT_FOUND),
        (AlreadyExists("no"), grpc.StatusCode.ALREADY_EXISTS),
        (ResourceExhausted("no"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Cancelled("no"), grpc.StatusCode.CANCELLED),
        (Unavailable("no"), grpc.StatusCode.UNAVAILABLE),
        (Unimplemented("no"), grpc.StatusCode.UNIMPLEMENTED),
        (Internal("no"), grpc.StatusCode.INTERNAL),
    ],
)
def test_codes(rpc: Serving, verbs: Verbs, error: KamertonError, code: grpc.StatusCode) -> None:
    verbs.error = error
    assert refused(lambda: rpc("GetTunedModel", {"name": MODEL}), code).details() == "no"
    refused(lambda: rpc.stream("StreamGenerateContent", prompt()), code)


def test_when_to_come_back(rpc: Serving, verbs: Verbs) -> None:
    verbs.error = ResourceExhausted("full")
    error = refused(lambda: rpc("CreateTunedModel", tuned()), grpc.StatusCode.RESOURCE_EXHAUSTED)
    (found,) = details(error, error_details_pb2.RetryInfo)
    assert found.retry_delay.seconds == 3


def test_the_unexpected_is_told_as_a_reference(
    rpc: Serving, verbs: Verbs, caplog: pytest.LogCaptureFixture
) -> None:
    verbs.error = ValueError("a secret prompt")
    error = refused(lambda: rpc("GetTunedModel", {"name": MODEL}), grpc.StatusCode.INTERNAL)
    assert "Reference: " in error.details()
    assert "secret" not in error.details() + caplog.text
    assert "unexpected error" in caplog.text


def test_an_endless_error_holds_nobody_up(rpc: Serving, verbs: Verbs) -> None:
    verbs.error = NotFound("Ж" * 30_000_000)
    start = time.monotonic()
    error = refused(lambda: rpc("CreateTunedModel", tuned()), grpc.StatusCode.NOT_FOUND)
    assert time.monotonic() - start < 2
    assert error.details().startswith("Ж" * 100)


@pytest.mark.parametrize("letter", ["x", "Ж", "🦉"])
def test_an_error_fits_what_clients_read(rpc: Serving, verbs: Verbs, letter: str) -> None:
    """They give up on a call whose trailing metadata has more than 8 KiB."""
    violations = [Violation(f"examples[{i}].output", letter * 50) for i in range(1000)]
    verbs.error = InvalidArgument(letter * 20_000, tuple(violations))
    error = refused(lambda: rpc("CreateTunedModel", tuned()), grpc.StatusCode.INVALID_ARGUMENT)
    assert error.details().startswith(letter * 100)
    found = wrong_fields(error)
    assert found[0] == "tuned_model.tuning_task.training_data.examples.examples[0].output"
    assert found[-1] == ""
