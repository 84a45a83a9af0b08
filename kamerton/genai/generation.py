"""Asking a model: GenerativeModel, its settings, and conversations with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kamerton.client.connection import GENERATION_SECONDS, Json
from kamerton.genai.configuration import connection
from kamerton.genai.contents import USER, Content, to_content, to_contents
from kamerton.genai.decoding import decode
from kamerton.genai.names import model_name as full_name
from kamerton.genai.responses import Answer, GenerateContentResponse
from kamerton.genai.safety import to_settings, to_wire


@dataclass
class GenerationConfig:
    """How an answer is chosen; what is None is left to the model's defaults."""

    candidate_count: int | None = None
    stop_sequences: Iterable[str] | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    """0 is greedy and repeatable; at most 2."""
    top_p: float | None = None
    top_k: int | None = None
    response_mime_type: str | None = None
    response_schema: Any = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class RequestOptions(dict[str, Any]):
    """How a call is made: it may take `timeout` seconds. `retry` changes nothing."""

    def __init__(self, *, retry: Any = None, timeout: float | None = None) -> None:
        super().__init__(retry=retry, timeout=timeout)


Config = GenerationConfig | Mapping[str, Any] | None


@dataclass
class CountTokensResponse:
    total_tokens: int = 0
    cached_content_token_count: int = 0


class GenerativeModel:
    """A base or tuned model to be asked."""

    def __init__(
        self,
        model_name: str = "gemini-1.5-flash-002",
        safety_settings: Any = None,
        generation_config: Config = None,
        tools: Any = None,
        tool_config: Any = None,
        system_instruction: Any = None,
    ) -> None:
        _refuse_tools(tools, tool_config)
        self.model_name = full_name(model_name)
        self._settings = to_settings(safety_settings)
        self._config = _given(generation_config)
        self._system = to_content(system_instruction) if system_instruction else None

    def generate_content(
        self,
        contents: Any,
        *,
        generation_config: Config = None,
        safety_settings: Any = None,
        stream: bool = False,
        tools: Any = None,
        tool_config: Any = None,
        request_options: Any = None,
    ) -> GenerateContentResponse:
        """The answer to a text, to a list of parts, or to a conversation (Content or dicts).

        What `generation_config` says goes before what the model was made with. Of
        `request_options` only `timeout` counts, in seconds. Models here call no functions: `tools`
        and `tool_config` must be empty. Raises `errors.FailedPrecondition`
        while a tuned model is not ready.
        """
        if not contents:
            raise TypeError("contents must not be empty")
        _refuse_tools(tools, tool_config)
        body = self._body(contents, generation_config, safety_settings)
        seconds = _timeout(request_options)
        response = GenerateContentResponse(self._answers(body, stream, seconds))
        if not stream:
            response.resolve()
        return response

    def count_tokens(
        self,
        contents: Any,
        *,
        generation_config: Config = None,
        safety_settings: Any = None,
        tools: Any = None,
        tool_config: Any = None,
        request_options: Any = None,
    ) -> CountTokensResponse:
        """The tokens of a prompt, the system instruction's among them."""
        _refuse_tools(tools, tool_config)
        asked = self._body(contents, generation_config, safety_settings)
        body = {"generateContentRequest": {"model": self.model_name, **asked}}
        path = f"/v1beta/{self.model_name}:countTokens"
        told = connection().json("POST", path, body, seconds=_timeout(request_options))
        return decode(CountTokensResponse, told)

    def start_chat(self, *, history: Any = None) -> ChatSession:
        """A conversation, by default an empty one."""
        return ChatSession(self, history)

    def _body(self, contents: Any, config: Config, safety_settings: Any) -> Json:
        turns = to_contents(contents)
        if not turns:
            raise ValueError("contents must not be empty")
        turns[-1].role = turns[-1].role or USER
        settings = self._settings | to_settings(safety_settings)
        body: Json = {
            "contents": [turn.to_wire() for turn in turns],
            "generationConfig": self._config | _given(config),
            "safetySettings": to_wire(settings),
        }
        if self._system:
            body["systemInstruction"] = self._system.to_wire()
        return body

    def _answers(self, body: Json, stream: bool, seconds: float) -> Iterator[Answer]:
        path = f"/v1beta/{self.model_name}"
        if stream:
            pieces = connection().events(f"{path}:streamGenerateContent", body, seconds)
        else:
            told = connection().json("POST", f"{path}:generateContent", body, seconds=seconds)
            pieces = iter([told])
        return (decode(Answer, piece) for piece in pieces)

    def __repr__(self) -> str:
        return f"<GenerativeModel {self.model_name}>"


class ChatSession:
    """A conversation: every message is sent with all turns before it."""

    def __init__(self, model: GenerativeModel, history: Any = None) -> None:
        self.model = model
        self.last: GenerateContentResponse | None = None
        """The newest answer."""
        self._history = to_contents(history)
        self._sent: Content | None = None

    @property
    def history(self) -> list[Content]:
        """The turns so far. Raises IncompleteIterationError while an answer is still coming."""
        if self._sent and self.last:
            self._history += [self._sent, self.last.candidates[0].content]
            self._sent = None
        return self._history

    @history.setter
    def history(self, turns: Any) -> None:
        self._history, self._sent, self.last = to_contents(turns), None, None

    def send_message(
        self,
        content: Any,
        *,
        generation_config: Config = None,
        safety_settings: Any = None,
        stream: bool = False,
        tools: Any = None,
        tool_config: Any = None,
        request_options: Any = None,
    ) -> GenerateContentResponse:
        """The answer to the next message; message and answer join the history."""
        sent = to_content(content)
        sent.role = sent.role or USER
        self.last = self.model.generate_content(
            [*self.history, sent],
            generation_config=generation_config,
            safety_settings=safety_settings,
            stream=stream,
            tools=tools,
            tool_config=tool_config,
            request_options=request_options,
        )
        self._sent = sent
        return self.last

    def rewind(self) -> tuple[Content, Content]:
        """Take back the newest message and its answer."""
        sent, received = self.history[-2:]
        del self._history[-2:]
        self.last = None
        return sent, received


def _given(config: Config) -> Json:
    """The settings that were given, ready for the wire."""
    if config is None:
        return {}
    fields = asdict(config) if isinstance(config, GenerationConfig) else dict(config)
    if isinstance(stops := fields.get("stop_sequences"), Iterable):
        fields["stop_sequences"] = [stops] if isinstance(stops, str) else list(stops)
    return {name: value for name, value in fields.items() if value is not None}


def _refuse_tools(tools: Any, tool_config: Any) -> None:
    if tools or tool_config:
        raise ValueError("models here call no functions; leave out tools and tool_config")


def _timeout(request_options: Any) -> float:
    return float((request_options or {}).get("timeout") or GENERATION_SECONDS)
