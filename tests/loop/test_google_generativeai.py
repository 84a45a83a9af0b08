"""google-generativeai 0.8.6, the retired SDK, unmodified, over both of its transports."""

from __future__ import annotations

import pytest

from tests.loop.client import Client, Outcomes

pytestmark = pytest.mark.xdist_group("clients")

SCRIPT = Client("google-generativeai", "google_generativeai.py")


@pytest.fixture(scope="module")
def over_rest(variables: dict[str, str]) -> Outcomes:
    return SCRIPT.run(**variables, TRANSPORT="rest")


@pytest.fixture(scope="module")
def over_grpc(variables: dict[str, str]) -> Outcomes:
    return SCRIPT.run(**variables, TRANSPORT="grpc")


@pytest.mark.parametrize("part", SCRIPT.parts)
def test_over_rest(over_rest: Outcomes, part: str) -> None:
    over_rest.check(part)


@pytest.mark.parametrize("part", SCRIPT.parts)
def test_over_grpc(over_grpc: Outcomes, part: str) -> None:
    over_grpc.check(part)
