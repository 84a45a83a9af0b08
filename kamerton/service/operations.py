"""The verbs on operations: get, list, wait, cancel."""

from __future__ import annotations

import time
from collections.abc import Callable

from kamerton.errors import NotFound
from kamerton.service import access, pages, tuned_models
from kamerton.service.app import App
from kamerton.store import operations as store
from kamerton.types import Caller, Operation, Page

_POLL_SECONDS = (0.1, 1.0)
"""The first pause between two looks, and the longest that it grows to."""


def get(app: App, caller: Caller, tuned_model_id: str, operation_id: str) -> Operation:
    """Raises NotFound, or PermissionDenied where that would tell too much."""
    operation = store.get(app.database, tuned_model_id, operation_id)
    if operation is None:
        access.allowed(app, caller, "operations.get", tuned_model_id)
        raise NotFound(f"tunedModels/{tuned_model_id} has no operation {operation_id}.")
    access.require(caller, "operations.get")
    access.check_role(app, caller, "operations.get", operation.tuned_model)
    return operation


def wait(
    app: App,
    caller: Caller,
    tuned_model_id: str,
    operation_id: str,
    *,
    seconds: float,
    gone: Callable[[], bool] = lambda: False,
) -> Operation:
    """The operation when it is done, or as it is after so many seconds."""
    deadline = time.monotonic() + seconds
    pause, longest = _POLL_SECONDS
    while True:
        operation = get(app, caller, tuned_model_id, operation_id)
        left = deadline - time.monotonic()
        if operation.done or left <= 0 or gone():
            return operation
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, longest)


def list_(
    app: App,
    caller: Caller,
    tuned_model_id: str | None,
    *,
    page_size: int,
    page_token: str = "",
) -> Page[Operation]:
    """Newest first; of one tuned model, or of all that the caller has a role on."""
    access.require(caller, "operations.list")
    seen_by: Caller | None = caller
    if tuned_model_id is not None:
        access.allowed(app, caller, "operations.list", tuned_model_id)
        seen_by = None
    elif access.is_admin(caller):
        seen_by = None
    bound = ("operations", caller.owner, tuned_model_id or "")
    after = pages.start(page_token, *bound)
    found = store.list_(app.database, seen_by, tuned_model_id, page_size, after)
    return pages.page(*found, *bound)


def cancel(app: App, caller: Caller, tuned_model_id: str, operation_id: str) -> None:
    access.require(caller, "operations.cancel")
    get(app, caller, tuned_model_id, operation_id)
    tuned_models.cancel(app, caller, tuned_model_id)
