"""TensorBoard reads back what was logged; the other trackers are called as they are to be."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kamerton.errors import FailedPrecondition, InvalidArgument
from kamerton.trackers import open_tracker
from kamerton.types import Snapshot

BEGAN = datetime(2026, 11, 21, 8, tzinfo=UTC)
CHOSEN: dict[str, float | str] = {
    "epoch_count": 2,
    "learning_rate": 0.001,
    "base_model": "kamerton-nano-001",
}
Calls = list[tuple[str, tuple[Any, ...], dict[str, Any]]]


def snapshots(count: int = 4) -> list[Snapshot]:
    return [
        Snapshot(
            step,
            1,
            4 / step,
            BEGAN + timedelta(seconds=step),
            held_out_loss=3 / step if step % 2 == 0 else None,
            start_loss=5.0 if step == 1 else None,
            smoothed_loss=4.5 / step,
            learning_rate=0.001,
            gradient_norm=0.5,
            tokens_per_second=1000.0,
        )
        for step in range(1, count + 1)
    ]


LAST = {
    "train/loss": 1.0,
    "train/smoothed_loss": 1.125,
    "train/learning_rate": 0.001,
    "train/grad_norm": 0.5,
    "train/tokens_per_second": 1000.0,
    "eval/loss": 0.75,
}


def log(kind: str, folder: Path) -> None:
    with open_tracker(kind, "next-number", CHOSEN, folder) as tracker:
        for snapshot in snapshots():
            tracker.log(snapshot)


def read(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """Step, value and time of every scalar in a folder of event files, as TensorBoard has them."""
    reader = import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder)).Reload()
    assert "_hparams_/session_start_info" in events.Tags()["tensors"]
    return {
        tag: [(scalar.step, scalar.value, scalar.wall_time) for scalar in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_back_what_was_logged(tmp_path: Path) -> None:
    log("tensorboard", tmp_path)
    found = read(tmp_path / "next-number")
    assert set(found) == set(LAST)
    assert found["train/loss"][-1] == (4, 1.0, (BEGAN + timedelta(seconds=4)).timestamp())
    assert [step for step, _, _ in found["train/loss"]] == [1, 2, 3, 4]
    assert [(step, value) for step, value, _ in found["eval/loss"]] == [(0, 5), (2, 1.5), (4, 0.75)]


def test_tensorboard_shows_a_run_that_is_told_again_once(tmp_path: Path) -> None:
    log("tensorboard", tmp_path)
    log("tensorboard", tmp_path)
    assert len(list((tmp_path / "next-number").iterdir())) == 2
    assert len(read(tmp_path / "next-number")["train/loss"]) == 4


class Recorded:
    """Notes every call of its methods."""

    def __init__(self, calls: Calls, **fields: Any) -> None:
        self._calls = calls
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        return lambda *values, **named: self._calls.append((name, values, named))


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **functions: Any) -> None:
    module = ModuleType(name)
    module.__dict__.update(functions)
    monkeypatch.setitem(sys.modules, name, module)


def test_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: Calls = []
    settings = SimpleNamespace(project=None)

    def init(**named: Any) -> Recorded:
        calls.append(("init", (), named))
        return Recorded(calls)

    fake(monkeypatch, "wandb", init=init, setup=lambda: SimpleNamespace(settings=settings))
    log("wandb", tmp_path)
    named = {"project": "kamerton", "name": "next-number", "config": CHOSEN, "reinit": "create_new"}
    assert calls[0] == ("init", (), named)
    assert calls[1] == ("log", ({"eval/loss": 5.0},), {"step": 0})
    assert calls[-2:] == [("log", (LAST,), {"step": 4}), ("finish", (), {})]
    settings.project = "ours"
    log("wandb", tmp_path)
    assert [named["project"] for name, _, named in calls if name == "init"] == ["kamerton", "ours"]


def test_mlflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: Calls = []

    def start_run(**named: Any) -> SimpleNamespace:
        calls.append(("start_run", (), named))
        return SimpleNamespace(info=SimpleNamespace(run_id="7"))

    module = Recorded(calls, start_run=start_run)
    names = ("log_params", "log_metrics", "end_run")
    functions = {name: getattr(module, name) for name in names}
    fake(monkeypatch, "mlflow", start_run=start_run, **functions)
    log("mlflow", tmp_path)
    assert calls[0] == ("start_run", (), {"run_name": "next-number", "nested": True})
    assert calls[1] == ("log_params", (CHOSEN,), {"run_id": "7"})
    milliseconds = int(BEGAN.timestamp() * 1000) + 4000
    last = {"step": 4, "run_id": "7", "timestamp": milliseconds}
    assert calls[-2:] == [("log_metrics", (LAST,), last), ("end_run", (), {})]


def test_trackio_and_what_it_prints(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: Calls = []

    def init(**named: Any) -> Recorded:
        print("* Trackio project initialized")
        calls.append(("init", (), named))
        return Recorded(calls)

    fake(monkeypatch, "trackio", init=init)
    log("trackio", tmp_path)
    assert calls[0][2] == {"project": "kamerton", "name": "next-number", "config": CHOSEN}
    assert calls[-2:] == [("log", (LAST,), {"step": 4}), ("finish", (), {})]
    out, err = capsys.readouterr()
    assert out == ""
    assert "initialized" in err


def test_what_is_missing_or_does_not_start_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(
        InvalidArgument, match="'comet' is no tracker; there are tensorboard, wandb"
    ):
        log("comet", tmp_path)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InvalidArgument, match="mlflow is not installed: pip install mlflow"):
        log("mlflow", tmp_path)

    def init(**named: Any) -> None:
        raise RuntimeError("No API key configured.")

    fake(monkeypatch, "trackio", init=init)
    with pytest.raises(FailedPrecondition, match="trackio cannot start a run: No API key"):
        log("trackio", tmp_path)
