"""Nouns to published messages and back.

Requests come as published message classes. Answers are written straight into the JSON
mapping of those messages: an operation is asked for in tight loops, and the general serializer
takes some 5 ms for one with 400 snapshots.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from kamerton.errors import InvalidArgument, NotFound, Violation, by_name
from kamerton.service.tuned_models import Preview
from kamerton.surfaces import errors
from kamerton.surfaces.body import Json
from kamerton.surfaces.gemini import extension
from kamerton.surfaces.gemini.form import shortest
from kamerton.types import (
    BaseModel,
    Example,
    Failure,
    Operation,
    Snapshot,
    State,
    TunedModel,
)

MAX_SNAPSHOTS = 400
MAX_NAME = 200

WRITABLE = (
    "display_name",
    "description",
    "temperature",
    "top_p",
    "top_k",
    "reader_project_numbers",
)
"""Fields of a tuned model that can be changed after it was made."""
_OUTPUT_ONLY = frozenset(
    {
        "state",
        "create_time",
        "update_time",
        "tuning_task.start_time",
        "tuning_task.complete_time",
        "tuning_task.snapshots",
    }
)
"""A client that names what differs from its copy names these when a run has gone on meanwhile."""

_TYPES = "type.googleapis.com/google.ai.generativelanguage.v1beta"
MISSING_DATA = (
    "tuned_model.tuning_task.training_data is missing. Some versions of google-genai (1.47 and "
    "later) and @google/genai (2.32 and later) leave it out of the request. With those, pass it as "
    'http_options=HttpOptions(extra_body={"tuningTask": {"trainingData": {"examples": '
    '{"examples": [{"textInput": "1", "output": "2"}]}}}}) in the tuning configuration.'
)


# --- names ---------------------------------------------------------------------------------------


def tuned_model_id(name: str) -> str:
    """`x` of `tunedModels/x`."""
    return ids(r"tunedModels/([a-z0-9-]{1,63})", name, "tuned model")[0]


def operation_ids(name: str) -> tuple[str, str]:
    """`x` and `y` of `tunedModels/x/operations/y`."""
    tuned_model, operation_id = ids(
        r"tunedModels/([a-z0-9-]{1,63})/operations/([a-z0-9-]{1,63})", name, "operation"
    )
    return tuned_model, operation_id


def ids(pattern: str, name: str, what: str) -> tuple[str, ...]:
    found = re.fullmatch(pattern, name)
    if not found:
        raise NotFound(f"There is no {what} with the name {name[:MAX_NAME]!r}.")
    return found.groups()


# --- base models ---------------------------------------------------------------------------------


def model(base_model: BaseModel, asked: str = "") -> Json:
    """A base model under the name the caller used for it."""
    return {
        "name": f"models/{asked or base_model.name}",
        "baseModelId": base_model.name,
        "version": base_model.version,
        "displayName": base_model.display_name or base_model.name,
        "description": base_model.description or f"The base model {base_model.name}.",
        "inputTokenLimit": base_model.input_token_limit,
        "outputTokenLimit": base_model.output_token_limit,
        "supportedGenerationMethods": ["generateContent", "countTokens", "createTunedModel"],
        "temperature": base_model.temperature,
        "maxTemperature": 2.0,
        "topP": base_model.top_p,
        "topK": base_model.top_k,
    }


# --- tuned models --------------------------------------------------------------------------------


def tuned_model(noun: TunedModel, *, extended: bool = True) -> Json:
    """A tuned model; `extended` adds what Kamerton knows beyond the published fields, which must
    never stand inside an operation, where clients refuse unknown fields."""
    made: Json = {"name": f"tunedModels/{noun.id}"}
    if noun.source:
        source = f"tunedModels/{noun.source}"
        made["tunedModelSource"] = {"tunedModel": source, "baseModel": noun.asked_base_model}
    else:
        made["baseModel"] = noun.asked_base_model
    made |= present(displayName=noun.display_name, description=noun.description)
    made |= {
        "state": noun.state.value,
        "createTime": timestamp(noun.create_time),
        "updateTime": timestamp(noun.update_time),
        "tuningTask": _tuning_task(noun),
    }
    # Unlike plain zeros, these have presence: 0 is a value.
    made |= {"temperature": noun.temperature, "topP": noun.top_p, "topK": noun.top_k}
    made |= present(readerProjectNumbers=[str(number) for number in noun.reader_project_numbers])
    if extended:
        made["kamerton"] = extension.facts(noun)
        if noun.failure:
            made["kamerton"]["error"] = _failure(noun.failure)
    return made


def _tuning_task(noun: TunedModel) -> Json:
    chosen = noun.hyperparameters
    task: Json = {}
    if noun.start_time:
        task["startTime"] = timestamp(noun.start_time)
    if noun.complete_time and noun.state is State.ACTIVE:
        task["completeTime"] = timestamp(noun.complete_time)
    task |= present(snapshots=_snapshots(noun))
    task["hyperparameters"] = {
        "epochCount": chosen.epoch_count,
        "batchSize": chosen.batch_size,
        "learningRate": chosen.learning_rate,
    }
    return task


def _snapshots(noun: TunedModel) -> list[Json]:
    """The run's snapshots, remembered until there is a newer one: their past never changes, and
    clients ask for them much more often than a step is made. Not to be changed by who gets it."""
    if not noun.snapshots:
        return []
    newest = (len(noun.snapshots), noun.snapshots[-1])
    known = _written.get(noun.uid)
    if known is None or known[0] != newest:
        if len(_written) >= _MAX_WRITTEN:
            _written.clear()
        known = (newest, [_snapshot(snapshot) for snapshot in _thinned(noun.snapshots)])
        _written[noun.uid] = known
    return known[1]


_MAX_WRITTEN = 64
_written: dict[str, tuple[tuple[int, Snapshot], list[Json]]] = {}


def _snapshot(noun: Snapshot) -> Json:
    return {
        "step": noun.step,
        "epoch": noun.epoch,
        "meanLoss": float(f"{noun.mean_loss:.7g}"),
        "computeTime": timestamp(noun.compute_time),
    }


def _thinned(snapshots: Sequence[Snapshot]) -> Sequence[Snapshot]:
    """At most 400 of them, evenly spread, the first and the last among them."""
    last = len(snapshots) - 1
    if last < MAX_SNAPSHOTS:
        return snapshots
    return [snapshots[i * last // (MAX_SNAPSHOTS - 1)] for i in range(MAX_SNAPSHOTS)]


def create_arguments(request: Any) -> dict[str, Any]:
    """A CreateTunedModelRequest as the arguments of `tuned_models.create`, but the data."""
    asked = request.tuned_model
    return {
        **_parent(asked),
        "tuned_model_id": request.tuned_model_id,
        "display_name": asked.display_name,
        "description": asked.description,
        "reader_project_numbers": tuple(asked.reader_project_numbers),
        **optional(asked, "temperature", "top_p", "top_k"),
        **optional(
            asked.tuning_task.hyperparameters,
            "epoch_count",
            "batch_size",
            "learning_rate",
            "learning_rate_multiplier",
        ),
    }


CREATE_FIELDS = {
    "epoch_count": "tuned_model.tuning_task.hyperparameters.epoch_count",
    "batch_size": "tuned_model.tuning_task.hyperparameters.batch_size",
    "learning_rate": "tuned_model.tuning_task.hyperparameters.learning_rate",
    "learning_rate_multiplier": "tuned_model.tuning_task.hyperparameters.learning_rate_multiplier",
    "base_model": "tuned_model.base_model",
    "source": "tuned_model.tuned_model_source.tuned_model",
    **extension.FIELDS,
    **{name: f"tuned_model.{name}" for name in WRITABLE},
}
"""Where the arguments of `tuned_models.create` and `patch` stand in the request."""


def _parent(asked: Any) -> dict[str, Any]:
    """What the new model is made from."""
    source = asked.tuned_model_source.tuned_model
    if asked.base_model.startswith("tunedModels/"):
        source = asked.base_model
    if source:
        try:
            return {"source": tuned_model_id(source)}
        except NotFound:
            raise InvalidArgument.of(
                "tuned_model.tuned_model_source.tuned_model", "must look like tunedModels/{id}"
            ) from None
    if not asked.base_model:
        raise InvalidArgument.of(
            "tuned_model.base_model", "is required, for example models/gemini-1.0-pro-001"
        )
    if len(asked.base_model) > MAX_NAME:
        raise InvalidArgument.of("tuned_model.base_model", f"has more than {MAX_NAME} characters")
    name = asked.base_model if "/" in asked.base_model else f"models/{asked.base_model}"
    return {"base_model": name.removeprefix("models/"), "asked_base_model": name}


def examples(tuning_task: Any) -> list[Example]:
    found = tuning_task.training_data.examples.examples
    if not found and tuning_task.HasField("training_data"):
        raise InvalidArgument.of("tuned_model.tuning_task.training_data", "holds no examples")
    if not found:
        field = "tuned_model.tuning_task.training_data"
        raise InvalidArgument(MISSING_DATA, (Violation(field, "is missing"),))
    return [Example.pair(example.text_input, example.output) for example in found]


def patch_changes(request: Any) -> dict[str, Any]:
    """An UpdateTunedModelRequest as the changes for `tuned_models.patch`."""
    asked = request.tuned_model
    mask = list(request.update_mask.paths) or [
        field.name for field, _ in asked.ListFields() if field.name in WRITABLE
    ]
    if wrong := [path for path in mask if path not in (*WRITABLE, *_OUTPUT_ONLY, "*")]:
        raise InvalidArgument.of(
            "update_mask", f"{wrong[0][:100]!r} cannot be changed; {', '.join(WRITABLE)} can"
        )
    named, mask = mask, [path for path in mask if path not in _OUTPUT_ONLY]
    if not mask:
        what = ", ".join(named) or "nothing"
        raise InvalidArgument.of(
            "update_mask", f"names {what}, which cannot be changed; {', '.join(WRITABLE)} can"
        )
    given = {field.name for field, _ in asked.ListFields()}
    return {
        name: plain(getattr(asked, name)) if name in given else None
        for name in (WRITABLE if "*" in mask else mask)
    }


def optional(holder: Any, *fields: str) -> dict[str, Any]:
    """Those of the fields that were set; older published messages lack some of them."""
    known = holder.DESCRIPTOR.fields_by_name
    return {
        name: plain(getattr(holder, name))
        for name in fields
        if name in known and holder.HasField(name)
    }


def plain(value: Any) -> Any:
    """A field's value as our nouns keep it."""
    if isinstance(value, float):
        return shortest(value)
    return value if isinstance(value, str | int) else tuple(value)


# --- operations ----------------------------------------------------------------------------------


def operation(noun: Operation) -> Json:
    """An operation, with the published fields and nothing else."""
    model = noun.tuned_model
    active = noun.done and model.state is State.ACTIVE
    completed = noun.completed_steps
    metadata: Json = {
        "@type": f"{_TYPES}.CreateTunedModelMetadata",
        # A run that stopped early is complete all the same.
        "totalSteps": completed if active and completed else model.total_steps,
        "tunedModel": f"tunedModels/{model.id}",
    }
    if completed:
        metadata |= {
            "completedSteps": completed,
            "completedPercent": shortest(100 * completed / metadata["totalSteps"]),
            "snapshots": _snapshots(model),
        }
    made: Json = {
        "name": f"tunedModels/{model.id}/operations/{noun.id}",
        "metadata": metadata,
    }
    if noun.done:
        made["done"] = True
    if active:
        response = tuned_model(model, extended=False)
        made["response"] = {"@type": f"{_TYPES}.TunedModel", **response}
    elif noun.done:
        made["error"] = _failure(model.failure or Failure("Internal", "The run failed."))
    return made


def _failure(failure: Failure) -> Json:
    status = errors.status(by_name(failure.kind))
    made: Json = {"code": status.code, "message": failure.message}
    return made | present(details=list(errors.failure_details(failure)))


def preview(noun: Preview, asked_id: str) -> Json:
    """What creating would answer and make, as an operation that is done. Without an `asked_id`
    the name is not known yet."""
    model = noun.tuned_model
    metadata: Json = {
        "@type": f"{_TYPES}.CreateTunedModelMetadata",
        "totalSteps": model.total_steps,
    }
    response = tuned_model(model)
    for name in ("state", "createTime", "updateTime", *(() if asked_id else ("name",))):
        del response[name]
    if asked_id:
        metadata["tunedModel"] = f"tunedModels/{asked_id}"
    response["kamerton"]["estimate"] = extension.estimate(noun.estimate, noun.measuring)
    return {
        "metadata": metadata,
        "done": True,
        "response": {"@type": f"{_TYPES}.TunedModel", **response},
    }


# --- both ways -----------------------------------------------------------------------------------


def present(**fields: Any) -> Json:
    """The fields that are not empty: proto3 leaves out the others."""
    return {name: value for name, value in fields.items() if value}


def timestamp(moment: datetime) -> str:
    if moment.tzinfo is not UTC:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
