"""What a terminal shows: the loss curve in braille, bars, answers side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kamerton.types import Snapshot

if TYPE_CHECKING:
    from rich.status import Status

Point = tuple[int, float]
"""A step and its loss."""

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille character, by column and by row from the top."""
HELD_OUT_SIGN = "◆"
_EIGHTHS = ("", *"▏▎▍▌▋▊▉")
"""The last character of a bar."""


def loss_curve(
    points: Sequence[Point],
    width: int = 80,
    height: int = 10,
    *,
    smoothed: Sequence[Point] = (),
    held_out: Sequence[Point] = (),
) -> Text:
    """The curve with its axes, `width` characters wide; losses that are no numbers leave gaps.

    With `smoothed` that is the line, and `points` are dots behind it."""
    shown = [(step, loss) for step, loss in (*points, *smoothed, *held_out) if math.isfinite(loss)]
    if not shown:
        return Text("no losses to draw yet", style="dim")
    low, high = min(loss for _, loss in shown), max(loss for _, loss in shown)
    first, last = min(step for step, _ in shown), max(step for step, _ in shown)
    labels = [_number(high - (high - low) * row / (height - 1)) for row in range(height)]
    margin = max(map(len, labels))
    columns = max(width - margin - 2, 10)
    frame = _Frame(first, last, low, high, columns, height)
    layers = [(frame.points(points), "dim")] if smoothed else []
    layers += [(frame.line(smoothed or points), "cyan"), (frame.signs(held_out), "magenta")]
    drawing = Text(no_wrap=True)
    marked = {0, height // 2, height - 1} if high > low else {height // 2}
    for row, label in enumerate(labels):
        shown_label = label if row in marked else ""
        drawing.append(f"{shown_label:>{margin}} {'┤' if shown_label else '│'}", style="dim")
        drawing.append(_covered([(picture[row], style) for picture, style in layers]))
        drawing.append("\n")
    drawing.append(_step_axis(first, last, margin, columns), style="dim")
    if smoothed or held_out:
        drawing.append(f"\n{'':{margin}} ").append(_legend(bool(smoothed), bool(held_out)))
    return drawing


@dataclass(frozen=True, slots=True)
class _Frame:
    """What a drawing shows, and how it is made of characters of two by four dots."""

    first: int
    last: int
    low: float
    high: float
    columns: int
    height: int

    def points(self, points: Iterable[Point]) -> list[str]:
        """A dot for each."""
        return self._braille((self._column(s), round(self._row(v))) for s, v in _finite(points))

    def line(self, points: Iterable[Point]) -> list[str]:
        """The line through the means of all columns of dots, each joined to the one before."""
        rows = dict(_joined(sorted(self._means(points).items())))
        dots = list(rows.items())
        for (_, before), (column, row) in pairwise(rows.items()):
            dots += [(column, between) for between in range(min(before, row), max(before, row))]
        return self._braille(dots)

    def signs(self, points: Iterable[Point]) -> list[str]:
        """A sign for each, for points that are few."""
        cells = [[" "] * self.columns for _ in range(self.height)]
        for step, value in _finite(points):
            cells[round(self._row(value)) // 4][self._column(step) // 2] = HELD_OUT_SIGN
        return ["".join(line) for line in cells]

    def _means(self, points: Iterable[Point]) -> dict[int, float]:
        """The mean row in each column where a step falls."""
        rows: dict[int, list[float]] = {}
        for step, value in _finite(points):
            rows.setdefault(self._column(step), []).append(self._row(value))
        return {column: sum(found) / len(found) for column, found in rows.items()}

    def _column(self, step: int) -> int:
        return round((step - self.first) / max(self.last - self.first, 1) * (self.columns * 2 - 1))

    def _row(self, value: float) -> float:
        """In dots from the top."""
        bottom = self.height * 4 - 1
        if self.high == self.low:
            return bottom / 2
        return (self.high - value) / (self.high - self.low) * bottom

    def _braille(self, dots: Iterable[tuple[int, int]]) -> list[str]:
        cells = [[0] * self.columns for _ in range(self.height)]
        for column, row in dots:
            cells[row // 4][column // 2] |= _DOTS[column % 2][row % 4]
        # A space where no dot is: some fonts draw the empty braille character as eight circles.
        return ["".join(chr(0x2800 + bits) if bits else " " for bits in line) for line in cells]


def _finite(points: Iterable[Point]) -> Iterator[Point]:
    return ((step, value) for step, value in points if math.isfinite(value))


def _joined(known: Sequence[tuple[int, float]]) -> Iterator[tuple[int, int]]:
    """The rows of these columns, and of those between them on straight lines."""
    for (left, start), (right, end) in pairwise(known):
        for column in range(left, right):
            yield column, round(start + (end - start) * (column - left) / (right - left))
    if known:
        yield known[-1][0], round(known[-1][1])


def _covered(layers: Sequence[tuple[str, str]]) -> Text:
    """One row of all layers, the later before the earlier ones."""
    row = Text()
    top = 0
    tops: list[int] = []
    for characters in zip(*(line for line, _ in layers), strict=True):
        # A space goes with what is before it: one style, one piece of the row.
        top = max((n for n, character in enumerate(characters) if character != " "), default=top)
        tops.append(top)
    for top, places in groupby(range(len(tops)), tops.__getitem__):
        picture, style = layers[top]
        row.append("".join(picture[place] for place in places), style)
    return row


def _legend(smoothed: bool, held_out: bool) -> Text:
    legend = Text("⠒⠒ smoothed  " if smoothed else "⠒⠒ loss  ", style="cyan")
    if smoothed:
        legend.append("⠢⠔ loss  ", style="dim")
    if held_out:
        legend.append(f"{HELD_OUT_SIGN} held-out", style="magenta")
    return legend


def _step_axis(first: int, last: int, margin: int, columns: int) -> str:
    left, right = f"step {first}", str(last) if last > first else ""
    middle = str((first + last) // 2) if last - first > 3 else ""
    gap = (columns + 1) // 2 - len(left) - len(middle) // 2
    if gap < 2:
        gap, middle = 1, ""
    numbers = f"{left}{' ' * gap}{middle}"
    numbers += right.rjust(columns + 1 - len(numbers))
    return f"{'':{margin}} └{'─' * columns}\n{'':{margin}} {numbers}"


def _number(value: float) -> str:
    """About three figures: 7.06, 0.0123, 12.3, 1.2e+05."""
    if value and not 0.001 <= abs(value) < 10_000:
        return f"{value:.1e}"
    decimals = 2 if abs(value) >= 1 or value == 0 else 3 if abs(value) >= 0.1 else 4
    return f"{value:.{decimals}f}"


def histogram(bars: Sequence[tuple[str, int]], width: int = 80) -> Text:
    """A line per bar: its label, the bar, its count; at most `width` characters wide."""
    if not bars:
        return Text()
    most = max(count for _, count in bars)
    margin, numbers = max(len(label) for label, _ in bars), len(f"{most:,}")
    columns = max(width - margin - numbers - 4, 10)
    drawing = Text(no_wrap=True)
    for label, count in bars:
        eighths = math.ceil(count / most * columns * 8) if count else 0
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8]
        drawing.append(f"{label:>{margin}}  ", style="dim")
        drawing.append(bar, style="cyan")
        drawing.append(f"{' ' if bar else ''}{count:,}\n")
    drawing.right_crop(1)
    return drawing


def printable(text: str) -> str:
    """The text without the control characters that could take over a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def answers_table(rows: Iterable[tuple[str, str, str, str]]) -> Table:
    """Input, right answer, and what the base and the tuned model say; right ones are ticked."""
    table = Table(title="Inputs that were not in the data", title_justify="left")
    table.add_column("input", overflow="fold")
    table.add_column("right answer", style="dim", overflow="fold")
    table.add_column("base model", overflow="fold")
    table.add_column("tuned model", overflow="fold")
    for asked, right, base, tuned in rows:
        table.add_row(Text(asked), Text(right), _judged(base, right), _judged(tuned, right))
    return table


def _judged(answer: str, right: str) -> Text:
    if answer.strip() == right:
        return Text(f"✓ {answer.strip()}", style="bold green")
    return Text("  " + (printable(answer).strip() or "(nothing)"), style="red")


def duration(seconds: float) -> str:
    """4.2 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def memory(size: float) -> str:
    """640 MB, 1.2 GB."""
    megabytes = size / 1e6
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


class ReadingProgress:
    """How many rows of a file were read, for files that take long: nothing in the first second,
    then a spinner on a terminal, otherwise a line after ten seconds, and ever more rarely."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._pause = 1.0 if console.is_terminal else 10.0
        self._quiet_until = clock() + self._pause
        self._status: Status | None = None

    def __enter__(self) -> ReadingProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status:
            self._status.stop()

    def rows(self, count: int) -> None:
        self.note(f"{count:,} rows read")

    def note(self, text: str) -> None:
        """What is being done, when it has taken a while."""
        if self._clock() < self._quiet_until:
            return
        if not self._console.is_terminal:
            self._console.print(text, markup=False, highlight=False)
            self._pause *= 2
            self._quiet_until = self._clock() + self._pause
        elif self._status:
            self._status.update(text)
        else:
            self._status = self._console.status(text)
            self._status.start()


def run_curve(snapshots: Sequence[Snapshot], width: int = 80, height: int = 10) -> Text:
    """The loss curve of a run with what is known of it."""
    return loss_curve(
        [(s.step, s.mean_loss) for s in snapshots],
        width,
        height,
        smoothed=[(s.step, s.smoothed_loss) for s in snapshots if s.smoothed_loss is not None],
        held_out=held_out_points(snapshots),
    )


def held_out_points(snapshots: Sequence[Snapshot]) -> list[Point]:
    """Where held-out examples were measured; before the first step, at step 0."""
    start = [(0, s.start_loss) for s in snapshots[:1] if s.start_loss is not None]
    return start + [(s.step, s.held_out_loss) for s in snapshots if s.held_out_loss is not None]
