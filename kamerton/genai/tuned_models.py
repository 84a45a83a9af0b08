"""Tuned models: what is known of them; reading, changing and deleting them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from kamerton.client.connection import Json
from kamerton.genai.configuration import connection
from kamerton.genai.decoding import camel_case, decode
from kamerton.genai.names import Named, tuned_model_name
from kamerton.genai.permission import Permissions

_CHANGEABLE = ("display_name", "description", "temperature", "top_p", "top_k")


class TunedModelState(IntEnum):
    STATE_UNSPECIFIED = 0
    CREATING = 1
    ACTIVE = 2
    FAILED = 3


class TuningSnapshot(dict[str, Any]):
    """The loss at one step: `snapshot.step` and `snapshot["step"]` alike, and a row for pandas."""

    step: int
    """From 1."""
    epoch: int
    """From 1."""
    mean_loss: float
    compute_time: datetime

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"a snapshot has no {name!r}") from None


@dataclass
class Hyperparameters:
    epoch_count: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0


@dataclass
class TuningTask:
    """How a model was tuned, or is being tuned."""

    start_time: datetime | None = None
    complete_time: datetime | None = None
    snapshots: list[TuningSnapshot] = field(default_factory=list)
    hyperparameters: Hyperparameters | None = None
    error_message: str = ""
    """Why the tuning failed; empty when it did not."""

    @property
    def description(self) -> str:
        """The same as `error_message`, under the other name that tutorials have for it."""
        return self.error_message


@dataclass
class TunedModel:
    """A tuned model, as it was when it was asked for."""

    name: str = ""
    """`tunedModels/{id}`."""
    source_model: str | None = None
    """What it was tuned from: a base model, or another tuned model."""
    base_model: str | None = None
    display_name: str = ""
    description: str = ""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    state: TunedModelState = TunedModelState.STATE_UNSPECIFIED
    create_time: datetime | None = None
    update_time: datetime | None = None
    tuning_task: TuningTask = field(default_factory=TuningTask)
    reader_project_numbers: list[int] = field(default_factory=list)

    @property
    def permissions(self) -> Permissions:
        return Permissions(self.name)


def get_tuned_model(name: str | Named, *, request_options: Any = None) -> TunedModel:
    """A tuned model as it is now.

    Raises `errors.PermissionDenied` for one that is missing and for one that is not shared with
    the caller alike; only an administrator is told `errors.NotFound`.
    """
    return decode_tuned_model(connection().json("GET", f"/v1beta/{tuned_model_name(name)}"))


def list_tuned_models(
    *, page_size: int | None = 50, request_options: Any = None
) -> Iterator[TunedModel]:
    """The tuned models that the caller may see, newest first, fetched page by page."""
    for told in connection().pages("/v1beta/tunedModels", "tunedModels", page_size):
        yield decode_tuned_model(told)


def update_tuned_model(
    tuned_model: str | TunedModel,
    updates: Mapping[str, Any] | None = None,
    *,
    request_options: Any = None,
) -> TunedModel:
    """Change display name, description or sampling defaults; the model as it is then.

    Either name and `updates`, such as `{"description": "v2"}`, or a TunedModel whose fields were
    changed.
    """
    name = tuned_model_name(tuned_model)
    if updates is None:
        if isinstance(tuned_model, str):
            raise TypeError("update_tuned_model(name, updates) needs updates")
        updates = {field: getattr(tuned_model, field) for field in _CHANGEABLE}
    body = {camel_case(field): value for field, value in updates.items()}
    query = {"updateMask": ",".join(updates)}
    return decode_tuned_model(connection().json("PATCH", f"/v1beta/{name}", body, query))


def delete_tuned_model(tuned_model: str | Named, request_options: Any = None) -> None:
    """Delete a tuned model; one that is still being made is cancelled first."""
    connection().json("DELETE", f"/v1beta/{tuned_model_name(tuned_model)}")


def decode_tuned_model(told: Json) -> TunedModel:
    """A tuned model from JSON, with the names of what it was made from filled in."""
    model = decode(TunedModel, told)
    source = told.get("tunedModelSource", {})
    model.base_model = model.base_model or source.get("baseModel")
    model.source_model = source.get("tunedModel") or model.base_model
    failure = told.get("kamerton", {}).get("error", {})
    model.tuning_task.error_message = failure.get("message", "")
    return model
