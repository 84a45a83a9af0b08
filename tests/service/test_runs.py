"""The verbs on runs: story, steps, diagnosis, card, and the weights of epochs."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kamerton import folders
from kamerton.errors import FailedPrecondition, InvalidArgument, NotFound
from kamerton.service import generation, runs, tuned_models
from kamerton.service.plans import Options
from kamerton.service.readings import Data
from kamerton.store import operations as store
from kamerton.types import (
    Content,
    EarlyStopping,
    Example,
    Failure,
    GenerationConfig,
    Snapshot,
    State,
    TunedModel,
)
from tests.service.conftest import ADMIN, ANN, CARD, FakeApp

PAIRS = [Example.pair("1", "2"), Example.pair("three", "four")]
NOW = datetime.now(UTC)


def create(app: FakeApp, early: EarlyStopping | None = None) -> TunedModel:
    options = Options() if early is None else Options(early_stopping=early)
    asked = {"base_model": "kamerton-nano-001", "data": Data(examples=PAIRS), "options": options}
    made = tuned_models.create(app, ANN, tuned_model_id="mine", **asked)  # type: ignore[arg-type]
    return made.tuned_model


def steps(*losses: float) -> list[Snapshot]:
    return [Snapshot(step, 1, loss, NOW) for step, loss in enumerate(losses, start=1)]


def begin(app: FakeApp, *losses: float) -> store.Claim:
    claim = store.claim(app.database, "w", 60)
    assert claim is not None
    store.renew(app.database, claim, 60, steps(*losses))
    return claim


def keep(app: FakeApp, model: TunedModel, epoch: int, text: str = "weights") -> Path:
    folder = app.folder(model.uid) / "epochs" / f"epoch-{epoch:04d}"
    folder.parent.mkdir(exist_ok=True)
    folders.publish(folder, lambda into: write(into, text))
    return folder


def write(folder: Path, text: str) -> None:
    (folder / "adapter_model.safetensors").write_text(text)


def test_the_story_page_by_page(app: FakeApp) -> None:
    create(app)
    begin(app)
    told = runs.events(app, ANN, "mine", after=0, most=9)
    assert [(event.number, event.kind) for event in told] == [(1, "queued"), (2, "started")]
    assert runs.events(app, ANN, "mine", after=1, most=9) == told[1:]
    assert runs.events(app, ANN, "mine", after=0, most=1) == told[:1]


def test_steps_beyond_a_number(app: FakeApp) -> None:
    create(app)
    begin(app, 3.0, 2.0, 1.0)
    assert runs.snapshots(app, ANN, "mine", after=1) == steps(3.0, 2.0, 1.0)[1:]
    assert runs.snapshots(app, ANN, "mine", after=3) == []


def test_a_run_that_broke_is_diagnosed_by_the_step_that_broke_it(app: FakeApp) -> None:
    create(app)
    claim = begin(app, *[3.0 - step / 10 for step in range(20)])
    going_on = runs.diagnose(app, ANN, "mine").diagnosis
    assert going_on.pattern != "divergence"
    store.fail(app.database, claim, Failure("FailedPrecondition", "why", "NOT_FINITE", step=21))
    found = runs.diagnose(app, ANN, "mine")
    assert found.diagnosis.pattern == "divergence"
    assert 21 in {point.step for point in found.diagnosis.evidence}
    assert found.tuned_model.state is State.FAILED


def test_a_run_whose_base_model_has_left_the_catalog_is_still_diagnosed(
    app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(app)
    begin(app, 3.0)

    def gone(name: str) -> None:
        raise NotFound(name)

    monkeypatch.setattr(type(app.catalog), "find", lambda catalog, name: gone(name))
    assert runs.diagnose(app, ANN, "mine").diagnosis.pattern == "too_short"


def test_a_card_or_why_there_is_none(app: FakeApp) -> None:
    create(app)
    with pytest.raises(NotFound, match="its run is not over"):
        runs.card(app, ANN, "mine")
    app.runner.finish_all()
    assert runs.card(app, ANN, "mine") == CARD


def test_no_card_of_a_run_that_failed(app: FakeApp) -> None:
    create(app)
    tuned_models.cancel(app, ANN, "mine")
    with pytest.raises(NotFound, match="without a model"):
        runs.card(app, ANN, "mine")


def test_epochs_that_are_whole_and_their_last_steps(app: FakeApp) -> None:
    model = create(app)
    assert runs.epochs(app, ANN, "mine") == []
    begin(app, 3.0, 2.0)  # Batches of four: the second step ends the fourth epoch.
    for epoch in (2, 4):
        keep(app, model, epoch)
    damaged = keep(app, model, 3)
    (damaged / "adapter_model.safetensors").write_text("something else")
    found = runs.epochs(app, ANN, "mine")
    assert [(e.number, e.last and e.last.step) for e in found] == [(2, 1), (4, 2)]


def test_an_epoch_answers_while_the_model_does_not(app: FakeApp) -> None:
    model = create(app)
    asked = {"contents": [Content("user", "1")], "config": GenerationConfig()}
    folder = keep(app, model, 3)
    list(generation.generate(app, ANN, tuned_model="mine", epoch=3, **asked))  # type: ignore[arg-type]
    assert app.engine.asked[-1][1] == folder
    with pytest.raises(FailedPrecondition, match="CREATING"):
        generation.generate(app, ANN, tuned_model="mine", **asked)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match=r"no weights of epoch 2: kept are 3"):
        generation.generate(app, ANN, tuned_model="mine", epoch=2, **asked)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="epoch 2"):
        generation.count_tokens(
            app, ANN, tuned_model="mine", epoch=2, contents=[Content("user", "1")]
        )


def test_what_is_deleted_is_forgotten_with_its_epochs(app: FakeApp) -> None:
    model = create(app)
    epochs = [keep(app, model, epoch) for epoch in (1, 2)]
    tuned_models.delete(app, ANN, "mine")
    assert app.engine.forgotten == [app.folder(model.uid) / "adapter", *epochs]


def test_a_download_is_the_whole_folder(app: FakeApp) -> None:
    model = create(app)
    keep(app, model, 1, "first")
    with pytest.raises(FailedPrecondition, match="CREATING"):
        runs.download(app, ANN, "mine", None)
    with runs.download(app, ANN, "mine", 1) as content, zipfile.ZipFile(content) as archive:
        assert archive.read("adapter_model.safetensors") == b"first"
        assert set(archive.namelist()) == {"adapter_model.safetensors", folders.MANIFEST}
    app.runner.finish_all()
    with pytest.raises(FailedPrecondition, match="missing or damaged"):
        runs.download(app, ANN, "mine", None)
    folders.publish(app.folder(model.uid) / "adapter", lambda into: write(into, "last"))
    with runs.download(app, ADMIN, "mine", None) as content, zipfile.ZipFile(content) as archive:
        assert archive.read("adapter_model.safetensors") == b"last"


def test_a_cancel_that_keeps_needs_a_step(app: FakeApp) -> None:
    create(app)
    tuned_models.cancel(app, ANN, "mine", keep=True)
    failed = tuned_models.get(app, ANN, "mine")
    assert failed.state is State.FAILED
    assert failed.failure is not None and failed.failure.reason == "CANCELLED"


def test_a_cancel_that_keeps_leaves_the_rest_to_the_worker(app: FakeApp) -> None:
    create(app)
    claim = begin(app, 3.0)
    woken = app.runner.woken
    tuned_models.cancel(app, ANN, "mine", keep=True)
    assert store.renew(app.database, claim, 60) == store.Hold(True, cancelled=True, keep=True)
    assert app.runner.woken == woken + 1
    assert tuned_models.get(app, ANN, "mine").state is State.CREATING


def test_early_stopping_is_kept_with_the_model(app: FakeApp) -> None:
    early = EarlyStopping("on", 7, 0.5)
    assert create(app, early).early_stopping == early
    assert tuned_models.get(app, ANN, "mine").early_stopping == early


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"mode": "perhaps"}, "mode"),
        ({"patience": 0}, "patience"),
        ({"patience": 1001}, "patience"),
        ({"min_change": -0.1}, "min_change"),
        ({"min_change": 10.5}, "min_change"),
        ({"min_change": float("nan")}, "min_change"),
        ({"min_change": float("inf")}, "min_change"),
    ],
)
def test_early_stopping_that_cannot_be_is_refused(
    app: FakeApp, changes: dict[str, float], field: str
) -> None:
    early = replace(EarlyStopping(), **changes)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument) as caught:
        create(app, early)
    assert [v.field for v in caught.value.violations] == [f"early_stopping.{field}"]
