"""What Kamerton adds to the published messages: in requests to create, and in tuned models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kamerton.errors import InvalidArgument
from kamerton.surfaces import asked, reports
from kamerton.surfaces.asked import Columns
from kamerton.surfaces.body import Json
from kamerton.types import Budget, EarlyStopping, Estimate, Failure, Snapshot, TunedModel

TRAINING_DATA = "tuned_model.tuning_task.training_data"
VALIDATION_DATA = "tuned_model.tuning_task.validation_data"
KAMERTON = "tuned_model.tuning_task.kamerton"
HYPERPARAMETERS = f"{KAMERTON}.hyperparameters"
FILE_URI = f"{TRAINING_DATA}.file_uri"
FIELDS = {
    "file_uri": FILE_URI,
    "examples": f"{TRAINING_DATA}.examples.examples",
    "validation_file_uri": f"{VALIDATION_DATA}.file_uri",
    "validation_input_key": f"{VALIDATION_DATA}.input_key",
    "validation_output_key": f"{VALIDATION_DATA}.output_key",
    "validation_examples": f"{VALIDATION_DATA}.examples.examples",
    **{name: f"{KAMERTON}.{name}" for name in asked.OPTIONS},
    **{name: f"{HYPERPARAMETERS}.{name}" for name in asked.ADAPTER},
}
"""Where the arguments of `tuned_models.create` stand in the request."""


# --- requests ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Extension:
    """Parts of one request to create."""

    file_uri: str = ""
    """Of a file with the training data, instead of examples in the request."""
    columns: Columns = ("", "")
    """By which that file is to be read."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of `tuned_models.create`."""
    validate_only: bool = False


def lifted(given: Json, query: Mapping[str, str]) -> Extension:
    """Takes them out of a request whose body stands under `tuned_model`. Raises InvalidArgument."""
    found = (_taken(holder, "validateOnly", "validate_only") for holder in (given, dict(query)))
    wanted = next((value for value in found if value is not None), None)
    validate_only = asked.boolean(wanted, "validate_only")
    task = _inner(given.get("tuned_model"), "tuningTask", "tuning_task")
    if task is None:
        return Extension(validate_only=validate_only)
    ours = _taken(task, "kamerton")
    chosen = _taken(ours, "hyperparameters") if isinstance(ours, dict) else None
    arguments = asked.adapter(chosen, HYPERPARAMETERS)
    options, columns = asked.options(ours, KAMERTON)
    if options is not None:
        arguments["options"] = options
    if (validation := _taken(task, "validationData", "validation_data")) is not None:
        arguments["validation"] = asked.data(validation, VALIDATION_DATA)
    uri = _file_uri(_inner(task, "trainingData", "training_data"))
    return Extension(uri, columns, arguments, validate_only)


def _inner(holder: Any, *names: str) -> Json | None:
    if not isinstance(holder, dict):
        return None
    found = next((holder[name] for name in names if name in holder), None)
    return found if isinstance(found, dict) else None


def _taken(holder: Json, *names: str) -> Any:
    """What stands under one of the names, which is taken away."""
    found = [holder.pop(name) for name in names if name in holder]
    return next((value for value in found if value is not None), None)


def _file_uri(training_data: Json | None) -> str:
    uri = None if training_data is None else _taken(training_data, "fileUri", "file_uri")
    if training_data is None or uri is None:
        return ""
    if not isinstance(uri, str):
        raise InvalidArgument.of(FILE_URI, "must be a string, such as files/abc")
    examples = training_data.get("examples")
    # Some clients send an empty list beside it.
    if uri and (examples.get("examples") if isinstance(examples, dict) else examples):
        raise InvalidArgument.of(FILE_URI, "cannot be given together with examples")
    return uri


# --- answers -------------------------------------------------------------------------------------


def facts(noun: TunedModel) -> Json:
    """What Kamerton knows of a tuned model beyond the published fields."""
    made: Json = {
        "exampleCount": noun.example_count,
        "truncatedExampleCount": noun.truncated_example_count,
        "totalSteps": noun.total_steps,
        "peakLearningRate": noun.hyperparameters.peak_learning_rate,
        "loraRank": noun.hyperparameters.lora_rank,
        "hyperparameters": reports.adapter(noun.hyperparameters),
    }
    if noun.reasons:
        made["hyperparameterReasons"] = {reports.camel_case(n): why for n, why in noun.reasons}
    if noun.held_out_count:
        made["heldOut"] = _held_out(noun)
    if budget := _budget(noun.budget):
        made["budget"] = budget
    made["earlyStopping"] = _early_stopping(noun.early_stopping)
    if noun.kept_step is not None:
        made["keptStep"] = noun.kept_step
    if noun.stop_reason:
        made["stopReason"] = noun.stop_reason
    if noun.verdict:
        made["verdict"] = noun.verdict
    if noun.failure:
        made["failure"] = _failure(noun.failure)
    return made | _report(noun)


def estimate(noun: Estimate, measuring: bool) -> Json:
    """`measuring` is there only as long as it is true."""
    return reports.estimate(noun) | ({"measuring": True} if measuring else {})


def _held_out(noun: TunedModel) -> Json:
    made: Json = {"count": noun.held_out_count}
    if noun.holdout is not None:  # Else the caller brought validation data.
        made |= {"share": noun.holdout.share, "seed": noun.holdout.seed}
        made["rows"] = list(noun.held_out_rows)
        made["rowsShown"] = len(noun.held_out_rows)
    return made | {"losses": [_loss(s) for s in noun.snapshots if s.held_out_loss is not None]}


def _loss(noun: Snapshot) -> Json:
    return {"step": noun.step, "meanLoss": float(f"{noun.held_out_loss:.7g}")}


def _budget(noun: Budget) -> Json:
    limits = {"maxTokens": noun.max_tokens, "maxSeconds": noun.max_seconds}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _early_stopping(noun: EarlyStopping) -> Json:
    return {"mode": noun.mode, "patience": noun.patience, "minChange": noun.min_change}


def _failure(noun: Failure) -> Json:
    told = {"reason": noun.reason or None, "step": noun.step, "row": noun.row}
    known = {name: value for name, value in told.items() if value is not None}
    return known | {"message": noun.message}


def _report(noun: TunedModel) -> Json:
    """What was said of its dataset, remembered, as it never changes. Not to be changed by who
    gets it."""
    if noun.report is None:
        return {}
    if noun.uid not in _written:
        if len(_written) >= _MAX_WRITTEN:
            _written.clear()
        _written[noun.uid] = reports.report(noun.report)
    return _written[noun.uid]


_MAX_WRITTEN = 64
_written: dict[str, Json] = {}
