"""The verbs on tuned models: create, preview, get, list, patch, cancel, delete."""

from __future__ import annotations

import re
import secrets
import shutil
import string
import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Required, Unpack

from kamerton import folders, types
from kamerton.errors import (
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    Violation,
)
from kamerton.findings import Report
from kamerton.service import access, pages, plans, readings
from kamerton.service.app import DELETED, App
from kamerton.service.plans import NO_OPTIONS, Options, Plan
from kamerton.service.readings import Data
from kamerton.store import operations as operation_store
from kamerton.store import tuned_models as store
from kamerton.training.trainer_process import keep_examples
from kamerton.types import (
    Caller,
    Estimate,
    Given,
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
NAMES = ("tuned_model_id", "display_name", "description")
KEPT_HITS = 20
"""Rows that are kept of each finding."""
KEPT_PLACES = 100
"""Held-out examples whose places are kept."""
ROLE_WORDS: Mapping[str, PermissionRole] = {
    "owner:me": "OWNER",
    "writers:me": "WRITER",
    "readers:me": "READER",
}
EVERYONE_WORD = "readers:everyone"
SAMPLING_LIMITS = {"temperature": (0.0, 2.0), "top_p": (0.0, 1.0), "top_k": (0, 2**31 - 1)}
PATCHABLE = frozenset({"display_name", "description", "reader_project_numbers", *SAMPLING_LIMITS})


class Asked(Given, total=False):
    """What can be said of a tuned model to be made."""

    base_model: str
    asked_base_model: str
    """As the caller named it."""
    source: str
    """Id of a tuned model to go on from, instead of a base model."""
    data: Required[Data]
    validation: Data
    options: Options
    tuned_model_id: str
    display_name: str
    description: str
    temperature: float
    top_p: float
    top_k: int
    reader_project_numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What `create` would make, and what its run would take."""

    tuned_model: TunedModel
    estimate: Estimate
    measuring: bool
    """Time and memory are being measured; an answer in some seconds has them."""


def create(app: App, caller: Caller, **asked: Unpack[Asked]) -> Operation:
    """Queue the tuning of a base model, or of a tuned model.

    Everything is checked before the answer: InvalidArgument names every bad field and row, and is
    a BadDataset where the checks refuse the data. Also raises NotFound, AlreadyExists,
    FailedPrecondition (a source that is not ACTIVE) and ResourceExhausted.
    """
    access.require(caller, "tuned_models.create")
    app.runner.ensure_possible()
    parent = _parent(app, caller, asked)
    plan = _plan(app, caller, asked, parent)
    if app.closing:  # Whoever waits for this has been told to try again.
        raise Unavailable("The server is stopping; try again in a moment.")
    operation = Operation(_random_characters(12), _model(asked, plan, parent))
    try:
        _store(app, operation, caller.owner, plan, parent)
    except FailedPrecondition:
        _parent(app, caller, asked)  # Was it deleted a moment ago? Then that is the reason.
        raise
    app.runner.wake()
    return operation


def preview(app: App, caller: Caller, **asked: Unpack[Asked]) -> Preview:
    """What `create` would do, with all that it would raise; nothing is stored or begun."""
    access.require(caller, "tuned_models.create")
    parent = _parent(app, caller, asked)
    if parent is not None and not folders.is_whole(adapter_of(app, parent)):
        raise FailedPrecondition("adapter is missing or damaged on disk.")
    plan = _plan(app, caller, asked, parent, only_check=True)
    model = _model(asked, plan, parent)
    operation_store.check_room(app.database, model.id, app.settings.max_pending_runs)
    made = plans.estimate(app, plan, measured=True)
    return Preview(model, made, app.probes.measuring(plan.base_model))


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


def cancel(app: App, caller: Caller, tuned_model_id: str, *, keep: bool = False) -> None:
    """Ask for an end of the tuning; nothing happens to one that has ended. To `keep` it, the best
    step so far becomes the model; without a single step there is nothing to keep."""
    model = access.allowed(app, caller, "tuned_models.cancel", tuned_model_id)
    operation_store.cancel(app.database, model.uid, keep)
    app.runner.wake()


def delete(app: App, caller: Caller, tuned_model_id: str) -> None:
    """Remove a tuned model with all that belongs to it; a run in progress is given up."""
    model = access.allowed(app, caller, "tuned_models.delete", tuned_model_id)
    folder = app.folder(model.uid)
    epochs = epochs_of(app, model).values()
    if folder.exists():
        (folder / DELETED).touch()  # Should we die in between, the next start removes it.
    store.delete_(app.database, model.uid)
    app.runner.wake()
    shutil.rmtree(folder, ignore_errors=True)
    # Only now: a late request could have the engine load it once more.
    for adapter in (adapter_of(app, model), *epochs):
        app.engine.forget(adapter)


def adapter_of(app: App, model: TunedModel) -> Path:
    return app.folder(model.uid) / "adapter"


def epochs_of(app: App, model: TunedModel) -> dict[int, Path]:
    """The adapters as they were after epochs of the run, by epoch, as far as they were kept."""
    found = (app.folder(model.uid) / "epochs").glob("epoch-[0-9]*")
    return {int(path.name.removeprefix("epoch-")): path for path in sorted(found)}


def new_id(display_name: str) -> str:
    """A slug of the display name and 12 random characters; only those when nothing is left."""
    plain = unicodedata.normalize("NFKD", display_name.lower()).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-").lstrip(string.digits + "-")[:27].strip("-")
    if not slug:
        return secrets.choice(string.ascii_lowercase) + _random_characters(11)
    return f"{slug}-{_random_characters(12)}"


def _random_characters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(count))


def _parent(app: App, caller: Caller, asked: Asked) -> TunedModel | None:
    """The tuned model to go on from, when that was asked for."""
    if "source" not in asked:
        return None
    model = access.allowed(app, caller, "tuned_models.continue", asked["source"])
    if model.state is not State.ACTIVE:
        raise FailedPrecondition(
            f"tunedModels/{model.id} is {model.state.value}; only an ACTIVE one can be tuned "
            "further."
        )
    return model


def _plan(
    app: App,
    caller: Caller,
    asked: Asked,
    parent: TunedModel | None,
    *,
    only_check: bool = False,
) -> Plan:
    """The run that was asked for, when nothing at all is wrong with it."""
    base = app.catalog.find(asked.get("base_model", "") if parent is None else parent.base_model)
    given: Mapping[str, Any] = asked
    hyperparameters = {name: given.get(name) for name in types.NAMES}
    hyperparameters["source"] = None if parent is None else parent.hyperparameters
    options, validation = asked.get("options", NO_OPTIONS), asked.get("validation")
    violations = [
        *_check_names(*(given.get(name, "") for name in NAMES)),
        *_check_sampling({name: given.get(name) for name in SAMPLING_LIMITS}),
        *plans.violations(app, base, options, validation, **hyperparameters),
    ]
    reading = readings.read(
        app,
        caller,
        base,
        asked["data"],
        validation,
        allow=options.allow,
        count_all=only_check or options.counts_tokens,
        only_check=only_check,
    )
    readings.refuse(reading, violations)
    plan = plans.make(app, base, reading, options, **hyperparameters)
    plans.refuse_small_budget(app, plan, options)
    return plan


def _model(asked: Asked, plan: Plan, parent: TunedModel | None) -> TunedModel:
    base, now = plan.base_model, datetime.now(UTC)
    fallback = parent.asked_base_model if parent else f"models/{base.name}"
    return TunedModel(
        id=asked.get("tuned_model_id") or new_id(asked.get("display_name", "")),
        uid=uuid.uuid4().hex,
        base_model=base.name,
        asked_base_model=asked.get("asked_base_model") or fallback,
        source=asked.get("source"),
        state=State.CREATING,
        hyperparameters=plan.hyperparameters,
        example_count=len(plan.reading.examples),
        total_steps=plan.total_steps,
        truncated_example_count=plan.reading.truncated_count,
        temperature=asked.get("temperature", base.temperature),
        top_p=asked.get("top_p", base.top_p),
        top_k=asked.get("top_k", base.top_k),
        create_time=now,
        update_time=now,
        display_name=asked.get("display_name", ""),
        description=asked.get("description", ""),
        reader_project_numbers=asked.get("reader_project_numbers", ()),
        budget=plan.budget,
        holdout=plan.holdout,
        held_out_count=len(plan.held_out),
        held_out_rows=plan.places[:KEPT_PLACES],
        early_stopping=plan.early_stopping,
        reasons=plan.reasons,
        report=_shortened(plan.reading.report),
    )


def _shortened(report: Report) -> Report:
    """With so many rows of each finding that it can be told with every answer."""
    findings = (replace(found, hits=found.hits[:KEPT_HITS]) for found in report.findings)
    return replace(report, findings=tuple(findings))


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


def _store(
    app: App,
    operation: Operation,
    owner: str,
    plan: Plan,
    parent: TunedModel | None,
) -> None:
    """Keep the examples, and then the rows that tell of them; neither when one fails."""
    folder = app.folder(operation.tuned_model.uid)
    try:
        folder.mkdir()
        keep_examples(plan.trained, folder / "examples", plan.held_out)
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
