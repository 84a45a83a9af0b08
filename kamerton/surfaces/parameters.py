"""What every request may carry beside its body: credentials, and how the answer is written."""

from __future__ import annotations

from starlette.datastructures import QueryParams
from starlette.requests import Request


def system_parameter(query: QueryParams, name: str) -> str:
    return query.get(name) or query.get(f"${name}") or ""


def pretty_print(query: QueryParams) -> bool:
    return system_parameter(query, "prettyPrint").lower() not in ("false", "0")


def offered_credentials(request: Request) -> dict[str, str | None]:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    key = request.headers.get("x-goog-api-key") or system_parameter(request.query_params, "key")
    return {"bearer": token.strip() if scheme.lower() == "bearer" else None, "key": key or None}
