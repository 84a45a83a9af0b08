"""A small client of the Gemini surface, for the command line and the demo."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict, cast
from urllib.parse import urlsplit

import requests

from kamerton import errors
from kamerton.errors import InvalidArgument, KamertonError, Violation
from kamerton.types import Example, GenerationConfig

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
_GENERATION_SECONDS = 600.0
_PAGE_SIZE = 1000


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


class Client:
    """Calls one server, as whoever owns the key. Failures come as `kamerton.errors`."""

    def __init__(self, endpoint: str, key: str = "") -> None:
        self.endpoint = (endpoint if "://" in endpoint else f"http://{endpoint}").rstrip("/")
        if not key.isascii() or not key.isprintable():
            raise InvalidArgument("the key holds characters that no key has; copy it again")
        try:
            hostname = urlsplit(self.endpoint).hostname
        except ValueError as error:
            raise InvalidArgument(f"{endpoint} is no address of a server: {error}") from None
        self._session = requests.Session()
        # A proxy of the environment cannot reach this machine's own loopback address.
        self._session.trust_env = hostname not in _LOOPBACK
        if key:
            self._session.headers["x-goog-api-key"] = key

    def close(self) -> None:
        self._session.close()

    def health(self) -> Health:
        return cast(Health, self._json("GET", "/healthz"))

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
        return cast(Operation, self._json("POST", "/v1beta/tunedModels", body, query))

    def get_tuned_model(self, name: str) -> TunedModel:
        return cast(TunedModel, self._json("GET", f"/v1beta/{name}"))

    def list_tuned_models(self) -> list[TunedModel]:
        return cast(list[TunedModel], list(self._pages("/v1beta/tunedModels", "tunedModels")))

    def delete_tuned_model(self, name: str) -> None:
        self._json("DELETE", f"/v1beta/{name}")

    def list_models(self) -> list[Model]:
        return cast(list[Model], list(self._pages("/v1beta/models", "models")))

    def get_operation(self, name: str) -> Operation:
        # At /v1, where the tuning tutorial looks for its operation too.
        return cast(Operation, self._json("GET", f"/v1/{name}"))

    def newest_operation(self, tuned_model: str) -> Operation:
        """The one that created the model; there is no other kind yet."""
        found = self._json("GET", f"/v1beta/{tuned_model}/operations").get("operations", [])
        if not found:
            raise errors.NotFound(f"{tuned_model} has no operations")
        return cast(Operation, found[0])

    def cancel(self, operation: str) -> None:
        self._json("POST", f"/v1beta/{operation}:cancel", {})

    def generate(self, model: str, text: str, config: GenerationConfig | None = None) -> Answer:
        body = _prompt(text, config)
        path = f"/v1beta/{model}:generateContent"
        return cast(Answer, self._json("POST", path, body, seconds=_GENERATION_SECONDS))

    def stream_generate(
        self, model: str, text: str, config: GenerationConfig | None = None
    ) -> Iterator[Answer]:
        """The answer piece by piece; leaving the iterator early stops the server's work."""
        path = f"/v1beta/{model}:streamGenerateContent"
        response = self._send(
            "POST", path, _prompt(text, config), {"alt": "sse"}, _GENERATION_SECONDS, stream=True
        )
        return self._events(response)

    def count_tokens(self, model: str, text: str) -> int:
        answer = self._json("POST", f"/v1beta/{model}:countTokens", _prompt(text, None))
        return int(answer.get("totalTokens", 0))

    def _events(self, response: requests.Response) -> Iterator[Answer]:
        try:
            for line in response.iter_lines():
                if line.startswith(b"data:"):
                    event = json.loads(line.removeprefix(b"data:"))
                    if "error" in event:
                        raise _error_of(event["error"], 500)
                    yield event
        except requests.RequestException as error:
            raise errors.Unavailable(f"the answer broke off: {error}") from error
        finally:
            response.close()

    def _pages(self, path: str, field: str) -> Iterator[dict[str, Any]]:
        query = {"pageSize": str(_PAGE_SIZE)}
        while True:
            page = self._json("GET", path, None, query)
            yield from page.get(field, [])
            token = page.get("nextPageToken")
            if not token:
                return
            query["pageToken"] = token

    def _json(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: dict[str, str] | None = None,
        seconds: float = _ANSWER_SECONDS,
    ) -> dict[str, Any]:
        response = self._send(method, path, body, query, seconds)
        try:
            answer = response.json()
        except requests.JSONDecodeError as error:
            raise errors.Unavailable(self._not_kamerton()) from error
        if not isinstance(answer, dict):
            raise errors.Unavailable(self._not_kamerton())
        return answer

    def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        query: dict[str, str] | None,
        seconds: float,
        stream: bool = False,
    ) -> requests.Response:
        try:
            response = self._session.request(
                method,
                self.endpoint + path,
                params=query,
                json=body,
                timeout=(_CONNECT_SECONDS, seconds),
                stream=stream,
            )
        except (requests.ConnectionError, requests.ConnectTimeout) as error:
            raise errors.Unavailable(
                f"no server at {self.endpoint}; start one with: kamerton serve"
            ) from error
        except requests.Timeout as error:
            raise errors.Unavailable(
                f"{self.endpoint} did not answer within {seconds:.0f} seconds"
            ) from error
        except requests.RequestException as error:
            raise errors.InvalidArgument(f"{self.endpoint}: {error}") from error
        if not response.ok:
            raise self._refusal(response)
        return response

    def _refusal(self, response: requests.Response) -> KamertonError:
        try:
            return _error_of(response.json()["error"], response.status_code)
        except (ValueError, KeyError, TypeError):
            return errors.Unavailable(
                f"HTTP status {response.status_code} without a reason; {self._not_kamerton()}"
            )

    def _not_kamerton(self) -> str:
        return f"what answers at {self.endpoint} does not look like a Kamerton server"


_LOOPBACK = ("127.0.0.1", "localhost", "::1")

_BY_STATUS: dict[str, type[KamertonError]] = {
    "INVALID_ARGUMENT": errors.InvalidArgument,
    "OUT_OF_RANGE": errors.InvalidArgument,
    "FAILED_PRECONDITION": errors.FailedPrecondition,
    "UNAUTHENTICATED": errors.Unauthenticated,
    "PERMISSION_DENIED": errors.PermissionDenied,
    "NOT_FOUND": errors.NotFound,
    "ALREADY_EXISTS": errors.AlreadyExists,
    "ABORTED": errors.AlreadyExists,
    "RESOURCE_EXHAUSTED": errors.ResourceExhausted,
    "CANCELLED": errors.Cancelled,
    "UNIMPLEMENTED": errors.Unimplemented,
    "UNAVAILABLE": errors.Unavailable,
    "DEADLINE_EXCEEDED": errors.Unavailable,
}

_BY_RPC_CODE: dict[int, type[KamertonError]] = {
    1: errors.Cancelled,
    3: errors.InvalidArgument,
    8: errors.ResourceExhausted,
    9: errors.FailedPrecondition,
}


def failure_of(operation: Operation) -> KamertonError | None:
    """Why the operation ended without a model; None when it did not."""
    error = operation.get("error")
    if error is None:
        return None
    kind = _BY_RPC_CODE.get(error.get("code", 0), errors.Internal)
    return kind(error.get("message") or "no reason was given")


def answer_text(answer: Answer) -> str:
    """The text of the first candidate."""
    candidates = answer.get("candidates") or [{}]
    parts = candidates[0].get("content", {}).get("parts", [])
    return "".join(part.get("text", "") for part in parts)


def _error_of(error: dict[str, Any], http_status: int) -> KamertonError:
    message = error.get("message") or f"HTTP status {http_status}"
    details = error.get("details", [])
    if any(detail.get("reason") == "API_KEY_INVALID" for detail in details):
        return errors.InvalidKey(message)
    violations = tuple(
        Violation(found.get("field", ""), found.get("description", ""))
        for detail in details
        for found in detail.get("fieldViolations", [])
    )
    if http_status == 413:
        return errors.TooLarge(message, violations)
    kind = _BY_STATUS.get(error.get("status", ""), errors.Internal)
    if issubclass(kind, errors.InvalidArgument):
        return kind(message, violations)
    return kind(message)


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
