"""The Gemini API over gRPC: bytes to request messages, answers to bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

import grpc
import grpc.aio
from anyio import to_thread
from google.rpc import error_details_pb2, status_pb2

from kamerton.errors import Cancelled, InvalidArgument, KamertonError
from kamerton.service import access
from kamerton.service.app import App
from kamerton.surfaces import errors, unexpected
from kamerton.surfaces.body import Json, snake_case
from kamerton.surfaces.gemini import answers, form, published
from kamerton.surfaces.gemini.methods import Call, Client
from kamerton.surfaces.gemini.rpcs import RPCS, Rpc, check_rights
from kamerton.surfaces.gemini.streams import AnswerThreads, Pieces
from kamerton.surfaces.sending import SLOWEST_READER
from kamerton.types import Caller

T = TypeVar("T")
Context = grpc.aio.ServicerContext[bytes, bytes]

REQUEST_SECONDS = 60.0
"""How long a client may take to send its request, once it was let in."""
MAX_TEXT = 2000
"""Bytes of an error's message as it is written on the wire."""
MAX_STATUS = 4000
"""Bytes of an error with its details. Clients read some 8 KiB of both together."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def handlers(app: App, answering: AnswerThreads, address: str) -> list[grpc.GenericRpcHandler]:
    """Every published method. Files have `address` as theirs, unless the settings know better."""
    check_rights()
    surface = _Surface(app, answering, app.settings.public_url.rstrip("/") or address)
    services: dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]] = {}
    for rpc in RPCS.values():
        if rpc.service:
            services.setdefault(rpc.service, {})[rpc.name] = surface.handler(rpc)
    return [grpc.method_handlers_generic_handler(*service) for service in services.items()]


class _Surface:
    """Answers every call. Verbs run in threads. Requests are one message each and yet taken as
    streams, so that whoever may not call does not get to send a long message either."""

    def __init__(self, app: App, answering: AnswerThreads, address: str) -> None:
        self._app = app
        self._answering = answering
        self._address = address

    def handler(self, rpc: Rpc) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def whole(_: Any, context: Context) -> bytes:
            return await _refusing(context, self._whole(rpc, context))

        async def stream(_: Any, context: Context) -> None:
            await _refusing(context, self._stream(rpc, context))

        if rpc.streams:
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.stream_unary_rpc_method_handler(whole)

    async def _whole(self, rpc: Rpc, context: Context) -> bytes:
        caller = await to_thread.run_sync(self._admit, rpc, context)
        raw = await _received(context)
        if not rpc.takes_long:
            return await to_thread.run_sync(lambda: _encoded(rpc, self._call(rpc, caller, raw)))
        places, client = self._answering.of(rpc), Client()
        with places.place(), client.leaving():
            return await places.run(lambda: _encoded(rpc, self._call(rpc, caller, raw, client)))

    async def _stream(self, rpc: Rpc, context: Context) -> None:
        caller = await to_thread.run_sync(self._admit, rpc, context)
        raw = await _received(context)
        places, client = self._answering.of(rpc), Client()
        with places.place(), client.leaving():
            pieces = Pieces(lambda: self._call(rpc, caller, raw, client))

            def following() -> bytes | None:
                piece = pieces.next()
                return None if piece is None else _encoded(rpc, piece)

            try:
                while (piece := await places.run(following)) is not None:
                    await _send(context, piece)
            finally:
                pieces.leave()

    def _admit(self, rpc: Rpc, context: Context) -> Caller:
        return access.admit(self._app, rpc.verb, **_credentials(context))

    def _call(self, rpc: Rpc, caller: Caller, raw: bytes, client: Client | None = None) -> Any:
        request = form.binary_message(raw, rpc.request, ignored=answers.IGNORED)
        if "update_mask" in request.DESCRIPTOR.fields_by_name:
            paths = request.update_mask.paths
            paths[:] = [snake_case(path.strip()) for path in paths]
        return rpc.function(
            Call(self._app, caller, self._address, client=client or Client()), request
        )


# --- requests ------------------------------------------------------------------------------------


def _credentials(context: Context) -> dict[str, str | None]:
    metadata = {name: value for name, value in context.invocation_metadata() or ()}
    scheme, _, token = str(metadata.get("authorization", "")).partition(" ")
    key = str(metadata.get("x-goog-api-key", ""))
    return {"bearer": token.strip() if scheme.lower() == "bearer" else None, "key": key or None}


async def _received(context: Context) -> bytes:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            raw = await context.read()
    except TimeoutError:
        raise InvalidArgument(f"No request came for {REQUEST_SECONDS:g} seconds.") from None
    if not isinstance(raw, bytes):
        raise InvalidArgument("The call ended without a request.")
    return raw


# --- answers -------------------------------------------------------------------------------------


def _encoded(rpc: Rpc, answer: Any) -> bytes:
    encoded: bytes = published.message(answer, rpc.response).SerializeToString()
    return encoded


async def _send(context: Context, piece: bytes) -> None:
    """Waits for a slow reader, but not for ever."""
    try:
        async with asyncio.timeout(SLOWEST_READER):
            await context.write(piece)
    except TimeoutError:
        raise Cancelled("The answer was not read.") from None


async def _refusing(context: Context, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, or its error as the status of the call."""
    try:
        return await work
    except Exception as error:
        known = error if isinstance(error, KamertonError) else unexpected.report(error)
    await _refuse(context, known)


async def _refuse(context: Context, error: KamertonError) -> NoReturn:
    found = errors.status(type(error))
    status = _status(error, found.code)
    trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(_CODES[found.code], status.message, trailing)


def _status(error: KamertonError, code: int) -> Any:
    """A google.rpc.Status with the details that JSON has, as far as they fit."""
    message = error.message[:MAX_TEXT]  # Before anything is done with all of it.
    while len(quote(message)) > MAX_TEXT:
        message = message[: len(message) * 9 // 10]
    violations = errors.MAX_VIOLATIONS
    while violations:
        status = status_pb2.Status(code=code, message=message)
        for detail in errors.details(error, violations):
            status.details.add().Pack(_detail(detail))
        if status.ByteSize() <= MAX_STATUS:
            return status
        violations //= 2
    return status_pb2.Status(code=code, message=message)


def _detail(made: Json) -> Any:
    kind, fields = made["@type"].rpartition(".")[2], {k: v for k, v in made.items() if k != "@type"}
    return published.message(fields, getattr(error_details_pb2, kind))
