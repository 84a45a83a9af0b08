"""The Gemini API over HTTP and JSON: a line per route."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from kamerton import types
from kamerton.errors import (
    InvalidArgument,
    KamertonError,
    NotFound,
    ResourceExhausted,
    Unimplemented,
)
from kamerton.service import access
from kamerton.service.app import App
from kamerton.surfaces import body, unexpected
from kamerton.surfaces.body import Json
from kamerton.surfaces.gemini import answers, errors, form, messages, methods
from kamerton.surfaces.gemini.errors import MethodNotAllowed
from kamerton.surfaces.gemini.streams import (
    ArrayFrame,
    Pieces,
    SseFrame,
    encode,
    send_piece,
    unless_gone,
)
from kamerton.types import Caller

T = TypeVar("T")
Method = Callable[[App, Caller, Any], Any]

VERSIONS = ("v1beta", "v1", "v1alpha")
VERBS = frozenset(
    {
        "generateContent",
        "streamGenerateContent",
        "countTokens",
        "cancel",
        "transferOwnership",
        "wait",
        "batchGenerateContent",
        "embedContent",
    }
)
"""What may follow the last colon of a path; any other colon belongs to a name."""

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table, written as in Google's own annotations: `{name=models/*}` puts what
    it matches into the request's field `name`, and `body` says which field the body is ("*" for
    the request itself)."""

    http_method: str
    template: str
    scope: types.Scope | None
    """What the credential must allow; None needs no credential."""
    request: Any
    method: Method
    body: str = ""
    strict: bool = False
    """Unknown names are refused."""
    limit: int = 20 * _MEBIBYTE


_TUNED = "{name=tunedModels/*}"
_OPERATION = "{name=tunedModels/*/operations/*}"

ROUTES = (
    Route("GET", "models", "infer", messages.ListModelsRequest, methods.list_models),
    Route("GET", "{name=models/*}", "infer", messages.GetModelRequest, methods.get_model),
    Route(
        "POST",
        "tunedModels",
        "tuning",
        messages.CreateTunedModelRequest,
        methods.create_tuned_model,
        body="tuned_model",
        strict=True,
        limit=64 * _MEBIBYTE,
    ),
    Route(
        "GET", "tunedModels", "infer", messages.ListTunedModelsRequest, methods.list_tuned_models
    ),
    Route("GET", _TUNED, "infer", messages.GetTunedModelRequest, methods.get_tuned_model),
    Route(
        "PATCH",
        "{tuned_model.name=tunedModels/*}",
        "tuning",
        messages.UpdateTunedModelRequest,
        methods.update_tuned_model,
        body="tuned_model",
        strict=True,
    ),
    Route("DELETE", _TUNED, "tuning", messages.DeleteTunedModelRequest, methods.delete_tuned_model),
    Route(
        "POST",
        _TUNED + ":cancel",
        "tuning",
        messages.CancelOperationRequest,
        methods.cancel_tuned_model,
    ),
    Route("GET", "operations", "infer", messages.ListOperationsRequest, methods.list_operations),
    Route(
        "GET",
        _TUNED + "/operations",
        "infer",
        messages.ListOperationsRequest,
        methods.list_operations,
    ),
    Route("GET", _OPERATION, "infer", messages.GetOperationRequest, methods.get_operation),
    Route(
        "POST",
        _OPERATION + ":cancel",
        "tuning",
        messages.CancelOperationRequest,
        methods.cancel_operation,
    ),
    *(
        Route("POST", f"{{model={kind}/*}}:{verb}", "infer", request, method, body="*")
        for kind in ("models", "tunedModels")
        for verb, request, method in (
            ("generateContent", messages.GenerateContentRequest, methods.generate_content),
            (
                "streamGenerateContent",
                messages.GenerateContentRequest,
                methods.stream_generate_content,
            ),
            ("countTokens", messages.CountTokensRequest, methods.count_tokens),
        )
    ),
)


def routes(app: App) -> list[StarletteRoute]:
    """Everything under the version prefixes."""
    surface = _Surface(app)
    return [StarletteRoute(f"/{version}/{{path:path}}", surface) for version in VERSIONS]


# --- from a path to a line of the table ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Matcher:
    route: Route
    pattern: re.Pattern[str]
    field: str
    verb: str


def _matcher(route: Route) -> _Matcher:
    template, _, verb = route.template.partition(":")
    found = re.search(r"\{([a-z_.]+)=([^}]+)\}", template)
    field = found[1] if found else ""
    pattern = re.sub(r"\{[a-z_.]+=([^}]+)\}", r"(\1)", template).replace("*", "[^/]+")
    return _Matcher(route, re.compile(pattern), field, verb)


_MATCHERS = tuple(map(_matcher, ROUTES))


def _split_verb(path: str) -> tuple[str, str]:
    start, colon, end = path.rpartition(":")
    return (start, end) if colon and end in VERBS else (path, "")


def _find(http_method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The line for a request, and the field that its path fills."""
    name, verb = _split_verb(path)
    known = False
    for matcher in _MATCHERS:
        if matcher.verb == verb and (found := matcher.pattern.fullmatch(name)):
            if matcher.route.http_method == http_method:
                return matcher.route, {matcher.field: found[1]} if matcher.field else {}
            known = True
    if known:
        raise MethodNotAllowed(f"{http_method[:20]} is not supported on this path.")
    if verb:
        raise Unimplemented(f"{verb} is not supported by this server.")
    raise NotFound("There is nothing at this path; see the API reference for the paths there are.")


# --- from HTTP to a request message --------------------------------------------------------------


def _system_parameter(query: QueryParams, name: str) -> str:
    return query.get(name) or query.get(f"${name}") or ""


def _credentials(request: Request) -> dict[str, str | None]:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    key = request.headers.get("x-goog-api-key") or _system_parameter(request.query_params, "key")
    return {"bearer": token.strip() if scheme.lower() == "bearer" else None, "key": key or None}


def _message(route: Route, path_fields: Mapping[str, str], query: QueryParams, raw: bytes) -> Any:
    """The request message that path, query and body make together."""
    given: Json = body.parse(raw) if route.body else {}
    if route.body == "tuned_model":
        given = _wrapped(given) | _query_fields(route, query)
    elif route.body == "*":
        given.pop("model", None)  # the path decides
    else:
        given = _query_fields(route, query)
    message = form.message(given, route.request, strict=route.strict, ignored=answers.IGNORED)
    for field, value in path_fields.items():
        *holders, last = field.split(".")
        setattr(functools.reduce(getattr, holders, message), last, value)
    if route.http_method == "PATCH":
        message.update_mask.paths[:] = _mask(query, given["tuned_model"])
    return message


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
        for field in route.request.DESCRIPTOR.fields
        if field.message_type is None
        for name in form.names(field)
        if name in query
    }


def _mask(query: QueryParams, tuned_model: Json) -> list[str]:
    """Fields to change, in snake_case: those asked for, or without a mask those in the body."""
    asked = query.get("updateMask") or query.get("update_mask") or ""
    if asked:
        return [_snake_case(path.strip()) for path in asked.split(",")]
    present = {_snake_case(name) for name, value in tuned_model.items() if value is not None}
    return [name for name in messages.WRITABLE if name in present]


def _snake_case(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


# --- from an answer to HTTP ----------------------------------------------------------------------


class _Surface:
    """Answers every request under the version prefixes. Verbs run in threads; those that make
    answers have threads of their own, so that waiting for an answer never delays a read."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._max_answers = app.settings.max_pending_answers
        self._answers = 0
        self._answer_threads = CapacityLimiter(self._max_answers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        route, path_fields = _find(request.method, scope["path_params"]["path"])
        query = request.query_params
        alt = _system_parameter(query, "alt").partition(";")[0]
        if alt not in ("", "json", "sse"):
            raise InvalidArgument("alt must be json or sse.")
        credentials = _credentials(request)
        raw, admitted = b"", None
        if route.body:  # whoever may not call does not get to send a long body either
            admitted = await to_thread.run_sync(self._admit, route, credentials)
            raw = await body.read(request.stream(), request.headers, route.limit)

        def call(method: Method) -> Any:
            caller = admitted or self._admit(route, credentials)
            return method(self._app, caller, _message(route, path_fields, query, raw))

        pretty = _system_parameter(query, "prettyPrint").lower() not in ("false", "0")
        if route.method is methods.stream_generate_content:
            with self._place():
                opening = functools.partial(call, route.method)
                stream = self._stream(opening, alt == "sse", pretty, send)
                await unless_gone(receive, stream)
            return
        if route.method is methods.generate_content:
            with self._place():
                content = await self._whole_answer(call, pretty, receive)
        else:
            content = await to_thread.run_sync(lambda: encode(call(route.method), pretty))
        response = Response(
            content + b"\n" if pretty else content, media_type="application/json; charset=UTF-8"
        )
        await response(scope, receive, send)

    def _admit(self, route: Route, credentials: dict[str, str | None]) -> Caller:
        if route.scope is None:
            return Caller(owner="", scopes=frozenset())
        caller = access.authenticate(self._app, **credentials)
        access.require(caller, route.scope)
        return caller

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._answers >= self._max_answers:
            raise ResourceExhausted("Too many prompts are waiting; try again in a moment.")
        self._answers += 1
        try:
            yield
        finally:
            self._answers -= 1

    async def _whole_answer(
        self, call: Callable[[Method], Any], pretty: bool, receive: Receive
    ) -> bytes:
        gone = threading.Event()
        method = functools.partial(methods.generate_content, gone=gone.is_set)
        try:
            return await unless_gone(
                receive, self._in_answer_thread(lambda: encode(call(method), pretty))
            )
        finally:
            gone.set()

    async def _stream(
        self,
        opening: Callable[[], Generator[Json, None, None]],
        sse: bool,
        pretty: bool,
        send: Send,
    ) -> None:
        """An error before the first piece is raised; a later one becomes the last piece."""
        pieces = Pieces(await self._in_answer_thread(opening))
        frame = SseFrame() if sse else ArrayFrame(pretty)
        try:
            piece = await self._in_answer_thread(pieces.next)
            await send({"type": "http.response.start", "status": 200, "headers": frame.headers})
            while piece is not None:
                await send_piece(send, frame.piece(piece))
                try:
                    piece = await self._in_answer_thread(pieces.next)
                except Exception as error:
                    known = error if isinstance(error, KamertonError) else unexpected.report(error)
                    await send_piece(send, frame.piece(errors.body(known)))
                    break
            await send({"type": "http.response.body", "body": frame.end})
        finally:
            pieces.leave()

    async def _in_answer_thread(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._answer_threads)
