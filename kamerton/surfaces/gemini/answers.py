"""Generation: the turns and settings of a request, and the answer, whole or in pieces."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from statistics import fmean
from typing import Any

from kamerton.errors import InvalidArgument
from kamerton.surfaces.body import Json
from kamerton.surfaces.epochs import split_epoch
from kamerton.surfaces.gemini.form import shortest
from kamerton.surfaces.gemini.messages import optional, tuned_model_id
from kamerton.types import (
    Chunk,
    Content,
    GenerationConfig,
    Role,
    TokenChoice,
    TokenLogprob,
)

MAX_CANDIDATES = 8
MAX_LOGPROBS = 20
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


def target(name: str) -> dict[str, Any]:
    """`models/x`, `tunedModels/x` or `tunedModels/x@epoch-3` as the arguments of a verb."""
    if name.startswith("tunedModels/"):
        whole, epoch = split_epoch(name)
        made: dict[str, Any] = {"tuned_model": tuned_model_id(whole)}
        return made if epoch is None else made | {"epoch": epoch}
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
    given = optional(asked, *_RANGES, "seed")
    for name, (low, high) in _RANGES.items():
        if name in given and not low <= given[name] <= high:
            raise InvalidArgument.of(
                f"generation_config.{name}", f"must be between {low} and {high}"
            )
    given["logprobs"] = _top_logprobs(asked)
    given["max_output_tokens"] = given.get("max_output_tokens") or None
    return GenerationConfig(stop_sequences=_stop_sequences(asked), **given)


def _stop_sequences(asked: Any) -> tuple[str, ...]:
    stop = tuple(asked.stop_sequences)
    longest = max(map(len, stop), default=1)
    if len(stop) > MAX_STOP_SEQUENCES or "" in stop or longest > MAX_STOP_CHARACTERS:
        raise InvalidArgument.of(
            "generation_config.stop_sequences",
            f"at most {MAX_STOP_SEQUENCES} strings, each of 1 to {MAX_STOP_CHARACTERS} characters",
        )
    return stop


def _top_logprobs(asked: Any) -> int | None:
    """How many tokens to tell beside each one that was taken; None: no probabilities at all."""
    if asked.response_logprobs:
        return int(asked.logprobs)
    if asked.logprobs:
        raise InvalidArgument.of("generation_config.logprobs", "needs response_logprobs to be true")
    return None


_RANGES = {
    "candidate_count": (1, MAX_CANDIDATES),
    "max_output_tokens": (0, 2**31 - 1),
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (0, 2**31 - 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "logprobs": (0, MAX_LOGPROBS),
}
_JSON_MODE = "JSON mode is not available yet: leave it out and ask for JSON in the prompt"
_SCHEMAS = ("response_schema", "response_json_schema", "response_json_schema_ordered")


def _refuse_unsupported(request: Any) -> None:
    """What would change the answer if it were done, and is not."""
    for name in ("tools", "tool_config", "cached_content"):
        if (value := getattr(request, name)) and (
            not hasattr(value, "ListFields") or value.ListFields()
        ):
            raise InvalidArgument.of(name, "is not supported by this server")
    asked = request.generation_config
    set_fields = {field.name for field, _ in asked.ListFields()}
    for name in _SCHEMAS:
        if name in set_fields:
            raise InvalidArgument.of(f"generation_config.{name}", _JSON_MODE)
    if asked.response_mime_type not in ("", "text/plain"):
        wanted_json = asked.response_mime_type == "application/json"
        raise InvalidArgument.of(
            "generation_config.response_mime_type",
            _JSON_MODE if wanted_json else "must be text/plain",
        )
    text = 1  # Modality.TEXT
    if "response_modalities" in set_fields and set(asked.response_modalities) != {text}:
        raise InvalidArgument.of(
            "generation_config.response_modalities", 'only ["TEXT"] is supported'
        )


def model_version(name: str) -> str:
    return name.rpartition("/")[2]


def answer(chunks: Iterable[Chunk], version: str, response_id: str) -> Json:
    """A whole GenerateContentResponse."""
    pieces: dict[int, list[Chunk]] = {0: []}
    for chunk in chunks:
        pieces.setdefault(chunk.candidate, []).append(chunk)
    whole = {index: _joined(index, of_one) for index, of_one in sorted(pieces.items())}
    made = [_candidate(chunk, _logprobs(chunk)) for chunk in whole.values()]
    return _response(made, whole, version, response_id) | {
        "promptFeedback": {"safetyRatings": _SAFETY_RATINGS}
    }


def _joined(candidate: int, pieces: list[Chunk]) -> Chunk:
    """All pieces of one candidate as one that ends it."""
    last = pieces[-1] if pieces else Chunk("")
    choices = chain.from_iterable(piece.logprobs or () for piece in pieces)
    return replace(
        last,
        candidate=candidate,
        text="".join(piece.text for piece in pieces),
        finish_reason=last.finish_reason or "STOP",
        logprobs=None if last.logprobs is None else tuple(choices),
    )


def answer_pieces(
    chunks: Iterator[Chunk], version: str, response_id: str
) -> Generator[Json, None, None]:
    """One GenerateContentResponse per piece of the answer, each with the new text only.
    Closing it closes `chunks`, which stops the work."""
    last: dict[int, Chunk] = {}
    logprobs: dict[int, list[float]] = {}
    first = True
    with stopping(chunks):
        for chunk in chunks:
            last[chunk.candidate] = chunk
            so_far = logprobs.setdefault(chunk.candidate, [])
            so_far += _logprobs(chunk)
            if chunk.text or chunk.finish_reason:
                made = [_candidate(chunk, so_far)]
                piece = _response(made, last, version, response_id)
                if first:
                    piece["promptFeedback"] = {"safetyRatings": _SAFETY_RATINGS}
                first = False
                yield piece
        if first:
            yield _response(
                [_candidate(Chunk("", finish_reason="STOP"), [])], last, version, response_id
            )


@contextmanager
def stopping(chunks: Iterator[Chunk]) -> Iterator[None]:
    """Whatever happens, the work behind `chunks` has stopped afterwards."""
    try:
        yield
    finally:
        stop(chunks)


def stop(chunks: Iterator[Chunk]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()


def _candidate(chunk: Chunk, logprobs: list[float]) -> Json:
    """A candidate, or a piece of one; `logprobs` are those of all its tokens so far."""
    # A part is there even when it is empty, and index 0 although it is zero: clients read both.
    made: Json = {"content": {"parts": [{"text": chunk.text}], "role": "model"}}
    if chunk.finish_reason:
        made["finishReason"] = chunk.finish_reason
    made |= {"index": chunk.candidate, "safetyRatings": _SAFETY_RATINGS}
    if chunk.finish_reason and logprobs:
        made["avgLogprobs"] = fmean(logprobs)
    if chunk.logprobs is not None:
        made["logprobsResult"] = _logprobs_result(chunk.logprobs)
    return made


def _logprobs(chunk: Chunk) -> list[float]:
    return [choice.chosen.logprob for choice in chunk.logprobs or ()]


def _logprobs_result(choices: tuple[TokenChoice, ...]) -> Json:
    made: Json = {"chosenCandidates": [_token(choice.chosen) for choice in choices]}
    if any(choice.top for choice in choices):
        made["topCandidates"] = [
            {"candidates": [_token(token) for token in choice.top]} for choice in choices
        ]
    return made


def _token(token: TokenLogprob) -> Json:
    return {
        "token": token.text,
        "tokenId": token.id,
        "logProbability": shortest(token.logprob),
    }


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
            "promptTokensDetails": _text_tokens(prompt),
            "candidatesTokensDetails": _text_tokens(output),
        },
        "modelVersion": version,
        "responseId": response_id,
    }


def token_count(total: int) -> Json:
    return {"totalTokens": total, "promptTokensDetails": _text_tokens(total)}


def _text_tokens(count: int) -> list[Json]:
    return [{"modality": "TEXT", "tokenCount": count}]
