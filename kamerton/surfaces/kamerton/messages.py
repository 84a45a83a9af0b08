"""Nouns to the JSON of our own API and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kamerton.surfaces.reports import estimate, report

if TYPE_CHECKING:
    from kamerton.service.datasets import Outcome
    from kamerton.service.readings import Data

__all__ = ["CHECK_FIELDS", "check_arguments", "estimate", "outcome", "report"]

Json = dict[str, Any]

CHECK_FIELDS = {
    "validation_examples": "validation_data.examples",
    "validation_file_uri": "validation_data.file_uri",
    "validation_input_key": "validation_data.input_key",
    "validation_output_key": "validation_data.output_key",
    **{
        name: f"hyperparameters.{name}"
        for name in ("epoch_count", "batch_size", "learning_rate", "learning_rate_multiplier")
    },
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
