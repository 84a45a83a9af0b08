from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kamerton.errors import AlreadyExists, ResourceExhausted, Unavailable
from kamerton.findings import Finding, Hit, Report, Spread, Statistics, Tokens
from kamerton.store import database as database_module
from kamerton.store import events, operations, tuned_models
from kamerton.store.database import Database
from kamerton.store.operations import Hold, News, Note
from kamerton.store.tuned_models import Filter
from kamerton.types import (
    Budget,
    Caller,
    Failure,
    Holdout,
    Hyperparameters,
    Operation,
    Snapshot,
    State,
    TunedModel,
)

LEASE = 60.0


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'kamerton.db'}")
    database.migrate()
    return database


ANN = Caller("ann@x.org")


def operation(id: str = "m", number: int = 0) -> Operation:
    now = datetime(2026, 11, 21, 8, 16, number, tzinfo=UTC)
    model = TunedModel(
        id=id,
        uid=f"uid-{id}",
        base_model="kamerton-nano-001",
        asked_base_model="models/gemini-1.0-pro-001",
        state=State.CREATING,
        hyperparameters=Hyperparameters(5, 4, 0.001, 0.001),
        example_count=15,
        total_steps=19,
        temperature=1.0,
        top_p=0.95,
        top_k=64,
        create_time=now,
        update_time=now,
        display_name=f"Number {id}",
        reader_project_numbers=(12,),
    )
    return Operation(f"op-{id}", model)


def snapshot(step: int, loss: float = 1.0) -> Snapshot:
    return Snapshot(step, 1, loss, datetime(2026, 11, 21, 9, tzinfo=UTC))


def test_what_goes_in_comes_out(database: Database) -> None:
    wanted = operation()
    operations.add(database, wanted, ANN.owner, 10)
    assert operations.get(database, "m", "op-m") == wanted
    assert tuned_models.get(database, "m") == wanted.tuned_model
    assert operations.get(database, "other", "op-m") is None
    assert tuned_models.get(database, "other") is None


def test_what_the_checks_said_and_what_was_held_out_comes_out(database: Database) -> None:
    finding = Finding("K204", "echo", "warning", "m", "a", 1, "line", (Hit(7, "output", "x"),))
    tokens = Tokens(Spread(10, 1, 2, 2.5, 4, 5), Spread(), Spread(), 1)
    statistics = Statistics(20, 19, Spread(), Spread(), ((10, 20),), tokens)
    report = Report("a.jsonl", "JSON lines", (("text_input, output", 20),), (finding,), statistics)
    made = operation()
    wanted = replace(
        made,
        tuned_model=replace(
            made.tuned_model,
            budget=Budget(20_000, 1.5),
            holdout=Holdout(0.2, 4, 20, 7),
            held_out_count=4,
            held_out_rows=(1, 5, 7, 9),
            report=report,
        ),
    )
    operations.add(database, wanted, ANN.owner, 10)
    assert operations.get(database, "m", "op-m") == wanted
    claim = operations.claim(database, "w1", LEASE)
    assert claim is not None and claim.tuned_model.budget == Budget(20_000, 1.5)


def test_held_out_losses_are_kept_where_they_were_measured(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    claim = operations.claim(database, "w1", LEASE)
    assert claim is not None
    measured = replace(snapshot(2), held_out_loss=0.5)
    operations.renew(database, claim, LEASE, [snapshot(1), measured])
    model = tuned_models.get(database, "m")
    assert model is not None and model.snapshots == (snapshot(1), measured)


def test_a_loss_that_is_measured_late_is_added_and_none_is_changed(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    claim = operations.claim(database, "w1", LEASE)
    assert claim is not None
    first = replace(snapshot(1), held_out_loss=0.5)
    operations.renew(database, claim, LEASE, [first, snapshot(2)])
    again = [replace(snapshot(step, 9.0), held_out_loss=0.7) for step in (1, 2)]
    operations.renew(database, claim, LEASE, again)
    model = tuned_models.get(database, "m")
    late = replace(snapshot(2), held_out_loss=0.7)
    assert model is not None and model.snapshots == (first, late)


def test_why_a_run_ended_early_is_kept(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    claim = operations.claim(database, "w1", LEASE)
    assert claim is not None and operations.finish(database, claim, "The budget ended it.")
    model = tuned_models.get(database, "m")
    assert model is not None and model.stop_reason == "The budget ended it."


def test_an_id_is_given_once(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    second = operation()
    second = replace(second, id="op2", tuned_model=replace(second.tuned_model, uid="other"))
    with pytest.raises(AlreadyExists, match="tunedModels/m already exists"):
        operations.add(database, second, ANN.owner, 10)


def test_sixteen_at_once_make_one(database: Database) -> None:
    def add(number: int) -> bool:
        made = operation()
        made = replace(
            made, id=f"op{number}", tuned_model=replace(made.tuned_model, uid=f"uid{number}")
        )
        try:
            operations.add(database, made, ANN.owner, 100)
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(add, range(16))) == 1


def test_a_full_queue_refuses(database: Database) -> None:
    operations.add(database, operation("a"), ANN.owner, 1)
    with pytest.raises(ResourceExhausted):
        operations.add(database, operation("b"), ANN.owner, 1)
    assert tuned_models.get(database, "b") is None


def test_the_oldest_run_is_claimed_first_and_once(database: Database) -> None:
    operations.add(database, operation("a", number=1), ANN.owner, 10)
    operations.add(database, operation("b", number=2), ANN.owner, 10)
    first = operations.claim(database, "w1", LEASE)
    second = operations.claim(database, "w2", LEASE)
    assert first is not None and first.tuned_model.id == "a"
    assert second is not None and second.tuned_model.id == "b"
    assert first.tuned_model.start_time is not None
    assert operations.claim(database, "w3", LEASE) is None


def test_nobody_overtakes_a_run_of_another_base_model(database: Database) -> None:
    made = operation("a", number=1)
    other = replace(made, tuned_model=replace(made.tuned_model, base_model="other"))
    operations.add(database, other, ANN.owner, 10)
    operations.add(database, operation("b", number=2), ANN.owner, 10)
    base = operation().tuned_model.base_model
    assert operations.claim(database, "w1", LEASE, base) is None
    first = operations.claim(database, "w1", LEASE, "other")
    second = operations.claim(database, "w1", LEASE, base)
    assert first is not None and first.tuned_model.id == "a" and first.attempt == 1
    assert second is not None and second.tuned_model.id == "b"


def test_a_run_that_died_without_a_step_is_a_suspect_until_it_takes_one(database: Database) -> None:
    operations.add(database, operation("a", number=1), ANN.owner, 10)
    operations.add(database, operation("b", number=2), ANN.owner, 10)
    first = operations.claim(database, "w1", LEASE, unsuspected=True)
    assert first is not None and first.tuned_model.id == "a"
    operations.give_back(database, first, Note("trainer_died", ""))
    assert operations.claim(database, "w1", LEASE, unsuspected=True) is None
    again = operations.claim(database, "w1", LEASE)
    assert again is not None and again.tuned_model.id == "a"
    operations.renew(database, again, LEASE, [snapshot(1)])
    operations.give_back(database, again, Note("trainer_died", ""))
    assert operations.claim(database, "w1", LEASE, unsuspected=True) is not None


def test_a_worker_does_not_claim_beside_itself(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    held = operations.claim(database, "w1", -1.0)
    assert held is not None
    assert operations.claim(database, "w1", LEASE, besides=[held.operation_id]) is None
    assert operations.claim(database, "w1", LEASE) is not None


def test_many_leases_are_renewed_at_once(database: Database) -> None:
    for number, id in enumerate("abc"):
        operations.add(database, operation(id, number), ANN.owner, 10)
    lost = operations.claim(database, "w1", -1.0)
    held = operations.claim(database, "w2", LEASE)
    other = operations.claim(database, "w2", LEASE)
    assert lost is not None and held is not None and other is not None
    operations.cancel(database, "uid-b", keep=True)
    told = [
        News(lost, [snapshot(1)]),
        News(other, [snapshot(1), snapshot(2)], [Note("resumed", "Goes on.", 0)]),
        News(held),
    ]
    assert operations.renew_all(database, LEASE, told) == [
        Hold(False),
        Hold(True, cancelled=True, keep=True),
        Hold(True),
    ]
    counts = {id: tuned_models.get(database, id) for id in "abc"}
    assert [len(model.snapshots) for model in counts.values() if model] == [0, 2, 0]
    assert events.list_(database, "uid-b", 0, 10)[-1].kind == "resumed"
    assert operations.claim(database, "w3", LEASE) is not None  # The third.
    assert operations.claim(database, "w3", LEASE) is None


def test_many_workers_never_claim_the_same_run(tmp_path: Path, database: Database) -> None:
    for number in range(40):
        operations.add(database, operation(f"m{number}"), ANN.owner, 100)
    databases = [Database(f"sqlite:///{tmp_path / 'kamerton.db'}") for _ in range(8)]

    def claim_all(place: int) -> list[str]:
        claimed = []
        while claim := operations.claim(databases[place], f"w{place}", LEASE):
            claimed.append(claim.operation_id)
        return claimed

    with ThreadPoolExecutor(8) as pool:
        claimed = [id for ids in pool.map(claim_all, range(8)) for id in ids]
    assert sorted(claimed) == sorted(f"op-m{number}" for number in range(40))


def test_a_worker_that_lost_its_lease_changes_nothing(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    lost = operations.claim(database, "w1", -1.0)
    held = operations.claim(database, "w2", LEASE)
    assert lost is not None and held is not None
    assert held.attempt == lost.attempt + 1
    assert operations.renew(database, lost, LEASE, [snapshot(1)]) == Hold(False)
    assert not operations.finish(database, lost)
    assert not operations.fail(database, lost, Failure("Internal", "late"))
    model = tuned_models.get(database, "m")
    assert model is not None
    assert model.state is State.CREATING
    assert model.snapshots == ()
    assert operations.renew(database, held, LEASE, [snapshot(1)]) == Hold(True)


def test_what_a_client_saw_is_never_rewritten(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    claim = operations.claim(database, "w1", LEASE)
    assert claim is not None
    operations.renew(database, claim, LEASE, [snapshot(1, 3.0), snapshot(2, 2.0)])
    operations.renew(database, claim, LEASE, [snapshot(2, 9.0), snapshot(3, 1.0)])
    model = tuned_models.get(database, "m")
    assert model is not None
    assert [(s.step, s.mean_loss) for s in model.snapshots] == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_active_and_done_come_together(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    claim = operations.claim(database, "w1", LEASE)
    assert claim is not None and operations.finish(database, claim)
    found = operations.get(database, "m", "op-m")
    assert found is not None and found.done
    assert found.tuned_model.state is State.ACTIVE
    assert found.tuned_model.complete_time is not None
    assert not operations.fail(database, claim, Failure("Internal", "too late"))


def test_a_failure_keeps_its_reason(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    claim = operations.claim(database, "w1", LEASE)
    assert claim is not None
    assert operations.fail(database, claim, Failure("FailedPrecondition", "loss became nan"))
    found = operations.get(database, "m", "op-m")
    assert found is not None and found.done
    assert found.tuned_model.state is State.FAILED
    assert found.tuned_model.failure == Failure("FailedPrecondition", "loss became nan")
    assert found.tuned_model.complete_time is None


def test_cancelling_what_nobody_works_on_ends_it(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    operations.cancel(database, "uid-m")
    found = operations.get(database, "m", "op-m")
    assert found is not None and found.done
    assert found.tuned_model.failure is not None
    assert found.tuned_model.failure.kind == "Cancelled"
    assert operations.claim(database, "w1", LEASE) is None
    operations.cancel(database, "uid-m")  # Again is no error.


def test_cancelling_a_run_in_progress_tells_its_worker(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    claim = operations.claim(database, "w1", LEASE)
    assert claim is not None
    operations.cancel(database, "uid-m")
    assert operations.renew(database, claim, LEASE) == Hold(True, True)


def test_a_dead_workers_run_is_free_at_once(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    assert operations.claim(database, "w1", LEASE) is not None
    operations.release(database, "w1")
    assert operations.claim(database, "w2", LEASE) is not None


def test_attempts_count_until_there_is_progress(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    counts = []
    for number in range(3):
        claim = operations.claim(database, f"w{number}", -1.0)
        assert claim is not None
        counts.append(claim.attempts_without_progress)
    assert claim is not None
    operations.renew(database, claim, -1.0, [snapshot(1)])
    claim = operations.claim(database, "w9", LEASE)
    assert claim is not None
    counts.append(claim.attempts_without_progress)
    assert counts == [1, 2, 3, 1]


def test_delete_takes_everything_along_and_frees_the_id(database: Database) -> None:
    operations.add(database, operation(), ANN.owner, 10)
    claim = operations.claim(database, "w1", LEASE)
    assert claim is not None
    operations.renew(database, claim, LEASE, [snapshot(1)])
    tuned_models.delete_(database, "uid-m")
    assert operations.get(database, "m", "op-m") is None
    assert not operations.exists(database, claim)
    assert operations.renew(database, claim, LEASE) == Hold(False)
    again = operation()
    again = replace(again, tuned_model=replace(again.tuned_model, uid="new"))
    operations.add(database, again, ANN.owner, 10)
    model = tuned_models.get(database, "m")
    assert model is not None and model.snapshots == ()


def test_pages_are_stable_under_inserts(database: Database) -> None:
    for number in range(5):
        operations.add(database, operation(f"m{number}", number=number), ANN.owner, 10)
    everything = Filter()
    first, after_first = tuned_models.list_(database, everything, 2, None)
    operations.add(database, operation("new", number=30), ANN.owner, 10)
    second, after_second = tuned_models.list_(database, everything, 2, after_first)
    third, end = tuned_models.list_(database, everything, 2, after_second)
    assert [model.id for model in (*first, *second, *third)] == ["m4", "m3", "m2", "m1", "m0"]
    assert end is None
    listed, place = operations.list_(database, None, None, 4, None)
    rest, end = operations.list_(database, None, None, 4, place)
    assert [o.id for o in (*listed, *rest)] == [
        "op-new", "op-m4", "op-m3", "op-m2", "op-m1", "op-m0"
    ]  # fmt: skip
    assert end is None


def ids(database: Database, filter: Filter) -> list[str]:
    return [model.id for model in tuned_models.list_(database, filter, 9, None)[0]]


def test_words_are_found_in_any_case_of_any_alphabet(database: Database) -> None:
    made = operation()
    model = replace(made.tuned_model, display_name="Число")
    operations.add(database, replace(made, tuned_model=model), ANN.owner, 10)
    assert ids(database, Filter(("чиСЛО",))) == ["m"]


def test_lists_know_owners_and_words(database: Database) -> None:
    operations.add(database, operation("a"), ANN.owner, 10)
    operations.add(database, operation("b"), "bob@x.org", 10)
    assert ids(database, Filter(held=((ANN, "OWNER"),))) == ["a"]
    assert ids(database, Filter(("NUMBER", "a"))) == ["a"]
    assert ids(database, Filter(("100%",))) == []


def test_a_locked_database_is_unavailable_and_readers_do_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.2)
    address = f"sqlite:///{tmp_path / 'kamerton.db'}"
    database, other = Database(address), Database(address)
    database.migrate()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with other.write():
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert entered.wait(5)
        start = time.monotonic()
        assert tuned_models.get(database, "m") is None
        assert time.monotonic() - start < 0.2
        with pytest.raises(Unavailable):
            operations.add(database, operation(), ANN.owner, 10)
    finally:
        leave.set()
        holder.join()
    operations.add(database, operation(), ANN.owner, 10)
