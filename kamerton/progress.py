"""The progress of a run on a terminal, or in lines; and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kamerton.terminal import duration, held_out_points, memory, run_curve
from kamerton.types import Snapshot

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live


class RunProgress:
    """The progress of one run: a bar and the curve on a terminal, otherwise a line now and then.

    Lines come at every tenth of the run, or after five seconds when something has moved.
    """

    def __init__(
        self, console: Console, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._clock = clock
        self._state = RunState(0, total)
        self._seen: list[Seen] = []
        self._shown_step = 0
        self._shown_at = clock()
        self._note = ""
        self._live = self._opened() if console.is_terminal else None

    def _opened(self) -> Live:
        """Gone when the run is over: what stays is for the caller to print."""
        from rich.live import Live

        return Live(
            get_renderable=self._drawn,
            console=self._console,
            transient=True,
            auto_refresh=False,  # Only steps change the picture, and a long curve takes a while.
            vertical_overflow="crop",
        )

    def __enter__(self) -> RunProgress:
        if self._live:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def note(self, text: str) -> None:
        """What the run is waiting for; "" when it moves."""
        if text == self._note:
            return
        self._note = text
        if self._live:
            self._live.refresh()
        elif text:
            self._console.print(text, markup=False)

    def show(
        self, step: int, total: int, loss: float | None, snapshots: Sequence[Snapshot] = ()
    ) -> None:
        """Where the run stands now; with `snapshots` more is known of it."""
        if snapshots:
            self._seen = [
                (s.step, s.compute_time.timestamp(), s.held_out_loss is not None) for s in snapshots
            ]
        elif step > (self._seen[-1][0] if self._seen else 0):
            self._seen.append((step, self._clock(), False))
        before, left = self._state, seconds_left(self._seen, total)
        self._state = RunState(step, total, loss, left, snapshots or before.snapshots)
        if self._live:
            if (step, len(snapshots)) != (before.step, len(before.snapshots)):
                self._live.refresh()
        elif step > self._shown_step and self._is_time(step, total):
            line = ", ".join((*self._state.place(), *self._state.losses(), *self._state.eta()))
            self._console.print(line, markup=False, highlight=False)
            self._shown_step, self._shown_at = step, self._clock()

    def _drawn(self) -> RenderableType:
        return run_picture(self._state, self._note, *self._console.size)

    def _is_time(self, step: int, total: int) -> bool:
        if step >= total or (step - self._shown_step) * 10 >= total:
            return True
        return self._clock() - self._shown_at >= 5


Seen = tuple[int, float, bool]
"""A step, its time in seconds by some clock, and whether the held-out examples were measured."""
_RECENT = 100
"""So many steps tell the pace; of a long run the earlier ones may have had another."""
_UNUSUAL = 4
"""So many times the median is what interrupted a step, and not its work."""


def seconds_left(seen: Sequence[Seen], total: int) -> float | None:
    """How long the steps that are left will take; None when nothing can be said.

    By the pace of the recent steps, without those that took much longer than most, such as the
    first and the one after a restart. What measuring adds counts as often as it was done."""
    spans = [
        ((after - before) / (step - earlier), measured)
        for (earlier, before, measured), (step, after, _) in pairwise(seen)
        if step > earlier
    ]
    plain = [span for span, measured in spans if not measured][-_RECENT:]
    measuring = [span for span, measured in spans if measured]
    if not spans or seen[-1][0] >= total:
        return None
    pace = _usual(plain or measuring)
    if plain and measuring:
        share = sum(measured for _, _, measured in seen) / len(seen)
        pace += max(_usual(measuring) - pace, 0.0) * share
    return pace * (total - seen[-1][0]) or None


def _usual(spans: Sequence[float]) -> float:
    limit = _UNUSUAL * median(spans)
    usual = [span for span in spans if span <= limit] if limit > 0 else spans
    return sum(usual) / len(usual)


@dataclass(frozen=True, slots=True)
class RunState:
    """How far a run is, and what is said of it."""

    step: int
    total: int
    loss: float | None = None
    seconds_left: float | None = None
    snapshots: Sequence[Snapshot] = ()

    def place(self) -> tuple[str, str]:
        return f"step {self.step}/{self.total}", f"{self.step / max(self.total, 1):.0%}"

    def losses(self) -> list[str]:
        smooth = self.snapshots[-1].smoothed_loss if self.snapshots else None
        held_out = held_out_points(self.snapshots)
        told = {
            "loss": self.loss,
            "smoothed": smooth,
            "held-out": held_out[-1][1] if held_out else None,
        }
        return [f"{name} {value:.4f}" for name, value in told.items() if value is not None]

    def rates(self) -> list[str]:
        if not self.snapshots:
            return []
        last = self.snapshots[-1]
        told = {
            "{:,.0f} tokens/s": last.tokens_per_second,
            "rate {:.2g}": last.learning_rate,
            "gradient {:.2g}": last.gradient_norm,
        }
        numbers = [form.format(value) for form, value in told.items() if value is not None]
        return numbers + ([memory(last.memory_bytes)] if last.memory_bytes else [])

    def eta(self) -> list[str]:
        return [] if self.seconds_left is None else [f"ETA {duration(self.seconds_left)}"]


_ONE_LINE = 64
"""So many columns hold a bar with all that is beside it."""


def run_picture(state: RunState, note: str, width: int, height: int) -> RenderableType:
    """Bar, numbers and curve in so many columns and lines of a terminal."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar

    bar = ProgressBar(total=max(state.total, 1), completed=state.step)
    step, percent = state.place()
    place = Text(_fitting([step, *state.eta(), percent], width))
    head = Table.grid(padding=(0, 1), expand=True)
    if width >= _ONE_LINE:
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_row(Text(note or "tuning"), bar, place)
    else:
        head.add_row(bar)
        head.add_row(Text(note, no_wrap=True, overflow="ellipsis") if note else place)
    parts: list[RenderableType] = [head]
    if numbers := _fitting([*state.losses(), *state.rates()], width):
        parts.append(Text(numbers, style="cyan", no_wrap=True, overflow="ellipsis"))
    lines = min(10, height - 6)
    if state.snapshots and lines >= 4:
        parts.append(run_curve(state.snapshots, min(width, 100), lines))
    return Group(*parts)


def _fitting(words: Sequence[str], width: int) -> str:
    """As many of the words as have room, at least one."""
    line = ""
    for word in words:
        longer = f"{line} · {word}" if line else word
        if line and len(longer) > width:
            break
        line = longer
    return line
