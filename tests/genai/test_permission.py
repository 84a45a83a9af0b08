"""Permissions as scripts see them."""

from __future__ import annotations

from typing import Any

import pytest

import kamerton.genai as genai
from tests.fake_server import NAME, FakeServer, Json

PATH = f"/v1beta/{NAME}/permissions"
TOLD: Json = {
    "name": f"{NAME}/permissions/123",
    "granteeType": "USER",
    "emailAddress": "a@example.com",
    "role": "READER",
}


@pytest.fixture
def permissions(server: FakeServer) -> genai.types.Permissions:
    server.when(f"GET /v1beta/{NAME}", {"name": NAME})
    server.when(f"POST {PATH}", TOLD)
    server.when(
        f"GET {PATH}", {"permissions": [TOLD], "nextPageToken": "n"}, {"permissions": [TOLD]}
    )
    server.when(f"GET {PATH}/123", TOLD)
    server.when(f"PATCH {PATH}/123", TOLD)
    server.when(f"DELETE {PATH}/123", {})
    return genai.get_tuned_model(NAME).permissions


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (
            {"role": "READER", "grantee_type": "user", "email_address": "a@example.com"},
            {"role": "READER", "granteeType": "USER", "emailAddress": "a@example.com"},
        ),
        (
            {"role": "writer", "email_address": "g@googlegroups.com"},
            {"role": "WRITER", "granteeType": "GROUP", "emailAddress": "g@googlegroups.com"},
        ),
        ({"role": 3, "grantee_type": 3}, {"role": "READER", "granteeType": "EVERYONE"}),
    ],
)
def test_create(
    server: FakeServer, permissions: genai.types.Permissions, given: Json, sent: Json
) -> None:
    made = permissions.create(**given)
    assert server.requests[-1] == (f"POST {PATH}", sent)
    assert made.role is genai.types.Role.READER
    assert made.email_address == "a@example.com"


@pytest.mark.parametrize(
    "given",
    [
        {"role": "reader"},
        {"role": "reader", "grantee_type": "everyone", "email_address": "a@example.com"},
        {"role": "king", "email_address": "a@example.com"},
        {"role": 0, "email_address": "a@example.com"},
    ],
)
def test_what_cannot_be_granted(permissions: genai.types.Permissions, given: Any) -> None:
    with pytest.raises(ValueError):
        permissions.create(**given)


def test_list_update_delete(server: FakeServer, permissions: genai.types.Permissions) -> None:
    first, _ = permissions
    assert first.update({"role": "WRITER"}).role.name == "WRITER"
    assert server.requests[-1] == (f"PATCH {PATH}/123?updateMask=role", {"role": "WRITER"})
    with pytest.raises(ValueError, match="only the role"):
        first.update({"email_address": "b@example.com"})
    first.delete()
    assert server.requests[-1][0] == f"DELETE {PATH}/123"


def test_get_by_name_or_ids(permissions: genai.types.Permissions) -> None:
    name = f"{NAME}/permissions/123"
    by_ids = genai.permission.get_permission(
        resource_name=NAME.removeprefix("tunedModels/"), permission_id=123
    )
    assert by_ids == genai.permission.get_permission(name) == permissions.get(name)
    assert by_ids.to_dict()["grantee_type"] == 1
    with pytest.raises(ValueError, match="give name"):
        genai.permission.get_permission(resource_name=NAME)


def test_transfer(server: FakeServer, permissions: genai.types.Permissions) -> None:
    server.when(f"POST /v1beta/{NAME}:transferOwnership", {})
    permissions.transfer_ownership("b@example.com")
    assert server.requests[-1][1] == {"emailAddress": "b@example.com"}
