"""A small client of the Gemini surface, for the command line and the demo."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypedDict, cast

from kamerton import errors
from kamerton.client.connection import GENERATION_SECONDS, Connection, failure
from kamerton.client.uploads import upload
from kamerton.errors import KamertonError
from kamerton.types import Content, Example, GenerationConfig

_EVENTS = 1000
"""Lines of a story in a page."""


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


class RunEvent(TypedDict, total=False):
    number: int
    time: str
    kind: str
    message: str
    step: int


class Answer(TypedDict, total=False):
    candidates: list[dict[str, Any]]
    usageMetadata: dict[str, int]
    modelVersion: str


class Health(TypedDict, total=False):
    status: str
    warming: dict[str, str]


class Check(TypedDict, total=False):
    """A report on a dataset; with an estimate of the run, unless it would be refused."""

    name: str
    format: str
    shapes: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    allowed: list[str]
    summary: dict[str, int]
    statistics: dict[str, Any]
    estimate: dict[str, Any]


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
        adapter_size: int | None = None,
        lora_alpha: int | None = None,
        lora_dropout: float | None = None,
        target_modules: Sequence[str] | None = None,
        rslora: bool | None = None,
        validation: Iterable[Example] | None = None,
        max_tokens: int | None = None,
        max_seconds: float | None = None,
        max_cost: float | None = None,
        held_out: float | None = None,
        early_stopping: str | None = None,
        patience: int | None = None,
        min_change: float | None = None,
        allow: Iterable[str] = (),
    ) -> Operation:
        """The run is measured with `validation`, or else with a share `held_out` of the examples;
        `early_stopping` is auto, on or off; `allow` are codes of findings to be silenced. What
        the published API has no words for, such as several turns, goes as a file, which is
        deleted afterwards."""
        early = {"mode": early_stopping, "patience": patience, "min_change": min_change}
        adapter = {
            "adapter_size": adapter_size,
            "lora_alpha": lora_alpha,
            "lora_dropout": lora_dropout,
            "target_modules": target_modules,
            "rslora": rslora,
        }
        options = {
            **_options(max_tokens, max_seconds, max_cost, held_out, allow),
            **_known("early_stopping", early),
            **_known("hyperparameters", adapter),
        }
        hyperparameters = {
            "epoch_count": epoch_count,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "learning_rate_multiplier": learning_rate_multiplier,
        }
        query = {"tunedModelId": tuned_model_id} if tuned_model_id else {}
        with ExitStack() as sent:
            task: dict[str, Any] = {
                "hyperparameters": {k: v for k, v in hyperparameters.items() if v is not None},
                "training_data": sent.enter_context(self._sent(list(examples), "examples")),
            }
            if validation is not None:
                held_out_rows = self._sent(list(validation), "validation")
                task["validation_data"] = sent.enter_context(held_out_rows)
            if options:
                task["kamerton"] = options
            body = {
                "display_name": display_name or None,
                "base_model": base_model,
                "tuning_task": task,
            }
            return cast(Operation, self.json("POST", "/v1beta/tunedModels", body, query))

    @contextmanager
    def _sent(self, examples: Sequence[Example], name: str) -> Iterator[dict[str, Any]]:
        """A dataset as a request has it: pairs in it, all else in a file of the server's."""
        if all(map(_is_pair, examples)):
            pairs = [{"text_input": e.contents[0].text, "output": e.output} for e in examples]
            yield {"examples": {"examples": pairs}}
            return
        with tempfile.TemporaryFile() as content:
            for example in examples:
                content.write(json.dumps({"messages": _messages(example)}).encode() + b"\n")
            content.seek(0)
            file = upload(self, content, display_name=name, mime_type="application/jsonl")["name"]
        try:
            yield {"file_uri": file}
        finally:
            with suppress(KamertonError):  # The run has its own copy, and files expire anyway.
                self.json("DELETE", f"/v1beta/{file}")

    def check_dataset(
        self,
        rows: Sequence[Mapping[str, Any]] = (),
        *,
        file_uri: str = "",
        input_key: str = "",
        output_key: str = "",
        base_model: str = "",
        validation: Iterable[Example] | None = None,
        max_tokens: int | None = None,
        max_seconds: float | None = None,
        max_cost: float | None = None,
        held_out: float | None = None,
        allow: Iterable[str] = (),
        **hyperparameters: Any,
    ) -> Check:
        """What the server says of rows of any shape, or of an uploaded file, before a run."""
        given = {
            "file_uri": file_uri,
            "examples": None if file_uri else list(rows),
            "input_key": input_key,
            "output_key": output_key,
            "base_model": base_model,
            "hyperparameters": hyperparameters,
        }
        body = {
            **{name: value for name, value in given.items() if value not in ("", None, {})},
            **_beside(validation),
            **_options(max_tokens, max_seconds, max_cost, held_out, allow),
        }
        path = "/kamerton/v1/datasets:check"
        return cast(Check, self.json("POST", path, body, seconds=GENERATION_SECONDS))

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

    def cancel_and_keep(self, tuned_model: str) -> None:
        """End a run; its best step so far becomes the model."""
        self.json("POST", f"/kamerton/v1/{tuned_model}:cancel", {"keep": True})

    def run_events(self, tuned_model: str, after: int = 0) -> Iterator[RunEvent]:
        """The story of a run beyond the line of that number, page by page."""
        while True:
            query = {"after": str(after), "pageSize": str(_EVENTS)}
            page = self.json("GET", f"/kamerton/v1/{tuned_model}/events", None, query)
            yield from page["events"]
            if len(page["events"]) < _EVENTS:
                return
            after = page["next"]

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


def _beside(validation: Iterable[Example] | None) -> dict[str, Any]:
    if validation is None:
        return {}
    rows = [{"messages": _messages(example)} for example in validation]
    return {"validation_data": {"examples": rows}}


def _messages(example: Example) -> list[dict[str, Any]]:
    """A row of any number of turns, in the shape that can tell all of them."""
    roles = {"system": "system", "user": "user", "model": "assistant"}
    turns = (*example.contents, Content("model", example.output))
    return [
        {"role": roles[turn.role], "content": turn.text, **({} if turn.learn else {"weight": 0})}
        for turn in turns
    ]


def _options(
    max_tokens: int | None,
    max_seconds: float | None,
    max_cost: float | None,
    held_out: float | None,
    allow: Iterable[str],
) -> dict[str, Any]:
    limits = {"max_tokens": max_tokens, "max_seconds": max_seconds, "max_cost": max_cost}
    made = {
        "budget": {name: limit for name, limit in limits.items() if limit is not None},
        "holdout": {} if held_out is None else {"share": held_out},
        "allow": list(allow),
    }
    return {name: value for name, value in made.items() if value}


def _known(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    known = {field: value for field, value in values.items() if value is not None}
    return {name: known} if known else {}


def _is_pair(example: Example) -> bool:
    return [turn.role for turn in example.contents] == ["user"]


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
