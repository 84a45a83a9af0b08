"""The Gemini API over HTTP and JSON: requests to messages, answers to bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Mapping
from typing import Any

from anyio import to_thread
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from kamerton.errors import InvalidArgument, KamertonError
from kamerton.service import access
from kamerton.service.app import App
from kamerton.surfaces import address, body, errors, unexpected
from kamerton.surfaces.body import Json
from kamerton.surfaces.documents import JSON, document
from kamerton.surfaces.gemini import answers, extension, form, messages
from kamerton.surfaces.gemini.extension import Extension
from kamerton.surfaces.gemini.methods import Call, Client
from kamerton.surfaces.gemini.routes import Route, find
from kamerton.surfaces.gemini.rpcs import check_rights
from kamerton.surfaces.gemini.streams import (
    AnswerThreads,
    ArrayFrame,
    Pieces,
    Places,
    SseFrame,
)
from kamerton.surfaces.parameters import offered_credentials, pretty_print, system_parameter
from kamerton.surfaces.sending import send_piece, unless_gone
from kamerton.types import Caller

VERSIONS = ("v1beta", "v1", "v1alpha")


def routes(surface: Surface) -> list[StarletteRoute]:
    """Everything under the version prefixes."""
    return [StarletteRoute(f"/{version}/{{path:path}}", surface) for version in VERSIONS]


# --- from HTTP to a request message --------------------------------------------------------------


def _message(route: Route, path_fields: Mapping[str, str], query: QueryParams, given: Json) -> Any:
    """The request message that path, query and body make together."""
    if route.body == "*":
        given = {name: value for name, value in given.items() if name not in path_fields}
    elif route.body:
        given = {**given, **_query_fields(route, query)}
    else:
        given = _query_fields(route, query)
    message = form.message(given, route.rpc.request, strict=route.strict, ignored=answers.IGNORED)
    for field, value in path_fields.items():
        *holders, last = field.split(".")
        setattr(functools.reduce(getattr, holders, message), last, value)
    if route.http_method == "PATCH":
        asked = message.update_mask.paths  # Beside a wrapped body; the query comes first.
        message.update_mask.paths[:] = mask(query) or asked or _present(given[route.body])
    return message


def _body(route: Route, raw: bytes) -> Json:
    """The body under the name of the field that it fills."""
    given = body.parse(raw) if route.body else {}
    if route.body == "tuned_model":
        return _wrapped(given)
    return given if route.body in ("", "*") else {route.body: given}


def _wrapped(given: Json) -> Json:
    """A tuned model as the whole body, or with `tunedModel` and `tunedModelId` around it."""
    for name in ("tunedModel", "tuned_model"):
        if isinstance(inner := given.get(name), dict):
            around = {key: value for key, value in given.items() if key != name}
            return {**around, "tuned_model": _without_extension(inner)}
    return {"tuned_model": _without_extension(given)}


def _without_extension(tuned_model: Json) -> Json:
    # Callers send back what they got; our additions to it are output only.
    return {name: value for name, value in tuned_model.items() if name != "kamerton"}


def _query_fields(route: Route, query: QueryParams) -> Json:
    """The request's own plain fields, by either spelling; everything else in a query is ignored."""
    return {
        field.name: query[name]
        for field in route.rpc.request.DESCRIPTOR.fields
        if field.message_type is None
        for name in form.names(field)
        if name in query
    }


def mask(query: QueryParams) -> list[str]:
    """The fields to change that the query names, in snake_case."""
    asked = query.get("updateMask") or query.get("update_mask") or ""
    return [body.snake_case(path.strip()) for path in asked.split(",")] if asked else []


def _present(resource: Json) -> list[str]:
    """Without any mask: all that can be changed and is there."""
    present = {body.snake_case(name) for name, value in resource.items() if value is not None}
    return [name for name in (*messages.WRITABLE, "role") if name in present]


# --- from an answer to HTTP ----------------------------------------------------------------------


class Surface:
    """Answers every request by its path after a prefix. Verbs run in threads."""

    def __init__(self, app: App, answering: AnswerThreads) -> None:
        check_rights()
        self._app = app
        self._answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        route, path_fields = find(request.method, scope["path_params"]["path"])
        query = request.query_params
        alt = system_parameter(query, "alt").partition(";")[0]
        if alt not in ("", "json", "sse"):
            raise InvalidArgument("alt must be json or sse.")
        credentials = offered_credentials(request)
        raw, admitted = b"", None
        if route.body:  # whoever may not call does not get to send a long body either
            admitted = await to_thread.run_sync(self._admit, route, credentials)
            raw = await body.read(request.stream(), request.headers, route.limit)

        client = Client()

        def call() -> Any:
            caller = admitted or self._admit(route, credentials)
            given = _body(route, raw)
            creates = route.body == "tuned_model"
            beside = extension.lifted(given, query) if creates else Extension()
            own = address.own(request, self._app.settings)
            made = Call(self._app, caller, own, beside, client)
            return route.rpc.function(made, _message(route, path_fields, query, given))

        pretty = pretty_print(query)
        if route.rpc.streams:
            places = self._answering.of(route.rpc)
            with places.place(), client.leaving():
                stream = _stream(places, call, alt == "sse", pretty, send)
                await unless_gone(receive, stream)
            return
        if route.rpc.takes_long:
            places = self._answering.of(route.rpc)
            with places.place(), client.leaving():
                answer = places.run(lambda: document(call(), pretty))
                content = await unless_gone(receive, answer)
        else:
            content = await to_thread.run_sync(lambda: document(call(), pretty))
        await Response(content, media_type=JSON)(scope, receive, send)

    def _admit(self, route: Route, credentials: dict[str, str | None]) -> Caller:
        return access.admit(self._app, route.rpc.verb, **credentials)


async def _stream(
    places: Places,
    opening: Callable[[], Generator[Json, None, None]],
    sse: bool,
    pretty: bool,
    send: Send,
) -> None:
    """An error before the first piece is raised; a later one becomes the last piece."""
    pieces = Pieces(opening)
    frame = SseFrame() if sse else ArrayFrame(pretty)
    try:
        piece = await places.run(pieces.next)
        await send({"type": "http.response.start", "status": 200, "headers": frame.headers})
        while piece is not None:
            await send_piece(send, frame.piece(piece))
            try:
                piece = await places.run(pieces.next)
            except Exception as error:
                known = error if isinstance(error, KamertonError) else unexpected.report(error)
                await send_piece(send, frame.piece(errors.body(known)))
                break
        await send({"type": "http.response.body", "body": frame.end})
    finally:
        pieces.leave()
