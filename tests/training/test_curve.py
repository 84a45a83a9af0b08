"""What is said of loss curves: drawn ones here, real ones in benchmarks/diagnosis.py."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.training.curve import LEAST_POINTS, Run, diagnose, smooth_next, smoothed
from kamerton.types import NO_TIME, Diagnosis, Pattern, Snapshot

Course = Callable[[float], float]
"""A loss by the part of the run, from 0 to 1."""


def curve(
    training: Course,
    held_out: Course | None = None,
    *,
    steps: int = 200,
    epochs: int = 10,
    noise: float = 0.03,
    seed: int = 0,
) -> list[Snapshot]:
    """A run with noise in its training loss, measured after every epoch."""
    chance = Random(seed)
    snapshots = []
    for step in range(1, steps + 1):
        part = step / steps
        epoch = math.ceil(part * epochs)
        is_due = held_out is not None and step == math.ceil(epoch * steps / epochs)
        loss = training(part) * math.exp(chance.gauss(0, noise))
        measured = held_out(part) if held_out is not None and is_due else None
        snapshots.append(Snapshot(step, epoch, loss, NO_TIME, held_out_loss=measured))
    return snapshots


def falls(start: float, end: float, pace: float) -> Course:
    """To `end`, in about 1 / pace of the run."""
    return lambda part: end + (start - end) * math.exp(-3 * pace * part)


RUN = Run(
    example_count=100,
    held_out_count=20,
    epoch_count=10,
    batch_size=5,
    learning_rate=0.001,
    total_steps=200,
    default_learning_rate=0.001,
)
UNMEASURED = replace(RUN, held_out_count=0)
LESS = falls(3, 0.05, 2)
"""A training loss as it should be."""


def jagged(part: float) -> float:
    return 1.5 + (0.5 if round(10 * part) % 2 else 0.0)


def climbing(part: float) -> float:
    return 3 - 4 * part if part < 0.5 else 1 + 8 * (part - 0.5)


@pytest.mark.parametrize(
    ("pattern", "snapshots", "run", "request_"),
    [
        ("healthy", curve(LESS, falls(3, 0.2, 1.5)), RUN, {}),
        ("healthy", curve(LESS), RUN, {}),
        ("still_falling", curve(falls(3, 0, 0.4), falls(3, 0, 0.4)), RUN, {"epoch_count": 20}),
        ("still_falling", curve(falls(3, 0, 0.4)), RUN, {"epoch_count": 20}),
        ("plateau", curve(falls(3, 0.3, 8), falls(3, 0.3, 8)), RUN, {"epoch_count": 2}),
        ("plateau", curve(falls(3, 0.3, 8)), RUN, {"epoch_count": 3}),
        ("not_converging", curve(falls(7, 1.2, 3), falls(7, 1.4, 3)), RUN, {}),
        ("not_converging", curve(lambda part: 3.0), Run(), {}),
        ("not_converging", curve(LESS, jagged), RUN, {"learning_rate": 0.0001}),
        (
            "overfitting",
            curve(LESS, lambda part: 1 + 4 * (part - 0.4) ** 2),
            RUN,
            {"epoch_count": 4},
        ),
        ("divergence", curve(climbing), RUN, {"learning_rate": 0.0001}),
        ("divergence", curve(climbing, climbing), RUN, {"learning_rate": 0.0001}),
        ("too_slow", curve(falls(5, 4.8, 0.3), falls(5, 4.8, 0.3)), RUN, {"learning_rate": 0.01}),
        ("noisy", curve(falls(3, 0.5, 8), noise=1.2), UNMEASURED, {"batch_size": 10}),
        ("too_short", curve(LESS)[: LEAST_POINTS - 1], RUN, {"epoch_count": 20}),
    ],
)
def test_patterns(
    pattern: Pattern, snapshots: list[Snapshot], run: Run, request_: dict[str, float]
) -> None:
    found = diagnose(snapshots, run)
    assert (found.pattern, dict(found.request)) == (pattern, request_), found.summary
    assert found.summary and found.cause and found.advice
    steps = {snapshot.step for snapshot in snapshots}
    assert all(point.step in steps for point in found.evidence)
    assert found.evidence


@pytest.mark.parametrize("at_start", [0.9, 3.0, 12.0])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_500_examples_20_epochs_and_next_to_no_loss_is_overfitting(
    at_start: float, noise: float
) -> None:
    """The textbook case: 0.3 at epoch 5, 0.001 at epoch 20, useless on new questions."""

    def loss(part: float) -> float:
        epoch = 20 * part
        if epoch <= 5:
            return float(at_start * (0.3 / at_start) ** (epoch / 5))
        return float(0.3 * (0.001 / 0.3) ** ((epoch - 5) / 15))

    run = Run(example_count=500, epoch_count=20, batch_size=4, learning_rate=0.001)
    snapshots = curve(loss, steps=2500, epochs=20, noise=noise)
    found = diagnose(snapshots, run)
    assert (found.pattern, found.confidence) == ("overfitting", "high")
    assert 4 <= dict(found.request)["epoch_count"] <= 6
    # By epochs only, as another tool may have written it.
    found = diagnose([s for s in snapshots if s.step % 125 == 0], Run(epoch_count=20))
    assert found.pattern == "overfitting"
    assert 4 <= dict(found.request)["epoch_count"] <= 6


def test_a_loss_that_held_out_examples_share_is_no_overfitting() -> None:
    loss = falls(3, 0.001, 5)
    assert diagnose(curve(loss), RUN).pattern == "overfitting"
    assert diagnose(curve(loss, loss), RUN).pattern == "plateau"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_divergence(bad: float) -> None:
    snapshots = curve(LESS)[:50]
    snapshots += [Snapshot(51, 3, bad, NO_TIME), Snapshot(52, 3, math.nan, NO_TIME)]
    found = diagnose(snapshots, RUN)
    assert (found.pattern, found.confidence) == ("divergence", "high")
    assert found.evidence[0].step == 51
    assert dict(found.request) == {"learning_rate": 0.0001}
    assert diagnose(snapshots[50:], Run()).pattern == "divergence"


def test_a_rate_far_from_the_usual_goes_back_to_it() -> None:
    fast = Run(learning_rate=0.03, default_learning_rate=0.001, epoch_count=10, example_count=100)
    found = diagnose(curve(falls(7, 1.4, 4), falls(7, 1.4, 4)), fast)
    assert (found.pattern, found.confidence) == ("not_converging", "high")
    assert "0.03, where 0.001 is usual" in found.cause
    assert dict(found.request) == {"learning_rate": 0.001}
    slow = Run(learning_rate=1e-5, default_learning_rate=0.001, epoch_count=10)
    found = diagnose(curve(falls(7, 6.8, 0.3), falls(7, 6.8, 0.3)), slow)
    assert (found.pattern, dict(found.request)) == ("too_slow", {"learning_rate": 0.001})


def test_what_is_not_known_is_not_asked_for() -> None:
    for course in (LESS, climbing, falls(3, 0, 0.4), falls(3, 0.3, 8), falls(3, 0.001, 5)):
        found = diagnose(curve(course), Run())
        assert not found.request and found.advice


def test_a_loss_that_stays_high_is_judged_by_the_length_of_the_answers() -> None:
    """A label that is right every other time has a low loss for each of its tokens."""

    def told(tokens: int) -> Diagnosis:
        snapshots = curve(falls(5, 0.25, 3), falls(5, 0.25, 3))
        return diagnose([_with_tokens(s, 5 * tokens) for s in snapshots], RUN)

    assert told(tokens=4).pattern == "not_converging"
    assert told(tokens=80).pattern == "healthy"
    assert diagnose(curve(falls(5, 1.8, 3), falls(5, 1.8, 3)), Run()).pattern != "not_converging"


def _with_tokens(snapshot: Snapshot, count: int) -> Snapshot:
    return replace(snapshot, trained_tokens=count)


def test_a_run_that_goes_on_is_not_told_to_be_longer() -> None:
    run = Run(epoch_count=10, batch_size=5, learning_rate=0.001, total_steps=200, is_over=False)
    found = diagnose(curve(falls(3, 0, 0.4))[:100], run)
    assert (found.pattern, found.advice, found.request) == ("healthy", "Let it run.", ())
    found = diagnose(curve(LESS)[:3], run)
    assert (found.pattern, found.request) == ("too_short", ())
    assert diagnose(curve(climbing), run).pattern == "divergence"


def test_a_run_that_goes_on_is_given_time() -> None:
    """Every curve is flat at first, and high."""
    run = replace(RUN, is_over=False)
    flat = curve(lambda part: 7.0, lambda part: 7.0)
    assert diagnose(flat[:20], run).pattern == "healthy"
    assert diagnose(flat[:150], run).pattern == "not_converging"
    noisy = curve(LESS, noise=1.2)[:30]
    assert diagnose(noisy, run).pattern == "healthy"


def test_a_held_out_loss_that_falls_is_no_plateau() -> None:
    """Of training losses alone this looks like one, when a long run has just begun."""
    snapshots = curve(falls(0.9, 0.08, 20), steps=36, epochs=1)
    for step, loss in ((18, 0.886), (36, 0.26)):
        snapshots[step - 1] = replace(snapshots[step - 1], held_out_loss=loss)
    run = replace(RUN, epoch_count=10, total_steps=3600, is_over=False)
    assert diagnose(snapshots, run).pattern == "healthy"
    # Over, it would be one without the held-out losses.
    over = replace(run, epoch_count=5, total_steps=36, is_over=True)
    assert diagnose(_in_epochs(snapshots, 5), over).pattern != "plateau"
    silent = [replace(s, held_out_loss=None) for s in _in_epochs(snapshots, 5)]
    assert diagnose(silent, over).pattern == "plateau"


def _in_epochs(snapshots: list[Snapshot], count: int) -> list[Snapshot]:
    return [replace(s, epoch=math.ceil(count * s.step / len(snapshots))) for s in snapshots]


def test_a_run_that_goes_on_is_at_a_plateau_from_half_of_it_on() -> None:
    run = replace(RUN, is_over=False)
    flat = curve(falls(3, 0.02, 12), falls(3, 0.02, 12), noise=0.0)
    assert diagnose(flat[:90], run).pattern == "healthy"
    assert diagnose(flat[:120], run).pattern == "plateau"


def test_few_steps_do_not_tell_whether_labels_can_be_learned() -> None:
    """ln 2 of two tokens: the loss of guessing between two labels."""

    def told(steps: int, epochs: int) -> Diagnosis:
        snapshots = curve(falls(5, 0.35, 3), falls(5, 0.35, 3), steps=steps, epochs=epochs)
        return diagnose(
            [_with_tokens(s, 5 * 2) for s in snapshots], replace(RUN, epoch_count=epochs)
        )

    few = told(steps=40, epochs=2)
    assert (few.pattern, few.confidence) == ("too_short", "low")
    assert dict(few.request) == {"epoch_count": 4}
    assert told(steps=40, epochs=4).pattern == "not_converging"
    assert told(steps=200, epochs=10).pattern == "not_converging"


def test_a_run_without_a_step_is_not_told_to_take_more_epochs() -> None:
    found = diagnose([], RUN)
    assert (found.pattern, found.summary) == ("too_short", "It ended before its first step.")
    assert "epoch" not in found.advice and not found.request
    begun = diagnose([], replace(RUN, is_over=False))
    assert begun.advice == "Look again later."


def _steps(*losses: float) -> list[Snapshot]:
    return [Snapshot(step, 1, loss, NO_TIME) for step, loss in enumerate(losses, start=1)]


def test_nine_steps_do_not_tell_how_large_a_batch_should_be() -> None:
    few = Run(example_count=12, epoch_count=3, batch_size=4, learning_rate=0.001, total_steps=9)
    falling = _steps(2.87, 3.4, 1.6, 2.3, 0.9, 1.7, 0.5, 1.1, 0.44)
    found = diagnose(falling, few)
    assert (found.pattern, dict(found.request)) == ("too_short", {"epoch_count": 6})
    assert diagnose(_steps(*[3.0, 2.9] * 4), few).pattern == "too_short"


def test_a_loss_that_is_still_going_down_is_not_noisy() -> None:
    at_rest = curve(falls(3, 0.5, 8), noise=1.2)
    assert diagnose(at_rest, UNMEASURED).pattern == "noisy"
    lower = [replace(s, mean_loss=s.mean_loss / 1.02**s.step * 10) for s in at_rest]
    assert diagnose(lower, UNMEASURED).pattern != "noisy"


def test_the_batch_that_is_advised_is_the_one_that_is_asked_for() -> None:
    large = replace(UNMEASURED, batch_size=400)
    found = diagnose(curve(falls(3, 0.5, 8), noise=1.2), large)
    assert dict(found.request) == {"batch_size": 512} and "512" in found.advice


@pytest.mark.parametrize("examples", [12, 100])
def test_few_examples_are_not_told_to_hold_some_out(examples: int) -> None:
    run = replace(UNMEASURED, example_count=examples)
    for snapshots in (curve(falls(3, 0.001, 5)), curve(falls(3, 0.5, 8), noise=1.2)):
        found = diagnose(snapshots, run)
        assert found.pattern in ("overfitting", "noisy")
        assert ("old out" in found.advice) == (examples == 100)


def test_a_fall_that_leads_nowhere_good_is_no_lack_of_epochs() -> None:
    """What all answers have in common is learned, be they shuffled; then it slows down."""

    def told(lowest: float) -> Pattern:
        course = falls(7, lowest, 1)
        snapshots = [_with_tokens(s, 5 * 12) for s in curve(course, course)]
        return diagnose(snapshots, RUN).pattern

    assert told(lowest=0.0) == "still_falling"
    assert told(lowest=0.9) == "not_converging"


def test_a_longer_answer_may_have_a_part_that_is_never_learned() -> None:
    def told(tokens: int, nats: float) -> Pattern:
        course = falls(5, nats / tokens, 3)
        snapshots = [_with_tokens(s, 5 * tokens) for s in curve(course, course)]
        return diagnose(snapshots, RUN).pattern

    assert told(tokens=12, nats=1.5) == "healthy"
    assert told(tokens=12, nats=2.6) == "not_converging"
    assert told(tokens=5, nats=0.75) == "not_converging"


def test_between_enough_and_too_many_of_five_epochs_lies_one() -> None:
    course = falls(5, 0.0, 2.4)
    five, ten = (replace(RUN, epoch_count=epochs) for epochs in (5, 10))
    assert diagnose(curve(course, course, epochs=5), five).pattern == "healthy"
    sooner = falls(5, 0.0, 6)
    assert diagnose(curve(sooner, sooner), ten).pattern == "plateau"


def test_labels_whose_loss_goes_up_and_down_are_judged_by_its_level() -> None:
    """One measurement of many is low by accident; of four tokens the others cost 0.64 nats."""
    held_out = falls(5, 0.16, 3)
    snapshots = [_with_tokens(s, 5 * 4) for s in curve(held_out, held_out)]
    lucky = [replace(s, held_out_loss=0.09) if s.step == 120 else s for s in snapshots]
    assert diagnose(lucky, RUN).pattern == "not_converging"


def test_a_rate_that_explains_it_makes_a_jump_of_a_low_loss_count() -> None:
    def jumps(part: float) -> float:
        return 0.9 if 0.6 < part < 0.75 else 0.12

    snapshots = [_with_tokens(s, 5 * 2) for s in curve(falls(3, 0.1, 5), jumps)]
    fast = replace(RUN, learning_rate=0.03)
    found = diagnose(snapshots, fast)
    assert (found.pattern, dict(found.request)) == ("not_converging", {"learning_rate": 0.001})
    assert diagnose(snapshots, RUN).pattern != "not_converging"


def test_a_short_curve_is_spoken_of_with_low_confidence() -> None:
    assert diagnose(curve(climbing, steps=8), RUN).confidence == "low"
    assert diagnose(curve(LESS, steps=8), RUN).confidence == "low"


def test_ten_thousand_steps_take_a_moment() -> None:
    snapshots = curve(LESS, falls(3, 0.2, 1.5), steps=10_000)
    start = time.process_time()
    for _ in range(5):
        diagnose(snapshots, RUN)
    assert (time.process_time() - start) / 5 < 0.1


@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 20),
            st.none() | st.floats(0, 20) | st.just(math.nan),
        ),
        max_size=60,
    ),
    st.sampled_from([RUN, Run(), Run(is_over=False, epoch_count=3)]),
)
def test_every_curve_is_survived(losses: list[tuple[float, float | None]], run: Run) -> None:
    snapshots = [
        Snapshot(step, 1 + step // 20, loss, NO_TIME, held_out_loss=held_out)
        for step, (loss, held_out) in enumerate(losses, start=1)
    ]
    found = diagnose(snapshots, run)
    assert found.summary
    assert all(value > 0 for _, value in found.request)


def test_smoothing_is_debiased_and_can_be_gone_on_with() -> None:
    assert smoothed([2.0] * 5) == pytest.approx([2.0] * 5)
    losses = [4.0, 2.0, 3.0, 1.0]
    values = smoothed(losses)
    weights = [0.9**age for age in reversed(range(4))]
    mean = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert values[-1] == pytest.approx(mean)
    assert smooth_next(values[2], 4, 1.0) == values[3]
    assert smooth_next(None, 4, 1.0) == 1.0
    assert smoothed([1.0, math.nan, 3.0])[2] == 3.0
