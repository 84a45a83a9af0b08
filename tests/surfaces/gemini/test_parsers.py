"""Whatever a request holds, it is understood or refused in our words: names, masks, filters and
the JSON border, tried with what nobody would think of."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from kamerton.errors import InvalidArgument, KamertonError, NotFound
from kamerton.service import tuned_models
from kamerton.surfaces import body
from kamerton.surfaces.gemini import (
    form,
    messages,
    permission_messages,
    published,
    rest,
    routes,
)
from kamerton.types import Caller

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
OBJECTS = st.dictionaries(st.text(), VALUES)
FIELDS = st.sampled_from(
    [
        "tunedModel", "tuned_model", "tunedModelId", "baseModel", "displayName", "state",
        "createTime", "tuningTask", "hyperparameters", "epochCount", "learningRate",
        "learningRateMultiplier", "trainingData", "examples", "textInput", "snapshots",
        "readerProjectNumbers", "temperature", "contents", "parts", "text", "inlineData", "data",
        "generationConfig", "stopSequences", "responseSchema", "properties", "tools",
        "safetySettings", "category", "systemInstruction", "updateMask", "timeout",
    ]
)  # fmt: skip
KNOWN_NAMES = st.recursive(
    LEAVES | st.sampled_from(["ACTIVE", "1s", "2026-11-21T08:16:11Z", "0.001", "AAAA"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=20,
)


# --- the JSON border -----------------------------------------------------------------------------


@given(raw=st.binary())
def test_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    try:
        assert isinstance(body.parse(raw), dict)
    except InvalidArgument as error:
        assert error.message.startswith("Invalid JSON payload received")


@given(value=OBJECTS)
def test_any_object_arrives_as_it_was_sent(value: dict[str, Any]) -> None:
    assert body.parse(json.dumps(value).encode()) == value
    assert body.parse(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@given(value=OBJECTS, space=st.sampled_from(["", " ", "\n\t"]))
def test_a_comma_before_a_closing_bracket_changes_nothing(value: Any, space: str) -> None:
    outside_strings = re.compile(r'("(?:[^"\\]|\\.)*")|(?<=[^\[{\s])\s*(?=[\]}])')
    text = outside_strings.sub(lambda found: found[1] or f",{space}", json.dumps(value))
    assert body.parse(text.encode()) == value


@given(text=st.text(st.sampled_from('[]{}",: \\a1-+.eEntf\n')))
@example("[" * 10_000)
@example('{"a":' * 300 + "1" + "}" * 300)
@example('{"a": 1e999}')
def test_text_that_is_nearly_json(text: str) -> None:
    try:
        body.parse(text.encode())
    except InvalidArgument:
        pass


@pytest.mark.parametrize(
    "kind",
    [
        published.CreateTunedModelRequest,
        published.UpdateTunedModelRequest,
        published.GenerateContentRequest,
        published.CountTokensRequest,
        published.CreatePermissionRequest,
        published.WaitOperationRequest,
    ],
    ids=lambda kind: kind.DESCRIPTOR.name,
)
@pytest.mark.parametrize("strict", [True, False])
def test_any_object_is_a_message_or_names_the_field(kind: Any, strict: bool) -> None:
    @given(value=st.dictionaries(FIELDS, KNOWN_NAMES, max_size=4) | OBJECTS)
    def holds(value: dict[str, Any]) -> None:
        try:
            assert isinstance(form.message(value, kind, strict=strict), kind)
        except InvalidArgument as error:
            assert error.violations and error.message

    holds()


# --- names and paths -----------------------------------------------------------------------------

IDS = st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True)
PERMISSION_IDS = st.from_regex(r"[a-z0-9]{1,18}", fullmatch=True)


@given(model=IDS, operation=IDS, permission=PERMISSION_IDS)
def test_names_give_back_their_ids(model: str, operation: str, permission: str) -> None:
    name = f"tunedModels/{model}"
    assert messages.tuned_model_id(name) == model
    assert messages.operation_ids(f"{name}/operations/{operation}") == (model, operation)
    assert permission_messages.ids(f"{name}/permissions/{permission}") == (model, permission)


@given(name=st.text() | st.from_regex(r"tunedModels/.*"))
@example("tunedModels/../x")
@example("tunedModels/a\n")
@example("tunedModels/%2e%2e")
@example("tunedModels/ａ")
def test_a_name_holds_nothing_but_plain_ids(name: str) -> None:
    for parse in (messages.tuned_model_id, messages.operation_ids, permission_messages.ids):
        try:
            ids = parse(name)
        except NotFound as error:
            assert len(error.message) < 1500
        else:
            assert re.fullmatch(r"[a-z0-9/-]+", "/".join([ids] if isinstance(ids, str) else ids))


@given(method=st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]), path=st.text())
@example("GET", "models/a:b:countTokens")
@example("POST", "tunedModels/a:cancel:cancel")
@example("GET", "tunedModels//operations/")
def test_any_path_is_a_method_or_refused(method: str, path: str) -> None:
    try:
        route, fields = routes.find(method, path)
    except KamertonError:
        return
    assert route.http_method == method
    assert all(value in path for value in fields.values())


@given(text=st.text())
def test_any_display_name_makes_an_id(text: str) -> None:
    assert tuned_models.ID.fullmatch(tuned_models.new_id(text))


# --- masks and filters ---------------------------------------------------------------------------

PATHS = st.sampled_from([*messages.WRITABLE, "displayName", "topP", "readerProjectNumbers"])


@given(paths=st.lists(PATHS, min_size=1), space=st.sampled_from(["", " "]))
def test_a_mask_is_its_paths_in_either_spelling(paths: list[str], space: str) -> None:
    query = QueryParams({"updateMask": f",{space}".join(paths)})
    snake = [re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), path) for path in paths]
    assert rest.mask(query) == snake
    request = published.UpdateTunedModelRequest()
    request.update_mask.paths[:] = snake
    assert messages.patch_changes(request).keys() == set(snake)


@given(mask=st.text(min_size=1))
def test_a_mask_of_anything_else_is_refused(mask: str) -> None:
    paths = rest.mask(QueryParams({"updateMask": mask}))
    request = published.UpdateTunedModelRequest()
    request.update_mask.paths[:] = paths
    if not set(paths) & {*messages.WRITABLE, "*"}:
        with pytest.raises(InvalidArgument, match="update_mask"):
            messages.patch_changes(request)


@given(text=st.text() | st.lists(st.sampled_from(
    ["owner:me", "writers:me", "readers:me", "readers:everyone", "owner:x", "%", "_", "слово"]
)).map(" ".join))  # fmt: skip
def test_a_filter_keeps_every_word_or_is_refused(text: str) -> None:
    try:
        made = tuned_models.filter_of(Caller("ann@x.org"), text)
    except InvalidArgument as error:
        assert error.violations[0].field == "filter"
        return
    words = text.split()
    roles = [word for word in words if word in tuned_models.ROLE_WORDS]
    assert len(made.held) == (len(roles) or (not made.everyone))
    assert made.everyone == (tuned_models.EVERYONE_WORD in words)
    assert len(made.words) + len(roles) + words.count("readers:everyone") == len(words)
