"""The address under which a client knows this server."""

from __future__ import annotations

import re

from starlette.requests import Request

from kamerton.settings import Settings

_HOST = re.compile(r"[A-Za-z0-9._\-\[\]:]{1,255}")


def own(request: Request, settings: Settings) -> str:
    """`scheme://host` for links in answers: as configured, else as a trusted proxy says, else as
    the client asked."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    scheme, host = request.url.scheme, request.headers.get("host", "")
    peer = request.client.host if request.client else ""
    if peer in [proxy.strip() for proxy in settings.trusted_proxies.split(",")]:
        scheme = _first(request.headers.get("x-forwarded-proto")) or scheme
        host = _first(request.headers.get("x-forwarded-host")) or host
    if scheme not in ("http", "https") or not _HOST.fullmatch(host):
        scheme, host = "http", f"{settings.host}:{settings.port}"
    return f"{scheme}://{host}"


def _first(header: str | None) -> str:
    """What the proxy nearest to the client wrote."""
    return (header or "").partition(",")[0].strip()
