"""The verbs on tuned models: create, get, list, patch, cancel, delete."""

from __future__ import annotations

import re
import secrets
import shutil
import string
import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kamerton import folders
from kamerton.dataset.formats import check_limits
from kamerton.errors import (
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    Violation,
)
from kamerton.service import access, pages
from kamerton.service.app import DELETED, App
from kamerton.store import operations as operation_store
from kamerton.store import tuned_models as store
from kamerton.training import hyperparameters, rows
from kamerton.training.trainer_process import keep_examples
from kamerton.types import (
    BaseModel,
    Caller,
    Content,
    Example,
    Operation,
    Page,
    PermissionRole,
    State,
    TunedModel,
)

ID = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
DISPLAY_NAME_CHARACTERS = 40
DESCRIPTION_CHARACTERS = 10_000
FILTER_CHARACTERS = 1000
FILTER_WORDS = 50
TURN_TOKENS = 16
"""More than the marks around a turn take."""
ROLE_WORDS: Mapping[str, PermissionRole] = {
    "owner:me": "OWNER",
    "writers:me": "WRITER",
    "readers:me": "READER",
}
EVERYONE_WORD = "readers:everyone"
SAMPLING_LIMITS = {"temperature": (0.0, 2.0), "top_p": (0.0, 1.0), "top_k": (0, 2**31 - 1)}
PATCHABLE = frozenset({"display_name", "description", "reader_project_numbers", *SAMPLING_LIMITS})


def create(
    app: App,
    caller: Caller,
    *,
    base_model: str = "",
    asked_base_model: str = "",
    source: str | None = None,
    examples: Sequence[Example],
    tuned_model_id: str = "",
    display_name: str = "",
    description: str = "",
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    reader_project_numbers: tuple[int, ...] = (),
    epoch_count: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    learning_rate_multiplier: float | None = None,
) -> Operation:
    """Queue the tuning of a base model, or of the tuned model `source`, on `examples`.

    Everything is checked before the answer: InvalidArgument names every bad field and example.
    Also raises NotFound, AlreadyExists, FailedPrecondition (a source that is not ACTIVE) and
    ResourceExhausted.
    """
    access.require(caller, "tuned_models.create")
    app.runner.ensure_possible()
    parent = None if source is None else _active(app, caller, source)
    base = app.catalog.find(base_model if parent is None else parent.base_model)
    sampling = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
    violations = [
        *_check_names(tuned_model_id, display_name, description),
        *_check_sampling(sampling),
        *check_limits(examples),
    ]
    try:
        chosen = hyperparameters.choose(
            len(examples),
            base,
            epoch_count=epoch_count,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_multiplier=learning_rate_multiplier,
        )
    except InvalidArgument as error:
        violations += error.violations
    if violations:
        raise InvalidArgument.all_of(violations)
    truncated_example_count = _count_truncated(app, base, examples)
    if app.closing:  # Whoever waits for this has been told to try again.
        raise Unavailable("The server is stopping; try again in a moment.")
    now = datetime.now(UTC)
    model = TunedModel(
        id=tuned_model_id or new_id(display_name),
        uid=uuid.uuid4().hex,
        base_model=base.name,
        asked_base_model=asked_base_model
        or (parent.asked_base_model if parent else f"models/{base.name}"),
        source=source,
        state=State.CREATING,
        hyperparameters=chosen,
        example_count=len(examples),
        total_steps=hyperparameters.total_steps(len(examples), chosen),
        truncated_example_count=truncated_example_count,
        temperature=base.temperature if temperature is None else temperature,
        top_p=base.top_p if top_p is None else top_p,
        top_k=base.top_k if top_k is None else top_k,
        create_time=now,
        update_time=now,
        display_name=display_name,
        description=description,
        reader_project_numbers=reader_project_numbers,
    )
    operation = Operation(_random_characters(12), model)
    try:
        _store(app, operation, caller.owner, examples, parent)
    except FailedPrecondition:
        if source is not None:
            _active(app, caller, source)  # Was it deleted a moment ago? Then that is the reason.
        raise
    app.runner.wake()
    return operation


def get(app: App, caller: Caller, tuned_model_id: str) -> TunedModel:
    return access.allowed(app, caller, "tuned_models.get", tuned_model_id)


def list_(
    app: App, caller: Caller, *, page_size: int, page_token: str = "", filter: str = ""
) -> Page[TunedModel]:
    """Newest first. The words of `filter` must all hold: `owner:me`, `writers:me` and
    `readers:me` ask for at least that role, `readers:everyone` for what is shared with everyone
    (and is left out otherwise), any other word is searched for in display name and description."""
    access.require(caller, "tuned_models.list")
    bound = ("tunedModels", caller.owner, filter)
    after = pages.start(page_token, *bound)
    asked = filter_of(caller, filter)
    return pages.page(*store.list_(app.database, asked, page_size, after), *bound)


def filter_of(caller: Caller, text: str) -> store.Filter:
    """The words of a filter as what must hold. Raises InvalidArgument."""
    if len(text) > FILTER_CHARACTERS:
        raise InvalidArgument.of("filter", f"{len(text)} characters, at most {FILTER_CHARACTERS}")
    words = text.split()
    if len(words) > FILTER_WORDS:
        raise InvalidArgument.of("filter", f"{len(words)} words, at most {FILTER_WORDS}")
    held = [(caller, ROLE_WORDS[word]) for word in words if word in ROLE_WORDS]
    everyone = EVERYONE_WORD in words
    plain = [word for word in words if word not in ROLE_WORDS and word != EVERYONE_WORD]
    if wrong := [word for word in plain if word.startswith(("owner:", "writers:", "readers:"))]:
        known = ", ".join([*ROLE_WORDS, EVERYONE_WORD])
        raise InvalidArgument.of("filter", f"{wrong[0][:100]!r} is none of {known}")
    if not held and not everyone and not access.is_admin(caller):
        held = [(caller, "READER")]
    return store.Filter(tuple(plain), tuple(held), everyone)


def patch(app: App, caller: Caller, tuned_model_id: str, changes: Mapping[str, Any]) -> TunedModel:
    """Change what may be changed; None clears a field, or gives back the base model's default."""
    model = access.allowed(app, caller, "tuned_models.patch", tuned_model_id)
    if unknown := changes.keys() - PATCHABLE:
        raise InvalidArgument.of(sorted(unknown)[0], "cannot be changed after creation")
    base = app.catalog.find(model.base_model)
    cleared: dict[str, Any] = {
        "display_name": "",
        "description": "",
        "reader_project_numbers": (),
        "temperature": base.temperature,
        "top_p": base.top_p,
        "top_k": base.top_k,
    }
    values = {name: cleared[name] if v is None else v for name, v in changes.items()}
    violations = [
        *_check_names("", values.get("display_name", ""), values.get("description", "")),
        *_check_sampling({name: values.get(name) for name in SAMPLING_LIMITS}),
    ]
    if violations:
        raise InvalidArgument.all_of(violations)
    patched = store.patch(app.database, model.uid, values)
    return patched or access.allowed(app, caller, "tuned_models.patch", tuned_model_id)


def cancel(app: App, caller: Caller, tuned_model_id: str) -> None:
    """Ask for an end of the tuning; nothing happens to one that has ended."""
    model = access.allowed(app, caller, "tuned_models.cancel", tuned_model_id)
    operation_store.cancel(app.database, model.uid)
    app.runner.wake()


def delete(app: App, caller: Caller, tuned_model_id: str) -> None:
    """Remove a tuned model with all that belongs to it; a run in progress is given up."""
    model = access.allowed(app, caller, "tuned_models.delete", tuned_model_id)
    folder = app.folder(model.uid)
    if folder.exists():
        (folder / DELETED).touch()  # Should we die in between, the next start removes it.
    store.delete_(app.database, model.uid)
    app.runner.wake()
    shutil.rmtree(folder, ignore_errors=True)
    # Only now: a late request could have the engine load it once more.
    app.engine.forget(adapter_of(app, model))


def adapter_of(app: App, model: TunedModel) -> Path:
    return app.folder(model.uid) / "adapter"


def new_id(display_name: str) -> str:
    """A slug of the display name and 12 random characters; only those when nothing is left."""
    plain = unicodedata.normalize("NFKD", display_name.lower()).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-").lstrip(string.digits + "-")[:27].strip("-")
    if not slug:
        return secrets.choice(string.ascii_lowercase) + _random_characters(11)
    return f"{slug}-{_random_characters(12)}"


def _random_characters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(count))


def _active(app: App, caller: Caller, id: str) -> TunedModel:
    model = access.allowed(app, caller, "tuned_models.continue", id)
    if model.state is not State.ACTIVE:
        raise FailedPrecondition(
            f"tunedModels/{id} is {model.state.value}; only an ACTIVE one can be tuned further."
        )
    return model


def _check_names(tuned_model_id: str, display_name: str, description: str) -> list[Violation]:
    violations = []
    if tuned_model_id and not ID.fullmatch(tuned_model_id):
        violations.append(
            Violation(
                "tuned_model_id",
                "must be at most 40 of a-z, 0-9 and -, begin with a letter and not end with -",
            )
        )
    texts = (
        ("display_name", display_name, DISPLAY_NAME_CHARACTERS),
        ("description", description, DESCRIPTION_CHARACTERS),
    )
    violations += [
        Violation(name, f"{len(text)} characters, at most {limit}")
        for name, text, limit in texts
        if len(text) > limit
    ]
    return violations


def _check_sampling(sampling: Mapping[str, float | None]) -> list[Violation]:
    violations = []
    for name, value in sampling.items():
        low, high = SAMPLING_LIMITS[name]
        if value is not None and not low <= value <= high:
            violations.append(Violation(name, f"must be from {low} to {high}"))
    return violations


def _count_truncated(app: App, base: BaseModel, examples: Sequence[Example]) -> int:
    renderer = app.renderer(base)

    def truncated(example: Example) -> bool:
        texts = [*example.contents, Content("model", example.output)]
        # A token stands for a byte or more, so most examples need no tokenizer, and nor do those
        # that are far too long: with 200,000 of them that is the difference of a minute.
        most = sum(len(content.text.encode()) + TURN_TOKENS for content in texts)
        if most <= base.context_tokens:
            return False
        if renderer.cannot_fit(texts, base.context_tokens):
            return True
        # The beginning of a long one is mostly enough, and tokenizing takes its time.
        begin = "".join(content.text for content in texts)[: 4 * base.context_tokens]
        if len(renderer.answer(begin)) > base.context_tokens + TURN_TOKENS * len(texts):
            return True
        return rows.encode(renderer, example, base.context_tokens).truncated

    return sum(map(truncated, examples))


def _store(
    app: App,
    operation: Operation,
    owner: str,
    examples: Sequence[Example],
    parent: TunedModel | None,
) -> None:
    """Keep the examples, and then the rows that tell of them; neither when one fails."""
    folder = app.folder(operation.tuned_model.uid)
    try:
        folder.mkdir()
        keep_examples(examples, folder / "examples")
        if parent is not None:
            # A copy, so that the parent may be deleted while the child trains.
            folders.copy(adapter_of(app, parent), folder / "parent")
        folders.sync(folder.parent)
        operation_store.add(app.database, operation, owner, app.settings.max_pending_runs)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ResourceExhausted(
            f"The examples could not be kept on disk: {error.strerror}. Make room and try again."
        ) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
