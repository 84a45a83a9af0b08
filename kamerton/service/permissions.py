"""The verbs on permissions: create, get, list, patch, delete, and transfer_ownership."""

from __future__ import annotations

from kamerton.errors import FailedPrecondition, InvalidArgument, NotFound
from kamerton.service import access, emails, pages
from kamerton.service.app import App
from kamerton.store import permissions as store
from kamerton.types import Caller, GranteeType, Page, Permission, PermissionRole

_NOT_OWNER = "cannot be OWNER: a model has one owner, whom transferOwnership changes"


def create(
    app: App,
    caller: Caller,
    tuned_model_id: str,
    *,
    grantee_type: GranteeType | None,
    email: str,
    role: PermissionRole | None,
) -> Permission:
    """Share a tuned model. Raises AlreadyExists when the grantee has a permission already."""
    model = access.allowed(app, caller, "permissions.create", tuned_model_id)
    if grantee_type is None:
        raise InvalidArgument.of("grantee_type", "must be USER, GROUP or EVERYONE")
    if grantee_type == "EVERYONE" and email:
        raise InvalidArgument.of("email_address", "must be absent when everyone is meant")
    if grantee_type != "EVERYONE":
        email = emails.checked("email_address", email)
    by = _bound(caller)
    made = store.add(app.database, model.uid, grantee_type, email, _grantable(role), by)
    return made or _gone(tuned_model_id)


def get(app: App, caller: Caller, tuned_model_id: str, permission_id: str) -> Permission:
    model = access.allowed(app, caller, "permissions.get", tuned_model_id)
    return store.get(app.database, model.uid, permission_id) or _missing(
        tuned_model_id, permission_id
    )


def list_(
    app: App, caller: Caller, tuned_model_id: str, *, page_size: int, page_token: str = ""
) -> Page[Permission]:
    model = access.allowed(app, caller, "permissions.list", tuned_model_id)
    bound = ("permissions", caller.owner, model.uid)
    after = pages.start(page_token, *bound)
    return pages.page(*store.list_(app.database, model.uid, page_size, after), *bound)


def patch(
    app: App, caller: Caller, tuned_model_id: str, permission_id: str, role: PermissionRole | None
) -> Permission:
    """Change the role, which is all that can change."""
    model = access.allowed(app, caller, "permissions.patch", tuned_model_id)
    _check_not_owners(app, model.uid, tuned_model_id, permission_id)
    patched = store.patch(app.database, model.uid, permission_id, _grantable(role), _bound(caller))
    return patched or _missing(tuned_model_id, permission_id)


def delete(app: App, caller: Caller, tuned_model_id: str, permission_id: str) -> None:
    """In force with the next request."""
    model = access.allowed(app, caller, "permissions.delete", tuned_model_id)
    _check_not_owners(app, model.uid, tuned_model_id, permission_id)
    if not store.delete_(app.database, model.uid, permission_id, _bound(caller)):
        _missing(tuned_model_id, permission_id)


def transfer_ownership(app: App, caller: Caller, tuned_model_id: str, email: str) -> None:
    """Make somebody else the owner; the former one becomes WRITER."""
    model = access.allowed(app, caller, "tuned_models.transfer_ownership", tuned_model_id)
    email = emails.checked("email_address", email)
    store.transfer(app.database, model.uid, email, _bound(caller))


def _bound(caller: Caller) -> Caller | None:
    """Whose role counts; an administrator needs none."""
    return None if access.is_admin(caller) else caller


def _grantable(role: PermissionRole | None) -> PermissionRole:
    if role is None:
        raise InvalidArgument.of("role", "must be READER or WRITER")
    if role == "OWNER":
        raise InvalidArgument.of("role", _NOT_OWNER)
    return role


def _check_not_owners(app: App, uid: str, tuned_model_id: str, permission_id: str) -> None:
    found = store.get(app.database, uid, permission_id) or _missing(tuned_model_id, permission_id)
    if found.role == "OWNER":
        raise FailedPrecondition(
            "The owner's permission stays as it is; make somebody else the owner with "
            f"tunedModels/{tuned_model_id}:transferOwnership."
        )


def _missing(tuned_model_id: str, permission_id: str) -> Permission:
    raise NotFound(f"tunedModels/{tuned_model_id} has no permission {permission_id}.")


def _gone(tuned_model_id: str) -> Permission:
    raise NotFound(f"tunedModels/{tuned_model_id} was deleted a moment ago.")
