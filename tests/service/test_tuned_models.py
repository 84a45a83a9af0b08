from __future__ import annotations

import errno
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kamerton import folders
from kamerton.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from kamerton.service import operations, tuned_models
from kamerton.service.readings import Data
from kamerton.service.tuned_models import new_id
from kamerton.training.trainer_process import kept_examples
from kamerton.types import Caller, Example, Operation, State
from tests.service.conftest import ADMIN, ANN, BOB, FakeApp

PAIRS = [Example.pair("1", "2"), Example.pair("три", "четыре")]


def create(
    app: FakeApp, caller: Caller = ANN, examples: Sequence[Example] = PAIRS, **more: Any
) -> Operation:
    asked: Any = {"base_model": "gemini-1.0-pro-001", "data": Data(examples=examples), **more}
    return tuned_models.create(app, caller, **asked)


def test_create_decides_everything_before_the_answer(app: FakeApp) -> None:
    operation = create(app, display_name="Next number", asked_base_model="models/gemini-x")
    model = operation.tuned_model
    assert model.state is State.CREATING
    assert model.base_model == "kamerton-nano-001"
    assert model.asked_base_model == "models/gemini-x"
    assert model.total_steps == 3
    assert (model.temperature, model.top_p, model.top_k) == (1.0, 0.95, 64)
    assert operations.get(app, ANN, model.id, operation.id) == operation
    assert kept_examples(app.folder(model.uid) / "examples") == PAIRS
    assert app.runner.woken == 1


def test_why_each_hyperparameter_was_chosen_stays_with_the_model(app: FakeApp) -> None:
    made = create(app, batch_size=2).tuned_model
    why = dict(made.reasons)
    assert why["epoch_count"] == "5 for at most 500 examples"
    assert why["batch_size"] == "given"
    assert tuned_models.get(app, ANN, made.id).reasons == made.reasons


def test_an_adapter_can_be_chosen_and_is_kept_by_who_goes_on(app: FakeApp) -> None:
    first = create(app, adapter_size=32, target_modules=("q_proj",), lora_dropout=0.5).tuned_model
    kept = tuned_models.get(app, ANN, first.id).hyperparameters
    assert (kept.lora_rank, kept.lora_alpha, kept.lora_dropout) == (32, 64, 0.5)
    assert kept.target_modules == ("q_proj",)
    folders.publish(tuned_models.adapter_of(app, first), lambda folder: None)
    app.runner.finish_all()
    again = create(app, source=first.id).tuned_model
    assert again.hyperparameters == replace(kept, lora_dropout=0.0)
    assert dict(again.reasons)["lora_rank"] == "of the tuned model that it goes on from"
    with pytest.raises(InvalidArgument, match="goes on from") as caught:
        create(app, source=first.id, adapter_size=8, rslora=False)
    assert [violation.field for violation in caught.value.violations] == ["adapter_size"]


def test_everything_wrong_is_named_at_once_and_nothing_is_kept(app: FakeApp) -> None:
    with pytest.raises(InvalidArgument) as caught:
        create(
            app,
            examples=[*PAIRS, Example.pair("", "x"), Example.pair("x", "y" * 5001)],
            epoch_count=0,
            temperature=3.0,
            display_name="x" * 41,
            tuned_model_id="Not-An-Id",
        )
    assert {violation.field for violation in caught.value.violations} == {
        "examples[2].text_input",
        "examples[3].output",
        "epoch_count",
        "temperature",
        "display_name",
        "tuned_model_id",
    }
    assert list((app.settings.data / "tuned_models").iterdir()) == []
    assert tuned_models.list_(app, ANN, page_size=10).items == ()


def test_no_examples_are_refused(app: FakeApp) -> None:
    with pytest.raises(InvalidArgument):
        create(app, examples=[])


def test_a_taken_id_is_refused_and_leaves_nothing(app: FakeApp) -> None:
    create(app, tuned_model_id="mine")
    with pytest.raises(AlreadyExists):
        create(app, tuned_model_id="mine")
    assert len(list((app.settings.data / "tuned_models").iterdir())) == 1


def test_a_full_queue_is_told(app: FakeApp) -> None:
    for _ in range(5):
        create(app)
    with pytest.raises(ResourceExhausted):
        create(app)


def test_an_unknown_base_is_not_found(app: FakeApp) -> None:
    with pytest.raises(NotFound, match="gpt-5"):
        create(app, base_model="gpt-5")


def test_long_examples_are_counted(app: FakeApp) -> None:
    long = Example.pair("слово " * 2000, "x")
    assert create(app, examples=[*PAIRS, long]).tuned_model.truncated_example_count == 1


@pytest.mark.parametrize(
    ("display_name", "pattern"),
    [
        ("number generator model", r"number-generator-model-[a-z0-9]{12}"),
        ("42 is THE answer!", r"is-the-answer-[a-z0-9]{12}"),
        ("x" * 40, r"x{27}-[a-z0-9]{12}"),
        ("Число", r"[a-z][a-z0-9]{11}"),
        ("Café 七", r"cafe-[a-z0-9]{12}"),
        ("", r"[a-z][a-z0-9]{11}"),
        ("--- 9", r"[a-z][a-z0-9]{11}"),
    ],
)
def test_ids_are_made_from_names(display_name: str, pattern: str) -> None:
    id = new_id(display_name)
    assert re.fullmatch(pattern, id)
    assert tuned_models.ID.fullmatch(id)


def test_others_see_neither_it_nor_whether_it_exists(app: FakeApp) -> None:
    operation = create(app, tuned_model_id="anns")
    with pytest.raises(PermissionDenied) as theirs:
        tuned_models.get(app, BOB, "anns")
    with pytest.raises(PermissionDenied) as missing:
        tuned_models.get(app, BOB, "nothing")
    assert theirs.value.message.replace("anns", "nothing") == missing.value.message
    with pytest.raises(PermissionDenied):
        operations.get(app, BOB, "anns", operation.id)
    for verb in (tuned_models.delete, tuned_models.cancel):
        with pytest.raises(PermissionDenied):
            verb(app, BOB, "anns")
    assert tuned_models.list_(app, BOB, page_size=10).items == ()
    assert operations.list_(app, BOB, None, page_size=10).items == ()
    assert tuned_models.get(app, ADMIN, "anns").id == "anns"
    with pytest.raises(NotFound):
        tuned_models.get(app, ADMIN, "nothing")


def test_without_the_scope_nothing_changes(app: FakeApp) -> None:
    create(app, tuned_model_id="mine")
    reader = Caller("ann@x.org", frozenset({"infer"}))
    with pytest.raises(PermissionDenied, match="--scope tuning"):
        create(app, reader)
    with pytest.raises(PermissionDenied):
        tuned_models.delete(app, reader, "mine")
    assert tuned_models.get(app, reader, "mine").id == "mine"


def test_patch_changes_what_it_names(app: FakeApp) -> None:
    create(app, tuned_model_id="mine", display_name="old", temperature=0.5)
    changes = {"display_name": "new", "temperature": None, "reader_project_numbers": (1, 2)}
    patched = tuned_models.patch(app, ANN, "mine", changes)
    assert patched == tuned_models.get(app, ANN, "mine")
    assert (patched.display_name, patched.temperature) == ("new", 1.0)
    assert patched.reader_project_numbers == (1, 2)
    assert patched.update_time > patched.create_time


@pytest.mark.parametrize(
    "changes", [{"state": "ACTIVE"}, {"top_p": 1.5}, {"display_name": "x" * 41}]
)
def test_patch_refuses_what_cannot_be(app: FakeApp, changes: dict[str, Any]) -> None:
    create(app, tuned_model_id="mine")
    with pytest.raises(InvalidArgument):
        tuned_models.patch(app, ANN, "mine", changes)


def test_a_filter_of_words(app: FakeApp) -> None:
    create(app, tuned_model_id="a", display_name="support replies")
    create(app, BOB, tuned_model_id="b", display_name="support letters")

    def found(caller: Caller, filter: str) -> list[str]:
        page = tuned_models.list_(app, caller, page_size=10, filter=filter)
        return [model.id for model in page.items]

    assert found(ADMIN, "Support") == ["b", "a"]
    assert found(ADMIN, "support letters") == ["b"]
    assert found(ADMIN, "owner:me") == []
    assert found(BOB, "owner:me support") == ["b"]
    assert found(ADMIN, "readers:everyone") == []


def test_a_server_that_stops_begins_nothing(app: FakeApp) -> None:
    app.closing = True
    with pytest.raises(Unavailable):
        create(app, tuned_model_id="late")
    app.closing = False
    assert tuned_models.list_(app, ANN, page_size=9).items == ()


def test_a_filter_has_an_end(app: FakeApp) -> None:
    assert tuned_models.list_(app, ANN, page_size=1, filter="x" * 1000).items == ()
    with pytest.raises(InvalidArgument, match="filter: 60000 characters"):
        tuned_models.list_(app, ANN, page_size=1, filter="x" * 60_000)


def test_a_page_token_is_good_for_its_own_list_only(app: FakeApp) -> None:
    for name in ("a", "b", "c"):
        create(app, tuned_model_id=name, display_name="numbers")
    token = tuned_models.list_(app, ANN, page_size=1, filter="numbers").next_page_token
    page = tuned_models.list_(app, ANN, page_size=9, filter="numbers", page_token=token)
    assert [model.id for model in page.items] == ["b", "a"]
    for caller, filter in ((ANN, ""), (ANN, "numbers numbers"), (ADMIN, "numbers")):
        with pytest.raises(InvalidArgument, match="page_token"):
            tuned_models.list_(app, caller, page_size=9, filter=filter, page_token=token)
    token = operations.list_(app, ANN, None, page_size=1).next_page_token
    assert len(operations.list_(app, ANN, None, page_size=9, page_token=token).items) == 2
    for caller, model in ((ANN, "a"), (ADMIN, None)):
        with pytest.raises(InvalidArgument, match="page_token"):
            operations.list_(app, caller, model, page_size=9, page_token=token)


def test_waiting_ends_with_the_run_the_time_or_the_client(app: FakeApp) -> None:
    id = create(app, tuned_model_id="mine").id
    start = time.monotonic()
    assert not operations.wait(app, ANN, "mine", id, seconds=0.3).done
    assert 0.3 <= time.monotonic() - start < 2
    start = time.monotonic()
    assert not operations.wait(app, ANN, "mine", id, seconds=60, gone=lambda: True).done
    ending = threading.Timer(0.3, app.runner.finish_all)
    ending.start()
    assert operations.wait(app, ANN, "mine", id, seconds=60).done
    assert operations.wait(app, ANN, "mine", id, seconds=60).done
    assert time.monotonic() - start < 10
    ending.join()


def test_whoever_waits_long_looks_less_often(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    id = create(app, tuned_model_id="mine").id
    pauses: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(pauses), sleep=pauses.append)
    monkeypatch.setattr(operations, "time", clock)
    assert not operations.wait(app, ANN, "mine", id, seconds=60).done
    assert pauses[0] == 0.1 and max(pauses) == 1.0 and sum(pauses) == pytest.approx(60)
    assert len(pauses) < 70


def test_delete_frees_everything(app: FakeApp) -> None:
    model = create(app, tuned_model_id="mine").tuned_model
    tuned_models.delete(app, ANN, "mine")
    assert not app.folder(model.uid).exists()
    assert app.engine.forgotten == [app.folder(model.uid) / "adapter"]
    assert create(app, tuned_model_id="mine").tuned_model.uid != model.uid


def test_continuing_needs_an_active_source(app: FakeApp) -> None:
    parent = create(app, tuned_model_id="parent").tuned_model
    with pytest.raises(FailedPrecondition, match="CREATING"):
        create(app, source="parent")

    def write(folder: Path) -> None:
        (folder / "weights").write_text("w")

    folders.publish(app.folder(parent.uid) / "adapter", write)
    app.runner.finish_all()
    child = create(app, source="parent").tuned_model
    assert (child.source, child.base_model) == ("parent", "kamerton-nano-001")
    assert (app.folder(child.uid) / "parent" / "weights").read_text() == "w"
    with pytest.raises(PermissionDenied):
        create(app, BOB, source="parent")


def test_cancel_before_anybody_works_on_it(app: FakeApp) -> None:
    operation = create(app, tuned_model_id="mine")
    operations.cancel(app, ANN, "mine", operation.id)
    done = operations.get(app, ANN, "mine", operation.id)
    assert done.done and done.cancelled
    assert done.tuned_model.state is State.FAILED
    with pytest.raises(NotFound):
        operations.get(app, ANN, "mine", "another")


def test_a_damaged_source_is_refused_and_nothing_is_kept(app: FakeApp) -> None:
    parent = create(app, tuned_model_id="parent").tuned_model
    app.runner.finish_all()
    (app.folder(parent.uid) / "adapter").mkdir()
    with pytest.raises(FailedPrecondition, match="missing or damaged"):
        create(app, source="parent")
    assert [f.name for f in (app.settings.data / "tuned_models").iterdir()] == [parent.uid]


def test_a_full_disk_is_told_and_nothing_is_kept(
    app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(examples: object, folder: Path, held_out: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tuned_models, "keep_examples", full)
    with pytest.raises(ResourceExhausted, match="No space left"):
        create(app)
    assert list((app.settings.data / "tuned_models").iterdir()) == []


def test_examples_that_were_cut_are_not_trained_on(app: FakeApp) -> None:
    folder = app.folder(create(app).tuned_model.uid) / "examples"
    file = folder / "examples.jsonl"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(FailedPrecondition, match="missing or damaged"):
        kept_examples(folder)
