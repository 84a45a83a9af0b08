"""Held-out examples are measured and change nothing; a budget ends a run and keeps its best."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kamerton.dataset.tutorial import EXAMPLES
from kamerton.errors import Cancelled, FailedPrecondition
from kamerton.inference.weights import LoadedBase
from kamerton.training import checkpoints, rows
from kamerton.training.checkpoints import Checkpoints
from kamerton.training.hyperparameters import measured_steps
from kamerton.training.meter import Meter
from kamerton.training.outcome import read_outcome
from kamerton.training.steps import HeldOut
from kamerton.training.train import Limits, lowest, train
from kamerton.types import (
    NO_BUDGET,
    Budget,
    EarlyStopping,
    Example,
    Hyperparameters,
    Snapshot,
)

NEVER = EarlyStopping("off")

TRAINED, HELD_OUT = EXAMPLES[:11], EXAMPLES[11:]
LONG = Hyperparameters(8, 4, 0.01, 0.01, seed=3)
"""22 steps."""


def run(
    loaded: LoadedBase,
    folder: Path,
    *,
    held_out: Sequence[Example] = HELD_OUT,
    budget: Budget = NO_BUDGET,
    stop_at: int = 0,
    hyperparameters: Hyperparameters = LONG,
) -> tuple[Path, list[Snapshot]]:
    """Train in `folder`; at step `stop_at` somebody pulls the plug."""
    folder.mkdir(exist_ok=True)
    snapshots: list[Snapshot] = []

    def keep(snapshot: Snapshot) -> bool:
        snapshots.append(snapshot)
        if snapshot.step == stop_at:
            raise Cancelled("plug pulled")
        return True

    def go() -> Path:
        return train(
            loaded.base_model, TRAINED, hyperparameters, folder, keep,
            loaded=loaded, held_out=held_out, limits=Limits(budget, NEVER),
        )  # fmt: skip

    if not stop_at:
        return go(), snapshots
    with pytest.raises(Cancelled):
        go()
    return folder / "adapter", snapshots


def weights_of(adapter: Path) -> bytes:
    return (adapter / "adapter_model.safetensors").read_bytes()


def tokens_of(loaded: LoadedBase, steps: int) -> int:
    """Of the rows of so many steps."""
    lengths = [len(row.ids) for row in rows.encode_all(loaded.renderer, TRAINED, 512)]
    chosen = [rows.rows_of_step(step, len(TRAINED), LONG) for step in range(1, steps + 1)]
    return sum(lengths[place] for step in chosen for place in step)


def scripted(monkeypatch: pytest.MonkeyPatch, losses: Sequence[float]) -> None:
    """Measurements that find these losses, one after another, and before the first step 9."""
    found = iter([9.0, *losses])
    monkeypatch.setattr(HeldOut, "loss", lambda self: next(found))


def test_measuring_changes_nothing_in_what_is_learned(loaded: LoadedBase, tmp_path: Path) -> None:
    _, without = run(loaded, tmp_path / "plain", held_out=())
    _, with_ = run(loaded, tmp_path / "measured")
    last = max(folder.name for folder in (tmp_path / "plain" / "epochs").iterdir())
    plain, measured = (tmp_path / name / "epochs" / last for name in ("plain", "measured"))
    assert weights_of(plain) == weights_of(measured)
    assert [s.mean_loss for s in without] == [s.mean_loss for s in with_]
    assert {s.step for s in with_ if s.held_out_loss is not None} == measured_steps(
        len(TRAINED), LONG
    )
    assert all(s.held_out_loss is None for s in without)


def test_the_held_out_loss_is_the_mean_of_all_held_out_tokens(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weighted by tokens, whatever batches it is measured in."""
    monkeypatch.setattr(rows, "MEASURED_TOGETHER", 60)
    _, snapshots = run(loaded, tmp_path / "run")
    total, count = 0.0, 0
    for row in rows.encode_all(loaded.renderer, HELD_OUT, 512):
        ids = torch.tensor([row.ids.tolist()])
        labels = torch.full_like(ids, -100)
        for start, end in row.spans:
            labels[:, start:end] = ids[:, start:end]
        with torch.no_grad():
            total += loaded.model(input_ids=ids, labels=labels).loss.item() * row.learned
        count += row.learned
    assert snapshots[0].start_loss == pytest.approx(total / count, rel=1e-5)
    assert all(snapshot.start_loss is None for snapshot in snapshots[1:])


def test_a_budget_of_tokens_ends_the_run_before_the_step_that_would_be_too_much(
    loaded: LoadedBase, tmp_path: Path
) -> None:
    exact = tokens_of(loaded, 7)
    for most, steps in ((exact, 7), (exact - 1, 6), (exact + 1, 7)):
        folder = tmp_path / str(most)
        adapter, snapshots = run(loaded, folder, held_out=(), budget=Budget(max_tokens=most))
        assert len(snapshots) == steps
        assert read_outcome(adapter).stop_reason == (
            f"The budget of {most} tokens ended the run after step {steps} of 22; kept is that "
            "step."
        )


def test_without_held_out_examples_the_last_step_is_kept(
    loaded: LoadedBase, tmp_path: Path
) -> None:
    ended, _ = run(
        loaded, tmp_path / "ended", held_out=(), budget=Budget(max_tokens=tokens_of(loaded, 7))
    )
    (tmp_path / "stopped").mkdir()
    stopped = train(
        loaded.base_model, TRAINED, LONG, tmp_path / "stopped", lambda s: s.step < 7, loaded=loaded
    )
    assert weights_of(ended) == weights_of(stopped)


def test_the_step_with_the_lowest_held_out_loss_is_kept(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "six").mkdir()
    six = train(
        loaded.base_model, TRAINED, LONG, tmp_path / "six", lambda s: s.step < 6, loaded=loaded
    )
    # After each epoch (3, 6, 9), and at each fifth of the ten steps that the budget allows.
    scripted(monkeypatch, [3.0, 3.0, 3.0, 1.2312, 1.5, 1.5, 1.4])
    budget = Budget(max_tokens=tokens_of(loaded, 10))
    best, snapshots = run(loaded, tmp_path / "best", budget=budget)
    assert [s.step for s in snapshots if s.held_out_loss is not None] == [2, 3, 4, 6, 8, 9, 10]
    assert len(snapshots) == 10
    assert weights_of(best) == weights_of(six)
    assert read_outcome(best).stop_reason == (
        f"The budget of {budget.max_tokens} tokens ended the run after step 10 of 22; kept is "
        "step 6, with the lowest held-out loss (1.23)."
    )


def test_a_budget_that_is_enough_changes_nothing(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = run(loaded, tmp_path / "plain", held_out=())
    scripted(monkeypatch, range(99, 0, -1))  # The last is the lowest.
    generous = Budget(max_tokens=tokens_of(loaded, 22), max_seconds=1000.0)
    adapter, snapshots = run(loaded, tmp_path / "run", budget=generous)
    assert weights_of(adapter) == weights_of(plain)
    assert len(snapshots) == 22
    assert read_outcome(adapter).stop_reason == ""


@pytest.mark.parametrize("stop_at", [2, 5, 8, 10])
@pytest.mark.parametrize("best_at", [6, 10])
def test_a_killed_run_obeys_the_same_budget_and_ends_in_the_same_bytes(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int, best_at: int
) -> None:
    honest = HeldOut.loss
    losses: dict[float, float] = {}

    def loss(held_out: HeldOut) -> float:
        """By the weights alone, so that it is the same in every attempt; lowest at `best_at`."""
        found = honest(held_out)
        return losses.setdefault(found, 0.5 if len(losses) == {6: 4, 10: 7}[best_at] else 2)

    monkeypatch.setattr(HeldOut, "loss", loss)
    monkeypatch.setattr(Checkpoints, "is_due", lambda *_: True)
    budget = Budget(max_tokens=tokens_of(loaded, 10))
    straight, expected = run(loaded, tmp_path / "straight", budget=budget)
    best = lowest(expected)
    assert best is not None and best.step == best_at
    run(loaded, tmp_path / "killed", budget=budget, stop_at=stop_at)
    resumed, rest = run(loaded, tmp_path / "killed", budget=budget)
    assert [(s.step, s.mean_loss, s.held_out_loss) for s in rest] == [
        (s.step, s.mean_loss, s.held_out_loss) for s in expected
    ]
    assert weights_of(resumed) == weights_of(straight)
    assert read_outcome(resumed).stop_reason == read_outcome(straight).stop_reason != ""


def test_a_budget_of_seconds_is_kept_over_attempts(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoints, "is_due", lambda *_: True)
    endless = Hyperparameters(1000, 4, 0.001, 0.001)
    budget = Budget(max_seconds=3.0)
    start = time.monotonic()
    run(loaded, tmp_path / "run", budget=budget, stop_at=20, hyperparameters=endless)
    first = time.monotonic() - start
    start = time.monotonic()
    adapter, snapshots = run(loaded, tmp_path / "run", budget=budget, hyperparameters=endless)
    second = time.monotonic() - start
    assert first + second < 3.5  # What the plug cost is not in the checkpoint.
    assert 20 < len(snapshots) < 2750
    assert snapshots[-1].held_out_loss is not None
    assert read_outcome(adapter).stop_reason.startswith(
        f"The budget of 3 seconds ended the run after step {len(snapshots)} of 2750; kept is step "
    )


def test_an_attempt_that_has_no_time_left_keeps_what_there_is(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoints, "is_due", lambda *_: True)
    run(loaded, tmp_path / "run", budget=Budget(max_seconds=1000.0), stop_at=4)
    monkeypatch.setattr(Meter, "seconds", lambda self: 2000.0)
    adapter, snapshots = run(loaded, tmp_path / "run", budget=Budget(max_seconds=1000.0))
    assert len(snapshots) == 4
    assert snapshots[-1].held_out_loss is not None  # Measured late, so that it can be compared.
    assert "after step 4 of 22" in read_outcome(adapter).stop_reason


def test_a_budget_within_the_first_epoch_has_steps_to_choose_from(
    loaded: LoadedBase, tmp_path: Path
) -> None:
    one_by_one = replace(LONG, batch_size=1)
    lengths = [len(row.ids) for row in rows.encode_all(loaded.renderer, TRAINED, 512)]
    order = rows.order_of_epoch(LONG.seed, 0, len(TRAINED))
    budget = Budget(max_tokens=sum(lengths[place] for place in order[:10]))
    _, snapshots = run(loaded, tmp_path / "run", budget=budget, hyperparameters=one_by_one)
    assert [s.step for s in snapshots if s.held_out_loss is not None] == [2, 4, 6, 8, 10]


def test_a_budget_of_seconds_is_measured_at_each_fifth_of_them(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []  # Each takes a second.
    monkeypatch.setattr(Meter, "seconds", lambda self: float(len(taken)))
    monkeypatch.setattr(Meter, "stepped", lambda self, step, seconds: taken.append(step))
    slow = replace(LONG, batch_size=1)
    budget = Budget(max_seconds=10.0)
    _, snapshots = run(loaded, tmp_path / "run", budget=budget, hyperparameters=slow)
    measured = [s.step for s in snapshots if s.held_out_loss is not None]
    assert measured == [2, 4, 6, 8, 10, 11]


def test_a_resumed_run_never_ends_before_what_was_told(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it forget the seconds since the last checkpoint."""
    monkeypatch.setattr(Checkpoints, "is_due", lambda *_: False)
    budget = Budget(max_seconds=1000.0)
    before: list[float] = []
    with monkeypatch.context() as slow:
        slow.setattr(Meter, "seconds", lambda self: 100.0)
        run(loaded, tmp_path / "run", budget=budget, stop_at=6)
    honest = Meter.go_on

    def go_on(meter: Meter, seconds: float, told: int) -> None:
        before.append(seconds)
        honest(meter, 2000.0, told)

    monkeypatch.setattr(Meter, "go_on", go_on)
    adapter, snapshots = run(loaded, tmp_path / "run", budget=budget)
    assert before == [100.0]
    assert len(snapshots) == 6
    assert "after step 6 of 22" in read_outcome(adapter).stop_reason
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {
        "adapter",
        "checkpoints",
        "epochs",
    }


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(max_tokens=10), r"10 tokens does not allow one step .* first one has \d+ tokens"),
        (Budget(max_seconds=1e-9), "1e-09 seconds was over before the first step"),
    ],
)
def test_a_budget_without_room_for_a_step_fails_in_words(
    loaded: LoadedBase, tmp_path: Path, budget: Budget, words: str
) -> None:
    with pytest.raises(FailedPrecondition, match=words):
        run(loaded, tmp_path / "run", budget=budget)
    assert not (tmp_path / "run" / "adapter").exists()


def test_a_finished_run_still_knows_why_it_ended(loaded: LoadedBase, tmp_path: Path) -> None:
    budget = Budget(max_tokens=tokens_of(loaded, 4))
    adapter, snapshots = run(loaded, tmp_path / "run", budget=budget)
    again, told = run(loaded, tmp_path / "run", budget=budget)
    assert (again, told) == (adapter, snapshots)
    assert "after step 4 of 22" in read_outcome(again).stop_reason


def test_an_example_with_nothing_to_learn_is_named(loaded: LoadedBase, tmp_path: Path) -> None:
    small = replace(loaded.base_model, input_token_limit=4, output_token_limit=2)
    narrow = replace(loaded, base_model=small)
    with pytest.raises(FailedPrecondition, match=r"Example 0 .* nothing to learn"):
        train(small, TRAINED, LONG, tmp_path, lambda s: True, loaded=narrow)


def test_a_held_out_loss_that_is_not_finite_ends_the_run(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [float("nan")])
    with pytest.raises(FailedPrecondition, match="held-out loss became nan at step 3"):
        run(loaded, tmp_path / "run")


def test_a_checkpoint_of_an_older_version_is_not_taken_for_one_of_this(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, _ = run(loaded, tmp_path / "straight", held_out=())
    monkeypatch.setattr(Checkpoints, "is_due", lambda *_: True)

    def old(tensors: dict[str, torch.Tensor], file: Path) -> None:
        save_file({name: tensor for name, tensor in tensors.items() if name != "layout"}, file)

    monkeypatch.setattr(checkpoints, "save_tensors", old)
    run(loaded, tmp_path / "run", held_out=(), stop_at=5)
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    assert "layout" not in load_file(newest / checkpoints.CHECKPOINT)
    resumed, _ = run(loaded, tmp_path / "run", held_out=())
    assert weights_of(resumed) == weights_of(straight)
