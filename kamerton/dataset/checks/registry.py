"""What a check is, and how a function becomes one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from kamerton.dataset import checks
from kamerton.findings import Hit, Severity

Look = Callable[[Any], Iterable[Hit]]
"""Looks at a `Seen` (some rows) or a `Whole` (all of them)."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that may be wrong with a dataset."""

    code: str
    """K and three digits."""
    name: str
    severity: Severity
    what: str
    """After a number of rows, beginning with a verb in the plural: `have an empty output`. Of a
    check that names no rows: a sentence."""
    advice: str
    """What to do, in a sentence."""
    why: str
    """What happens to a run if nobody does."""
    look: Look
    smell: bool = False
    """In many rows it is no left-over but the task itself, and nothing is said."""

    @property
    def about(self) -> str:
        """What it looks for, in a sentence."""
        return self.what if self.what[0].isupper() else f"Rows that {self.what}."


ROW_CHECKS: dict[str, Check] = {}
"""Those that look at each row by itself, by code."""
WHOLE_CHECKS: dict[str, Check] = {}
"""Those that need all rows."""


def row_check(
    code: str,
    name: str,
    severity: Severity,
    *,
    what: str,
    advice: str,
    why: str,
    smell: bool = False,
) -> Callable[[Look], Look]:
    """Enters a function over some rows among the checks; at most one hit for a row."""

    def enter(look: Look) -> Look:
        _enter(ROW_CHECKS, Check(code, name, severity, what, advice, why, look, smell))
        return look

    return enter


def whole_check(
    code: str, name: str, severity: Severity, *, what: str, advice: str, why: str
) -> Callable[[Look], Look]:
    """Enters a function over all rows among the checks. A hit with the number -1 is about the
    dataset as a whole, and its detail is the finding's message."""

    def enter(look: Look) -> Look:
        _enter(WHOLE_CHECKS, Check(code, name, severity, what, advice, why, look))
        return look

    return enter


def _enter(table: dict[str, Check], check: Check) -> None:
    assert check.code not in ROW_CHECKS and check.code not in WHOLE_CHECKS, check.code
    table[check.code] = check


def all_checks() -> dict[str, Check]:
    """Every check there is, in the order of the codes."""
    _load()
    return dict(sorted((ROW_CHECKS | WHOLE_CHECKS).items()))


@cache
def _load() -> None:
    """Each module beside this one, once: it enters its checks."""
    for module in pkgutil.iter_modules(checks.__path__):
        importlib.import_module(f"{checks.__name__}.{module.name}")
