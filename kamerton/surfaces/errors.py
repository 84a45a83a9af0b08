"""How our errors look to clients, as Google's APIs tell them: status names, codes and bodies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kamerton.errors import (
    AlreadyExists,
    BadDataset,
    Cancelled,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    InvalidKey,
    KamertonError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Violation,
)
from kamerton.findings import Finding
from kamerton.types import Failure

MAX_VIOLATIONS = 100
MAX_NUMBERS = 10
"""Of rows, told of one finding."""
RETRY_SECONDS = 3
DOMAIN = "kamerton"
"""Of reasons that are ours."""


class MethodNotAllowed(Unimplemented):
    """A known path with an HTTP method it does not have."""


@dataclass(frozen=True, slots=True)
class Status:
    http: int
    code: int
    """Number of the google.rpc status."""
    name: str


_STATUSES: Mapping[type[KamertonError], Status] = {
    Cancelled: Status(499, 1, "CANCELLED"),
    InvalidArgument: Status(400, 3, "INVALID_ARGUMENT"),
    NotFound: Status(404, 5, "NOT_FOUND"),
    AlreadyExists: Status(409, 6, "ALREADY_EXISTS"),
    PermissionDenied: Status(403, 7, "PERMISSION_DENIED"),
    ResourceExhausted: Status(429, 8, "RESOURCE_EXHAUSTED"),
    FailedPrecondition: Status(400, 9, "FAILED_PRECONDITION"),
    MethodNotAllowed: Status(405, 12, "UNIMPLEMENTED"),
    Unimplemented: Status(501, 12, "UNIMPLEMENTED"),
    Unavailable: Status(503, 14, "UNAVAILABLE"),
    Unauthenticated: Status(401, 16, "UNAUTHENTICATED"),
    Internal: Status(500, 13, "INTERNAL"),
}


def status(kind: type[KamertonError]) -> Status:
    """The status of an error class, or of the nearest class it comes from."""
    for ancestor in kind.__mro__:
        if ancestor in _STATUSES:
            return _STATUSES[ancestor]
    return _STATUSES[Internal]


def body(error: KamertonError) -> dict[str, Any]:
    """The JSON that tells a client about an error."""
    found = status(type(error))
    inner: dict[str, Any] = {"code": found.http, "message": error.message, "status": found.name}
    if found_details := list(details(error)):
        inner["details"] = found_details
    return {"error": inner}


def headers(error: KamertonError) -> dict[str, str]:
    """What the HTTP answer says beside the body."""
    if isinstance(error, ResourceExhausted | Unavailable):
        return {"Retry-After": str(RETRY_SECONDS)}
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    return {}


def details(error: KamertonError, most: int = MAX_VIOLATIONS) -> Iterator[dict[str, Any]]:
    """What programs can read about an error; of wrong fields the first `most`."""
    if isinstance(error, InvalidKey):
        yield _detail("ErrorInfo", reason="API_KEY_INVALID", domain="googleapis.com")
    if isinstance(error, InvalidArgument) and error.violations:
        yield _detail("BadRequest", fieldViolations=_field_violations(error, most))
    if isinstance(error, BadDataset):
        yield _detail(
            "ErrorInfo",
            reason="DATASET_CHECK_FAILED",
            domain=DOMAIN,
            metadata=_metadata(error.report.findings[:most]),
        )
    if isinstance(error, ResourceExhausted):
        yield _detail("QuotaFailure", violations=[{"description": error.message}])
    if isinstance(error, ResourceExhausted | Unavailable):
        yield _detail("RetryInfo", retryDelay=f"{RETRY_SECONDS}s")


def failure_details(failure: Failure) -> Iterator[dict[str, Any]]:
    """What programs can read about the end of a run; older ones have no reason."""
    if failure.reason:
        places = {"step": failure.step, "row": failure.row}
        metadata = {name: str(at) for name, at in places.items() if at is not None}
        yield _detail(
            "ErrorInfo",
            reason=failure.reason,
            domain=DOMAIN,
            **({"metadata": metadata} if metadata else {}),
        )


def _detail(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


def _metadata(findings: Sequence[Finding]) -> dict[str, str]:
    """By code; validation data can have the same finding once more."""
    made: dict[str, str] = {}
    for found in findings:
        told = _told(found)
        made[found.code] = f"{made[found.code]} {told}" if found.code in made else told
    return made


def _told(found: Finding) -> str:
    """A finding as one text: what, where, and what to do about it."""
    numbers = ", ".join(str(hit.number) for hit in found.hits[:MAX_NUMBERS])
    more = " …" if found.count > MAX_NUMBERS else ""
    plural = "" if len(found.hits) == 1 else "s"
    places = f"{found.unit}{plural} {numbers}{more}" if numbers else ""
    return "; ".join(filter(None, (found.message.rstrip("."), places, found.advice)))


def _field_violations(error: InvalidArgument, most: int) -> list[dict[str, str]]:
    violations = error.violations
    shown = [{"field": v.field, "description": v.description} for v in violations[:most]]
    if (rest := len(violations[most:]) + error.more) > 0:
        shown.append({"field": "", "description": f"and {rest} more"})
    return shown


@contextmanager
def wire_fields(places: Mapping[str, str]) -> Iterator[None]:
    """Turns the argument names in a verb's complaints into paths of the request:
    with {"examples": "a.b"}, `examples[7].output` becomes `a.b[7].output`."""
    try:
        yield
    except InvalidArgument as error:
        told = error.message == InvalidArgument.all_of(error.violations, error.more).message
        error.violations = tuple(
            Violation(_wire_field(violation.field, places), violation.description)
            for violation in error.violations
        )
        if told:  # Clients show nothing but the message.
            error.message = InvalidArgument.all_of(error.violations, error.more).message
        raise


def _wire_field(field: str, places: Mapping[str, str]) -> str:
    end = next((i for i, letter in enumerate(field) if letter in ".["), len(field))
    return places.get(field[:end], field[:end]) + field[end:]
