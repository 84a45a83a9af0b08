"""The arithmetic of the training benchmark: what a wrong figure would be made of."""

from __future__ import annotations

from array import array
from types import SimpleNamespace

import pytest

from benchmarks import floor, markdown, train_data
from benchmarks.sides import Measured, Round
from benchmarks.stock_settings import GOOD, Settings, axes, search
from kamerton.training.rows import Row


@pytest.mark.parametrize(("length", "window"), [(1, 4), (4, 4), (7, 4), (9, 100)])
def test_pairs_are_those_that_see_each_other(length: int, window: int) -> None:
    seen = sum(0 <= i - j < window for i in range(length) for j in range(length))
    assert floor.pairs(length, window) == seen


def test_flops_of_a_step() -> None:
    config = SimpleNamespace(
        hidden_size=8, head_dim=4, num_attention_heads=2, num_key_value_heads=1,
        num_hidden_layers=2, intermediate_size=16, vocab_size=100, sliding_window=2,
        layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    row = Row(array("i", range(4)), ((2, 4),))  # Three tokens go in, two are learned.
    attention = 8 * (2 * 4) + 2 * 8 * 4 + 2 * 4 * 8
    weights = 2 * (attention + 3 * 8 * 16)
    pairs = (1 + 2 + 2) + (1 + 2 + 3)
    expected = 4 * 3 * weights + 4 * 2 * 8 * 100 + 12 * 2 * 4 * pairs
    assert floor.flops(config, [row]) == expected


def test_rows_have_the_lengths_that_were_asked_for() -> None:
    rows = train_data.rows(200, train_data.MIX, 1000)
    prompts = [row.spans[0][0] for row in rows]
    answers = [row.learned for row in rows]
    assert min(prompts) >= 20 and max(prompts) <= 400 and len(set(prompts)) > 100
    assert min(answers) >= 5 and max(answers) <= 150 and len(set(answers)) > 50
    assert rows == train_data.rows(200, train_data.MIX, 1000)
    (long,) = train_data.rows(1, train_data.of_length(512), 1000)
    assert train_data.tokens(long) == 512


def test_the_search_keeps_what_is_faster() -> None:
    def seconds(settings: Settings) -> float:
        return (
            10.0
            - 3.0 * (settings.attention == "eager")
            - 2.0 * (settings.precision == "bf16")
            + 1.0 * (not settings.padding_free)
            - 0.5 * (settings.threads == 1)
        )

    trials = list(search(seconds, GOOD, axes(2)))
    best = [settings for settings, _, is_best in trials if is_best][-1]
    assert (best.attention, best.precision, best.threads) == ("eager", "bf16", 1)
    assert best.padding_free and not best.checkpointing
    assert min(found for _, found, _ in trials) == seconds(best)


def test_ratios_are_of_rounds_that_lay_beside_each_other() -> None:
    ours = Measured([Round(1.0, tokens=50), Round(2.0, tokens=50), Round(4.0, tokens=50)])
    theirs = Measured([Round(3.0), Round(6.0), Round(4.0)])
    assert ours.times(theirs) == 3.0
    assert ours.tokens_per_second == 25.0 and ours.spread == 1.5


def test_a_side_that_failed_leaves_the_table_whole() -> None:
    done = Measured([Round(2.0, tokens=4, steps=1, peak_bytes=10**9, flops=1.0, matrix_rate=2.0)])
    broken = Measured(failure="exit status 1\nRuntimeError: no room")
    text = markdown.steps({"one": done, "two": broken}, {"one": "times one", "two": "times two"})
    first, rule, one, two = text.splitlines()
    assert len({first.count("|"), rule.count("|"), one.count("|"), two.count("|")}) == 1
    assert "no room" in two and "25% of" in one
