"""Uploads over HTTP in every protocol that clients use, streamed to disk.

In one request: multipart, or the bytes alone. In a session: its start gives an address, at which
pieces are taken with X-Goog-Upload-* headers or with Content-Range; the address is the credential.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from kamerton.errors import KamertonError, TooLarge
from kamerton.service import access, uploads
from kamerton.service.app import App
from kamerton.surfaces import address, body, multipart
from kamerton.surfaces.documents import JSON, document
from kamerton.surfaces.errors import MethodNotAllowed, wire_fields
from kamerton.surfaces.gemini import file_messages, upload_headers
from kamerton.surfaces.gemini.rest import VERSIONS
from kamerton.surfaces.gemini.upload_headers import wrong
from kamerton.surfaces.parameters import offered_credentials, pretty_print
from kamerton.types import Caller, File, Upload

T = TypeVar("T")

VERB = "files.upload"
GRANULARITY = 256 * 1024
"""Clients are asked for pieces of a multiple of this; any are taken."""
METADATA_BYTES = 1024 * 1024
THREADS = 16
"""So many pieces are written at once; a slow disk must not keep reads waiting."""
_PROTOCOLS = {
    "resumable": "resumable",
    "multipart": "multipart",
    "raw": "raw",
    "media": "raw",
}


def routes(app: App) -> list[StarletteRoute]:
    """Everything under the upload prefixes."""
    access.RIGHTS[VERB]  # No start without a declared right.
    surface = _Surface(app)
    paths = [f"{prefix}/{v}/files" for prefix in ("/upload", "/resumable/upload") for v in VERSIONS]
    return [StarletteRoute(path, surface) for path in paths]


class _Surface:
    def __init__(self, app: App) -> None:
        self._app = app
        self._threads = CapacityLimiter(THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method not in ("POST", "PUT"):
            raise MethodNotAllowed("Uploads are sent with POST or PUT.")
        body.refuse_encoding(request.headers)
        offset = "Content-Range" if "content-range" in request.headers else "X-Goog-Upload-Offset"
        with wire_fields({**file_messages.FIELDS, "offset": offset}):
            response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if secret := request.query_params.get("upload_id"):
            upload = await self._in_thread(self._session, request, secret)
            if commands := upload_headers.commands(request.headers):
                return await self._command(request, upload, commands)
            return await self._range(request, upload)
        caller = await self._in_thread(self._admit, request)
        protocol = _protocol(request)
        if protocol == "resumable":
            return await self._start(request, caller)
        one_request = self._multipart if protocol == "multipart" else self._raw
        return self._final(request, await one_request(request, caller))

    def _admit(self, request: Request) -> Caller:
        return access.admit(self._app, VERB, **offered_credentials(request))

    def _session(self, request: Request, secret: str) -> Upload:
        """No credential is needed; who sends one all the same must be whose upload it is."""
        upload = uploads.find(self._app, secret)
        offered = offered_credentials(request)
        if any(offered.values()):
            uploads.check_owner(upload, access.authenticate(self._app, **offered))
        return upload

    # --- in one request --------------------------------------------------------------------------

    async def _raw(self, request: Request, caller: Caller) -> File:
        said = file_messages.start_arguments(
            b"",
            display_name=upload_headers.text(request.headers, "X-Goog-Upload-File-Name"),
            mime_type=request.headers.get("content-type", ""),
            size=upload_headers.number(request.headers, "Content-Length"),
        )
        async with self._whole_or_absent(caller, said) as upload:
            await self._receive(request, upload, 0)
            return await self._in_thread(uploads.finish, self._app, upload)

    async def _multipart(self, request: Request, caller: Caller) -> File:
        parts = multipart.Parts(multipart.boundary(request.headers.get("content-type", "")))
        events = _events(request, parts)
        metadata, headers = await _first_part(events)
        said = file_messages.start_arguments(
            metadata,
            display_name=upload_headers.text(request.headers, "X-Goog-Upload-File-Name"),
            mime_type=headers.get("content-type", ""),
        )
        offset = 0
        async with self._whole_or_absent(caller, said) as upload:
            async for content in events:
                if isinstance(content, dict):
                    raise multipart.wrong("it has more than two parts")
                offset = await self._in_thread(uploads.receive, self._app, upload, offset, content)
            return await self._in_thread(uploads.finish, self._app, upload)

    @asynccontextmanager
    async def _whole_or_absent(self, caller: Caller, said: dict[str, Any]) -> AsyncIterator[Upload]:
        def start() -> Upload:
            return uploads.start(self._app, caller, **said, resumable=False)[0]

        upload = await self._in_thread(start)
        try:
            yield upload
        except BaseException:
            with suppress(KamertonError):
                await self._in_thread(uploads.cancel, self._app, upload)
            raise

    # --- in a session ----------------------------------------------------------------------------

    async def _start(self, request: Request, caller: Caller) -> Response:
        if upload_headers.commands(request.headers) - {"start"}:
            raise wrong("X-Goog-Upload-Command", "must be start, or go to the upload's own address")
        said = _announced(
            request, await body.read(request.stream(), request.headers, METADATA_BYTES)
        )
        own = address.own(request, self._app.settings)

        def start() -> str:
            return uploads.start(self._app, caller, **said)[1]

        url = f"{own}{request.url.path}?upload_id={await self._in_thread(start)}"
        if "x-goog-upload-protocol" not in request.headers:
            return Response(headers={"Location": url + "&uploadType=resumable"})
        return Response(
            headers={
                "X-Goog-Upload-URL": url + "&upload_protocol=resumable",
                "X-Goog-Upload-Status": "active",
                "X-Goog-Upload-Chunk-Granularity": str(GRANULARITY),
            }
        )

    async def _command(
        self, request: Request, upload: Upload, commands: frozenset[str]
    ) -> Response:
        """What X-Goog-Upload-Command asks for."""
        if "start" in commands:
            raise wrong("X-Goog-Upload-Command", "cannot be start at the address of an upload")
        if "cancel" in commands:
            await self._in_thread(uploads.cancel, self._app, upload)
            return Response(headers={"X-Goog-Upload-Status": "cancelled"})
        if "query" in commands:
            if upload.file:
                return self._final(request, upload.file)
            return _active(await self._in_thread(uploads.received, self._app, upload))
        offset = upload_headers.number(request.headers, "X-Goog-Upload-Offset")
        if "upload" in commands:
            if offset is None:
                raise wrong("X-Goog-Upload-Offset", "is missing")
            offset = await self._receive(request, upload, offset)
        elif upload_headers.number(request.headers, "Content-Length"):
            raise wrong("X-Goog-Upload-Command", "must be `upload, finalize` to send bytes with it")
        if "finalize" not in commands:
            return _active(await self._in_thread(uploads.received, self._app, upload))
        return self._final(
            request, await self._in_thread(uploads.finish, self._app, upload, offset)
        )

    async def _range(self, request: Request, upload: Upload) -> Response:
        """What Content-Range says of the body; without it, the body is the whole file."""
        found = upload_headers.content_range(request.headers)
        if found is None:
            end = await self._receive(request, upload, 0)
        elif found.first is not None:
            _check_length(request, found)
            end = await self._receive(request, upload, found.first)
            if end != found.total:
                return _incomplete(await self._in_thread(uploads.received, self._app, upload))
        else:
            received = await self._in_thread(uploads.received, self._app, upload)
            if not upload.file and received != found.total:
                return _incomplete(received)
            end = received if found.total is None else found.total
        return self._final(request, await self._in_thread(uploads.finish, self._app, upload, end))

    # --- both ------------------------------------------------------------------------------------

    async def _receive(self, request: Request, upload: Upload, offset: int) -> int:
        """Keeps the body, which begins at `offset`; the offset after it."""
        length = upload_headers.number(request.headers, "Content-Length") or 0
        await self._in_thread(uploads.expect, self._app, upload, offset, length)
        async for piece in body.gathered(request.stream()):
            offset = await self._in_thread(uploads.receive, self._app, upload, offset, piece)
        await self._in_thread(uploads.keep, self._app, upload)
        return offset

    def _final(self, request: Request, file: File) -> Response:
        made = {"file": file_messages.file(file, address.own(request, self._app.settings))}
        content = document(made, pretty_print(request.query_params))
        return Response(content, 200, _received(file.size_bytes, "final"), JSON)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await to_thread.run_sync(work, *arguments, limiter=self._threads)


def _protocol(request: Request) -> str:
    """`resumable`, `multipart` or `raw`."""
    header = request.headers.get("x-goog-upload-protocol")
    query = request.query_params
    asked = header or query.get("uploadType") or query.get("upload_protocol")
    if not asked:
        typical = request.headers.get("content-type", "").lower().startswith("multipart/")
        return "multipart" if typical else "raw"
    if asked.lower() not in _PROTOCOLS:
        name = "X-Goog-Upload-Protocol" if header else "uploadType"
        raise wrong(name, f"must be one of {', '.join(_PROTOCOLS)}")
    return _PROTOCOLS[asked.lower()]


def _announced(request: Request, metadata: bytes) -> dict[str, Any]:
    """What the start of a session says of the file."""
    headers = request.headers
    goog, other = "X-Goog-Upload-Header-Content-", "X-Upload-Content-"
    sizes = [upload_headers.number(headers, name + "Length") for name in (goog, other)]
    types = [headers.get(name + "Type", "") for name in (goog, other)]
    return file_messages.start_arguments(
        metadata,
        display_name=upload_headers.text(headers, "X-Goog-Upload-File-Name"),
        mime_type=types[0] or types[1],
        size=sizes[1] if sizes[0] is None else sizes[0],
    )


async def _events(
    request: Request, parts: multipart.Parts
) -> AsyncIterator[multipart.Headers | bytes]:
    async for piece in body.gathered(request.stream()):
        for event in parts.feed(piece):
            yield event
    parts.end()


async def _first_part(
    events: AsyncIterator[multipart.Headers | bytes],
) -> tuple[bytes, multipart.Headers]:
    """The content of the first part, and the headers of the second."""
    content = bytearray()
    begun = False
    async for event in events:
        if isinstance(event, bytes):
            content += event
        elif begun:
            if event.get("content-transfer-encoding", "binary").lower() not in _UNENCODED:
                raise multipart.wrong("Content-Transfer-Encoding must be binary")
            return bytes(content), event
        begun = True
        if len(content) > METADATA_BYTES:
            raise TooLarge(f"Request payload size exceeds the limit: {METADATA_BYTES} bytes.")
    raise multipart.wrong("it has no second part, with the bytes of the file")


_UNENCODED = ("binary", "8bit", "7bit")


def _check_length(request: Request, found: upload_headers.ContentRange) -> None:
    assert found.first is not None
    length = upload_headers.number(request.headers, "Content-Length")
    if length is not None and length != found.end - found.first:
        said = f"{found.end - found.first} bytes, but the body has {length}"
        raise wrong("Content-Range", said)


def _received(size: int, status: str) -> dict[str, str]:
    return {"X-Goog-Upload-Status": status, "X-Goog-Upload-Size-Received": str(size)}


def _active(received: int) -> Response:
    return Response(headers=_received(received, "active"))


def _incomplete(received: int) -> Response:
    """Not an error: this is how clients are told to go on."""
    return Response(
        status_code=308, headers={"Range": f"bytes=0-{received - 1}"} if received else {}
    )
