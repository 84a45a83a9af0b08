"""Starting to tune a model."""

from __future__ import annotations

from typing import Any

from kamerton.client.connection import Json
from kamerton.genai.configuration import connection
from kamerton.genai.names import Named, model_name
from kamerton.genai.operations import CreateTunedModelOperation
from kamerton.genai.training_data import TrainingData, sending


def create_tuned_model(
    source_model: str | Named,
    training_data: TrainingData,
    *,
    id: str | None = None,
    tuned_model_id: str | None = None,
    display_name: str | None = None,
    description: str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    epoch_count: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    learning_rate_multiplier: float | None = None,
    input_key: str = "text_input",
    output_key: str = "output",
    request_options: Any = None,
) -> CreateTunedModelOperation:
    """Start tuning a base model, or go on from a tuned one; does not wait for the end.

    `training_data` is a file of `upload_file`, the path of a JSONL, JSON or CSV file, the address
    of one on the web, rows (`{"text_input": …, "output": …}` or pairs), or columns;
    `input_key` and `output_key` name the fields or columns to take. `id` and `tuned_model_id` are
    the same. What is left out, the server chooses. Raises `errors.InvalidArgument` that names
    every bad example, and `errors.AlreadyExists` when the id is taken.
    """
    if id and tuned_model_id and id != tuned_model_id:
        raise ValueError(f"id={id!r} and tuned_model_id={tuned_model_id!r} mean the same thing")
    chosen_id = id or tuned_model_id
    hyperparameters = {
        "epochCount": epoch_count,
        "batchSize": batch_size,
        "learningRate": learning_rate,
        "learningRateMultiplier": learning_rate_multiplier,
    }
    body = {
        **_source(model_name(source_model)),
        "displayName": display_name,
        "description": description,
        "temperature": temperature,
        "topP": top_p,
        "topK": top_k,
    }
    with sending(training_data, input_key, output_key) as sent:
        body["tuningTask"] = {"hyperparameters": _given(hyperparameters), "trainingData": sent}
        query = {"tunedModelId": chosen_id} if chosen_id else {}
        told = connection().json("POST", "/v1beta/tunedModels", _given(body), query)
    return CreateTunedModelOperation(told)


def _source(name: str) -> Json:
    if name.startswith("tunedModels/"):
        return {"tunedModelSource": {"tunedModel": name}}
    return {"baseModel": name}


def _given(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
