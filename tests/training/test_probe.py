from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kamerton.errors import FailedPrecondition
from kamerton.training import probe as module
from kamerton.training.probe import probe
from kamerton.types import BaseModel


def test_a_base_model_is_measured(tiny: BaseModel) -> None:
    found = probe(tiny, "cpu", seconds=1.0)
    step = found.seconds_per_step + 100 * (found.seconds_per_token + found.seconds_per_pair * 25)
    assert 1e-4 < step < 2.0  # Of four rows of 25 tokens.
    assert found.relative_error >= 0.15
    assert 50_000_000 < found.memory_bytes < 4_000_000_000
    assert 0.1 < found.measuring_share < 1.5
    assert min(found.memory_per_token, found.seconds_per_learned_token) >= 0


def test_a_base_model_that_cannot_be_loaded_is_said_in_words(tiny: BaseModel) -> None:
    missing = replace(tiny, weights=str(Path(tiny.weights) / "config.json"))
    with pytest.raises(FailedPrecondition, match="tiny"):
        probe(missing, "cpu", seconds=0.1)


def test_without_torch_it_says_how_to_get_it(
    tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FailedPrecondition, match=r"pip install 'kamerton\[train\]'"):
        probe(tiny)


def test_a_probe_that_dies_is_said_in_words(
    tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)  # It is killed at once.
    with pytest.raises(FailedPrecondition, match=r"died, .* exit status -9"):
        probe(tiny, "cpu", seconds=0.1)


def test_the_rates_of_a_device_are_found_again() -> None:
    def seconds(tokens: int, learned: int, pairs: int) -> float:
        return 0.01 + 2e-4 * tokens + 1e-5 * learned + 3e-7 * pairs

    sizes = [(r * n, r * a, r * n * n) for r, n, a in module.SIZES]
    times = [[seconds(*size)] * 3 for size in sizes]
    found: Any = module._fit(sizes, times, 100, [10 * size[0] for size in sizes], 0.4)
    assert found.seconds_per_step == pytest.approx(0.01, rel=1e-3)
    assert found.seconds_per_token == pytest.approx(2e-4, rel=1e-3)
    assert found.seconds_per_pair == pytest.approx(3e-7, rel=1e-3)
    assert found.memory_per_token == pytest.approx(10, rel=1e-3)
    assert found.relative_error == 0.15


def test_measurements_that_disagree_are_an_error_that_is_told() -> None:
    sizes = [(r * n, r * a, r * n * n) for r, n, a in module.SIZES]
    times = [[0.1, 0.1, 0.2] for _ in sizes]
    found = module._fit(sizes, times, 100, [0 for _ in sizes], 0.4)
    assert found.relative_error >= 0.45
