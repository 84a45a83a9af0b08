"""What can go wrong, in our words; each surface turns these into its own status codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from kamerton.findings import Report


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with one field; `field` is a snake_case path such as
    `tuned_model.tuning_task.training_data.examples.examples[7].output`."""

    field: str
    description: str


class KamertonError(Exception):
    """Base of all; the message says what is wrong, where, and what to do next."""

    reason = ""
    """A stable code, of what can end a run."""
    step: int | None = None
    row: int | None = None
    """Of a run: where it happened."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def at(self, reason: str, *, step: int | None = None, row: int | None = None) -> Self:
        """The same, with its code and where in a run it happened."""
        self.reason, self.step, self.row = reason, step, row
        return self


class InvalidArgument(KamertonError):
    """The caller sent something that can never work."""

    def __init__(self, message: str, violations: tuple[Violation, ...] = (), more: int = 0) -> None:
        super().__init__(message)
        self.violations = violations
        self.more = more
        """Things that are wrong as well, and not among the violations."""

    @classmethod
    def of(cls, field: str, description: str) -> InvalidArgument:
        """One wrong field."""
        return cls.all_of([Violation(field, description)])

    @classmethod
    def all_of(cls, violations: Sequence[Violation], more: int = 0) -> InvalidArgument:
        """Everything that is wrong at once; the message tells the first five."""
        shown = "; ".join(f"{v.field}: {v.description}" for v in violations[:5])
        left = len(violations[5:]) + more
        return cls(shown + (f"; and {left} more" if left else ""), tuple(violations), more)


class BadDataset(InvalidArgument):
    """Examples that a run would fail on or learn nothing from; `report` says all there is."""

    def __init__(
        self, message: str, violations: tuple[Violation, ...], more: int, report: Report
    ) -> None:
        super().__init__(message, violations, more)
        self.report = report


class InvalidKey(InvalidArgument):
    """An API key that this server did not issue, or has revoked."""


class TooLarge(InvalidArgument):
    """A request body over the limit."""


class NotFound(KamertonError):
    """No such thing, or none that this caller may see."""


class AlreadyExists(KamertonError):
    """The id is taken."""


class Unauthenticated(KamertonError):
    """No credential, or one that is not good."""


class PermissionDenied(KamertonError):
    """A good credential that does not reach this far."""


class FailedPrecondition(KamertonError):
    """Right in itself, but not in the present state."""


class ResourceExhausted(KamertonError):
    """A quota, queue, memory or disk is full."""


class Unavailable(KamertonError):
    """Out of service for the moment; trying again later may help."""


class Unimplemented(KamertonError):
    """Known, and not offered by this server."""


CANCELLED = "The tuning was cancelled."
"""What is said of a run that somebody asked to end."""


class Cancelled(KamertonError):
    """Given up because somebody asked for it."""


class Paused(KamertonError):
    """Left off because the server stops; the run goes on from its checkpoint."""


class Internal(KamertonError):
    """Our own mistake."""


def by_name(kind: str) -> type[KamertonError]:
    """The class called `kind`; Internal for names from another version."""
    found = globals().get(kind)
    if isinstance(found, type) and issubclass(found, KamertonError):
        return found
    return Internal
