"""Who is asking, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from kamerton.errors import InvalidKey, NotFound, PermissionDenied, Unauthenticated
from kamerton.service import credentials, emails
from kamerton.service.app import App
from kamerton.store import permissions, tuned_models
from kamerton.types import Caller, PermissionRole, Scope, TunedModel


@dataclass(frozen=True, slots=True)
class Right:
    """What a verb asks of its caller."""

    scope: Scope
    """Of the credential."""
    role: PermissionRole | None = None
    """On the tuned model that the verb is about; an administrator needs none."""


RIGHTS: Mapping[str, Right] = {
    "models.get": Right("infer"),
    "models.list": Right("infer"),
    "models.generate": Right("infer"),
    "models.count_tokens": Right("infer"),
    "tuned_models.create": Right("tuning"),
    "tuned_models.continue": Right("tuning", "READER"),
    "tuned_models.list": Right("infer"),
    "tuned_models.get": Right("infer", "READER"),
    "tuned_models.generate": Right("infer", "READER"),
    "tuned_models.count_tokens": Right("infer", "READER"),
    "tuned_models.patch": Right("tuning", "WRITER"),
    "tuned_models.cancel": Right("tuning", "WRITER"),
    "tuned_models.delete": Right("tuning", "OWNER"),
    "tuned_models.transfer_ownership": Right("tuning", "OWNER"),
    "operations.list": Right("infer", "READER"),
    "operations.get": Right("infer", "READER"),
    "operations.wait": Right("infer", "READER"),
    "operations.cancel": Right("tuning", "WRITER"),
    "operations.delete": Right("tuning", "OWNER"),
    "permissions.list": Right("infer", "WRITER"),
    "permissions.get": Right("infer", "WRITER"),
    "permissions.create": Right("tuning", "WRITER"),
    "permissions.patch": Right("tuning", "WRITER"),
    "permissions.delete": Right("tuning", "WRITER"),
    "files.list": Right("infer"),
    "files.get": Right("infer"),
    "files.download": Right("infer"),
    "files.upload": Right("tuning"),
    "files.delete": Right("tuning"),
}
"""The right that each verb needs. Files are only ever seen by their owner."""


def authenticate(app: App, *, bearer: str | None, key: str | None) -> Caller:
    """The caller behind a credential; the bearer decides when there are both.

    Raises Unauthenticated without a credential or with a bad bearer, InvalidKey with a bad key.
    """
    if app.settings.open:
        return caller(app, emails.checked("owner", app.settings.owner), credentials.SCOPES)
    secret = bearer or key
    if not secret:
        raise Unauthenticated(
            "This call needs a credential: send your key as x-goog-api-key, as ?key= or as "
            "Authorization: Bearer. Make one with: kamerton keys create"
        )
    found = credentials.find(app.database, secret)
    if found is not None and (bearer or found.kind == "key"):
        return caller(app, found.owner, found.scopes)
    if bearer:
        raise Unauthenticated(
            "The bearer token is not valid, or has expired. Make one with: kamerton tokens create"
        )
    raise InvalidKey("API key not valid. Please pass a valid API key.")


def caller(app: App, owner: str, scopes: frozenset[Scope]) -> Caller:
    """Whoever goes by that address, with the groups that the settings give them."""
    groups = _groups(app.settings.groups)
    return Caller(owner, scopes, frozenset(name for name in groups if owner in groups[name]))


@cache
def _groups(text: str) -> Mapping[str, frozenset[str]]:
    """Group and members of `a@x.org=ann@x.org bob@x.org, b@x.org=...`."""
    found: dict[str, frozenset[str]] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        name, _, members = entry.partition("=")
        addresses = [emails.checked("groups", member) for member in members.split()]
        found[emails.checked("groups", name)] = frozenset(addresses)
    return found


def require(caller: Caller, verb: str) -> None:
    """Raises PermissionDenied when the caller's credential lacks the scope for a verb."""
    scope = RIGHTS[verb].scope
    if scope not in caller.scopes:
        raise PermissionDenied(
            f"This credential lacks the scope {scope!r}. Make one that has it with: "
            f"kamerton keys create --owner {caller.owner} --scope {scope}"
        )


def is_admin(caller: Caller) -> bool:
    return "admin" in caller.scopes


def allowed(app: App, caller: Caller, verb: str, tuned_model_id: str) -> TunedModel:
    """The tuned model, when the caller may do that to it.

    Raises NotFound to an administrator, and to others PermissionDenied both for what does not
    exist and for what is somebody else's, so that the answer does not tell which.
    """
    require(caller, verb)
    model = tuned_models.get(app.database, tuned_model_id)
    if model is not None:
        check_role(app, caller, verb, model)
        return model
    if is_admin(caller):
        raise NotFound(
            f"tunedModels/{tuned_model_id} does not exist. List what there is with "
            "GET /v1beta/tunedModels."
        )
    raise _hidden(tuned_model_id)


def check_role(app: App, caller: Caller, verb: str, model: TunedModel) -> None:
    """Raises PermissionDenied when the caller's role on the model is too low for a verb."""
    needed = RIGHTS[verb].role
    if needed is None or is_admin(caller):
        return
    role = permissions.role(app.database, model.uid, caller)
    if role is None:
        raise _hidden(model.id)
    if role not in permissions.at_least(needed):
        raise PermissionDenied(
            f"This takes the role {needed} on tunedModels/{model.id}, and yours is {role}. Its "
            "owner can change that with tunedModels.permissions."
        )


def _hidden(tuned_model_id: str) -> PermissionDenied:
    return PermissionDenied(
        f"You do not have permission to access tuned model tunedModels/{tuned_model_id}, or it "
        "does not exist."
    )
