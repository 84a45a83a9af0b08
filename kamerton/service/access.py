"""Who is asking, and what they may do."""

from __future__ import annotations

from kamerton.errors import InvalidKey, NotFound, PermissionDenied, Unauthenticated
from kamerton.service import keys
from kamerton.service.app import App
from kamerton.store import tuned_models
from kamerton.types import Caller, Scope, TunedModel


def authenticate(app: App, *, bearer: str | None, key: str | None) -> Caller:
    """The caller behind a credential; the bearer decides when there are both.

    Raises Unauthenticated without a credential or with a bad bearer, InvalidKey with a bad key.
    """
    if app.settings.open:
        return Caller(app.settings.owner, keys.SCOPES)
    secret = bearer or key
    if not secret:
        raise Unauthenticated(
            "This call needs a credential: send your key as x-goog-api-key, as ?key= or as "
            "Authorization: Bearer. Make one with: kamerton keys create"
        )
    found = keys.find(app.database, secret)
    if found is not None:
        return Caller(found.owner, found.scopes)
    if bearer:
        raise Unauthenticated("The bearer token is not valid. Make one with: kamerton keys create")
    raise InvalidKey("API key not valid. Please pass a valid API key.")


def require(caller: Caller, scope: Scope) -> None:
    """Raises PermissionDenied when the caller's credential lacks a scope."""
    if scope not in caller.scopes:
        raise PermissionDenied(
            f"This credential lacks the scope {scope!r}. Make one that has it with: "
            f"kamerton keys create --owner {caller.owner} --scope {scope}"
        )


def sees(caller: Caller) -> str | None:
    """The owner whose tuned models the caller sees; None for everybody's."""
    return None if "admin" in caller.scopes else caller.owner


def visible(app: App, caller: Caller, tuned_model_id: str) -> TunedModel:
    """The tuned model, when the caller may see it.

    Raises NotFound to an administrator, and to others PermissionDenied both for what does not
    exist and for what is somebody else's, so that the answer does not tell which.
    """
    model = tuned_models.get(app.database, tuned_model_id)
    if model is not None and sees(caller) in (None, model.owner):
        return model
    if "admin" in caller.scopes:
        raise NotFound(
            f"tunedModels/{tuned_model_id} does not exist. List what there is with "
            "GET /v1beta/tunedModels."
        )
    raise PermissionDenied(
        f"You do not have permission to access tuned model tunedModels/{tuned_model_id}, or it "
        "does not exist."
    )
