"""Pictures of a curve show what is known of it, are the same every time, and survive odd losses."""

from __future__ import annotations

import io
import math
import sys
from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest

from kamerton.errors import FailedPrecondition, InvalidArgument
from kamerton.plot import curve_png, curve_svg
from kamerton.types import Snapshot


def snapshots(count: int = 60, epochs: int = 3) -> list[Snapshot]:
    """A run that falls, with all that can be known of its steps."""
    return [
        Snapshot(
            step=step,
            epoch=(step - 1) * epochs // count + 1,
            mean_loss=4 / step,
            compute_time=datetime(2026, 11, 21, 8, 0, step % 60, tzinfo=UTC),
            held_out_loss=5 / step if step % 10 == 0 else None,
            start_loss=5.0 if step == 1 else None,
            smoothed_loss=4.2 / step,
            learning_rate=0.001,
        )
        for step in range(1, count + 1)
    ]


def words(svg: str) -> list[str]:
    """The texts of a picture."""
    root = ElementTree.fromstring(svg)
    return [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_it_names_all_that_it_draws() -> None:
    drawn = words(curve_svg(snapshots(), "tunedModels/next-number"))
    named = {"training loss", "smoothed", "held-out loss", "held-out loss before the run"}
    named |= {"tunedModels/next-number", "epoch 1", "2", "3", "step", "rate", "0.001"}
    assert named <= set(drawn)


def test_what_is_not_known_is_not_named() -> None:
    bare = [Snapshot(s.step, 1, s.mean_loss, s.compute_time) for s in snapshots()]
    drawn = words(curve_svg(bare))
    assert "training loss" in drawn
    assert not {"smoothed", "held-out loss", "rate", "epoch 1"} & set(drawn)


def test_the_same_run_gives_the_same_bytes() -> None:
    marks = [(20, 0.25, "lowest held-out loss")]
    assert curve_svg(snapshots(), "x", marks) == curve_svg(snapshots(), "x", marks)
    assert curve_png(snapshots(), "x", marks) == curve_png(snapshots(), "x", marks)
    assert curve_svg(snapshots()) != curve_svg(snapshots(59))


def test_the_png_is_a_picture_with_blue_and_vermilion_on_white() -> None:
    from PIL import Image

    with Image.open(io.BytesIO(curve_png(snapshots()))) as opened:
        picture = opened.convert("RGB")
    assert picture.size == (1440, 896)
    colours = dict((colour, n) for n, colour in picture.getcolors(1 << 20) or ())
    assert max(colours, key=lambda colour: colours[colour]) == (255, 255, 255)
    assert colours[(0, 114, 178)] > 500
    assert colours[(213, 94, 0)] > 200


def test_marks_are_said_beside_their_points() -> None:
    drawn = " ".join(words(curve_svg(snapshots(), marks=[(50, 0.1, "<it> costs $5 & rises")])))
    assert "<it> costs $5 & rises" in drawn
    unseen = curve_svg(snapshots(), marks=[(50, math.nan, "nowhere")])
    assert "nowhere" not in unseen


@pytest.mark.parametrize("losses", [[math.nan], [math.inf, 1.0], [0.0], [2.0] * 9, [1e30, 1, -1]])
def test_odd_losses_are_drawn_all_the_same(losses: list[float]) -> None:
    first, *_ = snapshots()
    odd = [replace(first, step=n, mean_loss=loss) for n, loss in enumerate(losses, 1)]
    assert "training loss" in words(curve_svg(odd, "числа 六 $x$ \\frac"))


def test_many_epochs_and_steps() -> None:
    drawn = words(curve_svg(snapshots(4000, 80)))
    assert "73" in drawn and "74" not in drawn


def test_nothing_to_draw() -> None:
    with pytest.raises(InvalidArgument, match="no step"):
        curve_svg([])


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(FailedPrecondition, match=r"pip install 'kamerton\[plot\]'"):
        curve_png(snapshots())
