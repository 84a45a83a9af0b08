"""A short kill loop; `make soak` runs the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from kamerton.dataset.tutorial import EXAMPLES
from tests.loop.kills import Request, Soak

pytestmark = pytest.mark.xdist_group("faults")


def test_runs_survive_whatever_is_killed(tmp_path: Path) -> None:
    requests = (Request(30, 4), Request(30, 4, EXAMPLES[:11], EXAMPLES[11:]))
    soak = Soak(tmp_path / "data", seed=19, seconds=280, gap=3.0)
    tally = soak.go(kills=4, runs=3, requests=requests)
    assert tally.kills.total() == 4 and tally.runs >= 3
    assert tally.attempts > tally.runs
