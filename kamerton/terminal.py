"""What a terminal shows: the loss curve in braille, the progress of a run, answers side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.status import Status

Point = tuple[int, float]
"""A step and its loss."""

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille character, by column and by row from the top."""
_EIGHTHS = ("", *"▏▎▍▌▋▊▉")
"""The last character of a bar."""


def loss_curve(points: Sequence[Point], width: int = 80, height: int = 10) -> Text:
    """The curve with its axes, `width` characters wide; losses that are no numbers leave gaps."""
    finite = [(step, loss) for step, loss in points if math.isfinite(loss)]
    if not finite:
        return Text("no losses to draw yet", style="dim")
    low, high = min(loss for _, loss in finite), max(loss for _, loss in finite)
    labels = [_number(high - (high - low) * row / (height - 1)) for row in range(height)]
    margin = max(map(len, labels))
    columns = max(width - margin - 2, 10)
    dots = _columns(finite, columns * 2, points[0][0], points[-1][0])
    picture = _braille(_rows(dots, height * 4, low, high), columns, height)
    drawing = Text(no_wrap=True)
    marked = {0, height // 2, height - 1} if high > low else {height // 2}
    for row, line in enumerate(picture):
        label = labels[row] if row in marked else ""
        drawing.append(f"{label:>{margin}} {'┤' if label else '│'}", style="dim")
        drawing.append(line + "\n", style="cyan")
    drawing.append(_step_axis(points[0][0], points[-1][0], margin, columns), style="dim")
    return drawing


def _columns(
    points: Iterable[Point], count: int, first_step: int, last_step: int
) -> list[float | None]:
    """The mean loss in each column of dots; None where no step falls."""
    sums, counts = [0.0] * count, [0] * count
    for step, loss in points:
        column = round((step - first_step) / max(last_step - first_step, 1) * (count - 1))
        sums[column] += loss
        counts[column] += 1
    return [total / n if n else None for total, n in zip(sums, counts, strict=True)]


def _rows(
    columns: Sequence[float | None], count: int, low: float, high: float
) -> list[float | None]:
    """Heights in dots from the top, with straight lines where columns between points are empty."""
    scale = (count - 1) / (high - low) if high > low else 0.0
    middle = (count - 1) / 2
    rows = [
        None if loss is None else (high - loss) * scale if scale else middle for loss in columns
    ]
    known = [column for column, row in enumerate(rows) if row is not None]
    for left, right in pairwise(known):
        start, end = rows[left] or 0.0, rows[right] or 0.0
        for column in range(left + 1, right):
            rows[column] = start + (end - start) * (column - left) / (right - left)
    return rows


def _braille(rows: Sequence[float | None], columns: int, height: int) -> list[str]:
    """The line through all heights, each joined to the one before by a vertical stroke."""
    cells = [[0] * columns for _ in range(height)]
    before: int | None = None
    for column, row in enumerate(rows):
        if row is None:
            continue
        dot = round(row)
        joined = dot if before is None else before
        for stroke in range(min(dot, joined), max(dot, joined) + 1):
            cells[stroke // 4][column // 2] |= _DOTS[column % 2][stroke % 4]
        before = dot
    # A space where no dot is: some fonts draw the empty braille character as eight circles.
    return ["".join(chr(0x2800 + bits) if bits else " " for bits in line) for line in cells]


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


class RunProgress:
    """The progress of one run: a bar on a terminal, otherwise a line now and then.

    Lines come at every tenth of the run, or after five seconds when something has moved.
    """

    def __init__(
        self, console: Console, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._clock = clock
        self._first: tuple[int, float] | None = None
        self._shown_step = 0
        self._shown_at = clock()
        self._note = ""
        self._bar = _bar(console) if console.is_terminal else None
        if self._bar:
            self._task = self._bar.add_task("tuning", total=total, loss="", eta="")

    def __enter__(self) -> RunProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def note(self, text: str) -> None:
        """What the run is waiting for; "" when it moves."""
        if self._bar:
            self._bar.update(self._task, description=text or "tuning")
        elif text and text != self._note:
            self._console.print(text, markup=False)
        self._note = text

    def show(self, step: int, total: int, loss: float | None) -> None:
        """Where the run stands now."""
        left = self._time_left(step, total)
        eta = "" if left is None else f"ETA {duration(left)}"
        shown_loss = "" if loss is None else f"loss {loss:.4f}"
        if self._bar:
            self._bar.update(self._task, completed=step, total=total, loss=shown_loss, eta=eta)
        elif step > self._shown_step and self._is_time(step, total):
            line = f"step {step}/{total}, {step / max(total, 1):.0%}"
            print_line = ", ".join(filter(None, (line, shown_loss, eta)))
            self._console.print(print_line, markup=False, highlight=False)
            self._shown_step, self._shown_at = step, self._clock()

    def _is_time(self, step: int, total: int) -> bool:
        if step >= total or (step - self._shown_step) * 10 >= total:
            return True
        return self._clock() - self._shown_at >= 5

    def _time_left(self, step: int, total: int) -> float | None:
        """By the pace since the first step that was seen, which leaves the waiting out."""
        if step <= 0:
            return None
        if self._first is None:
            self._first = step, self._clock()
            return None
        first_step, first_time = self._first
        if step <= first_step or step >= total:
            return None
        return (self._clock() - first_time) / (step - first_step) * (total - step)


def _bar(console: Console) -> Progress:
    """Gone when the run is over: what stays is for the caller to print."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[loss]}", style="cyan"),
        TextColumn("{task.fields[eta]}", style="dim"),
        console=console,
        transient=True,
        expand=True,
    )
