"""The methods of the Gemini API: a request message in, a verb, an answer out; for any transport."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kamerton.errors import InvalidArgument, Unimplemented
from kamerton.service import files, generation, models, operations, permissions, tuned_models
from kamerton.service.app import App
from kamerton.service.readings import Data
from kamerton.surfaces.body import Json
from kamerton.surfaces.errors import wire_fields
from kamerton.surfaces.gemini import (
    answers,
    file_messages,
    messages,
    permission_messages,
    published,
)
from kamerton.surfaces.gemini.extension import Extension
from kamerton.types import Caller, Chunk

_NESTED_FIELDS = {
    name: f"generate_content_request.{name}" for name in ("contents", "system_instruction")
}
_MAX_PAGE = 1000
_MAX_FILES_PAGE = 100
_MAX_WAIT = 600.0
"""Seconds that one call may wait for an operation."""
_CONFIG_FIELDS = {
    name: f"generation_config.{name}"
    for name in ("temperature", "top_p", "top_k", "max_output_tokens", "candidate_count")
}


class Client:
    """Whoever waits for an answer, and may leave before it is there."""

    def __init__(self) -> None:
        self._left = False
        self._stops: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def gone(self) -> bool:
        return self._left

    def on_leaving(self, stop: Callable[[], None]) -> None:
        """`stop` ends the work for this client, from any thread and more than once."""
        with self._lock:
            self._stops.append(stop)
            left = self._left
        if left:
            stop()

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Around waiting for the answer: whatever breaks that off stops the work as well."""
        try:
            yield
        except BaseException:
            with self._lock:
                self._left = True
            for stop in self._stops:
                stop()
            raise


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method: who makes it, and what the published messages have no place for."""

    app: App
    caller: Caller
    address: str = ""
    """`scheme://host` under which the client knows this server."""
    extension: Extension = field(default_factory=Extension)
    client: Client = field(default_factory=Client)

    @property
    def who(self) -> tuple[App, Caller]:
        """What every verb is given first."""
        return self.app, self.caller


def list_models(call: Call, request: Any) -> Json:
    page = models.list_(*call.who, page_size=_page_size(request, 50), page_token=request.page_token)
    listed = (messages.model(model, name) for name, model in page.items)
    return _listed("models", listed, page.next_page_token)


def get_model(call: Call, request: Any) -> Json:
    asked = request.name.removeprefix("models/")
    return messages.model(models.get(*call.who, asked), asked)


def create_tuned_model(call: Call, request: Any) -> Json:
    """The operation; or what would be made, where the caller only wants to know."""
    beside = call.extension
    arguments = messages.create_arguments(request) | dict(beside.arguments)
    inline = () if beside.file_uri else messages.examples(request.tuned_model.tuning_task)
    arguments["data"] = Data(beside.file_uri, examples=inline, columns=beside.columns)
    with wire_fields(messages.CREATE_FIELDS):
        if beside.validate_only:
            made = tuned_models.preview(*call.who, **arguments)
            return messages.preview(made, arguments["tuned_model_id"])
        return messages.operation(tuned_models.create(*call.who, **arguments))


def get_tuned_model(call: Call, request: Any) -> Json:
    id = messages.tuned_model_id(request.name)
    return messages.tuned_model(tuned_models.get(*call.who, id))


def list_tuned_models(call: Call, request: Any) -> Json:
    page = tuned_models.list_(
        *call.who,
        page_size=_page_size(request, 10),
        page_token=request.page_token,
        filter=request.filter,
    )
    return _listed("tunedModels", map(messages.tuned_model, page.items), page.next_page_token)


def update_tuned_model(call: Call, request: Any) -> Json:
    id = messages.tuned_model_id(request.tuned_model.name)
    changes = messages.patch_changes(request)
    with wire_fields(messages.CREATE_FIELDS):
        return messages.tuned_model(tuned_models.patch(*call.who, id, changes))


def delete_tuned_model(call: Call, request: Any) -> Json:
    tuned_models.delete(*call.who, messages.tuned_model_id(request.name))
    return {}


def cancel_tuned_model(call: Call, request: Any) -> Json:
    tuned_models.cancel(*call.who, messages.tuned_model_id(request.name))
    return {}


def get_operation(call: Call, request: Any) -> Json:
    return messages.operation(operations.get(*call.who, *messages.operation_ids(request.name)))


def list_operations(call: Call, request: Any) -> Json:
    """Those of the tuned model that `name` names, or all of the caller's."""
    everything = request.name in ("", "operations")
    page = operations.list_(
        *call.who,
        None if everything else messages.tuned_model_id(request.name),
        page_size=_page_size(request, 50),
        page_token=request.page_token,
    )
    return _listed("operations", map(messages.operation, page.items), page.next_page_token)


def wait_operation(call: Call, request: Any) -> Json:
    """The operation when it is done, or as it is when the time the caller gave is over."""
    asked = request.timeout.seconds + request.timeout.nanos / 1e9
    if asked < 0:
        raise InvalidArgument.of("timeout", "must not be negative")
    seconds = min(asked, _MAX_WAIT) if request.HasField("timeout") else _MAX_WAIT
    ids = messages.operation_ids(request.name)
    return messages.operation(
        operations.wait(*call.who, *ids, seconds=seconds, gone=call.client.gone)
    )


def delete_operation(call: Call, request: Any) -> Json:
    raise Unimplemented("An operation lives as long as its tuned model; delete that instead.")


def cancel_operation(call: Call, request: Any) -> Json:
    operations.cancel(*call.who, *messages.operation_ids(request.name))
    return {}


def create_permission(call: Call, request: Any) -> Json:
    id = messages.tuned_model_id(request.parent)
    arguments = permission_messages.arguments(request.permission)
    with wire_fields(permission_messages.FIELDS):
        return permission_messages.permission(id, permissions.create(*call.who, id, **arguments))


def get_permission(call: Call, request: Any) -> Json:
    ids = permission_messages.ids(request.name)
    return permission_messages.permission(ids[0], permissions.get(*call.who, *ids))


def list_permissions(call: Call, request: Any) -> Json:
    id = messages.tuned_model_id(request.parent)
    page = permissions.list_(
        *call.who, id, page_size=_page_size(request, 10), page_token=request.page_token
    )
    listed = (permission_messages.permission(id, found) for found in page.items)
    return _listed("permissions", listed, page.next_page_token)


def update_permission(call: Call, request: Any) -> Json:
    ids = permission_messages.ids(request.permission.name)
    role = permission_messages.new_role(request)
    with wire_fields(permission_messages.FIELDS):
        return permission_messages.permission(ids[0], permissions.patch(*call.who, *ids, role))


def delete_permission(call: Call, request: Any) -> Json:
    permissions.delete(*call.who, *permission_messages.ids(request.name))
    return {}


def transfer_ownership(call: Call, request: Any) -> Json:
    id = messages.tuned_model_id(request.name)
    permissions.transfer_ownership(*call.who, id, request.email_address)
    return {}


def get_file(call: Call, request: Any) -> Json:
    found = files.get(*call.who, file_messages.file_id(request.name))
    return file_messages.file(found, call.address)


def list_files(call: Call, request: Any) -> Json:
    page = files.list_(
        *call.who,
        page_size=_page_size(request, 10, most=_MAX_FILES_PAGE),
        page_token=request.page_token,
    )
    listed = (file_messages.file(found, call.address) for found in page.items)
    return _listed("files", listed, page.next_page_token)


def delete_file(call: Call, request: Any) -> Json:
    files.delete(*call.who, file_messages.file_id(request.name))
    return {}


def generate_content(call: Call, request: Any) -> Json:
    """The whole answer; cut short when nobody waits for it any more."""
    chunks = _generate(call, request)
    version = answers.model_version(request.model)
    with answers.stopping(chunks):
        return answers.answer(chunks, version, _response_id())


def stream_generate_content(call: Call, request: Any) -> Generator[Json, None, None]:
    """The answer in pieces; what is wrong with the request is raised at once."""
    chunks = _generate(call, request)
    version = answers.model_version(request.model)
    return answers.answer_pieces(chunks, version, _response_id())


def count_tokens(call: Call, request: Any) -> Json:
    """Of plain contents, or of all that a whole generation request would send."""
    if not request.HasField("generate_content_request"):
        asked = published.GenerateContentRequest(contents=request.contents)
        contents = answers.contents(asked)
    else:
        with wire_fields(_NESTED_FIELDS):
            contents = answers.contents(request.generate_content_request)
    target = answers.target(request.model)
    return answers.token_count(generation.count_tokens(*call.who, **target, contents=contents))


def _generate(call: Call, request: Any) -> Iterator[Chunk]:
    contents = answers.contents(request)
    config = answers.generation_config(request)
    target = answers.target(request.model)
    with wire_fields(_CONFIG_FIELDS):
        chunks = generation.generate(*call.who, **target, contents=contents, config=config)
    # The first piece may be long in coming, and until then only this would stop the work.
    call.client.on_leaving(lambda: answers.stop(chunks))
    return chunks


def _response_id() -> str:
    return secrets.token_urlsafe(16)


def _listed(name: str, items: Iterable[Json], next_page_token: str) -> Json:
    made: Json = {}
    if found := list(items):
        made[name] = found
    if next_page_token:
        made["nextPageToken"] = next_page_token
    return made


def _page_size(request: Any, default: int, most: int = _MAX_PAGE) -> int:
    if request.page_size < 0:
        raise InvalidArgument.of("page_size", "must not be negative")
    return min(request.page_size or default, most)
