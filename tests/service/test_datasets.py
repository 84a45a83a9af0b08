"""The check inside create, before it, and by itself: findings, held-out examples, budgets."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kamerton import folders
from kamerton.errors import (
    AlreadyExists,
    BadDataset,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from kamerton.inference.catalog import EMBEDDED
from kamerton.service import datasets, probes, readings, tuned_models
from kamerton.service.app import NoTrainingStack
from kamerton.service.plans import Options
from kamerton.service.probes import Probes
from kamerton.service.readings import Data
from kamerton.training import probe as probing
from kamerton.training import rows as training_rows
from kamerton.training.estimate import Probe
from kamerton.training.trainer_process import kept_examples, kept_held_out
from kamerton.types import Budget, Caller, Content, Example, Holdout, Operation, TunedModel
from tests.service.conftest import ANN, BOB, FakeApp
from tests.service.test_files import uploaded

FEW = [Example.pair(f"What comes after {n}?", f"{n + 1}") for n in range(15)]
MANY = [Example.pair(f"Что идёт после числа {n}?", f"Число {n + 1}") for n in range(50)]
FEW_ROWS = [{"input": f"What comes after {n}?", "output": f"{n + 1}"} for n in range(15)]
EMPTY = Example.pair("What is this?", "")
ECHO = Example.pair("same", "same")
PROBE = Probe(0.1, 0.001, 0.2, 10_000_000, 100.0)


@pytest.fixture(autouse=True)
def probed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Base models that were measured, in no time."""
    asked: list[str] = []

    def probe(base_model: Any, device: str = "auto", seconds: float = 8.0) -> Probe:
        asked.append(base_model.name)
        return PROBE

    monkeypatch.setattr(probing, "probe", probe)
    return asked


def create(
    app: FakeApp, examples: Sequence[Example] = MANY, caller: Caller = ANN, **more: Any
) -> Operation:
    asked: Any = {"base_model": EMBEDDED.name, "data": Data(examples=examples), **more}
    return tuned_models.create(app, caller, **asked)


def created(app: FakeApp, examples: Sequence[Example] = MANY, **more: Any) -> TunedModel:
    """As it is known to whoever asks for it later."""
    return tuned_models.get(app, ANN, create(app, examples, **more).tuned_model.id)


def refused(app: FakeApp, examples: Sequence[Example] = MANY, **more: Any) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        create(app, examples, **more)
    assert list((app.settings.data / "tuned_models").iterdir()) == []
    return caught.value


def fields(error: InvalidArgument) -> list[str]:
    return [violation.field for violation in error.violations]


def codes(report: Any) -> list[str]:
    return [finding.code for finding in report.findings]


# --- what the checks say --------------------------------------------------------------------------


def test_errors_refuse_with_all_that_was_found(app: FakeApp) -> None:
    error = refused(app, [*MANY, EMPTY, ECHO, ECHO])
    assert isinstance(error, BadDataset)
    assert fields(error) == ["examples[50].output"]
    assert error.violations[0].description == "is empty"
    assert "K101" in codes(error.report) and "K201" in codes(error.report)


def test_errors_of_a_file_name_its_lines(app: FakeApp) -> None:
    lines = [json.dumps({"text_input": "1", "output": text}) for text in ("2", "", "4")]
    uploaded(app, "\n".join([*lines, "{"]), file_id="x", display_name="train.jsonl")
    error = refused(app, data=Data("files/x"))
    assert isinstance(error, BadDataset)
    told = [(violation.field, violation.description[:14]) for violation in error.violations]
    assert told == [("file_uri", "line 2: output"), ("file_uri", "line 4 is not ")]
    assert error.message.startswith("train.jsonl: 2 of 4 rows cannot be used; line ")


def test_a_refusal_names_a_file_once_and_tells_what_else_is_wrong(app: FakeApp) -> None:
    uploaded(app, b'{"text_input": "1", "output": "\xff"}\n', file_id="x", display_name="a.jsonl")
    error = refused(app, data=Data("files/x"), options=Options(Budget(max_tokens=-1)))
    assert fields(error) == ["budget.max_tokens", "file_uri"]
    assert error.message.startswith("a.jsonl: not UTF-8 text")
    assert error.message.count("a.jsonl") == 1
    assert "budget.max_tokens must be above 0" in error.message


def test_warnings_are_kept_with_the_model(app: FakeApp) -> None:
    model = created(app, [*MANY, *[ECHO] * 30])
    assert model.report is not None
    repeated = next(found for found in model.report.findings if found.code == "K201")
    assert repeated.count == 29 and len(repeated.hits) == 20
    assert model.report.statistics.example_count == 80
    assert model.report.statistics.tokens is not None


def test_what_is_allowed_is_not_told(app: FakeApp) -> None:
    model = created(app, [*MANY, ECHO, ECHO], options=Options(allow=["K201"]))
    assert model.report is not None
    assert "K201" not in codes(model.report) and "K201" in model.report.allowed
    for code, said in (("K101", "error"), ("K999", "no check")):
        error = refused_again(app, options=Options(allow=[code]))
        assert fields(error) == ["allow"] and said in error.message


def test_much_text_is_counted_only_where_it_may_be_too_long(
    app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings, "COUNTED_CHARACTERS", 1000)
    model = created(app, [*MANY, Example.pair("слово " * 2000, "x")])
    assert model.report is not None and model.report.statistics.tokens is None
    assert model.truncated_example_count == 1


def test_no_example_is_counted_twice(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Example] = []
    real = training_rows.measuring

    def measuring(*arguments: Any) -> Any:
        made = real(*arguments)

        def measure(examples: Sequence[Example]) -> Any:
            counted.extend(examples)
            return made.measure(examples)

        return replace(made, measure=measure)

    monkeypatch.setattr(training_rows, "measuring", measuring)
    create(app, [*MANY, *MANY], options=Options(Budget(max_tokens=100_000)))
    assert len(counted) == len(MANY)


# --- held-out examples ----------------------------------------------------------------------------


def test_examples_are_held_out(app: FakeApp) -> None:
    model = created(app)
    folder = app.folder(model.uid) / "examples"
    trained, held_out = kept_examples(folder), kept_held_out(folder)
    assert (model.held_out_count, model.example_count) == (len(held_out), 50)
    assert len(held_out) == 5 and len(trained) == 45
    assert [MANY[place] for place in model.held_out_rows] == held_out
    assert sorted(map(repr, [*trained, *held_out])) == sorted(map(repr, MANY))
    assert model.holdout == Holdout()
    assert model.total_steps == 57  # of 45 examples, 5 epochs, batches of 4


def test_the_same_data_are_split_the_same(app: FakeApp) -> None:
    assert created(app).held_out_rows == created(app).held_out_rows
    other = created(app, options=Options(holdout=Holdout(seed=9)))
    assert other.held_out_rows != created(app).held_out_rows
    assert other.holdout == Holdout(seed=9)


def test_of_few_examples_none_is_held_out(app: FakeApp) -> None:
    model = created(app, FEW)
    assert (model.holdout, model.held_out_count, model.held_out_rows) == (None, 0, ())
    assert model.total_steps == 19
    assert created(app, options=Options(holdout=Holdout(share=0.0))).held_out_count == 0
    assert created(app, FEW, options=Options(holdout=Holdout(from_examples=10))).held_out_count == 4


@pytest.mark.parametrize(
    "holdout",
    [Holdout(share=-0.1), Holdout(share=1.0), Holdout(share=float("nan")), Holdout(at_least=0)],
)
def test_a_split_that_cannot_be(app: FakeApp, holdout: Holdout) -> None:
    error = refused(app, options=Options(holdout=holdout))
    assert all(field.startswith("holdout.") for field in fields(error))


def test_validation_data_take_the_place_of_held_out_examples(app: FakeApp) -> None:
    turns = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]
    model = created(app, validation=Data(rows=[{"messages": turns}, {"input": "3", "output": "4"}]))
    folder = app.folder(model.uid) / "examples"
    assert len(kept_examples(folder)) == 50 and model.total_steps == 63
    assert kept_held_out(folder) == [Example.pair("1", "2"), Example.pair("3", "4")]
    assert (model.holdout, model.held_out_count, model.held_out_rows) == (None, 2, ())


def test_an_estimate_counts_validation_data_as_held_out(app: FakeApp) -> None:
    made = check(app, FEW_ROWS, validation=Data(examples=MANY[:3]))
    assert made.estimate.held_out_count == 3


def test_rows_that_are_in_both_are_told(app: FakeApp) -> None:
    rows = [{"text_input": MANY[3].contents[0].text, "output": MANY[3].output}]
    model = created(app, validation=Data(rows=rows))
    assert model.report is not None and "K205" in codes(model.report)


def test_bad_validation_data_are_refused_as_such(app: FakeApp) -> None:
    rows = [{"text_input": "1", "output": "2"}, {"text_input": "1", "output": ""}]
    assert fields(refused(app, validation=Data(rows=rows))) == ["validation_examples[1].output"]
    uploaded(app, "\n".join(map(json.dumps, rows)), file_id="x")
    error = refused(app, validation=Data("files/x"))
    assert fields(error) == ["validation_file_uri"]
    assert error.violations[0].description == "line 2: output is empty"
    assert error.message == "validation data: line 2: output is empty"
    mixed = refused(app, data=Data("files/x"), validation=Data(rows=rows))
    assert mixed.message.endswith("validation data: examples[1].output is empty")
    assert fields(refused(app, validation=Data("gs://x"))) == ["validation_file_uri"]
    both = refused(app, validation=Data(rows=rows[:1]), options=Options(holdout=Holdout()))
    assert fields(both) == ["holdout"]


def test_two_large_files_of_one_request_do_not_wait_for_each_other(
    app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kamerton.service.files.SMALL_BYTES", 1)
    monkeypatch.setattr("kamerton.service.files.READING_SECONDS", 0.1)
    rows = "\n".join(json.dumps({"input": e.contents[0].text, "output": e.output}) for e in MANY)
    for id in ("x", "y"):
        uploaded(app, rows, file_id=id)
    assert created(app, data=Data("files/x"), validation=Data("files/y")).held_out_count == 50


def test_named_columns_of_a_file(app: FakeApp) -> None:
    uploaded(app, "вопрос,ответ,output\n1,2,x\n3,4,y\n", file_id="x")
    data = Data("files/x", columns=("вопрос", "ответ"))
    model = created(app, data=data)
    wanted = [Example.pair("1", "2"), Example.pair("3", "4")]
    assert kept_examples(app.folder(model.uid) / "examples") == wanted
    error = refused_again(app, data=Data(examples=MANY, columns=("q", "a")))
    assert fields(error) == ["input_key"]


def refused_again(app: FakeApp, **more: Any) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        create(app, **more)
    return caught.value


# --- budgets --------------------------------------------------------------------------------------


def test_a_budget_is_kept_with_the_model(app: FakeApp) -> None:
    budget = Budget(max_tokens=5000, max_seconds=60.0)
    assert created(app, options=Options(budget)).budget == budget


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (Options(Budget(max_tokens=0)), "budget.max_tokens"),
        (Options(Budget(max_tokens=-5)), "budget.max_tokens"),
        (Options(Budget(max_seconds=float("inf"))), "budget.max_seconds"),
        (Options(Budget(max_seconds=float("nan"))), "budget.max_seconds"),
        (Options(Budget(max_tokens=2**63)), "budget.max_tokens"),
        (Options(Budget(max_tokens=10**400)), "budget.max_tokens"),
        (Options(max_cost=-1.0), "budget.max_cost"),
        (Options(max_cost=float("inf")), "budget.max_cost"),
        (Options(max_cost=float("-inf")), "budget.max_cost"),
        (Options(max_cost=float("nan")), "budget.max_cost"),
        (Options(Budget(max_tokens=3)), "budget.max_tokens"),
    ],
)
def test_a_budget_that_cannot_be(app: FakeApp, options: Options, field: str) -> None:
    app.settings = replace(app.settings, price_per_million_tokens=2.0)
    assert fields(refused(app, options=options)) == [field]


def test_a_cost_needs_a_price(app: FakeApp) -> None:
    error = refused(app, options=Options(max_cost=1.0))
    assert fields(error) == ["budget.max_cost"]
    assert "KAMERTON_PRICE_PER_MILLION_TOKENS" in error.message
    app.settings = replace(app.settings, price_per_million_tokens=2.0)
    assert created(app, options=Options(max_cost=0.01)).budget == Budget(max_tokens=5000)
    both = Options(Budget(max_tokens=4000), max_cost=0.01)
    assert created(app, options=both).budget.max_tokens == 4000
    for cost in (1e-7, 1e20, 1e308):
        assert fields(refused_again(app, options=Options(max_cost=cost))) == ["budget.max_cost"]
    app.settings = replace(app.settings, price_per_million_tokens=5e-324)
    assert fields(refused_again(app, options=Options(max_cost=1.0))) == ["budget.max_cost"]


# --- preview --------------------------------------------------------------------------------------


def preview(app: FakeApp, examples: Sequence[Example] = MANY, **more: Any) -> Any:
    asked: Any = {"base_model": EMBEDDED.name, "data": Data(examples=examples), **more}
    return tuned_models.preview(app, ANN, **asked)


def test_a_preview_tells_what_would_happen_and_does_nothing(app: FakeApp) -> None:
    made = preview(app, tuned_model_id="mine")
    assert (made.tuned_model.id, made.tuned_model.total_steps) == ("mine", 57)
    assert made.estimate.total_steps == 57
    assert (made.estimate.example_count, made.estimate.held_out_count) == (45, 5)
    assert made.tuned_model.report is not None
    assert list((app.settings.data / "tuned_models").iterdir()) == []
    assert tuned_models.list_(app, ANN, page_size=9).items == () and app.runner.woken == 0


def test_a_preview_refuses_what_create_would(app: FakeApp) -> None:
    with pytest.raises(BadDataset):
        preview(app, [EMPTY])
    with pytest.raises(NotFound):
        preview(app, base_model="gpt-5")
    with pytest.raises(PermissionDenied):
        preview(app, source="nothing")
    with pytest.raises(PermissionDenied):
        tuned_models.preview(app, Caller("a@x.org"), data=Data(examples=MANY))
    parent = create(app, tuned_model_id="mine").tuned_model
    with pytest.raises(AlreadyExists):
        preview(app, tuned_model_id="mine")
    with pytest.raises(FailedPrecondition, match="CREATING"):
        preview(app, source="mine")
    app.runner.finish_all()
    with pytest.raises(FailedPrecondition, match="damaged"):
        preview(app, source="mine")
    folders.publish(app.folder(parent.uid) / "adapter", lambda folder: None)
    assert preview(app, source="mine").tuned_model.source == "mine"
    for _ in range(5):
        create(app, FEW)
    with pytest.raises(ResourceExhausted):
        preview(app)


def test_a_preview_needs_no_training_stack(app: FakeApp) -> None:
    app.runner = NoTrainingStack()  # type: ignore[assignment]
    assert preview(app).estimate.total_steps == 57
    with pytest.raises(FailedPrecondition, match="PyTorch"):
        create(app)


# --- the verb check -------------------------------------------------------------------------------


def check(app: FakeApp, rows: Sequence[Any], caller: Caller = ANN, **more: Any) -> Any:
    return datasets.check(app, caller, Data(rows=rows), **more)


def test_rows_of_any_shape_are_checked(app: FakeApp) -> None:
    rows: list[Any] = [{"prompt": f"Question {n}", "completion": f"Answer {n}"} for n in range(15)]
    outcome = check(app, rows, options=Options(Budget(max_tokens=50)), epoch_count=2)
    assert outcome.report.shapes[0][1] == 15
    assert outcome.estimate.hyperparameters.epoch_count == 2
    assert outcome.estimate.total_steps == 8 and outcome.estimate.budget_steps is not None
    bad = check(app, [*rows, 7, {"prompt": "x", "completion": ""}])
    assert bad.estimate is None and bad.report.count("error") == 2
    (unreadable,) = [found for found in bad.report.findings if found.code == "K103"]
    assert unreadable.hits[0].number == 15 and unreadable.unit == "example"


def test_a_bad_request_is_told_before_anything_is_read(app: FakeApp) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("read")

    for more in (
        {"options": Options(Budget(max_tokens=-1))},
        {"epoch_count": 0},
        {"learning_rate": 0.1, "learning_rate_multiplier": 1.0},
    ):
        with pytest.raises(InvalidArgument), pytest.MonkeyPatch.context() as patch:
            patch.setattr(readings, "read", fail)
            check(app, [], **more)
    with pytest.raises(NotFound):
        check(app, [], base_model="gpt-5")
    with pytest.raises(PermissionDenied):
        check(app, [], Caller("a@x.org", frozenset({"infer"})))


def test_nobody_checks_anothers_file(app: FakeApp) -> None:
    uploaded(app, json.dumps({"input": "1", "output": "2"}), file_id="x")
    assert datasets.check(app, ANN, Data("files/x")).report.statistics.row_count == 1
    with pytest.raises(PermissionDenied):
        datasets.check(app, BOB, Data("files/x"))


def test_what_cannot_be_read_is_a_finding(app: FakeApp) -> None:
    uploaded(app, b'{"input": "1", "output": "\xe9t\xe9"}\n', file_id="latin")
    uploaded(app, b"\x1f\x8b\x08\x00broken", file_id="gzip")
    for id in ("latin", "gzip"):
        outcome = datasets.check(app, ANN, Data(f"files/{id}"))
        assert outcome.report.count("error") and outcome.estimate is None
    empty = check(app, [])
    assert codes(empty.report) == ["K109"]


def test_conversations_train_on_every_learned_turn(app: FakeApp) -> None:
    turns = ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    uploaded(app, json.dumps(row), file_id="x")
    model = created(app, data=Data("files/x"))
    (example,) = kept_examples(app.folder(model.uid) / "examples")
    assert example.contents[1] == Content("model", "2", learn=True)


# --- probes ---------------------------------------------------------------------------------------


def measured(known: Probes) -> Probe | None:
    for thread in threading.enumerate():
        if thread.name == "probe":
            thread.join(10)
    return known.find(EMBEDDED)


def test_the_first_answer_does_not_wait_for_the_probe(
    app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def slow(base_model: Any, device: str) -> Probe:
        assert gate.wait(10)
        return PROBE

    monkeypatch.setattr(probing, "probe", slow)
    rows = [{"input": f"Question {n}", "output": f"Answer {n}"} for n in range(15)]
    first = check(app, rows)
    assert first.measuring and first.estimate.seconds is None
    gate.set()
    measured(app.probes)
    second = check(app, rows)
    assert not second.measuring and second.estimate.seconds > 0
    assert second.estimate.memory_bytes > 10_000_000


def test_a_base_model_is_measured_once(tmp_path: Path, probed: list[str]) -> None:
    for _ in range(2):
        known = Probes(tmp_path, "cpu")
        known.find(EMBEDDED)
        assert measured(known) == PROBE and known.find(EMBEDDED) == PROBE
    assert probed == [EMBEDDED.name]
    measured(Probes(tmp_path, "cuda"))
    assert len(probed) == 2
    for file in tmp_path.iterdir():
        file.write_text("{")
    known = Probes(tmp_path, "cpu")
    known.find(EMBEDDED)
    assert measured(known) == PROBE and len(probed) == 3


def test_another_version_measures_again(
    tmp_path: Path, probed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("0.1.0", "0.2.0"):
        monkeypatch.setattr(probes, "__version__", version)
        known = Probes(tmp_path, "cpu")
        known.find(EMBEDDED)
        measured(known)
    assert len(probed) == 2


def test_what_cannot_be_measured_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(base_model: Any, device: str) -> Probe:
        raise FailedPrecondition("no torch")

    monkeypatch.setattr(probing, "probe", fail)
    known = Probes(tmp_path, "cpu")
    assert known.find(EMBEDDED) is None
    assert measured(known) is None and not known.measuring(EMBEDDED)
    monkeypatch.setattr(probing, "probe", lambda base_model, device: PROBE)
    assert measured(known) is None  # Not at once,
    monkeypatch.setattr(probes, "RETRY_SECONDS", 0.0)
    known.find(EMBEDDED)
    assert measured(known) == PROBE  # but after a while.
