"""The loss curve of a run as a picture, SVG or PNG."""

from __future__ import annotations

import io
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from kamerton.errors import FailedPrecondition, InvalidArgument
from kamerton.types import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Mark = tuple[int, float, str]
"""A point of the curve, by step and value, and what to say of it."""

# Okabe and Ito's colours, which people who see few colours can tell apart as well.
_LOSS, _PALE, _HELD_OUT, _INK, _FAINT = "#0072B2", "#A6CDE3", "#D55E00", "#333333", "#8A8A8A"
_STYLE: Any = {
    "font.size": 10.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": "#BBBBBB",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.hashsalt": "kamerton",
    # Text stays text, which can be read aloud, searched, and needs no glyphs of ours.
    "svg.fonttype": "none",
}
_EPOCHS_NAMED = 10
"""So many epochs have their numbers beside each other without touching."""
_MARK_CHARACTERS = 34

_drawing = threading.Lock()
"""matplotlib's settings belong to the whole process."""


def curve_svg(snapshots: Sequence[Snapshot], title: str = "", marks: Sequence[Mark] = ()) -> str:
    """Loss, held-out loss and learning rate by step; the same run gives the same text."""
    return _picture(snapshots, title, marks, "svg", {"Date": None}).decode()


def curve_png(snapshots: Sequence[Snapshot], title: str = "", marks: Sequence[Mark] = ()) -> bytes:
    """The same as a PNG, 1440 pixels wide."""
    return _picture(snapshots, title, marks, "png", {"Software": None})


def _picture(
    snapshots: Sequence[Snapshot],
    title: str,
    marks: Sequence[Mark],
    form: Literal["svg", "png"],
    metadata: dict[str, None],
) -> bytes:
    if not snapshots:
        raise InvalidArgument("there is no step to draw yet")
    out = io.BytesIO()
    with _drawn_alone():
        _figure(snapshots, title, marks).savefig(out, format=form, metadata=metadata)
    return out.getvalue()


@contextmanager
def _drawn_alone() -> Iterator[None]:
    """With our settings, and for one picture at a time."""
    try:
        from matplotlib import rc_context
    except ImportError:
        raise FailedPrecondition("pictures need matplotlib: pip install 'kamerton[plot]'") from None
    with _drawing, rc_context(_STYLE), warnings.catch_warnings():
        # A title in letters that the font has not: readers of SVG have others, PNG shows boxes.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        yield


def _figure(snapshots: Sequence[Snapshot], title: str, marks: Sequence[Mark]) -> Figure:
    from matplotlib.figure import Figure

    rates = [(s.step, s.learning_rate) for s in snapshots if s.learning_rate is not None]
    figure = Figure(figsize=(9, 5.6 if rates else 4.8), dpi=160, layout="constrained")
    if rates:
        losses, below = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": [5, 1], "hspace": 0.04}
        )
        _draw_rate(below, rates)
    else:
        losses = below = figure.subplots()
    below.set_xlabel("step")
    below.xaxis.get_major_locator().set_params(integer=True)
    _draw_losses(losses, snapshots)
    _draw_epochs(losses, below, snapshots)
    for place, mark in enumerate(marks):
        _draw_mark(losses, mark, place, snapshots[-1].step)
    if title:
        losses.set_title(title, loc="left", fontsize=13, pad=22, parse_math=False)
    return figure


def _draw_losses(axes: Axes, snapshots: Sequence[Snapshot]) -> None:
    steps = [snapshot.step for snapshot in snapshots]
    dots: dict[str, Any] = {"marker": "."} if len(steps) < 3 else {}
    smooth = _points(snapshots, lambda snapshot: snapshot.smoothed_loss)
    axes.plot(
        steps,
        [_finite(snapshot.mean_loss) for snapshot in snapshots],
        color=_PALE if smooth else _LOSS,
        linewidth=1.1 if smooth else 1.4,
        label="training loss",
        **dots,
    )
    if smooth:
        axes.plot(*zip(*smooth, strict=True), color=_LOSS, linewidth=2, label="smoothed", **dots)
    _draw_held_out(axes, snapshots)
    axes.set_ylabel("loss, nats per answer token")
    axes.grid(axis="y", color="#E8E8E8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)
    axes.legend(frameon=True, facecolor="white", edgecolor="none", framealpha=0.85)
    if 0 <= axes.dataLim.y0 < axes.dataLim.y1 / 2:
        axes.set_ylim(bottom=0)  # What is left of the loss is only seen from the ground.


def _draw_held_out(axes: Axes, snapshots: Sequence[Snapshot]) -> None:
    """Points, because it is measured now and then; the one before the first step is hollow."""
    measured = _points(snapshots, lambda snapshot: snapshot.held_out_loss)
    start = snapshots[0].start_loss
    baseline = [] if start is None else [(0, _finite(start))]
    if not measured and not baseline:
        return
    axes.plot(
        *zip(*(baseline + measured), strict=True),
        color=_HELD_OUT,
        linewidth=1.6,
        marker="o",
        markersize=5 if len(measured) <= 40 else 3,
        markevery=range(len(baseline), len(baseline) + len(measured)),
        label="held-out loss" if measured else None,
    )
    if baseline:
        axes.plot(
            *zip(*baseline, strict=True),
            color=_HELD_OUT,
            linestyle="none",
            marker="o",
            markersize=7,
            markerfacecolor="white",
            markeredgewidth=1.8,
            label="held-out loss before the run",
        )


def _draw_rate(axes: Axes, rates: Sequence[tuple[int, float]]) -> None:
    axes.plot(*zip(*rates, strict=True), color=_FAINT, linewidth=1.4)
    axes.set_ylabel("learning\nrate")
    peak = max((rate for _, rate in rates if math.isfinite(rate)), default=0)
    axes.set_ylim(0, peak * 1.15 or 1)
    axes.set_yticks(sorted({0, peak}))
    axes.yaxis.set_major_formatter(lambda rate, place: f"{rate:.2g}")


def _draw_epochs(losses: Axes, below: Axes, snapshots: Sequence[Snapshot]) -> None:
    """A line before the first step of an epoch, and its number; of many epochs, some."""
    first = {snapshots[0].epoch: snapshots[0].step}
    for before, after in pairwise(snapshots):
        if after.epoch != before.epoch:
            first[after.epoch] = after.step
    if len(first) < 2:
        return
    every = math.ceil(len(first) / _EPOCHS_NAMED)
    for place, (epoch, step) in list(enumerate(first.items()))[::every]:
        if place:
            for axes in {losses, below}:
                axes.axvline(step - 0.5, color="#CCCCCC", linewidth=0.8, zorder=0.5)
        losses.annotate(
            f"{epoch}" if place else f"epoch {epoch}",
            (step - 0.5, 1),
            (2, 3),
            xycoords=losses.get_xaxis_transform(),
            textcoords="offset points",
            color="#6B6B6B",
            fontsize=9,
        )


def _draw_mark(axes: Axes, mark: Mark, place: int, last_step: int) -> None:
    """An arrow from its words to the point; right of it if there is room, as curves fall."""
    import textwrap

    step, value, text = mark
    if not math.isfinite(value):
        return
    is_left = step < last_step * 0.6
    axes.annotate(
        textwrap.fill(text, _MARK_CHARACTERS),
        (step, value),
        (34 if is_left else -34, 40 + 30 * (place % 3)),
        textcoords="offset points",
        ha="left" if is_left else "right",
        va="bottom",
        fontsize=9.5,
        parse_math=False,
        bbox={"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "#BBBBBB"},
        arrowprops={"arrowstyle": "->", "color": _INK, "linewidth": 1, "shrinkB": 3},
        zorder=5,
    )


def _points(
    snapshots: Sequence[Snapshot], what: Callable[[Snapshot], float | None]
) -> list[tuple[int, float]]:
    """The steps where it was kept, with it."""
    found = ((snapshot.step, what(snapshot)) for snapshot in snapshots)
    return [(step, _finite(value)) for step, value in found if value is not None]


def _finite(value: float) -> float:
    """NaN instead of what no axis could hold: it leaves a gap."""
    return value if math.isfinite(value) else math.nan
