"""Page tokens: a place in one list of one caller, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kamerton.errors import InvalidArgument
from kamerton.service import pages

TIMES = st.datetimes(timezones=st.just(UTC))
BOUNDS = st.lists(st.text(), max_size=4)


@given(time=TIMES, id=st.text(st.characters(codec="utf-8", exclude_characters="\0")), bound=BOUNDS)
def test_a_token_is_the_place_it_was_made_of(time: datetime, id: str, bound: list[str]) -> None:
    token = pages.page([1], (time, id), *bound).next_page_token
    assert token.isascii() and token.replace("-", "").replace("_", "").isalnum()
    assert pages.start(token, *bound) == (time, id)


@given(bound=BOUNDS, other=BOUNDS)
def test_a_token_is_good_for_its_own_list_only(bound: list[str], other: list[str]) -> None:
    token = pages.page([1], (datetime.now(UTC), "x"), *bound).next_page_token
    if bound == other:
        assert pages.start(token, *other)
    else:
        with pytest.raises(InvalidArgument, match="page_token"):
            pages.start(token, *other)


@given(token=st.text(min_size=1))
@example("bm90IGEgdGltZQ==")
@example("WyJhIiwiMjAyNi0xMS0yMSIsImEiXQ")
@example("ü")
@example("\0")
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        pages.start(token, "list")


def test_no_token_is_the_first_page_and_the_last_has_none() -> None:
    assert pages.start("", "list") is None
    assert pages.page([1, 2], None, "list").next_page_token == ""
