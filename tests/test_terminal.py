"""The curve is right and never breaks, and so is what else a terminal shows."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console

from kamerton.terminal import (
    HELD_OUT_SIGN,
    ReadingProgress,
    answers_table,
    duration,
    histogram,
    loss_curve,
    memory,
    printable,
    run_curve,
)
from kamerton.types import Snapshot


def drawn(losses: list[float], width: int = 60, height: int = 8) -> list[str]:
    return loss_curve(list(enumerate(losses, start=1)), width, height).plain.split("\n")


def test_a_falling_curve_falls_from_corner_to_corner() -> None:
    lines = drawn([8 - step / 20 for step in range(100)])
    assert len(lines) == 10
    first_dots = [len(line[6:]) - len(line[6:].lstrip()) for line in lines[:8]]
    assert first_dots == sorted(first_dots)
    assert lines[0].startswith(" 8.00 ┤") or lines[0].startswith("8.00 ┤")
    assert "3.05 ┤" in lines[7]
    assert lines[0].split("┤")[1][0] != " "
    assert len(lines[7]) == 60
    assert lines[7][-1] != " "
    assert lines[-1].split() == ["step", "1", "50", "100"]


@pytest.mark.parametrize("width", [12, 20, 40, 80, 200])
@pytest.mark.parametrize("count", [1, 2, 3, 19, 400, 3000])
def test_it_fits_the_width_and_holds_any_number_of_steps(width: int, count: int) -> None:
    lines = drawn([5 / math.sqrt(step + 1) for step in range(count)], width)
    assert all(len(line) <= max(width, 18) for line in lines)
    assert any("\u2800" < character <= "⣿" for line in lines for character in line)


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [math.nan],
        [math.inf, -math.inf],
        [math.nan, 3.0, math.inf, 1.0],
        [2.0] * 50,
        [0.0],
        [1e-9, 2e-9],
        [1e30, -1e30, 0.0],
    ],
)
def test_odd_losses_are_drawn_all_the_same(losses: list[float]) -> None:
    assert drawn(losses)


def steps_of(count: int) -> list[Snapshot]:
    """A run of steps that take half a second, with all that can be known of them."""
    return [
        Snapshot(
            step,
            1,
            4 / step,
            datetime(2026, 11, 21, tzinfo=UTC) + timedelta(seconds=step / 2),
            held_out_loss=5 / step if step % 10 == 0 else None,
            start_loss=5.0 if step == 1 else None,
            smoothed_loss=4.2 / step,
            learning_rate=0.001,
            gradient_norm=0.5,
            tokens_per_second=1234.5,
            memory_bytes=640_000_000,
        )
        for step in range(1, count + 1)
    ]


def test_the_curve_has_smoothed_and_held_out_losses_and_begins_before_the_first_step() -> None:
    lines = run_curve(steps_of(40), 60, 8).plain.split("\n")
    assert sum(line.count(HELD_OUT_SIGN) for line in lines[:8]) == 5
    assert lines[0].startswith(f"  5.00 ┤{HELD_OUT_SIGN}")
    assert lines[-2].split() == ["step", "0", "20", "40"]
    assert lines[-1].split() == ["⠒⠒", "smoothed", "⠢⠔", "loss", HELD_OUT_SIGN, "held-out"]


def test_right_answers_are_ticked_and_control_characters_shown() -> None:
    out = StringIO()
    Console(file=out, width=100).print(answers_table([("LXIII", "LXIV", "[b]\x1b[2J", "LXIV\n")]))
    assert "✓ LXIV" in out.getvalue()
    assert "[b]\\x1b[2J" in out.getvalue()
    assert printable("a\tb\n六") == "a\tb\n六"


def test_durations() -> None:
    assert [duration(s) for s in (4.21, 200, 7500)] == ["4.2 s", "3 min 20 s", "2 h 05 min"]


@pytest.mark.parametrize("width", [20, 40, 100])
def test_bars_are_in_proportion_and_fit(width: int) -> None:
    lines = histogram([("up to 9", 12_000), ("more", 3_000), ("none", 0), ("one", 1)], width).plain
    full, quarter, none, one = lines.split("\n")
    assert max(map(len, (full, quarter, none, one))) <= max(width, 27)
    assert full.count("█") >= 4 * quarter.count("█") >= 4
    assert full.endswith("12,000") and quarter.startswith("   more")
    assert none.split() == ["none", "0"]
    assert one.split() == ["one", "▏", "1"]
    assert histogram([]).plain == ""
    assert histogram([("x", 0)]).plain == "x  0"


def test_sizes_in_memory() -> None:
    assert (memory(640_400_000), memory(1_240_000_000)) == ("640 MB", "1.2 GB")


def test_reading_is_told_only_when_it_takes_long() -> None:
    out = StringIO()
    now = [0.0]
    with ReadingProgress(Console(file=out, width=80), clock=lambda: now[0]) as progress:
        for second in range(300):
            now[0] = second
            progress.rows(second * 1000)
    told = [f"{second},000 rows read\n" for second in (10, 30, 70, 150)]
    assert out.getvalue() == "".join(told)


def test_reading_on_a_terminal_leaves_nothing_behind() -> None:
    out = StringIO()
    now = [0.0]
    console = Console(file=out, width=80, force_terminal=True)
    with ReadingProgress(console, clock=lambda: now[0]) as progress:
        progress.rows(1)
        now[0] = 2.0
        progress.rows(2_000)
        progress.rows(3_000)
    assert "3,000 rows read" in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K") or out.getvalue().endswith("\x1b[?25h")
