"""One server with every surface on it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kamerton.errors import InvalidArgument, KamertonError, NotFound, PermissionDenied, Unavailable
from kamerton.service.app import App
from kamerton.settings import Settings
from kamerton.surfaces import errors, unexpected
from kamerton.surfaces.documents import JSON, document
from kamerton.surfaces.gemini import discovery, downloads, rest, uploads
from kamerton.surfaces.gemini.streams import AnswerThreads
from kamerton.surfaces.kamerton import rest as own

if TYPE_CHECKING:
    from kamerton.surfaces.grpc_server import GrpcServer

MAX_HEAD = 64 * 1024
"""Bytes of a request's first line and headers."""
HEAD_SECONDS = 30.0
"""How long a client may take to send them."""
SHUTDOWN_SECONDS = 5


def build(app: App, answering: AnswerThreads | None = None) -> Starlette:
    """The ASGI application; nothing is started."""
    answering = answering or AnswerThreads(app.settings.max_pending_answers)
    gemini = rest.Surface(app, answering)

    async def healthz(request: Request) -> Response:
        parts = {"engine": app.engine.warming(), "runner": app.runner.warming()}
        warming = {name: what for name, what in parts.items() if what}
        return _json({"status": "warming" if warming else "ok", "warming": warming}, 200, {})

    edge = Middleware(_Edge, loopback_only=app.settings.open)
    built = Starlette(
        routes=[
            Route("/healthz", healthz),
            *discovery.routes(app),
            *uploads.routes(app),
            *downloads.routes(app),
            *own.routes(app, asking=gemini),
            *rest.routes(gemini),
        ],
        middleware=[edge],
        exception_handlers={HTTPException: _http_exception},
    )
    built.router.redirect_slashes = False
    return built


def run(
    app: App,
    listening: socket.socket,
    on_started: Callable[[str], None] = lambda url: None,
    for_grpc: socket.socket | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT; gRPC as well where there is a socket `for_grpc`.
    `on_started` gets the server's own URL."""
    answering = AnswerThreads(app.settings.max_pending_answers)
    url = f"http://{shown(listening)}"
    beside: GrpcServer | None = None
    if for_grpc:
        from kamerton.surfaces.grpc_server import GrpcServer

        beside = GrpcServer(app, for_grpc, answering, url)
    server = _Server(config(build(app, answering)), beside, lambda: on_started(url))
    server.run(sockets=[listening])


def shown(bound: socket.socket) -> str:
    """`host:port` of a socket."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def config(application: Starlette) -> uvicorn.Config:
    """How uvicorn serves it."""
    return uvicorn.Config(
        application,
        http=_Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def listen(settings: Settings) -> socket.socket:
    """The socket to serve on. Raises InvalidArgument when its address cannot be had."""
    listening = reserve(settings, settings.port)
    try:
        listening.listen()
    except OSError as error:
        listening.close()
        raise _taken(settings.host, settings.port, error) from error
    return listening


def reserve(settings: Settings, port: int) -> socket.socket:
    """A socket that keeps an address free for a server of this process, as long as it is open.
    Raises InvalidArgument when the address cannot be had."""
    host = settings.host
    if settings.open and not _is_loopback(host):
        raise InvalidArgument(
            "An open server needs no credentials and may only listen on a loopback address, "
            f"not on {host}."
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reserved.bind((host, port))
    except OSError as error:
        reserved.close()
        raise _taken(host, port, error) from error
    return reserved


def _taken(host: str, port: int, error: OSError) -> InvalidArgument:
    return InvalidArgument(f"Cannot listen on {host}:{port}: {error.strerror}.")


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        beside: GrpcServer | None,
        on_started: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._beside = beside
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._beside:
            await self._beside.start()
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = [super().shutdown(sockets)]
        if self._beside:
            ending.append(self._beside.stop(SHUTDOWN_SECONDS))
        await asyncio.gather(*ending)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # uvicorn raises a signal again once it has shut down, which would end the process before
        # whoever called `run` has closed the engine and the runner.
        with super().capture_signals():
            yield
            self._captured_signals.clear()


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 with a limit on the head of a request, and with our error bodies."""

    _head = 0
    _has_body = False
    _deadline: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head, self._has_body = 0, False
        self._await_head()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        self._has_body |= name.lower() in (b"content-length", b"transfer-encoding")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._deadline.cancel()
        super().on_headers_complete()

        if self.parser.should_upgrade() and self._has_body:
            # What follows would no longer be read as a body.
            raise ValueError("Upgrade is not supported")

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()  # Also while the rest of a refused body is still coming.

    def _await_head(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD:
            raise ValueError("the head of the request is too long")

    def send_400_response(self, msg: str) -> None:
        content = document(errors.body(InvalidArgument(msg)), pretty=True)
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"content-type: {JSON}\r\n"
            f"content-length: {len(content)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()


class _Edge:
    """The outermost ring: lets in whom the bind address allows, and writes every error."""

    def __init__(self, app: ASGIApp, loopback_only: bool) -> None:
        self._app = app
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if self._loopback_only:
                _check_local(Headers(scope=scope))
            await self._app(scope, receive, noting_start)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:  # nothing but the end of the server cancels a request
            if not started:
                stopping = Unavailable("The server is stopping; try again in a moment.")
                await _error_response(stopping)(scope, receive, send)
        except Exception as error:
            known = error if isinstance(error, KamertonError) else unexpected.report(error)
            if not started:
                await _error_response(known)(scope, receive, send)
            # Else exception, traceback and frames keep each other, with all that was sent.
            error.__traceback__ = known.__traceback__ = None


def _check_local(headers: Headers) -> None:
    """A page from elsewhere, or a name that only points here, must not reach an open server."""
    addresses = [f"//{headers.get('host', '')}"]
    if (origin := headers.get("origin")) is not None:
        addresses.append(origin)
    hosts = map(_host, addresses)
    if not all(host and _is_loopback(host) for host in hosts):
        raise PermissionDenied(
            "This server is open without credentials and answers only to localhost. "
            "Start it without --open to use it under other names."
        )


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return _error_response(errors.MethodNotAllowed("This path does not have that method."))
    return _error_response(
        NotFound("There is nothing at this path.")
        if error.status_code == 404
        else InvalidArgument(error.detail)
    )


def _error_response(error: KamertonError) -> Response:
    return _json(errors.body(error), errors.status(type(error)).http, errors.headers(error))


def _json(made: Any, status: int, headers: dict[str, str]) -> Response:
    return Response(document(made, pretty=True), status, headers, JSON)
