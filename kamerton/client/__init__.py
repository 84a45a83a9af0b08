"""A small client of the Gemini surface, for the command line and the demo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypedDict, cast

from kamerton import errors
from kamerton.client.connection import GENERATION_SECONDS, Connection, failure
from kamerton.errors import KamertonError
from kamerton.types import Example, GenerationConfig


class Snapshot(TypedDict):
    step: int
    epoch: int
    meanLoss: float
    computeTime: str


class TuningTask(TypedDict, total=False):
    startTime: str
    completeTime: str
    snapshots: list[Snapshot]
    hyperparameters: dict[str, float]


class TunedModel(TypedDict, total=False):
    name: str
    displayName: str
    description: str
    baseModel: str
    tunedModelSource: dict[str, str]
    state: str
    createTime: str
    updateTime: str
    tuningTask: TuningTask
    temperature: float
    topP: float
    topK: int
    kamerton: dict[str, Any]


class Model(TypedDict, total=False):
    name: str
    displayName: str
    description: str
    inputTokenLimit: int
    outputTokenLimit: int
    supportedGenerationMethods: list[str]


class OperationMetadata(TypedDict, total=False):
    tunedModel: str
    totalSteps: int
    completedSteps: int
    completedPercent: float
    snapshots: list[Snapshot]


class Operation(TypedDict, total=False):
    name: str
    metadata: OperationMetadata
    done: bool
    error: dict[str, Any]
    response: TunedModel


class Answer(TypedDict, total=False):
    candidates: list[dict[str, Any]]
    usageMetadata: dict[str, int]
    modelVersion: str


class Health(TypedDict, total=False):
    status: str
    warming: dict[str, str]


class Client(Connection):
    """The calls of the command line. Failures come as `kamerton.errors`."""

    def health(self) -> Health:
        return cast(Health, self.json("GET", "/healthz"))

    def create_tuned_model(
        self,
        examples: Iterable[Example],
        *,
        base_model: str,
        display_name: str = "",
        tuned_model_id: str = "",
        epoch_count: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        learning_rate_multiplier: float | None = None,
    ) -> Operation:
        hyperparameters = {
            "epoch_count": epoch_count,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "learning_rate_multiplier": learning_rate_multiplier,
        }
        body = {
            "display_name": display_name or None,
            "base_model": base_model,
            "tuning_task": {
                "hyperparameters": {k: v for k, v in hyperparameters.items() if v is not None},
                "training_data": {"examples": {"examples": [_pair(e) for e in examples]}},
            },
        }
        query = {"tunedModelId": tuned_model_id} if tuned_model_id else {}
        return cast(Operation, self.json("POST", "/v1beta/tunedModels", body, query))

    def get_tuned_model(self, name: str) -> TunedModel:
        return cast(TunedModel, self.json("GET", f"/v1beta/{name}"))

    def list_tuned_models(self) -> list[TunedModel]:
        return cast(list[TunedModel], list(self.pages("/v1beta/tunedModels", "tunedModels")))

    def delete_tuned_model(self, name: str) -> None:
        self.json("DELETE", f"/v1beta/{name}")

    def list_models(self) -> list[Model]:
        return cast(list[Model], list(self.pages("/v1beta/models", "models")))

    def get_operation(self, name: str) -> Operation:
        # At /v1, where the tuning tutorial looks for its operation too.
        return cast(Operation, self.json("GET", f"/v1/{name}"))

    def newest_operation(self, tuned_model: str) -> Operation:
        """The one that created the model; there is no other kind yet."""
        found = self.json("GET", f"/v1beta/{tuned_model}/operations").get("operations", [])
        if not found:
            raise errors.NotFound(f"{tuned_model} has no operations")
        return cast(Operation, found[0])

    def cancel(self, operation: str) -> None:
        self.json("POST", f"/v1beta/{operation}:cancel", {})

    def generate(self, model: str, text: str, config: GenerationConfig | None = None) -> Answer:
        body = _prompt(text, config)
        path = f"/v1beta/{model}:generateContent"
        return cast(Answer, self.json("POST", path, body, seconds=GENERATION_SECONDS))

    def stream_generate(
        self, model: str, text: str, config: GenerationConfig | None = None
    ) -> Iterator[Answer]:
        """The answer piece by piece; leaving the iterator early stops the server's work."""
        path = f"/v1beta/{model}:streamGenerateContent"
        return cast(Iterator[Answer], self.events(path, _prompt(text, config)))

    def count_tokens(self, model: str, text: str) -> int:
        answer = self.json("POST", f"/v1beta/{model}:countTokens", _prompt(text, None))
        return int(answer.get("totalTokens", 0))


def failure_of(operation: Operation) -> KamertonError | None:
    """Why the operation ended without a model; None when it did not."""
    error = operation.get("error")
    return None if error is None else failure(error)


def answer_text(answer: Answer) -> str:
    """The text of the first candidate."""
    candidates = answer.get("candidates") or [{}]
    parts = candidates[0].get("content", {}).get("parts", [])
    return "".join(part.get("text", "") for part in parts)


def _pair(example: Example) -> dict[str, str]:
    if len(example.contents) != 1:
        raise errors.InvalidArgument(
            "a conversation of several turns cannot be sent to the Gemini tuning API, which takes "
            "single pairs; tune it in Python: kamerton.tune(...)"
        )
    return {"text_input": example.contents[0].text, "output": example.output}


def _prompt(text: str, config: GenerationConfig | None) -> dict[str, Any]:
    body: dict[str, Any] = {"contents": [{"parts": [{"text": text}]}]}
    if config is not None:
        chosen = {
            "temperature": config.temperature,
            "topP": config.top_p,
            "topK": config.top_k,
            "maxOutputTokens": config.max_output_tokens,
            "stopSequences": list(config.stop_sequences) or None,
            "seed": config.seed,
        }
        body["generationConfig"] = {k: v for k, v in chosen.items() if v is not None}
    return body
