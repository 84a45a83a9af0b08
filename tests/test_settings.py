"""Settings that cannot be are refused before a server starts."""

from __future__ import annotations

import pytest

from kamerton import settings
from kamerton.errors import InvalidArgument


@pytest.mark.parametrize("price", ["-1", "nan", "inf"])
def test_what_is_no_price_is_refused(monkeypatch: pytest.MonkeyPatch, price: str) -> None:
    monkeypatch.setenv("KAMERTON_PRICE_PER_MILLION_TOKENS", price)
    with pytest.raises(InvalidArgument, match=r"PRICE_PER_MILLION_TOKENS=.* is not a price"):
        settings.load()


def test_an_unknown_trainer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAMERTON_TRAINER", "trl")
    assert settings.load().trainer == "trl"
    monkeypatch.setenv("KAMERTON_TRAINER", "fast")
    with pytest.raises(InvalidArgument, match="'fast' is no trainer; there are lean, trl"):
        settings.load()
