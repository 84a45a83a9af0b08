"""A run ends early when it gets no better, and only then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kamerton.dataset.tutorial import EXAMPLES
from kamerton.inference.weights import LoadedBase
from kamerton.training.outcome import Outcome, read_outcome
from kamerton.training.stopping import ends_after
from kamerton.training.train import Limits, train
from kamerton.types import EarlyStopping, Example, Hyperparameters, Snapshot

ON = EarlyStopping("on")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def measured(*losses: float | None) -> list[Snapshot]:
    """A run that was measured, or not, after each step."""
    return [Snapshot(step, 1, 1.0, NOW, loss) for step, loss in enumerate(losses, 1)]


def smooth(*losses: float) -> list[Snapshot]:
    """A run without held-out examples."""
    return [Snapshot(s, 1, 1.0, NOW, smoothed_loss=loss) for s, loss in enumerate(losses, 1)]


def end_of(
    snapshots: Sequence[Snapshot],
    early: EarlyStopping = EarlyStopping("auto"),  # noqa: B008  # It is frozen.
    total: int = 100,
    has_held_out: bool = True,
) -> int | None:
    """The first step after which the run should end."""
    for last in range(1, len(snapshots) + 1):
        if ends_after(snapshots[:last], early, total, has_held_out):
            return last
    return None


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((3.0, 2.0, 1.0, 0.5, 0.4), None),
        ((3.0, 2.0, 2.1, 2.2, 2.3, 2.4), 5),
        ((3.0, 2.0, 2.1, 2.2, 1.9, 2.0, 2.0, 2.0), 8),  # An improvement begins the count anew.
        ((3.0, 3.0, 3.0), None),  # Two without one.
        ((3.0, 3.0, 3.0, 3.0), 4),
        ((3.0, 2.995, 2.993, 2.991), 4),  # Less than 0.01 is none,
        ((3.0, 2.99, 2.98, 2.97, 2.96), None),  # and 0.01 is one.
        ((3.0, 2.995, 2.988, 2.985, 2.979), None),  # Little by little, from the best.
        ((3.0, None, 3.1, None, None, 3.1, None, 3.1, None), 8),  # Only where it was measured.
    ],
)
def test_held_out_losses_that_do_not_fall_end_a_run(
    losses: tuple[float | None, ...], expected: int | None
) -> None:
    assert end_of(measured(*losses)) == expected


@pytest.mark.parametrize(("patience", "expected"), [(1, 3), (2, 4), (5, 7), (9, None)])
def test_patience(patience: int, expected: int | None) -> None:
    losses = measured(3.0, 2.0, 2.1, 2.2, 2.3, 2.4, 2.5, 2.6)
    assert end_of(losses, EarlyStopping("auto", patience)) == expected


@pytest.mark.parametrize(("min_change", "expected"), [(0.0, None), (0.05, None), (0.2, 4)])
def test_what_counts_as_better(min_change: float, expected: int | None) -> None:
    losses = measured(3.0, 2.9, 2.85, 2.82, 2.7, 2.6, 2.5)
    assert end_of(losses, EarlyStopping("auto", 3, min_change)) == expected


def test_the_reason_names_the_best_step() -> None:
    why = ends_after(measured(3.0, 2.0, 2.1, 2.2, 2.3), EarlyStopping(), 100, True)
    assert why == "the held-out loss has not fallen by 0.01 since step 2"


def test_the_last_step_is_no_early_end() -> None:
    losses = measured(3.0, 2.0, 2.1, 2.2, 2.3)
    assert end_of(losses, total=5) is None
    assert end_of(losses, total=6) == 5


@pytest.mark.parametrize("has_held_out", [True, False])
def test_off_is_off(has_held_out: bool) -> None:
    flat = [Snapshot(s, 1, 1.0, NOW, 1.0, smoothed_loss=1.0) for s in range(1, 100)]
    assert end_of(flat, EarlyStopping("off"), has_held_out=has_held_out) is None


def test_without_held_out_examples_only_who_asks_is_stopped() -> None:
    flat = smooth(*[1.0] * 99)
    assert end_of(flat, EarlyStopping("auto"), has_held_out=False) is None
    assert end_of(flat, ON, has_held_out=False) == 40  # At 10 the best, then three tenths more.


def test_without_held_out_examples_tenths_of_the_run_are_compared() -> None:
    """What lies between them says nothing, however it jumps."""
    falling = smooth(*[9.0 if step % 10 else 5.0 - step / 50 for step in range(1, 100)])
    assert end_of(falling, ON, has_held_out=False) is None
    rising = smooth(*[1.0 / step if step % 10 else 2.0 for step in range(1, 100)])
    assert end_of(rising, ON, has_held_out=False) == 40
    why = ends_after(rising[:40], ON, 100, False)
    assert why == "the smoothed loss has not fallen by 0.01 since step 10"


@pytest.mark.parametrize("total", [1, 2, 3, 7, 9, 11])
def test_a_run_shorter_than_its_tenths_is_compared_where_there_are_steps(total: int) -> None:
    ended = end_of(smooth(*[1.0] * total), ON, total, has_held_out=False)
    assert ended is None or 3 < ended < total


# --- whole runs ----------------------------------------------------------------------------------

LONG = Hyperparameters(15, 4, 0.02, 0.02, seed=3)
"""Of 11 examples: 42 steps."""


def run(
    loaded: LoadedBase,
    folder: Path,
    early: EarlyStopping,
    held_out: Sequence[Example] = EXAMPLES[11:],
    hyperparameters: Hyperparameters = LONG,
) -> tuple[list[Snapshot], Outcome]:
    folder.mkdir(exist_ok=True)
    snapshots: list[Snapshot] = []

    def keep(snapshot: Snapshot) -> bool:
        snapshots.append(snapshot)
        return True

    adapter = train(
        loaded.base_model, EXAMPLES[:11], hyperparameters, folder, keep,
        loaded=loaded, held_out=held_out, limits=Limits(early_stopping=early),
    )  # fmt: skip
    return snapshots, read_outcome(adapter)


def test_a_run_that_gets_worse_ends_and_keeps_its_best(loaded: LoadedBase, tmp_path: Path) -> None:
    snapshots, outcome = run(loaded, tmp_path / "early", EarlyStopping())
    losses = {s.step: s.held_out_loss for s in snapshots if s.held_out_loss is not None}
    last = snapshots[-1].step
    assert 3 < last < 42
    assert outcome.kept_step == min(losses, key=lambda step: losses[step])
    assert outcome.stop_reason.startswith(
        f"Early stopping ended the run after step {last} of 42: the held-out loss has not fallen"
    )
    assert f"kept is step {outcome.kept_step}, with the lowest held-out loss" in outcome.stop_reason
    whole, unstopped = run(loaded, tmp_path / "whole", EarlyStopping("off"))
    assert len(whole) == 42 and unstopped.stop_reason == ""
    # Up to its end it is the same run.
    assert [s.mean_loss for s in whole[:last]] == [s.mean_loss for s in snapshots]


def test_a_run_without_held_out_examples_that_does_not_fall(
    loaded: LoadedBase, tmp_path: Path
) -> None:
    """At a learning rate at which nothing is learned."""
    slow = Hyperparameters(15, 4, 1e-6, 1e-6, seed=3)
    snapshots, outcome = run(loaded, tmp_path / "on", ON, (), slow)
    assert snapshots[-1].step == outcome.kept_step == 42 * 4 // 10
    assert "the smoothed loss has not fallen by 0.01 since step 4" in outcome.stop_reason
    snapshots, outcome = run(loaded, tmp_path / "auto", EarlyStopping(), (), slow)
    assert (len(snapshots), outcome) == (42, Outcome("", 42))


def test_a_run_that_still_learns_is_not_ended(loaded: LoadedBase, tmp_path: Path) -> None:
    snapshots, outcome = run(loaded, tmp_path / "on", ON, EXAMPLES[:4])
    assert (len(snapshots), outcome.stop_reason) == (42, "")
