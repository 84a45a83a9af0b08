"""Who is asking, and what they may do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

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
    "runs.events": Right("infer", "READER"),
    "runs.snapshots": Right("infer", "READER"),
    "runs.diagnosis": Right("infer", "READER"),
    "runs.card": Right("infer", "READER"),
    "runs.epochs": Right("infer", "READER"),
    "runs.download": Right("infer", "READER"),
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
    "datasets.check": Right("tuning"),
    "files.list": Right("infer"),
    "files.get": Right("infer"),
    "files.download": Right("infer"),
    "files.upload": Right("tuning"),
    "files.delete": Right("tuning"),
}
"""The right that each verb needs. A file is seen by its owner and by administrators."""


def authenticate(app: App, *, bearer: str | None, key: str | None) -> Caller:
    """The caller behind a credential; the bearer decides when there are both.

    Raises Unauthenticated without a credential or with a bad bearer, InvalidKey with a bad key,
    and Unavailable when an issuer must be asked about a bearer and does not answer.
    """
    if app.settings.open:
        return caller(app, emails.checked("owner", app.settings.owner), credentials.SCOPES)
    if bearer:
        return _bearer(app, bearer)
    if key:
        return _key(app, key)
    raise Unauthenticated(
        "This call needs a credential: send your key as x-goog-api-key, as ?key= or as "
        "Authorization: Bearer. Make one with: kamerton keys create"
    )


def admit(app: App, verb: str, *, bearer: str | None, key: str | None) -> Caller:
    """The caller behind a credential, once it is known to have the scope for a verb."""
    caller = authenticate(app, bearer=bearer, key=key)
    require(caller, verb)
    return caller


def _bearer(app: App, text: str) -> Caller:
    """Whoever a bearer token is for; API keys do as well."""
    if found := credentials.find(app.database, text):
        if credentials.has_expired(found):
            raise Unauthenticated(
                f"The {found.kind} has expired. Make another with: kamerton {found.kind}s create"
            )
        return caller(app, found.owner, found.scopes)
    if app.issuer and _is_jwt(text):
        theirs = app.issuer.caller(text)
        return caller(app, theirs.owner, theirs.scopes, theirs.groups)
    raise Unauthenticated("The bearer token is not valid. Make one with: kamerton tokens create")


def _key(app: App, text: str) -> Caller:
    found = credentials.find(app.database, text)
    if found and found.kind == "key":
        if credentials.has_expired(found):
            raise InvalidKey("API key expired. Make another with: kamerton keys create")
        return caller(app, found.owner, found.scopes)
    if text.startswith(credentials.PREFIXES["token"]) or _is_jwt(text):
        raise InvalidKey(
            "API key not valid: this is a bearer token. Send it as Authorization: Bearer."
        )
    raise InvalidKey("API key not valid. Please pass a valid API key.")


def _is_jwt(text: str) -> bool:
    ours = text.startswith(tuple(credentials.PREFIXES.values()))
    return text.count(".") == 2 and not ours


def caller(
    app: App, owner: str, scopes: frozenset[Scope], groups: frozenset[str] = frozenset()
) -> Caller:
    """Whoever goes by that address, also in the groups that the settings put them in."""
    return Caller(owner, scopes, groups | emails.groups_of(owner, app.settings.groups))


def require(caller: Caller, verb: str) -> None:
    """Raises PermissionDenied when the caller's credential lacks the scope for a verb."""
    scope = RIGHTS[verb].scope
    if scope not in caller.scopes and not is_admin(caller):
        raise PermissionDenied(
            f"This credential lacks the scope {scope!r}. Whoever runs the server makes one that "
            f"has it with: kamerton keys create --owner {shlex.quote(caller.owner)} --scope {scope}"
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
            f"This takes the role {needed} on tunedModels/{model.id}, and yours is {role}. "
            + ("Only its owner can do that." if needed == "OWNER" else "Its owner can change that.")
        )


def _hidden(tuned_model_id: str) -> PermissionDenied:
    return PermissionDenied(
        f"You do not have permission to access tuned model tunedModels/{tuned_model_id}, or it "
        "does not exist."
    )
