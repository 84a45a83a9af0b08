"""Addresses and groups, as the settings write them."""

from __future__ import annotations

import pytest

from kamerton.errors import InvalidArgument
from kamerton.service import emails

GROUPS = " Team@x.org = Ann@x.org bob@x.org , empty@x.org=, team@x.org=eve@x.org,"


@pytest.mark.parametrize(
    ("address", "groups"),
    [
        ("ann@x.org", {"team@x.org"}),
        ("eve@x.org", {"team@x.org"}),
        ("team@x.org", set()),
        ("x.org", set()),
    ],
)
def test_groups_of_an_address(address: str, groups: set[str]) -> None:
    assert emails.groups_of(address, GROUPS) == groups
    assert emails.groups_of(address, "") == set()


@pytest.mark.parametrize("text", ["team@x.org", "=ann@x.org", "a b=ann@x.org", "team@x.org=\x00"])
def test_what_names_no_groups(text: str) -> None:
    with pytest.raises(InvalidArgument, match="KAMERTON_GROUPS"):
        emails.groups(text)


@pytest.mark.parametrize("text", ["", " ", "two words", "line\nbreak", "x" * 321, "\u202eann"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidArgument, match="owner"):
        emails.checked("owner", text)
