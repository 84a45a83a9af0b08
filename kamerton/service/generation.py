"""The verbs that ask a model: generate and count_tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kamerton.errors import InvalidArgument
from kamerton.service import access, runs
from kamerton.service.app import App
from kamerton.types import BaseModel, Caller, Chunk, Content, GenerationConfig, TunedModel

TUNED_INPUT_CHARACTERS = 40_000
COUNTED_CHARACTERS = 4_000_000


def generate(
    app: App,
    caller: Caller,
    *,
    base_model: str = "",
    tuned_model: str = "",
    epoch: int | None = None,
    contents: Sequence[Content],
    config: GenerationConfig,
) -> Iterator[Chunk]:
    """Stream the answer of a base model or a tuned model, also as it was after an `epoch`.

    Checks first and then returns the iterator, so that errors come before the first piece.
    Raises NotFound, PermissionDenied, FailedPrecondition (not ACTIVE), InvalidArgument (too
    long), ResourceExhausted (too many wait) and Unavailable.
    """
    base, tuned = _find(app, caller, "generate", base_model, tuned_model)
    adapter: Path | None = None
    defaults: BaseModel | TunedModel = base
    if tuned is not None:
        adapter, defaults = runs.adapter(app, tuned, epoch), tuned
        _check_characters(contents)
    renderer = app.renderer(base)
    _check_not_empty(contents)
    if contents[-1].role != "user":
        raise InvalidArgument.of("contents", "must end with a turn of the user")
    if renderer.cannot_fit(contents, base.input_token_limit):
        raise _too_long("far too many", base)
    prompt = renderer.prompt(contents)
    if len(prompt) > base.input_token_limit:
        raise _too_long(f"{len(prompt)}", base)
    room = base.context_tokens - len(prompt)
    filled = replace(
        config,
        temperature=defaults.temperature if config.temperature is None else config.temperature,
        top_p=defaults.top_p if config.top_p is None else config.top_p,
        top_k=defaults.top_k if config.top_k is None else config.top_k,
        max_output_tokens=min(config.max_output_tokens or base.output_token_limit, room),
    )
    return app.engine.generate(base, adapter, prompt, filled)


def count_tokens(
    app: App,
    caller: Caller,
    *,
    base_model: str = "",
    tuned_model: str = "",
    epoch: int | None = None,
    contents: Sequence[Content],
) -> int:
    """The prompt tokens that the same contents cost in `generate`, turn marks included."""
    base, tuned = _find(app, caller, "count_tokens", base_model, tuned_model)
    if tuned is not None and epoch is not None:
        runs.adapter(app, tuned, epoch)  # Raises when there is none.
    _check_not_empty(contents)
    count = sum(len(content.text) for content in contents)
    if count > COUNTED_CHARACTERS:
        raise InvalidArgument.of(
            "contents", f"{count} characters, at most {COUNTED_CHARACTERS} are counted at once"
        )
    return len(app.renderer(base).prompt(contents))


def _find(
    app: App, caller: Caller, verb: str, base_model: str, tuned_model: str
) -> tuple[BaseModel, TunedModel | None]:
    if not tuned_model:
        access.require(caller, f"models.{verb}")
        return app.catalog.find(base_model), None
    tuned = access.allowed(app, caller, f"tuned_models.{verb}", tuned_model)
    return app.catalog.find(tuned.base_model), tuned


def _too_long(count: str, base: BaseModel) -> InvalidArgument:
    return InvalidArgument.of(
        "contents", f"{count} tokens, at most {base.input_token_limit} for models/{base.name}"
    )


def _check_not_empty(contents: Sequence[Content]) -> None:
    if all(content.role == "system" for content in contents):
        raise InvalidArgument.of("contents", "must not be empty")


def _check_characters(contents: Sequence[Content]) -> None:
    count = sum(len(content.text) for content in contents)
    if count > TUNED_INPUT_CHARACTERS:
        raise InvalidArgument.of(
            "contents", f"{count} characters, at most {TUNED_INPUT_CHARACTERS} for a tuned model"
        )
