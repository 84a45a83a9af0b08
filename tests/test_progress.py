"""Progress is a picture on a terminal and lines elsewhere; the time left is near the truth."""

from __future__ import annotations

import random
from collections.abc import Iterator
from io import StringIO

import pytest
from rich.console import Console

from kamerton.progress import RunProgress, RunState, Seen, run_picture, seconds_left
from tests.test_terminal import steps_of


def test_progress_without_a_terminal_is_one_line_per_tenth() -> None:
    out = StringIO()
    now = [0.0]
    with RunProgress(Console(file=out, width=80), 100, clock=lambda: now[0]) as progress:
        progress.note("waiting: the trainer is loading")
        progress.note("waiting: the trainer is loading")
        progress.note("")
        for step in range(1, 101):
            now[0] += 0.1
            progress.show(step, 100, 5 / step)
    lines = out.getvalue().splitlines()
    assert lines[0] == "waiting: the trainer is loading"
    assert lines[1] == "step 10/100, 10%, loss 0.5000, ETA 9.0 s"
    assert lines[-1] == "step 100/100, 100%, loss 0.0500"
    assert len(lines) == 11


def test_a_slow_run_still_says_something_every_five_seconds() -> None:
    out = StringIO()
    now = [0.0]
    with RunProgress(Console(file=out), 1000, clock=lambda: now[0]) as progress:
        for step in (1, 2, 3):
            now[0] += 3
            progress.show(step, 1000, None)
    assert [line.split(",")[0] for line in out.getvalue().splitlines()] == ["step 2/1000"]


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=100, no_color=True)
    with RunProgress(console, 19) as progress:
        progress.show(7, 19, 2.5)
    assert "37%" in out.getvalue()
    assert "step 7/19" in out.getvalue()
    assert "loss 2.5000" in out.getvalue()
    assert "\x1b[3" not in out.getvalue()


@pytest.mark.parametrize(
    "width, height", [(100, 24), (63, 24), (40, 12), (24, 9), (80, 6), (16, 3)]
)
@pytest.mark.parametrize("note", ["", "the server does not answer; trying again"])
def test_the_picture_of_a_run_fits_the_terminal(width: int, height: int, note: str) -> None:
    out = StringIO()
    state = RunState(40, 80, 0.1, 20.0, steps_of(40))
    Console(file=out, width=width, height=height).print(run_picture(state, note, width, height))
    lines = out.getvalue().splitlines()
    assert len(lines) <= max(height, 3)
    assert all(len(line) <= width for line in lines)
    assert "loss 0.1000" in out.getvalue()
    assert (note[:10] or "step 40/80") in out.getvalue()
    has_curve = any("\u2800" < character <= "⣿" for character in out.getvalue())
    assert has_curve == (height >= 10)


def test_the_live_view_says_all_that_is_known_and_leaves_nothing_behind() -> None:
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=120, height=30)
    with RunProgress(console, 80) as progress:
        progress.note("waiting for its first step")
        progress.note("")
        progress.show(40, 80, 0.1, steps_of(40))
    known = "50%, step 40/80, ETA 20.0 s, loss 0.1000, smoothed 0.1050, held-out 0.1250"
    known += ", 1,234 tokens/s, rate 0.001, gradient 0.5, 640 MB"
    for told in known.split(", "):
        assert told in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K") or out.getvalue().endswith("\x1b[?25h")


def test_lines_say_the_losses() -> None:
    out = StringIO()
    with RunProgress(Console(file=out, width=80), 80) as progress:
        progress.show(40, 80, 0.1, steps_of(40))
    line = "step 40/80, 50%, loss 0.1000, smoothed 0.1050, held-out 0.1250, ETA 20.0 s\n"
    assert out.getvalue() == line


def run(spans: list[float], measured: frozenset[int] = frozenset()) -> list[Seen]:
    """When each step ended; `spans` are the seconds that they took."""
    return [(step, sum(spans[:step]), step in measured) for step in range(1, len(spans) + 1)]


def misses(seen: list[Seen]) -> Iterator[float]:
    """By which share each guess after the tenth step is wrong."""
    for place in range(9, len(seen) - 1):
        left = seen[-1][1] - seen[place][1]
        guess = seconds_left(seen[: place + 1], len(seen))
        assert guess is not None
        yield abs(guess - left) / left


def spread(count: int, seconds: float = 1.0) -> list[float]:
    dice = random.Random(7)
    return [seconds * dice.uniform(0.8, 1.2) for _ in range(count)]


@pytest.mark.parametrize("count", [12, 100, 1000])
@pytest.mark.parametrize("seconds", [0.01, 60.0])
def test_time_left_of_a_steady_run(count: int, seconds: float) -> None:
    assert max(misses(run(spread(count, seconds)))) < 0.25


@pytest.mark.parametrize("slow", [1, 2])
def test_time_left_after_slow_first_steps(slow: int) -> None:
    assert max(misses(run([30.0] * slow + spread(100)))) < 0.25


def test_time_left_after_a_restart() -> None:
    spans = spread(200)
    spans[50] += 300  # Nobody knows of it before, and it says nothing of the steps after it.
    wrong = list(misses(run(spans)))
    assert max(wrong[50 - 9 + 1 :]) < 0.25


def test_time_left_counts_what_measuring_takes() -> None:
    measured = frozenset(range(5, 201, 5))
    spans = [
        span + (6.0 if step - 1 in measured else 0) for step, span in enumerate(spread(200), 1)
    ]
    seen = run(spans, measured)
    # At the very end one measurement more or less is all that is left.
    assert max(list(misses(seen))[:-20]) < 0.25
    assert max(misses([(step, at, False) for step, at, _ in seen])) > 0.5


def test_time_left_of_a_thinned_list_and_by_a_coarse_clock() -> None:
    seen = run(spread(400))
    assert seconds_left(seen[9::37], 400) == pytest.approx(400 - seen[9::37][-1][0], rel=0.1)
    coarse = [(step, float(int(at / 4)), False) for step, at, _ in seen[:200]]
    assert seconds_left(coarse, 400) == pytest.approx(50, rel=0.25)


def test_time_left_is_not_said_when_nobody_knows() -> None:
    assert seconds_left([], 9) is None
    assert seconds_left([(1, 5.0, False)], 9) is None
    assert seconds_left([(1, 5.0, False), (9, 7.0, False)], 9) is None
    assert seconds_left([(1, 5.0, False), (2, 5.0, False)], 9) is None
