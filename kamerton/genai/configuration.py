"""Which server is called, and as whom: `configure`, and the connection that all calls share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from kamerton.client.connection import Connection

_LOCAL = "http://127.0.0.1:8080"
_KEYS = ("KAMERTON_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY")

_connection: Connection | None = None


def configure(
    *,
    api_key: str | None = None,
    credentials: Any = None,
    transport: str | None = None,
    client_options: Any = None,
    client_info: Any = None,
    default_metadata: Iterable[tuple[str, str]] = (),
) -> None:
    """Choose the server and who calls it, from here on.

    The server is `client_options["api_endpoint"]`, else KAMERTON_ENDPOINT, else the one on this
    machine. The key is `api_key`, else `client_options["api_key"]`, else the first of
    KAMERTON_API_KEY, GOOGLE_API_KEY and GEMINI_API_KEY. The `token` of `credentials` is sent as
    a bearer token, and `default_metadata` as headers. There is one way to the server, so
    `transport` and `client_info` change nothing.
    """
    global _connection
    endpoint = _option(client_options, "api_endpoint") or os.environ.get("KAMERTON_ENDPOINT")
    key = api_key or _option(client_options, "api_key") or _key_of_environment()
    headers = dict(default_metadata)
    if token := getattr(credentials, "token", None):
        headers["authorization"] = f"Bearer {token}"
    _connection = Connection(endpoint or _LOCAL, key, headers)


def connection() -> Connection:
    """The server that `configure` chose, or that the environment names."""
    if _connection is None:
        configure()
        return connection()
    return _connection


def _option(options: Any, name: str) -> str:
    if not isinstance(options, dict):
        options = vars(options) if options else {}
    return options.get(name) or ""


def _key_of_environment() -> str:
    return next(filter(None, map(os.environ.get, _KEYS)), "")
