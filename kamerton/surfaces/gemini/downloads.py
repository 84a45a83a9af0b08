"""The bytes of a file, streamed to whoever may have them."""

from __future__ import annotations

from typing import BinaryIO

from anyio import to_thread
from starlette.requests import Request
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from kamerton.service import access, files
from kamerton.service.app import App
from kamerton.surfaces.gemini import file_messages
from kamerton.surfaces.gemini.rest import VERSIONS
from kamerton.surfaces.parameters import offered_credentials
from kamerton.surfaces.sending import send_file, unless_gone
from kamerton.types import File

VERB = "files.download"


def routes(app: App) -> list[StarletteRoute]:
    access.RIGHTS[VERB]  # No start without a declared right.
    surface = _Surface(app)
    paths = [f"/{version}/files/{{id}}:download" for version in VERSIONS]
    return [StarletteRoute(path, surface, methods=["GET"]) for path in paths]


class _Surface:
    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)

        def opened() -> tuple[File, BinaryIO]:
            caller = access.admit(self._app, VERB, **offered_credentials(request))
            id = file_messages.file_id(f"files/{request.path_params['id']}")
            return files.open_(self._app, caller, id)

        file, content = await to_thread.run_sync(opened)
        with content:
            await unless_gone(receive, send_file(send, content, _headers(file)))


def _headers(file: File) -> list[tuple[bytes, bytes]]:
    # Never shown as a page of this server, whatever it is.
    return [
        (b"content-type", file.mime_type.encode("latin-1")),
        (b"content-length", str(file.size_bytes).encode()),
        (b"content-disposition", b"attachment"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"sandbox"),
    ]
