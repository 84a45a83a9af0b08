"""Where calls go, and whose they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import kamerton.genai as genai
from kamerton.genai import configuration
from tests.fake_server import FakeServer

VARIABLES = ("KAMERTON_ENDPOINT", "KAMERTON_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing, in a process that has called nothing."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(configuration, "_connection", None)
    return monkeypatch


def sent(server: FakeServer, **configured: Any) -> dict[str, str]:
    """The headers of a call after `configure(**configured)`."""
    server.when("GET /v1beta/models", {})
    genai.configure(**configured)
    list(genai.list_models())
    return {name.lower(): value for name, value in server.headers[-1].items()}


def test_a_key_alone_is_enough(server: FakeServer) -> None:
    assert sent(server, api_key="mine")["x-goog-api-key"] == "mine"


@pytest.mark.parametrize("token", ["kamt-0123456789ab-secret", "eyJhbGciOi.eyJpc3Mi.c2ln"])
def test_a_bearer_token_given_as_a_key_is_sent_as_one(server: FakeServer, token: str) -> None:
    headers = sent(server, api_key=token)
    assert headers["authorization"] == f"Bearer {token}"
    assert "x-goog-api-key" not in headers


def test_without_configure_the_environment_decides(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("KAMERTON_ENDPOINT", "http://kamerton.example:8443/")
    assert configuration.connection().endpoint == "http://kamerton.example:8443"


def test_without_anything_it_is_the_server_on_this_machine(bare: pytest.MonkeyPatch) -> None:
    assert configuration.connection().endpoint == "http://127.0.0.1:8080"


@pytest.mark.parametrize("known", [VARIABLES[1:], VARIABLES[2:], VARIABLES[3:]])
def test_keys_of_the_environment_by_rank(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, known: tuple[str, ...]
) -> None:
    for name in VARIABLES[1:]:
        monkeypatch.delenv(name, raising=False)
    for name in known:
        monkeypatch.setenv(name, f"from-{name}")
    assert sent(server)["x-goog-api-key"] == f"from-{known[0]}"


@pytest.mark.parametrize("kind", [dict, lambda **options: SimpleNamespace(**options)])
def test_client_options_name_server_and_key(bare: pytest.MonkeyPatch, kind: Any) -> None:
    server = FakeServer()
    try:
        options = kind(api_endpoint=server.endpoint, api_key="theirs")
        headers = sent(server, client_options=options, transport="grpc")
        assert headers["x-goog-api-key"] == "theirs"
    finally:
        server.close()


def test_tokens_and_metadata_go_along(server: FakeServer) -> None:
    headers = sent(
        server,
        credentials=SimpleNamespace(token="ya29"),
        default_metadata=[("x-goog-user-project", "my-project")],
    )
    assert headers["authorization"] == "Bearer ya29"
    assert headers["x-goog-user-project"] == "my-project"
