"""The methods of our own API by HTTP method and path: a line for each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from kamerton.errors import NotFound
from kamerton.surfaces.errors import MethodNotAllowed
from kamerton.surfaces.kamerton import methods
from kamerton.surfaces.kamerton.methods import Answer, Call


@dataclass(frozen=True, slots=True)
class Method:
    """One method; `*` in its path is the name of a tuned model."""

    http_method: str
    path: str
    verb: str
    """The line of `access.RIGHTS` that says who may call it."""
    function: Callable[[Call], Answer]

    def name_in(self, path: str) -> str | None:
        """What stands for `*` in a path, "" where there is none; None for other paths."""
        pattern = re.escape(self.path).replace(r"\*", "([^/:]+)")
        found = re.fullmatch(pattern, path)
        return None if found is None else "".join(found.groups())


# fmt: off
METHODS = (
    Method("POST", "datasets:check", "datasets.check", methods.check_dataset),
    Method("GET", "tunedModels/*/events", "runs.events", methods.events),
    Method("GET", "tunedModels/*/snapshots", "runs.snapshots", methods.snapshots),
    Method("GET", "tunedModels/*/diagnosis", "runs.diagnosis", methods.diagnosis),
    Method("GET", "tunedModels/*/card", "runs.card", methods.card),
    Method("GET", "tunedModels/*/epochs", "runs.epochs", methods.epochs),
    Method("GET", "tunedModels/*:download", "runs.download", methods.download),
    Method("POST", "tunedModels/*:cancel", "tuned_models.cancel", methods.cancel),
)
# fmt: on


def find(http_method: str, path: str) -> tuple[Method, str]:
    """The method for a request, and the name in its path."""
    known = False
    for method in METHODS:
        if (name := method.name_in(path)) is not None:
            if method.http_method == http_method:
                return method, name
            known = True
    if known:
        raise MethodNotAllowed(f"{http_method[:20]} is not supported on this path.")
    there = ", ".join(method.path.replace("*", "{id}") for method in METHODS)
    raise NotFound(f"There is nothing at this path. Under /kamerton/v1 there are {there}.")
