"""Names that would become another path are refused before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import kamerton.genai as genai
from kamerton.genai import names
from tests.fake_server import NAME, OPERATION, FakeServer

Call = Callable[[str], Any]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (genai.get_operation, "../healthz"),
        (genai.get_operation, NAME),
        (genai.get_operation, f"{OPERATION}?x=1"),
        (genai.get_tuned_model, "tunedModels/g1?x=1#"),
        (genai.get_tuned_model, "tunedModels/.."),
        (genai.delete_tuned_model, "tunedModels/g1/permissions/1"),
        (genai.get_tuned_model, "g1\n"),
        (genai.get_model, "models/../healthz"),
        (genai.GenerativeModel, "models/a%2Fb"),
        (genai.get_file, "files/../models"),
        (genai.delete_file, "models/x"),
        (genai.permission.get_permission, f"{NAME}/permissions/1#"),
        (genai.types.Permissions, "tunedModels/g1:cancel"),
    ],
)
def test_what_is_no_name_is_refused(server: FakeServer, call: Call, name: str) -> None:
    with pytest.raises(ValueError, match="their names are"):
        call(name)
    assert server.requests == []


def test_names_there_are() -> None:
    assert names.model_name("gemini-1.5-flash_001") == "models/gemini-1.5-flash_001"
    assert names.model_name(NAME) == names.tuned_model_name(NAME.split("/")[1]) == NAME
    assert names.operation_name(OPERATION) == OPERATION
    assert names.file_name("abc") == "files/abc"
