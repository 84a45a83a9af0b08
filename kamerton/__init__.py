"""Kamerton: tunes open language models behind the APIs people already have code for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kamerton.library import Model, load, tune

__version__ = "0.1.0"
__all__ = ["Model", "load", "tune"]


def __getattr__(name: str) -> Any:
    """Load public names on first use, so that `import kamerton` is instant."""
    if name in __all__:
        from kamerton import library

        return getattr(library, name)
    raise AttributeError(f"module 'kamerton' has no attribute {name!r}")
