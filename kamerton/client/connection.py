"""One server over HTTP: requests, pages and streams; refusals come as `kamerton.errors`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import requests

from kamerton import errors
from kamerton.errors import InvalidArgument, KamertonError, Violation

Json = dict[str, Any]

ANSWER_SECONDS = 60.0
"""How long most calls may take."""
GENERATION_SECONDS = 600.0
"""How long an answer of a model may take; of a stream, each piece of it."""
_CONNECT_SECONDS = 5.0
_PAGE_SIZE = 1000


class Connection:
    """Calls one server as whoever owns the key; `headers` go with every request.

    An `endpoint` without a scheme is called over https, but on this machine over http.
    """

    def __init__(self, endpoint: str, key: str = "", headers: Mapping[str, str] = {}) -> None:
        if not key.isascii() or not key.isprintable():
            raise InvalidArgument("the key holds characters that no key has; copy it again")
        try:
            address = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
            is_local = _is_loopback(address.hostname or "")
        except ValueError as error:
            raise InvalidArgument(f"{endpoint} is no address of a server: {error}") from None
        # No scheme given: the key must not cross a network in the clear.
        scheme = address.scheme or ("http" if is_local else "https")
        self.endpoint = address._replace(scheme=scheme).geturl().rstrip("/")
        self._session = requests.Session()
        # A proxy of the environment cannot reach this machine's own loopback address.
        self._session.trust_env = not is_local
        if key:
            self._session.headers.update(_credential(key))
        self._session.headers.update(headers)

    def close(self) -> None:
        self._session.close()

    def json(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Json:
        """One call; `body` is sent, and the answer read, as a JSON object."""
        return self.answer(self.send(method, path, json=body, params=query, seconds=seconds))

    def pages(self, path: str, field: str, page_size: int | None = None) -> Iterator[Json]:
        """Everything in a list, one page after another as they are needed."""
        query = {"pageSize": str(page_size or _PAGE_SIZE)}
        while True:
            page = self.json("GET", path, None, query)
            yield from page.get(field, [])
            token = page.get("nextPageToken")
            if not token:
                return
            query["pageToken"] = token

    def events(self, path: str, body: Json, seconds: float = GENERATION_SECONDS) -> Iterator[Json]:
        """A stream piece by piece; leaving the iterator early stops the server's work."""
        query = {"alt": "sse"}
        # Sent now, not at the first piece: a refusal belongs to the caller's line.
        return self._events(
            self.send("POST", path, json=body, params=query, seconds=seconds, stream=True)
        )

    def send(
        self, method: str, path: str, *, seconds: float = ANSWER_SECONDS, **more: Any
    ) -> requests.Response:
        """One request; `more` is as requests has it. Raises for every answer that is no success."""
        try:
            response = self._session.request(
                method, self.endpoint + path, timeout=(_CONNECT_SECONDS, seconds), **more
            )
        except requests.exceptions.SSLError as error:
            raise errors.Unavailable(f"no safe connection to {self.endpoint}: {error}") from error
        except (requests.ConnectionError, requests.ConnectTimeout) as error:
            raise errors.Unavailable(
                f"no server at {self.endpoint}; start one with: kamerton serve"
            ) from error
        except requests.Timeout as error:
            raise errors.Unavailable(
                f"{self.endpoint} did not answer within {seconds:.0f} seconds"
            ) from error
        except requests.RequestException as error:
            raise errors.InvalidArgument(f"{self.endpoint}: {error}") from error
        if not response.ok:
            raise self._refusal(response)
        return response

    def answer(self, response: requests.Response) -> Json:
        """What a response says; Unavailable when it does not come from a Kamerton server."""
        try:
            answer = response.json()
        except requests.JSONDecodeError as error:
            raise errors.Unavailable(self._not_kamerton()) from error
        if not isinstance(answer, dict):
            raise errors.Unavailable(self._not_kamerton())
        return answer

    def _events(self, response: requests.Response) -> Iterator[Json]:
        try:
            for line in response.iter_lines():
                if line.startswith(b"data:"):
                    event = json.loads(line.removeprefix(b"data:"))
                    if "error" in event:
                        raise _error_of(event["error"], 500)
                    yield event
        except requests.RequestException as error:
            raise errors.Unavailable(f"the answer broke off: {error}") from error
        finally:
            response.close()

    def _refusal(self, response: requests.Response) -> KamertonError:
        try:
            return _error_of(response.json()["error"], response.status_code)
        except (ValueError, KeyError, TypeError):
            return errors.Unavailable(
                f"HTTP status {response.status_code} without a reason; {self._not_kamerton()}"
            )

    def _not_kamerton(self) -> str:
        return f"what answers at {self.endpoint} does not look like a Kamerton server"


def _is_loopback(hostname: str) -> bool:
    try:
        return hostname == "localhost" or ip_address(hostname).is_loopback
    except ValueError:
        return False


_BY_STATUS: dict[str, type[KamertonError]] = {
    "INVALID_ARGUMENT": errors.InvalidArgument,
    "OUT_OF_RANGE": errors.InvalidArgument,
    "FAILED_PRECONDITION": errors.FailedPrecondition,
    "UNAUTHENTICATED": errors.Unauthenticated,
    "PERMISSION_DENIED": errors.PermissionDenied,
    "NOT_FOUND": errors.NotFound,
    "ALREADY_EXISTS": errors.AlreadyExists,
    "ABORTED": errors.AlreadyExists,
    "RESOURCE_EXHAUSTED": errors.ResourceExhausted,
    "CANCELLED": errors.Cancelled,
    "UNIMPLEMENTED": errors.Unimplemented,
    "UNAVAILABLE": errors.Unavailable,
    "DEADLINE_EXCEEDED": errors.Unavailable,
}

_BY_RPC_CODE: dict[int, type[KamertonError]] = {
    1: errors.Cancelled,
    3: errors.InvalidArgument,
    8: errors.ResourceExhausted,
    9: errors.FailedPrecondition,
}


def failure(error: Mapping[str, Any]) -> KamertonError:
    """The `error` of an operation as one of ours."""
    kind = _BY_RPC_CODE.get(error.get("code", 0), errors.Internal)
    return kind(error.get("message") or "no reason was given")


def _error_of(error: Json, http_status: int) -> KamertonError:
    message = error.get("message") or f"HTTP status {http_status}"
    details = error.get("details", [])
    if any(detail.get("reason") == "API_KEY_INVALID" for detail in details):
        return errors.InvalidKey(message)
    violations = tuple(
        Violation(found.get("field", ""), found.get("description", ""))
        for detail in details
        for found in detail.get("fieldViolations", [])
    )
    if http_status == 413:
        return errors.TooLarge(message, violations)
    kind = _BY_STATUS.get(error.get("status", ""), errors.Internal)
    if issubclass(kind, errors.InvalidArgument):
        return kind(message, violations)
    return kind(message)


def _credential(key: str) -> dict[str, str]:
    """The header for an API key, or for a bearer token that was given instead."""
    is_token = key.startswith("kamt-") or key.count(".") == 2
    return {"authorization": f"Bearer {key}"} if is_token else {"x-goog-api-key": key}
