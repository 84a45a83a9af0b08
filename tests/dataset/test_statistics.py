from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.dataset.check import RowTokens
from kamerton.dataset.statistics import Counts, histogram, spread
from kamerton.findings import Spread


def test_a_spread_is_made_of_lengths_that_there_are() -> None:
    found = spread(np.array([1, 2, 3, 10]))
    assert found == Spread(total=16, least=1, median=2, mean=4.0, p95=10, most=10)
    assert spread(np.zeros(0, np.int64)) == Spread()


@given(st.lists(st.integers(0, 45_000), min_size=1, max_size=200))
def test_every_row_is_in_one_bar(lengths: list[int]) -> None:
    bars = histogram(np.array(lengths))
    ends = [end for end, _ in bars]
    assert sum(rows for _, rows in bars) == len(lengths)
    assert len(bars) <= 12 and ends == sorted(set(ends)) and ends[-1] == max(lengths)
    start = -1
    for end, rows in bars:
        assert rows == sum(start < length <= end for length in lengths)
        start = end


def test_bars_end_at_round_numbers_and_long_rows_do_not_press_the_others_into_one() -> None:
    lengths = np.array([*range(180, 330), *range(180, 330), 40_000])
    ends = [end for end, _ in histogram(lengths)]
    assert ends == [200, 220, 240, 260, 280, 300, 320, 340, 360, 380, 400, 40_000]


def test_tokens_are_told_only_when_all_were_counted() -> None:
    counts = Counts()
    for length in (3, 5):
        counts.add(np.array([length]), np.array([1]))
        counts.add_tokens([RowTokens(2 * length, 4, cut_prompt=length - 3)])
    characters = counts.statistics(3, all_tokens=False)
    assert (characters.row_count, characters.example_count) == (3, 2)
    assert characters.tokens is None
    assert characters.input_characters.total == 8
    counted = counts.statistics(3, all_tokens=True)
    assert counted.tokens is not None
    assert counted.tokens.prompt.total == 16
    assert counted.tokens.answer.total == 8
    assert counted.tokens.row.most == 14
    assert counted.tokens.truncated_count == 1
    assert counted.histogram[-1][0] == 14


@pytest.mark.parametrize("all_tokens", [False, True])
def test_nothing_has_statistics(all_tokens: bool) -> None:
    empty = Counts().statistics(0, all_tokens)
    assert empty.histogram == () and empty.input_characters == Spread()
