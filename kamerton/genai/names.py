"""Full names such as `models/{id}`, from text or whatever has a name; fit to be put in a URL."""

from __future__ import annotations

import re
from typing import Protocol

# Which ids there are is the server's to say; here only that a name cannot become another path.
_ID = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"


class Named(Protocol):
    name: str


def model_name(model: str | Named) -> str:
    """The full name of a base or tuned model; an id alone is a base model's."""
    name = _full_name(model, "models")
    collection = "tunedModels" if name.startswith("tunedModels/") else "models"
    return _checked(name, f"{collection}/{{id}}", "model", "models/{id} or tunedModels/{id}")


def tuned_model_name(model: str | Named) -> str:
    """The full name of a tuned model, from its name or its id."""
    return _checked(_full_name(model, "tunedModels"), "tunedModels/{id}", "tuned model")


def file_name(file: str | Named) -> str:
    """The full name of a file, from its name or its id."""
    return _checked(_full_name(file, "files"), "files/{id}", "file")


def operation_name(name: str) -> str:
    """The full name of an operation, checked."""
    return _checked(name, "tunedModels/{id}/operations/{id}", "operation")


def permission_name(name: str) -> str:
    """The full name of a permission, checked."""
    return _checked(name, "tunedModels/{id}/permissions/{id}", "permission")


def _full_name(named: str | Named, collection: str) -> str:
    name = named if isinstance(named, str) else getattr(named, "name", None)
    if not isinstance(name, str) or not name:
        raise TypeError(f"expected a name or something that has one, not {named!r}")
    return name if "/" in name else f"{collection}/{name}"


def _checked(name: str, form: str, what: str, forms: str = "") -> str:
    """`name`, when it has the form. Raises ValueError."""
    if not re.fullmatch(form.replace("{id}", _ID), name):
        raise ValueError(
            f"{name!r} is no {what}: their names are {forms or form}, "
            "and ids have letters, digits, '-', '_' and '.' only"
        )
    return name
