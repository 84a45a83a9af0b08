"""The verbs on runs: their story, steps and diagnosis, their report card, and their weights."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from kamerton import folders
from kamerton.card import Card
from kamerton.errors import FailedPrecondition, NotFound
from kamerton.service import access, tuned_models
from kamerton.service.app import App
from kamerton.store import events as event_store
from kamerton.store import operations as operation_store
from kamerton.training import curve
from kamerton.training import hyperparameters as rules
from kamerton.types import Caller, Diagnosis, Event, Snapshot, State, TunedModel

NOT_FINITE = "NOT_FINITE"


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """What the curve of a run means."""

    tuned_model: TunedModel
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch whose weights were kept."""

    number: int
    last: Snapshot | None
    """Its last step, with some rows of the next epoch where batches do not end with epochs."""


def events(
    app: App, caller: Caller, tuned_model_id: str, *, after: int, most: int
) -> Sequence[Event]:
    """The lines of a run's story with a higher number than `after`, in their order."""
    model = access.allowed(app, caller, "runs.events", tuned_model_id)
    return event_store.list_(app.database, model.uid, after, most)


def snapshots(app: App, caller: Caller, tuned_model_id: str, *, after: int) -> Sequence[Snapshot]:
    """The steps of a run beyond `after`, all of them."""
    model = access.allowed(app, caller, "runs.snapshots", tuned_model_id)
    return [snapshot for snapshot in model.snapshots if snapshot.step > after]


def diagnose(app: App, caller: Caller, tuned_model_id: str) -> Diagnosed:
    """What the curve of a run means, that is over or still going on."""
    model = access.allowed(app, caller, "runs.diagnosis", tuned_model_id)
    return Diagnosed(model, curve.diagnose(_with_failure(model), _run(app, model)))


def card(app: App, caller: Caller, tuned_model_id: str) -> Card:
    """Raises NotFound where there is none."""
    model = access.allowed(app, caller, "runs.card", tuned_model_id)
    found = operation_store.card(app.database, model.uid)
    if found is None:
        why = {
            State.CREATING: "its run is not over; it is made at the end",
            State.FAILED: "its run ended without a model",
            State.ACTIVE: "none was made when its run ended",
        }[model.state]
        raise NotFound(f"tunedModels/{model.id} has no report card: {why}.")
    return found


def epochs(app: App, caller: Caller, tuned_model_id: str) -> Sequence[Epoch]:
    """Those whose weights were kept and are whole."""
    model = access.allowed(app, caller, "runs.epochs", tuned_model_id)
    steps = {snapshot.step: snapshot for snapshot in model.snapshots}
    return [
        Epoch(number, steps.get(_last_step(model, number)))
        for number, folder in tuned_models.epochs_of(app, model).items()
        if folders.is_whole(folder)
    ]


def download(app: App, caller: Caller, tuned_model_id: str, epoch: int | None) -> IO[bytes]:
    """The adapter of a tuned model, or as it was after an epoch, as a zip file that is gone when
    it is closed; what is in it loads in PEFT. Raises FailedPrecondition and NotFound."""
    model = access.allowed(app, caller, "runs.download", tuned_model_id)
    folder = adapter(app, model, epoch)
    if not folders.is_whole(folder):
        raise FailedPrecondition(
            f"The weights of tunedModels/{model.id} are missing or damaged on disk. Tune it again."
        )
    return _zipped(folder)


def adapter(app: App, model: TunedModel, epoch: int | None = None) -> Path:
    """The folder of the weights that a tuned model answers with, or those after an epoch, which
    are there as soon as they were written. Raises FailedPrecondition and NotFound."""
    if epoch is None:
        _check_state(model)
        return tuned_models.adapter_of(app, model)
    kept = tuned_models.epochs_of(app, model)
    if epoch not in kept:
        known = f"kept are {', '.join(map(str, kept))}" if kept else "none is kept yet"
        raise NotFound(f"tunedModels/{model.id} has no weights of epoch {epoch}: {known}.")
    if not folders.is_whole(kept[epoch]):
        raise FailedPrecondition(
            f"The weights of epoch {epoch} of tunedModels/{model.id} are damaged on disk; ask the "
            "model itself, or another epoch."
        )
    return kept[epoch]


def _check_state(model: TunedModel) -> None:
    if model.state is State.ACTIVE:
        return
    why = "its tuning has not finished yet"
    if model.state is State.FAILED:
        why = model.failure.message if model.failure else "its tuning failed"
    raise FailedPrecondition(f"tunedModels/{model.id} is {model.state.value}: {why}")


def _zipped(folder: Path) -> IO[bytes]:
    with ExitStack() as opened:
        made = opened.enter_context(TemporaryFile())
        try:
            # Weights are noise to a compressor.
            with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
                for path in sorted(folder.iterdir()):
                    archive.write(path, path.name)
        except FileNotFoundError as error:  # Somebody deletes it at this moment.
            raise FailedPrecondition("The tuned model was deleted meanwhile.") from error
        made.seek(0)
        opened.pop_all()  # The caller closes it.
        return made


def _last_step(model: TunedModel, epoch: int) -> int:
    # With validation data of the caller's no example is held out.
    held_out = 0 if model.holdout is None else model.held_out_count
    return math.ceil(epoch * (model.example_count - held_out) / model.hyperparameters.batch_size)


def _with_failure(model: TunedModel) -> Sequence[Snapshot]:
    """The steps, and the one that was not finite, which is no snapshot of its own."""
    failure, told = model.failure, model.snapshots
    if failure is None or failure.reason != NOT_FINITE or failure.step is None or not told:
        return told
    broken = Snapshot(failure.step, told[-1].epoch, math.nan, told[-1].compute_time)
    return [*(snapshot for snapshot in told if snapshot.step < failure.step), broken]


def _run(app: App, model: TunedModel) -> curve.Run:
    chosen = model.hyperparameters
    return curve.Run(
        example_count=model.example_count,
        held_out_count=model.held_out_count,
        epoch_count=chosen.epoch_count,
        batch_size=chosen.batch_size,
        learning_rate=chosen.learning_rate,
        total_steps=model.total_steps,
        default_learning_rate=_default_learning_rate(app, model),
        is_over=model.state is not State.CREATING,
    )


def _default_learning_rate(app: App, model: TunedModel) -> float | None:
    """None where the base model is no longer in the catalog."""
    try:
        base = app.catalog.find(model.base_model)
    except NotFound:
        return None
    return rules.choose(model.example_count, base).learning_rate
