"""The verbs on operations: get, list, cancel."""

from __future__ import annotations

from kamerton.errors import NotFound
from kamerton.service import access, tuned_models
from kamerton.service.app import App
from kamerton.store import operations as store
from kamerton.types import Caller, Operation, Page


def get(app: App, caller: Caller, tuned_model_id: str, operation_id: str) -> Operation:
    """Raises NotFound, or PermissionDenied where that would tell too much."""
    operation = store.get(app.database, tuned_model_id, operation_id)
    if operation is not None and access.sees(caller) in (None, operation.tuned_model.owner):
        return operation
    access.visible(app, caller, tuned_model_id)
    raise NotFound(f"tunedModels/{tuned_model_id} has no operation {operation_id}.")


def list_(
    app: App,
    caller: Caller,
    tuned_model_id: str | None,
    *,
    page_size: int,
    page_token: str = "",
) -> Page[Operation]:
    """Newest first; of one tuned model, or of all that the caller sees."""
    if tuned_model_id is not None:
        access.visible(app, caller, tuned_model_id)
    return store.list_(app.database, access.sees(caller), tuned_model_id, page_size, page_token)


def cancel(app: App, caller: Caller, tuned_model_id: str, operation_id: str) -> None:
    get(app, caller, tuned_model_id, operation_id)
    tuned_models.cancel(app, caller, tuned_model_id)
