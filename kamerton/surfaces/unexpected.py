"""What nobody foresaw: told to the client as a reference, and to the log with its place."""

from __future__ import annotations

import logging
import secrets
import traceback

from kamerton.errors import Internal

_log = logging.getLogger(__name__)


def report(error: BaseException) -> Internal:
    """Logs where `error` comes from. Its text stays out: it may hold prompts or examples."""
    reference = secrets.token_hex(4)
    _log.error("unexpected error %s\n%s", reference, "".join(_places(error)).rstrip())
    return Internal(f"Internal error. Reference: {reference} (the server's log has the details).")


def _places(error: BaseException | None) -> list[str]:
    if error is None:
        return []
    kind = f"{type(error).__module__}.{type(error).__qualname__}\n"
    earlier = error.__cause__ or error.__context__
    return [*_places(earlier), *traceback.format_tb(error.__traceback__), kind]
