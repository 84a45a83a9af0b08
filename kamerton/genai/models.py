"""Base models: what a server can tune and ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kamerton.genai.configuration import connection
from kamerton.genai.decoding import decode
from kamerton.genai.names import Named, model_name
from kamerton.genai.tuned_models import TunedModel, get_tuned_model


@dataclass
class Model:
    """A base model."""

    name: str = ""
    """`models/{id}`."""
    base_model_id: str = ""
    version: str = ""
    display_name: str = ""
    description: str = ""
    input_token_limit: int = 0
    output_token_limit: int = 0
    supported_generation_methods: list[str] = field(default_factory=list)
    temperature: float | None = None
    max_temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


def list_models(*, page_size: int | None = 50, request_options: Any = None) -> Iterator[Model]:
    """All base models, fetched page by page."""
    for told in connection().pages("/v1beta/models", "models", page_size):
        yield decode(Model, told)


def get_model(name: str | Named, *, request_options: Any = None) -> Model | TunedModel:
    """A base model, or a tuned model as `get_tuned_model` has it.

    Raises `errors.NotFound` for a base model that the server does not have.
    """
    if model_name(name).startswith("tunedModels/"):
        return get_tuned_model(name)
    return get_base_model(name)


def get_base_model(name: str | Named, *, request_options: Any = None) -> Model:
    """A base model, under the name that was asked for. Raises `errors.NotFound`."""
    full = model_name(name)
    if not full.startswith("models/"):
        raise ValueError(f"{full!r} is no base model: their names are models/{{id}}")
    return decode(Model, connection().json("GET", f"/v1beta/{full}"))
