"""Names of models: `models/{id}` and `tunedModels/{id}`, from text or from whatever has a name."""

from __future__ import annotations

from typing import Protocol


class Named(Protocol):
    name: str


def model_name(model: str | Named) -> str:
    """The full name of a base or tuned model; an id alone is a base model's."""
    name = _full_name(model, "models")
    if not name.startswith(("models/", "tunedModels/")):
        raise ValueError(f"{name!r} is no model: names begin with models/ or tunedModels/")
    return name


def tuned_model_name(model: str | Named) -> str:
    """The full name of a tuned model, from its name or its id."""
    name = _full_name(model, "tunedModels")
    if not name.startswith("tunedModels/"):
        raise ValueError(f"{name!r} is no tuned model: their names begin with tunedModels/")
    return name


def file_name(file: str | Named) -> str:
    """The full name of a file, from its name or its id."""
    return _full_name(file, "files")


def _full_name(named: str | Named, collection: str) -> str:
    name = named if isinstance(named, str) else getattr(named, "name", None)
    if not isinstance(name, str) or not name:
        raise TypeError(f"expected a name or something that has one, not {named!r}")
    return name if "/" in name else f"{collection}/{name}"
