"""Kamerton: tunes open language models behind the APIs people already have code for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kamerton.checking import check, estimate
    from kamerton.library import Model, load, tune
    from kamerton.training.curve import diagnose
    from kamerton.types import Budget, EarlyStopping, Holdout

__version__ = "0.1.0"
__all__ = [
    "Budget",
    "EarlyStopping",
    "Holdout",
    "Model",
    "check",
    "diagnose",
    "estimate",
    "load",
    "tune",
]

_HOMES = {
    "Budget": "types",
    "EarlyStopping": "types",
    "Holdout": "types",
    "check": "checking",
    "diagnose": "training.curve",
    "estimate": "checking",
}
"""Where public names are, if not in `library`, which loads torch."""


def __getattr__(name: str) -> Any:
    """Load public names on first use, so that `import kamerton` is instant."""
    if name in __all__:
        return getattr(import_module(f"kamerton.{_HOMES.get(name, 'library')}"), name)
    raise AttributeError(f"module 'kamerton' has no attribute {name!r}")
