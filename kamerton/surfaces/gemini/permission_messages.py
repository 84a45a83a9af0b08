"""Permissions to published messages and back."""

from __future__ import annotations

from typing import Any

from kamerton.errors import InvalidArgument
from kamerton.surfaces.body import Json
from kamerton.surfaces.gemini import messages
from kamerton.types import Permission

FIELDS = {name: f"permission.{name}" for name in ("grantee_type", "email_address", "role")}
"""Where the arguments of the verbs on permissions stand in the request."""


def ids(name: str) -> tuple[str, str]:
    """`x` and `y` of `tunedModels/x/permissions/y`."""
    tuned_model, permission_id = messages.ids(
        r"tunedModels/([a-z0-9-]{1,63})/permissions/([a-z0-9]{1,18})", name, "permission"
    )
    return tuned_model, permission_id


def permission(tuned_model_id: str, noun: Permission) -> Json:
    return {
        "name": f"tunedModels/{tuned_model_id}/permissions/{noun.id}",
        "granteeType": noun.grantee_type,
        **messages.present(emailAddress=noun.email),
        "role": noun.role,
    }


def arguments(asked: Any) -> Json:
    """A Permission as the arguments of `permissions.create`."""
    return {
        "grantee_type": _chosen(asked, "grantee_type"),
        "email": asked.email_address,
        "role": _chosen(asked, "role"),
    }


def new_role(request: Any) -> Any:
    """What an UpdatePermissionRequest wants the role to be."""
    if wrong := [path for path in request.update_mask.paths if path not in ("role", "*")]:
        raise InvalidArgument.of("update_mask", f"{wrong[0][:100]!r} cannot be changed; role can")
    return _chosen(request.permission, "role")


def _chosen(holder: Any, field: str) -> str | None:
    """The name of an enum's value; None for the unspecified zero."""
    value = getattr(holder, field)
    names = holder.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    return str(names[value].name) if value in names and value != 0 else None
