"""gRPC beside HTTP, in the same event loop: its port, its certificate and its limits."""

from __future__ import annotations

import socket

import grpc
import grpc.aio

from kamerton.errors import InvalidArgument
from kamerton.service.app import App
from kamerton.surfaces import certificate
from kamerton.surfaces.gemini import grpc_methods
from kamerton.surfaces.gemini.streams import AnswerThreads
from kamerton.surfaces.server import HEAD_SECONDS, MAX_HEAD, shown

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes of a request; HTTP takes as much for a new tuned model."""
_MINUTE = 60_000
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a port that is taken is an error
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_metadata_size", MAX_HEAD),
    ("grpc.server_handshake_timeout_ms", int(HEAD_SECONDS * 1000)),
    # A client whose machine is gone does not say so.
    ("grpc.keepalive_time_ms", _MINUTE),
    ("grpc.keepalive_timeout_ms", _MINUTE // 3),
    ("grpc.max_connection_idle_ms", 10 * _MINUTE),
)


class GrpcServer:
    """Serves where `reserved` keeps a port free. Whoever reaches an open server by a name that
    only points here is stopped by TLS: the certificate does not have that name."""

    def __init__(
        self, app: App, reserved: socket.socket, answering: AnswerThreads, address: str
    ) -> None:
        self._certificate = certificate.issue(app.settings)
        self._handlers = grpc_methods.handlers(app, answering, address)
        self._address = shown(reserved)
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Raises InvalidArgument when the port cannot be had."""
        self._server = grpc.aio.server(handlers=self._handlers, options=_OPTIONS)
        key = (self._certificate.key, self._certificate.chain)
        try:
            self._server.add_secure_port(self._address, grpc.ssl_server_credentials([key]))
        except RuntimeError as error:
            raise InvalidArgument(f"Cannot listen on {self._address} for gRPC.") from error
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Takes no new calls; those on their way have so long to end."""
        if self._server:
            await self._server.stop(seconds)
