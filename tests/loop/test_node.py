"""The Node clients: @google/genai, newest and 1.26.0, and its retired forerunner."""

from __future__ import annotations

import pytest

from tests.loop.client import Client, Outcomes

pytestmark = pytest.mark.xdist_group("clients")

GENAI = Client("node", "google_genai.cjs")
GENERATIVE_AI = Client("node", "google_generative_ai.cjs")


@pytest.fixture(scope="module")
def newest(variables: dict[str, str]) -> Outcomes:
    return GENAI.run(**variables, PACKAGE="@google/genai")


@pytest.fixture(scope="module")
def older(variables: dict[str, str]) -> Outcomes:
    return GENAI.run(**variables, PACKAGE="google-genai-1.26")


@pytest.fixture(scope="module")
def generative_ai(variables: dict[str, str], tutored: str) -> Outcomes:
    return GENERATIVE_AI.run(**variables, TUNED=tutored)


@pytest.mark.parametrize("part", GENAI.parts)
def test_genai(newest: Outcomes, part: str) -> None:
    newest.check(part)


@pytest.mark.parametrize("part", GENAI.parts)
def test_genai_1_26(older: Outcomes, part: str) -> None:
    older.check(part)


@pytest.mark.parametrize("part", GENERATIVE_AI.parts)
def test_generative_ai(generative_ai: Outcomes, part: str) -> None:
    generative_ai.check(part)
