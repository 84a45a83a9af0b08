"""A fake server that `kamerton.genai` is pointed at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kamerton.genai as genai
from tests.fake_server import FakeServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    fake = FakeServer()
    monkeypatch.setenv("KAMERTON_ENDPOINT", fake.endpoint)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    genai.configure(api_key="kam-secret")
    yield fake
    fake.close()
    genai.configure()  # Nothing of this test stays for the next.
