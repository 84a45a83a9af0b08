"""How a worker carries several runs, and what it asks of its trainer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kamerton import meminfo
from kamerton.errors import InvalidArgument
from kamerton.service import worker
from kamerton.service.app import tuned_model_folder
from kamerton.service.runners import STOP
from kamerton.service.worker import Worker
from kamerton.settings import Settings, load
from kamerton.store import events, operations
from kamerton.store.database import Database
from kamerton.training.trainer_process import (
    DISK_FULL,
    Busy,
    Event,
    Failed,
    Finished,
    Left,
    Ready,
    Run,
    Stepped,
)
from kamerton.types import (
    Budget,
    Failure,
    Hyperparameters,
    Operation,
    Snapshot,
    State,
    TunedModel,
)

BASE = "kamerton-nano-001"
OTHER_BASE = "other"


class FakeTrainer:
    """Remembers what it was asked, and says what a test has it say."""

    def __init__(self, *about: object) -> None:
        self.runs: dict[str, Run] = {}
        """By the ids of their models."""
        self.given_up: list[tuple[str, bool]] = []
        self.paused: list[str] = []
        self._alive = True

    def start(self, run: Run) -> None:
        self.runs[Path(run.directory).name] = run

    def give_up(self, run: Run, keep: bool = False) -> None:
        self.given_up.append((Path(run.directory).name, keep))

    def pause(self, run: Run) -> None:
        self.paused.append(Path(run.directory).name)

    def follow(self, on_event: Callable[[Event | None], None]) -> None:
        self.say = on_event

    def alive(self) -> bool:
        return self._alive

    def exit_status(self) -> int | None:
        return None if self._alive else 1

    def kill(self) -> None:
        if self._alive:
            self._alive = False
            self.say(None)

    def step(self, id: str, step: int = 1) -> None:
        now = datetime.now(UTC)
        self.say(Stepped(self.runs[id].number, Snapshot(step, 1, 1.0 / step, now)))

    def finish(self, id: str) -> None:
        self.say(Finished(self.runs[id].number))


class FakeChannel:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, line: bytes) -> None:
        self.sent.append(line)


class Bench:
    """A worker with a fake trainer, and a queue to fill."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.settings = Settings(data=folder, base_models=f"{OTHER_BASE}={folder}", **settings)
        self.database = Database(self.settings.database_address())
        self.channel = FakeChannel()
        self.worker = Worker(self.settings, "w", self.channel)  # type: ignore[arg-type]
        self._count = 0

    @property
    def trainer(self) -> FakeTrainer:
        """The one of now."""
        trainer = self.worker._trainer
        assert isinstance(trainer, FakeTrainer)
        return trainer

    def queue(self, *ids: str, base: str = BASE, budget: Budget | None = None) -> None:
        for id in ids:
            self._count += 1
            now = datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=self._count)
            model = TunedModel(
                id=id,
                uid=id,
                base_model=base,
                asked_base_model=base,
                state=State.CREATING,
                hyperparameters=Hyperparameters(5, 4, 0.001, 0.001),
                example_count=15,
                total_steps=19,
                temperature=1.0,
                top_p=0.95,
                top_k=64,
                create_time=now,
                update_time=now,
                budget=budget or Budget(),
            )
            operations.add(self.database, Operation(f"op-{id}", model), "o", 1000)

    def turn(self, times: int = 1) -> None:
        """What the worker does when something has happened."""
        for _ in range(times):
            self.worker.hear(b"wake")
            self.worker._turn()

    def model(self, id: str) -> TunedModel:
        found = operations.get(self.database, id, f"op-{id}")
        assert found is not None
        return found.tuned_model

    def states(self, ids: Sequence[str]) -> list[str]:
        return [self.model(id).state.value for id in ids]

    def story(self, id: str) -> list[str]:
        return [event.kind for event in events.list_(self.database, id, 0, 100)]

    def carried(self) -> list[str]:
        return [carried.claim.tuned_model.id for carried in self.worker._carried.values()]


Make = Callable[..., Bench]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables, to be copied."""
    file = tmp_path_factory.mktemp("empty") / "kamerton.db"
    database = Database(f"sqlite:///{file}")
    database.migrate()
    database.close()
    return file


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: Path) -> Iterator[Make]:
    monkeypatch.setattr(worker, "TrainerProcess", FakeTrainer)
    monkeypatch.setattr(worker, "RESTART_SECONDS", 0.0)
    monkeypatch.setattr(meminfo, "is_short", lambda: False)
    monkeypatch.setattr(meminfo, "oom_kills", lambda: 0)
    benches = []

    def make(**settings: Any) -> Bench:
        shutil.copy(empty, tmp_path)
        benches.append(Bench(tmp_path, settings))
        return benches[-1]

    yield make
    for bench in benches:
        bench.database.close()
        bench.worker._database.close()


def test_a_run_has_the_budget_of_its_model(make: Make) -> None:
    bench, budget = make(), Budget(max_tokens=5000, max_seconds=60.0)
    bench.queue("a", budget=budget)
    bench.turn()
    run = bench.trainer.runs["a"]
    assert run.budget == budget
    assert run.hyperparameters == bench.model("a").hyperparameters
    assert Path(run.directory) == tuned_model_folder(bench.settings, "a")


def test_runs_join_while_others_go_on_and_end_each_by_itself(make: Make) -> None:
    bench = make(runs_together=3)
    bench.trainer.say(Ready())
    bench.queue("a", "b")
    bench.turn()
    assert bench.carried() == ["a", "b"] and bench.channel.sent == [b"ready"]
    bench.trainer.step("a")
    bench.queue("c", "d")
    bench.turn()
    assert bench.carried() == ["a", "b", "c"]  # No more than three.
    bench.trainer.step("b", 1)
    bench.trainer.finish("b")
    nan = Failure("FailedPrecondition", "The loss became nan.", "NOT_FINITE", 2)
    bench.trainer.say(Failed(bench.trainer.runs["a"].number, nan))
    bench.turn(2)
    assert bench.states("abcd") == ["FAILED", "ACTIVE", "CREATING", "CREATING"]
    assert bench.model("a").failure == nan
    assert [len(bench.model(id).snapshots) for id in "abcd"] == [1, 1, 0, 0]
    assert bench.carried() == ["c", "d"]


def test_one_after_another_where_that_is_set(make: Make) -> None:
    bench = make(runs_together=1)
    bench.queue("a", "b")
    bench.turn(2)
    assert bench.carried() == ["a"]
    bench.trainer.finish("a")
    bench.turn(2)
    assert bench.carried() == ["b"]


def test_another_base_model_waits_its_turn_and_is_not_overtaken(make: Make) -> None:
    bench = make()
    bench.queue("a", "b")
    bench.queue("c", base=OTHER_BASE)
    bench.queue("d")
    bench.turn(2)
    assert bench.carried() == ["a", "b"]
    bench.trainer.finish("a")
    bench.turn(2)
    assert bench.carried() == ["b"]  # There would be room for d.
    bench.trainer.finish("b")
    bench.turn(2)
    assert bench.carried() == ["c"]
    assert bench.trainer.runs["c"].base_model.name == OTHER_BASE
    bench.trainer.finish("c")
    bench.turn(2)
    assert bench.carried() == ["d"]


def test_a_cancel_is_for_its_own_run_and_ends_nobody_elses_trainer(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "GIVE_UP_SECONDS", -1.0)  # No trainer hears as fast as that.
    bench = make()
    bench.queue("a", "b", "c")
    bench.turn()
    for id in "abc":
        bench.trainer.step(id)
    bench.turn()
    operations.cancel(bench.database, "a")
    operations.cancel(bench.database, "b", keep=True)
    bench.turn()
    trainer = bench.trainer
    assert trainer.given_up == [("a", False), ("b", True)] and trainer.alive()
    for id in "ab":
        trainer.finish(id)
    bench.turn()
    operations.cancel(bench.database, "c")
    bench.turn()
    assert not trainer.alive()  # It had no other.


def test_a_trainer_that_is_killed_costs_no_run_and_they_go_on_together(make: Make) -> None:
    bench = make(max_attempts=1)
    bench.queue(*"abc")
    for attempt in range(4):
        bench.turn()
        assert sorted(bench.carried()) == ["a", "b", "c"]
        for id in "abc":
            bench.trainer.step(id, attempt + 1)
        bench.turn()
        bench.trainer.kill()
        bench.turn()
    assert bench.states("abc") == ["CREATING"] * 3
    assert bench.story("b").count("trainer_died") == 4


@pytest.mark.parametrize(
    ("killer", "fatal", "attempts"), [("a", 3, 3), ("c", 1, 1), ("c", 3, 1), ("e", 1, 3)]
)
def test_a_run_that_kills_its_trainer_fails_alone(
    make: Make, killer: str, fatal: int, attempts: int
) -> None:
    """Wherever in the queue it is and whatever its step is, the others become ACTIVE."""
    bench = make(runs_together=4, max_attempts=attempts)
    bench.queue(*"abcde")
    kept = dict.fromkeys("abcde", 0)
    """What is in their checkpoints: every second step."""
    at: dict[str, int] = {}
    trainer = bench.trainer
    for _ in range(100):
        bench.turn()
        if bench.trainer is not trainer:
            trainer, at = bench.trainer, dict(kept)
        for id in bench.carried():
            at[id] = at.get(id, kept[id]) + 1
            if id == killer and at[id] == fatal:
                trainer.kill()
                break
            trainer.step(id, at[id])
            kept[id] = max(kept[id], at[id] - at[id] % 2)
            if at[id] == 6:
                trainer.finish(id)
        if all(state != "CREATING" for state in bench.states("abcde")):
            break
    states = dict(zip("abcde", bench.states("abcde"), strict=True))
    assert states.pop(killer) == "FAILED" and set(states.values()) == {"ACTIVE"}, states
    failure = bench.model(killer).failure
    assert failure is not None and failure.reason == "TRAINER_DIED"


def test_a_suspect_joins_those_with_progress_and_nobody_joins_it(make: Make) -> None:
    bench = make()
    bench.queue("a", "b")
    bench.turn()
    bench.trainer.kill()
    bench.turn(2)
    assert bench.carried() == ["a"]
    bench.trainer.step("a")
    bench.queue("c")
    bench.turn(2)
    assert bench.carried() == ["a", "b"]
    bench.trainer.step("b")
    bench.turn(2)
    assert bench.carried() == ["a", "b", "c"]


def test_steps_that_were_known_before_are_no_progress(make: Make) -> None:
    bench = make()
    bench.queue("a", "b")
    bench.turn()
    bench.trainer.step("a", 1)
    bench.trainer.step("a", 2)
    bench.turn()
    bench.trainer.kill()
    bench.turn(2)
    bench.trainer.step("a", 2)
    bench.turn(2)
    assert bench.carried() == ["a"]  # B is a suspect, and of a nothing is known either.
    bench.trainer.step("a", 3)
    bench.turn(2)
    assert bench.carried() == ["a", "b"]


def test_too_many_for_the_memory_become_fewer_and_no_attempt_counts(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = [0]
    monkeypatch.setattr(meminfo, "oom_kills", lambda: killed[0])
    bench = make(max_attempts=1)
    bench.queue(*"abcd")
    for most in (4, 2, 1):
        bench.turn()
        assert len(bench.carried()) == most
        killed[0] += 1
        bench.trainer.kill()
        bench.turn()
    assert bench.states("abcd") == ["CREATING"] * 4
    bench.turn()
    assert bench.trainer.runs["a"].micro_batch == 2  # It was alone: now by its rows.
    assert "out_of_memory" in bench.story("a") and "out_of_memory" not in bench.story("b")


def test_no_other_run_is_begun_while_memory_is_short(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make()
    monkeypatch.setattr(meminfo, "is_short", lambda: True)
    bench.queue("a", "b")
    bench.turn(2)
    assert bench.carried() == ["a"]
    monkeypatch.setattr(meminfo, "is_short", lambda: False)
    bench.turn()
    assert bench.carried() == ["a", "b"]


def test_a_run_that_hangs_ends_the_trainer_and_they_go_on(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make()
    bench.queue("a", "b")
    bench.turn()
    first = bench.trainer
    monkeypatch.setattr(bench.worker, "_settings", replace(bench.settings, step_seconds=-1.0))
    first.say(Busy(first.runs["b"].number))
    bench.turn()
    assert not first.alive()
    bench.turn()
    assert bench.trainer is not first
    assert [bench.story(id)[-1] for id in "ab"] == ["trainer_died"] * 2


def test_a_full_disk_gives_one_run_back_and_delays_new_ones(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make()
    bench.queue("a", "b")
    bench.turn()
    full = Failure("ResourceExhausted", "The disk is full.", DISK_FULL)
    bench.trainer.say(Failed(bench.trainer.runs["a"].number, full))
    bench.turn(3)
    assert bench.carried() == ["b"] and bench.states("a") == ["CREATING"]
    bench.worker._full_until = 0.0  # The time is over.
    bench.turn()
    assert sorted(bench.carried()) == ["a", "b"]


def test_all_runs_are_written_down_when_the_server_stops(make: Make) -> None:
    bench = make()
    bench.queue("a", "b")
    bench.turn()
    bench.worker.hear(STOP)
    bench.turn()
    assert bench.trainer.paused == ["a", "b"]
    for id in "ab":
        bench.trainer.say(Left(bench.trainer.runs[id].number))
    bench.queue("c")
    bench.worker.work()  # It ends, and takes nothing more.
    assert [bench.story(id)[-1] for id in "abc"] == ["paused", "paused", "queued"]
    again = operations.claim(bench.database, "x", 60.0)
    assert again is not None and again.attempts_without_progress == 1


def test_a_run_whose_lease_ran_out_is_not_claimed_beside_itself(make: Make) -> None:
    bench = make(lease_seconds=0.0)
    bench.queue("a", "b")
    bench.turn(3)
    assert bench.carried() == ["a", "b"]
    assert bench.story("a") == ["queued", "started"]


def test_no_run_at_a_time_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="RUNS_TOGETHER=0"):
        load(runs_together=0)


def test_what_memory_there_is(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:       1000 kB\nMemFree:  5 kB\nMemAvailable:   101 kB\n")
    assert not meminfo.is_short(file)
    file.write_text("MemTotal:       1000 kB\nMemFree:  5 kB\nMemAvailable:   99 kB\n")
    assert meminfo.is_short(file)
    assert not meminfo.is_short(tmp_path / "none")
    file.write_text("oom_kill_other 3\noom_kill 7\n")
    assert (meminfo.oom_kills(file), meminfo.oom_kills(tmp_path / "none")) == (7, 0)
