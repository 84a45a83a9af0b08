"""google-genai, the newest and the last that sends training data, redirected by environment."""

from __future__ import annotations

import pytest

from tests.loop.client import Client, Outcomes

pytestmark = pytest.mark.xdist_group("clients")

NEWEST = Client("google-genai", "google_genai.py")
OLDER = Client("google-genai-1.46", "google_genai.py")


@pytest.fixture(scope="module")
def newest(variables: dict[str, str]) -> Outcomes:
    return NEWEST.run(**variables)


@pytest.fixture(scope="module")
def older(variables: dict[str, str]) -> Outcomes:
    return OLDER.run(**variables)


@pytest.mark.parametrize("part", NEWEST.parts)
def test_the_newest(newest: Outcomes, part: str) -> None:
    newest.check(part)


@pytest.mark.parametrize("part", OLDER.parts)
def test_1_46(older: Outcomes, part: str) -> None:
    older.check(part)
