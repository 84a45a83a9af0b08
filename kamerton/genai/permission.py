"""Who may use a tuned model: its permissions, and granting and taking them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, TypeVar

from kamerton.client.connection import Json
from kamerton.genai.configuration import connection
from kamerton.genai.decoding import decode, member
from kamerton.genai.names import permission_name, tuned_model_name


class GranteeType(IntEnum):
    GRANTEE_TYPE_UNSPECIFIED = 0
    USER = 1
    GROUP = 2
    EVERYONE = 3


class Role(IntEnum):
    ROLE_UNSPECIFIED = 0
    OWNER = 1
    WRITER = 2
    READER = 3


@dataclass
class Permission:
    """One grant. Roles: READER asks the model, WRITER also changes and shares it, OWNER also
    deletes it."""

    name: str = ""
    """`tunedModels/{id}/permissions/{id}`."""
    role: Role = Role.ROLE_UNSPECIFIED
    grantee_type: GranteeType = GranteeType.GRANTEE_TYPE_UNSPECIFIED
    email_address: str = ""

    @classmethod
    def get(cls, name: str) -> Permission:
        """A permission by its name.

        Raises `errors.PermissionDenied` when its model is missing or not shared with the caller
        (to an administrator `errors.NotFound`), and `errors.NotFound` when the model has no such
        permission.
        """
        return decode(cls, connection().json("GET", f"/v1beta/{permission_name(name)}"))

    def update(self, updates: Mapping[str, Any]) -> Permission:
        """Change the role: `permission.update({"role": "writer"})`."""
        if set(updates) != {"role"}:
            raise ValueError(f"only the role can be changed, not {', '.join(updates) or 'nothing'}")
        role = _named(Role, updates["role"])
        query = {"updateMask": "role"}
        path = f"/v1beta/{permission_name(self.name)}"
        connection().json("PATCH", path, {"role": role.name}, query)
        self.role = role
        return self

    def delete(self) -> None:
        """Take it back, from the next request on."""
        connection().json("DELETE", f"/v1beta/{permission_name(self.name)}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Permissions:
    """The permissions of one tuned model."""

    def __init__(self, parent: str) -> None:
        self.parent = tuned_model_name(parent)

    def create(
        self,
        role: str | int | Role,
        grantee_type: str | int | GranteeType | None = None,
        email_address: str | None = None,
    ) -> Permission:
        """Grant a role to a user or group by its address, or to everyone.

        With an address and no `grantee_type` it is a group's when it ends in googlegroups.com,
        else a user's.
        """
        if grantee_type is None:
            is_group = (email_address or "").endswith("googlegroups.com")
            grantee_type = "GROUP" if is_group else "USER"
        grantee = _named(GranteeType, grantee_type)
        if bool(email_address) == (grantee is GranteeType.EVERYONE):
            raise ValueError("give email_address, or grantee_type='everyone', and not both")
        body: Json = {"role": _named(Role, role).name, "granteeType": grantee.name}
        if email_address:
            body["emailAddress"] = email_address
        return decode(Permission, connection().json("POST", self._path(), body))

    def list(self, page_size: int | None = None) -> Iterator[Permission]:
        """All of them, fetched page by page."""
        for told in connection().pages(self._path(), "permissions", page_size):
            yield decode(Permission, told)

    def __iter__(self) -> Iterator[Permission]:
        return self.list()

    @classmethod
    def get(cls, name: str) -> Permission:
        """A permission by its full name; refused as `Permission.get` is."""
        return Permission.get(name)

    def transfer_ownership(self, email_address: str) -> None:
        """Make somebody else the owner; the owner so far becomes a writer."""
        path = f"/v1beta/{self.parent}:transferOwnership"
        connection().json("POST", path, {"emailAddress": email_address})

    def _path(self) -> str:
        return f"/v1beta/{self.parent}/permissions"


def get_permission(
    name: str | None = None,
    *,
    resource_name: str | None = None,
    permission_id: str | int | None = None,
    resource_type: str | None = None,
) -> Permission:
    """A permission by its full name, or by the model's and its own id."""
    if name is None:
        if not resource_name or permission_id is None:
            raise ValueError("give name, or resource_name and permission_id")
        parent = resource_name
        if "/" not in parent:
            parent = f"{resource_type or 'tunedModels'}/{parent}"
        name = f"{parent}/permissions/{permission_id}"
    return Permission.get(name)


E_ = TypeVar("E_", Role, GranteeType)


def _named(kind: type[E_], value: str | int) -> E_:
    """By name in any case, or by number."""
    found = member(kind, value.upper() if isinstance(value, str) else value)
    if not found:
        names = ", ".join(each.name.lower() for each in kind if each)
        raise ValueError(f"{value!r} is none of {names}")
    return kind(found)
