"""The verbs on base models: get and list."""

from __future__ import annotations

from kamerton.service import access, pages
from kamerton.service.app import App
from kamerton.types import NO_TIME, BaseModel, Caller, Page


def get(app: App, caller: Caller, name: str) -> BaseModel:
    """By its name or an alias. Raises NotFound."""
    access.require(caller, "models.get")
    return app.catalog.find(name)


def list_(
    app: App, caller: Caller, *, page_size: int, page_token: str = ""
) -> Page[tuple[str, BaseModel]]:
    """Names and what they stand for, in order: base models, and aliases without a `*`, since
    scripts choose from the list what has `flash` in its name."""
    access.require(caller, "models.list")
    bound = ("models", caller.owner)
    after = pages.start(page_token, *bound)
    named = {model.name: model for model in app.catalog.list()}
    for model in app.catalog.list():
        named = {alias: model for alias in model.aliases if "*" not in alias} | named
    rest = sorted(name for name in named if after is None or name > after[1])
    shown = rest[:page_size]
    next_ = (NO_TIME, shown[-1]) if len(shown) < len(rest) else None
    return pages.page(((name, named[name]) for name in shown), next_, *bound)
