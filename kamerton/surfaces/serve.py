"""`kamerton serve`: everything that one machine needs, in the foreground."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from kamerton.service import app as parts
from kamerton.service import credentials
from kamerton.service.app import App
from kamerton.settings import Settings
from kamerton.surfaces import server


def serve(settings: Settings) -> None:
    """Run until Ctrl-C or SIGTERM; then everything that was started is ended."""
    with contextlib.ExitStack() as sockets:  # A taken port is told before anything starts.
        listening = sockets.enter_context(server.listen(settings))
        for_grpc: socket.socket | None = None
        if settings.grpc:
            for_grpc = sockets.enter_context(server.reserve(settings, settings.grpc_port))
        app = parts.build(settings)
        try:
            _first_key(app)
            server.run(app, listening, lambda url: _announce(app, url, for_grpc), for_grpc)
        finally:
            app.close()


def _first_key(app: App) -> None:
    """A new installation gives its owner a key that may do everything."""
    if not app.settings.open and (
        secret := credentials.create_first(app.database, app.settings.owner)
    ):
        _say(f"Your key, shown this once: {secret}")


def _announce(app: App, url: str, for_grpc: socket.socket | None) -> None:
    _say(f"Kamerton listens on {url}" + (", open to everybody here" if app.settings.open else ""))
    if for_grpc:
        authority = app.settings.authority_file().absolute()
        _say(f"gRPC listens on {server.shown(for_grpc)}, with TLS; its CA file is {authority}")
    threading.Thread(target=_tell_when_warm, args=(app,), daemon=True).start()


def _tell_when_warm(app: App) -> None:
    told: list[str | None] = []
    while warming := sorted({app.engine.warming(), app.runner.warming()} - {None}, key=str):
        if warming != told:
            _say(f"Warming up: {'; '.join(map(str, warming))}")
            told = warming
        time.sleep(0.1)
    _say("Ready to tune and to answer.")


def _say(line: str) -> None:
    print(line, flush=True)
