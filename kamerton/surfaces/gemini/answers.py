"""Generation: the turns and settings of a request, and the answer, whole or in pieces."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kamerton.errors import InvalidArgument
from kamerton.surfaces.body import Json
from kamerton.surfaces.gemini.messages import optional, tuned_model_id
from kamerton.types import Chunk, Content, GenerationConfig, Role

MAX_CANDIDATES = 8
MAX_STOP_SEQUENCES = 5
MAX_STOP_CHARACTERS = 500

_CONFIG = "google.ai.generativelanguage.v1beta.GenerationConfig."
IGNORED = frozenset(
    _CONFIG + name
    for name in (
        "speech_config",
        "media_resolution",
        "enable_enhanced_civic_answers",
        "thinking_config",
        "image_config",
    )
)
"""Fields of a generation request that change nothing here, whatever they hold."""

# No safety model runs here; the ratings are there because clients read them.
_SAFETY_RATINGS = [
    {"category": f"HARM_CATEGORY_{category}", "probability": "NEGLIGIBLE"}
    for category in ("SEXUALLY_EXPLICIT", "HATE_SPEECH", "HARASSMENT", "DANGEROUS_CONTENT")
]


def target(name: str) -> dict[str, str]:
    """`models/x` or `tunedModels/x` as the arguments of a verb."""
    if name.startswith("tunedModels/"):
        return {"tuned_model": tuned_model_id(name)}
    return {"base_model": name.removeprefix("models/")}


def contents(request: Any) -> list[Content]:
    """The turns of a GenerateContentRequest, the system instruction first."""
    turns = [
        _content(content, f"contents[{index}]") for index, content in enumerate(request.contents)
    ]
    if not turns:
        raise InvalidArgument.of("contents", "is not specified")
    if request.system_instruction.parts:
        text = _text(request.system_instruction, "system_instruction")
        turns.insert(0, Content("system", text))
    return turns


def _content(content: Any, at: str) -> Content:
    role: Role
    if content.role in ("", "user"):
        role = "user"
    elif content.role == "model":
        role = "model"
    else:
        raise InvalidArgument.of(f"{at}.role", "must be user or model")
    return Content(role, _text(content, at))


def _text(content: Any, at: str) -> str:
    if not content.parts:
        raise InvalidArgument.of(f"{at}.parts", "must not be empty")
    for index, part in enumerate(content.parts):
        kind = part.WhichOneof("data")
        if kind != "text":
            field = f"{at}.parts[{index}]"
            raise InvalidArgument.of(field, f"has {kind or 'no text'}; only text is supported")
    return "".join(part.text for part in content.parts)


def generation_config(request: Any) -> GenerationConfig:
    """The sampling settings of a GenerateContentRequest, checked."""
    _refuse_unsupported(request)
    asked = request.generation_config
    given = optional(
        asked,
        "candidate_count",
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
    )
    for name, (low, high) in _RANGES.items():
        if name in given and not low <= given[name] <= high:
            raise InvalidArgument.of(
                f"generation_config.{name}", f"must be between {low} and {high}"
            )
    stop = tuple(asked.stop_sequences)
    longest = max(map(len, stop), default=1)
    if len(stop) > MAX_STOP_SEQUENCES or "" in stop or longest > MAX_STOP_CHARACTERS:
        raise InvalidArgument.of(
            "generation_config.stop_sequences",
            f"at most {MAX_STOP_SEQUENCES} strings, each of 1 to {MAX_STOP_CHARACTERS} characters",
        )
    given["max_output_tokens"] = given.get("max_output_tokens") or None
    return GenerationConfig(stop_sequences=stop, **given)


_RANGES = {
    "candidate_count": (1, MAX_CANDIDATES),
    "max_output_tokens": (0, 2**31 - 1),
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (0, 2**31 - 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}


def _refuse_unsupported(request: Any) -> None:
    """What would change the answer if it were done, and is not."""
    for name in ("tools", "tool_config", "cached_content"):
        if (value := getattr(request, name)) and (
            not hasattr(value, "ListFields") or value.ListFields()
        ):
            raise InvalidArgument.of(name, "is not supported by this server")
    asked = request.generation_config
    if asked.response_mime_type not in ("", "text/plain"):
        raise InvalidArgument.of(
            "generation_config.response_mime_type", "only text/plain is supported by this server"
        )
    set_fields = {field.name for field, _ in asked.ListFields()}
    for name in ("response_schema", "response_json_schema", "response_logprobs", "logprobs"):
        if name in set_fields and getattr(asked, name):  # False and 0 ask for nothing.
            raise InvalidArgument.of(f"generation_config.{name}", "is not supported by this server")
    text = 1  # Modality.TEXT
    if "response_modalities" in set_fields and set(asked.response_modalities) != {text}:
        raise InvalidArgument.of(
            "generation_config.response_modalities", 'only ["TEXT"] is supported'
        )


def model_version(name: str) -> str:
    return name.rpartition("/")[2]


def answer(chunks: Iterable[Chunk], version: str, response_id: str) -> Json:
    """A whole GenerateContentResponse."""
    texts: dict[int, list[str]] = {0: []}
    last: dict[int, Chunk] = {}
    for chunk in chunks:
        texts.setdefault(chunk.candidate, []).append(chunk.text)
        last[chunk.candidate] = chunk
    made = [
        _candidate(
            index, "".join(pieces), (last[index].finish_reason if index in last else None) or "STOP"
        )
        for index, pieces in sorted(texts.items())
    ]
    return _response(made, last, version, response_id) | {
        "promptFeedback": {"safetyRatings": _SAFETY_RATINGS}
    }


def answer_pieces(
    chunks: Iterator[Chunk], version: str, response_id: str
) -> Generator[Json, None, None]:
    """One GenerateContentResponse per piece of the answer, each with the new text only.
    Closing it closes `chunks`, which stops the work."""
    last: dict[int, Chunk] = {}
    first = True
    with stopping(chunks):
        for chunk in chunks:
            last[chunk.candidate] = chunk
            if chunk.text or chunk.finish_reason:
                made = [_candidate(chunk.candidate, chunk.text, chunk.finish_reason)]
                piece = _response(made, last, version, response_id)
                if first:
                    piece["promptFeedback"] = {"safetyRatings": _SAFETY_RATINGS}
                first = False
                yield piece
        if first:
            yield _response([_candidate(0, "", "STOP")], last, version, response_id)


@contextmanager
def stopping(chunks: Iterator[Chunk]) -> Iterator[None]:
    """Whatever happens, the work behind `chunks` has stopped afterwards."""
    try:
        yield
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


def _candidate(index: int, text: str, finish_reason: str | None) -> Json:
    # A part is there even when it is empty, and index 0 although it is zero: clients read both.
    made: Json = {"content": {"parts": [{"text": text}], "role": "model"}}
    if finish_reason:
        made["finishReason"] = finish_reason
    return made | {"index": index, "safetyRatings": _SAFETY_RATINGS}


def _response(
    candidates: list[Json], last: dict[int, Chunk], version: str, response_id: str
) -> Json:
    prompt = max((chunk.prompt_tokens for chunk in last.values()), default=0)
    output = sum(chunk.output_tokens for chunk in last.values())
    return {
        "candidates": candidates,
        "usageMetadata": {
            "promptTokenCount": prompt,
            "candidatesTokenCount": output,
            "totalTokenCount": prompt + output,
        },
        "modelVersion": version,
        "responseId": response_id,
    }


def token_count(total: int) -> Json:
    details = [{"modality": "TEXT", "tokenCount": total}]
    return {"totalTokens": total, "promptTokensDetails": details}
