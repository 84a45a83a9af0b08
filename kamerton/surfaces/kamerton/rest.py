"""Our own API over HTTP: what no other API has a method for."""

from __future__ import annotations

import re

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kamerton.service import access
from kamerton.service.app import App
from kamerton.surfaces import body
from kamerton.surfaces.documents import JSON, document
from kamerton.surfaces.kamerton.methods import Call, Download, Table
from kamerton.surfaces.kamerton.routes import METHODS, find
from kamerton.surfaces.parameters import offered_credentials, pretty_print
from kamerton.surfaces.sending import send_file, unless_gone

PREFIX = "/kamerton/v1"
LIMIT = 64 * 1024 * 1024
"""Bytes of a request."""
CSV = "text/csv; charset=UTF-8"
_ASKING = re.compile(r"tunedModels/[^/]+:(generateContent|streamGenerateContent|countTokens)")


def routes(app: App, asking: ASGIApp) -> list[Route]:
    """Everything under our prefix; `asking` answers what is asked of a model there."""
    for method in METHODS:
        access.RIGHTS[method.verb]  # No start without a declared right.
    return [Route(f"{PREFIX}/{{path:path}}", _Surface(app, asking))]


class _Surface:
    def __init__(self, app: App, asking: ASGIApp) -> None:
        self._app = app
        self._asking = asking

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if _ASKING.fullmatch(path := scope["path_params"]["path"]):
            await self._asking(scope, receive, send)
            return
        method, name = find(request.method, path)
        query = request.query_params
        credentials = offered_credentials(request)
        caller = await to_thread.run_sync(
            lambda: access.admit(self._app, method.verb, **credentials)
        )
        raw = b""
        if method.http_method == "POST":
            raw = await body.read(request.stream(), request.headers, LIMIT)

        def answer() -> Download | Response:
            made = method.function(Call(self._app, caller, name, query, body.parse(raw)))
            if isinstance(made, Download):
                return made
            if isinstance(made, Table):
                return Response(made.csv, media_type=CSV)
            return Response(document(made, pretty_print(query)), media_type=JSON)

        made = await to_thread.run_sync(answer)
        if isinstance(made, Response):
            await made(scope, receive, send)
            return
        with made.content:
            await unless_gone(receive, send_file(send, made.content, _headers(made)))


def _headers(made: Download) -> list[tuple[bytes, bytes]]:
    size = made.content.seek(0, 2)
    made.content.seek(0)
    return [
        (b"content-type", b"application/zip"),
        (b"content-length", str(size).encode()),
        (b"content-disposition", f'attachment; filename="{made.name}"'.encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
