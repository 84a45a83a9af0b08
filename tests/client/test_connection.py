"""Which address a server is called at."""

from __future__ import annotations

import pytest

from kamerton.client.connection import Connection


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.2:8080/", "http://127.0.0.2:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("kamerton.example", "https://kamerton.example"),
        ("192.168.0.7:8080", "https://192.168.0.7:8080"),
        ("localhost.example:8080", "https://localhost.example:8080"),
        ("127.0.0.1@kamerton.example", "https://127.0.0.1@kamerton.example"),
        ("http://kamerton.example:8080/", "http://kamerton.example:8080"),
        ("https://kamerton.example/below/", "https://kamerton.example/below"),
    ],
)
def test_without_a_scheme_a_key_leaves_this_machine_encrypted_only(given: str, called: str) -> None:
    assert Connection(given, "kam-secret").endpoint == called
