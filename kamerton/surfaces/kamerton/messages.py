"""Nouns to the JSON of our own API and back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kamerton.surfaces.epochs import epoch_name
from kamerton.surfaces.reports import adapter, camel_case, diagnosis, estimate, report
from kamerton.types import GIVEN, NAMES, Event, Snapshot, TunedModel

if TYPE_CHECKING:
    from kamerton.service.datasets import Outcome
    from kamerton.service.readings import Data
    from kamerton.service.runs import Diagnosed, Epoch

__all__ = ["CHECK_FIELDS", "check_arguments", "estimate", "outcome", "report"]

Json = dict[str, Any]

CHECK_FIELDS = {
    "validation_examples": "validation_data.examples",
    "validation_file_uri": "validation_data.file_uri",
    "validation_input_key": "validation_data.input_key",
    "validation_output_key": "validation_data.output_key",
    **{name: f"hyperparameters.{name}" for name in NAMES},
}
"""Where the arguments of `datasets.check` stand in the request, if not under their own names."""


def check_arguments(given: Json) -> tuple[Data, Json]:
    """A request as the arguments of `datasets.check`. Raises InvalidArgument."""
    # The command line needs the answers only, and no service.
    from kamerton.surfaces import asked

    parts = asked.parts(given, {"base_model", "hyperparameters", "validation_data"})
    arguments: Json = asked.hyperparameters(parts.get("hyperparameters"), "hyperparameters")
    options, columns = asked.options(parts["options"], "")
    if options is not None:
        arguments["options"] = options
    if base_model := asked.text(parts.get("base_model"), "base_model"):
        arguments["base_model"] = base_model.removeprefix("models/")
    if (validation := parts.get("validation_data")) is not None:
        arguments["validation"] = asked.data(validation, "validation_data")
    return asked.data(parts["data"], "", columns), arguments


def outcome(noun: Outcome) -> Json:
    """`measuring` says that time and memory will be known in some seconds."""
    made = report(noun.report)
    if noun.estimate is not None:
        made["estimate"] = estimate(noun.estimate)
    if noun.measuring:
        made["estimate"]["measuring"] = True
    return made


def event(noun: Event) -> Json:
    made: Json = {
        "number": noun.number,
        "time": _timestamp(noun.time),
        "kind": noun.kind,
        "message": noun.message,
    }
    return made if noun.step is None else made | {"step": noun.step}


def snapshot(noun: Snapshot) -> Json:
    """What is not known is left out."""
    told = {camel_case(name): value for name, value in asdict(noun).items() if value is not None}
    return {name: _shown(value) for name, value in told.items()}


def snapshots_csv(nouns: Iterable[Snapshot]) -> str:
    """A line for each step; `kamerton diagnose` and others read it by these names."""
    names = [field.name for field in fields(Snapshot)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(names)
    for noun in nouns:
        values = [getattr(noun, name) for name in names]
        table.writerow("" if value is None else _shown(value) for value in values)
    return text.getvalue()


def epoch(tuned_model_id: str, noun: Epoch) -> Json:
    made: Json = {
        "name": f"tunedModels/{epoch_name(tuned_model_id, noun.number)}",
        "epoch": noun.number,
    }
    if noun.last is None:
        return made
    known = snapshot(noun.last)
    kept = ("step", "meanLoss", "smoothedLoss", "heldOutLoss")
    return made | {name: known[name] for name in kept if name in known}


def diagnosed(noun: Diagnosed) -> Json:
    """With the next request, but for its data, where another run is worth it."""
    made = diagnosis(noun.diagnosis)
    if noun.diagnosis.request:
        made["nextRequest"] = _next_request(noun.tuned_model, made["hyperparameters"])
    return made


def _next_request(model: TunedModel, changed: Mapping[str, Any]) -> Json:
    """As a tuned model is asked for; the training data are still to be put into its task."""
    used = model.hyperparameters
    made: Json = {"displayName": model.display_name} if model.display_name else {}
    if model.source:
        made["tunedModelSource"] = {"tunedModel": f"tunedModels/{model.source}"}
    else:
        made["baseModel"] = model.asked_base_model
    made["tuningTask"] = {
        "hyperparameters": {
            "epochCount": used.epoch_count,
            "batchSize": used.batch_size,
            "learningRate": used.learning_rate,
            **changed,
        }
    }
    if asked := _asked_adapter(model):
        made["tuningTask"]["kamerton"] = {"hyperparameters": asked}
    return made


def _asked_adapter(model: TunedModel) -> Json:
    """What the caller chose of the adapter; the rest would be chosen again as it was."""
    why = {camel_case(name): reason for name, reason in model.reasons}
    return {
        name: value
        for name, value in adapter(model.hyperparameters).items()
        if why.get("loraRank" if name == "adapterSize" else name) == GIVEN
    }


def _shown(value: Any) -> Any:
    """Seven digits are more than a loss has."""
    if isinstance(value, datetime):
        return _timestamp(value)
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
