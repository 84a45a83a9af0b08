"""The methods of the Gemini API: a request message in, a verb, an answer out; for any transport."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from kamerton.errors import Cancelled, InvalidArgument
from kamerton.service import generation, operations, tuned_models
from kamerton.service.app import App
from kamerton.surfaces.body import Json
from kamerton.surfaces.gemini import answers, messages
from kamerton.surfaces.gemini.errors import wire_fields
from kamerton.types import Caller, Chunk

_MAX_PAGE = 1000
_CONFIG_FIELDS = {
    name: f"generation_config.{name}"
    for name in ("temperature", "top_p", "top_k", "max_output_tokens", "candidate_count")
}


def list_models(app: App, caller: Caller, request: Any) -> Json:
    models = sorted(app.catalog.list(), key=lambda model: model.name)
    after = _page_start(request.page_token)
    rest = [model for model in models if model.name > after]
    page = rest[: _page_size(request, 50)]
    token = _page_token(page[-1].name) if len(page) < len(rest) else ""
    return _listed("models", map(messages.model, page), token)


def get_model(app: App, caller: Caller, request: Any) -> Json:
    asked = request.name.removeprefix("models/")
    return messages.model(app.catalog.find(asked), asked)


def create_tuned_model(app: App, caller: Caller, request: Any) -> Json:
    arguments = messages.create_arguments(request)
    with wire_fields(messages.CREATE_FIELDS):
        return messages.operation(tuned_models.create(app, caller, **arguments))


def get_tuned_model(app: App, caller: Caller, request: Any) -> Json:
    id = messages.tuned_model_id(request.name)
    return messages.tuned_model(tuned_models.get(app, caller, id))


def list_tuned_models(app: App, caller: Caller, request: Any) -> Json:
    page = tuned_models.list_(
        app,
        caller,
        page_size=_page_size(request, 10),
        page_token=request.page_token,
        filter=request.filter,
    )
    return _listed("tunedModels", map(messages.tuned_model, page.items), page.next_page_token)


def update_tuned_model(app: App, caller: Caller, request: Any) -> Json:
    id = messages.tuned_model_id(request.tuned_model.name)
    changes = messages.patch_changes(request)
    with wire_fields(messages.CREATE_FIELDS):
        return messages.tuned_model(tuned_models.patch(app, caller, id, changes))


def delete_tuned_model(app: App, caller: Caller, request: Any) -> Json:
    tuned_models.delete(app, caller, messages.tuned_model_id(request.name))
    return {}


def cancel_tuned_model(app: App, caller: Caller, request: Any) -> Json:
    tuned_models.cancel(app, caller, messages.tuned_model_id(request.name))
    return {}


def get_operation(app: App, caller: Caller, request: Any) -> Json:
    return messages.operation(operations.get(app, caller, *messages.operation_ids(request.name)))


def list_operations(app: App, caller: Caller, request: Any) -> Json:
    """Those of the tuned model that `name` names, or all of the caller's."""
    everything = request.name in ("", "operations")
    page = operations.list_(
        app,
        caller,
        None if everything else messages.tuned_model_id(request.name),
        page_size=_page_size(request, 50),
        page_token=request.page_token,
    )
    return _listed("operations", map(messages.operation, page.items), page.next_page_token)


def cancel_operation(app: App, caller: Caller, request: Any) -> Json:
    operations.cancel(app, caller, *messages.operation_ids(request.name))
    return {}


def generate_content(
    app: App, caller: Caller, request: Any, gone: Callable[[], bool] = lambda: False
) -> Json:
    """The whole answer; given up when `gone` says that nobody waits for it any more."""
    chunks = _generate(app, caller, request)
    version = answers.model_version(request.model)
    return answers.answer(_until(gone, chunks), version, _response_id())


def stream_generate_content(app: App, caller: Caller, request: Any) -> Generator[Json, None, None]:
    """The answer in pieces; what is wrong with the request is raised at once."""
    chunks = _generate(app, caller, request)
    version = answers.model_version(request.model)
    return answers.answer_pieces(chunks, version, _response_id())


def count_tokens(app: App, caller: Caller, request: Any) -> Json:
    asked = request.generate_content_request
    if request.contents:
        asked = messages.GenerateContentRequest(contents=request.contents)
    contents = answers.contents(asked)
    target = answers.target(request.model)
    return answers.token_count(generation.count_tokens(app, caller, **target, contents=contents))


def _generate(app: App, caller: Caller, request: Any) -> Iterator[Chunk]:
    contents = answers.contents(request)
    config = answers.generation_config(request)
    target = answers.target(request.model)
    with wire_fields(_CONFIG_FIELDS):
        return generation.generate(app, caller, **target, contents=contents, config=config)


def _until(gone: Callable[[], bool], chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    with answers.stopping(chunks):
        for chunk in chunks:
            yield chunk
            if gone():
                raise Cancelled("The client went away.")


def _response_id() -> str:
    return secrets.token_urlsafe(16)


def _listed(name: str, items: Iterable[Json], next_page_token: str) -> Json:
    made: Json = {}
    if found := list(items):
        made[name] = found
    if next_page_token:
        made["nextPageToken"] = next_page_token
    return made


def _page_size(request: Any, default: int) -> int:
    if request.page_size < 0:
        raise InvalidArgument.of("page_size", "must not be negative")
    return min(request.page_size or default, _MAX_PAGE)


def _page_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _page_start(token: str) -> str:
    try:
        padded = token + "=" * (-len(token) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidArgument.of("page_token", "is not one that this server gave") from None
