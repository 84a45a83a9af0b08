"""The verbs on base models: get and list."""

from __future__ import annotations

from datetime import UTC, datetime

from kamerton.service import access, pages
from kamerton.service.app import App
from kamerton.types import BaseModel, Caller, Page

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def get(app: App, caller: Caller, name: str) -> BaseModel:
    """By its name or an alias. Raises NotFound."""
    access.require(caller, "models.get")
    return app.catalog.find(name)


def list_(app: App, caller: Caller, *, page_size: int, page_token: str = "") -> Page[BaseModel]:
    """In the order of their names."""
    access.require(caller, "models.list")
    bound = ("models", caller.owner)
    after = pages.start(page_token, *bound)
    models = sorted(app.catalog.list(), key=lambda model: model.name)
    rest = [model for model in models if after is None or model.name > after[1]]
    shown = rest[:page_size]
    return pages.page(shown, (_NO_TIME, shown[-1].name) if len(shown) < len(rest) else None, *bound)
