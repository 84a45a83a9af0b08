"""Our own API over HTTP: what no other API has a method for."""

from __future__ import annotations

from collections.abc import Callable

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from kamerton.errors import NotFound
from kamerton.service import access
from kamerton.service.app import App
from kamerton.surfaces import body
from kamerton.surfaces.body import Json
from kamerton.surfaces.documents import JSON, document
from kamerton.surfaces.errors import MethodNotAllowed
from kamerton.surfaces.kamerton import methods
from kamerton.surfaces.parameters import offered_credentials, pretty_print
from kamerton.types import Caller

PREFIX = "/kamerton/v1"
LIMIT = 64 * 1024 * 1024
"""Bytes of a request."""
METHODS: dict[str, tuple[str, Callable[[App, Caller, Json], Json]]] = {
    "datasets:check": ("datasets.check", methods.check_dataset),
}
"""By path, all of them for POST: the verb that says who may call it, and the function."""


def routes(app: App) -> list[Route]:
    for verb, _ in METHODS.values():
        access.RIGHTS[verb]  # No start without a declared right.
    return [Route(f"{PREFIX}/{{path:path}}", _Surface(app))]


class _Surface:
    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if (path := scope["path_params"]["path"]) not in METHODS:
            raise NotFound(f"There is nothing at this path; there is {PREFIX}/datasets:check.")
        if request.method != "POST":
            raise MethodNotAllowed(f"{request.method[:20]} is not supported on this path.")
        verb, function = METHODS[path]
        credentials = offered_credentials(request)
        caller = await to_thread.run_sync(lambda: access.admit(self._app, verb, **credentials))
        raw = await body.read(request.stream(), request.headers, LIMIT)
        pretty = pretty_print(request.query_params)

        def answer() -> bytes:
            return document(function(self._app, caller, body.parse(raw)), pretty)

        await Response(await to_thread.run_sync(answer), media_type=JSON)(scope, receive, send)
