"""What nobody foresaw: told to the client as a reference, and to the log with its place."""

from __future__ import annotations

import logging
import secrets
import traceback

from kamerton.errors import Internal

_MAX_CAUSES = 10
_MAX_CALLS = 20
_log = logging.getLogger(__name__)


def report(error: BaseException) -> Internal:
    """Logs where `error` comes from. Its text stays out: it may hold prompts or examples."""
    reference = secrets.token_hex(4)
    _log.error("unexpected error %s\n%s", reference, "".join(_places(error)).rstrip())
    return Internal(f"Internal error. Reference: {reference} (the server's log has the details).")


def _places(error: BaseException | None) -> list[str]:
    places: list[str] = []
    for _ in range(_MAX_CAUSES):
        if error is None:
            break
        kind = f"{type(error).__module__}.{type(error).__qualname__}\n"
        # The ends of a deep recursion are enough of it.
        calls = traceback.format_tb(error.__traceback__)
        if len(calls) > 2 * _MAX_CALLS:
            calls = [*calls[:_MAX_CALLS], "  ...\n", *calls[-_MAX_CALLS:]]
        places = [*calls, kind, *places]
        error = error.__cause__ or error.__context__
    return places
