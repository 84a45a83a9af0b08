"""Under which address a server tells clients to find it."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from kamerton.settings import Settings
from kamerton.surfaces import address


def request(peer: str = "10.0.0.9", **headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    scope = {
        "type": "http",
        "scheme": "http",
        "path": "/",
        "query_string": b"",
        "headers": pairs,
        "client": (peer, 1),
        "server": ("10.0.0.1", 8080),
    }
    return Request(scope)


FORWARDED = {"x_forwarded_proto": "https", "x_forwarded_host": "tune.example.com, inner"}


def test_it_is_the_one_that_the_client_used() -> None:
    assert address.own(request(host="box:8080"), Settings()) == "http://box:8080"
    assert address.own(request(host="[::1]:8080"), Settings()) == "http://[::1]:8080"


def test_the_configured_one_comes_first() -> None:
    settings = Settings(public_url="https://k.example.com/", trusted_proxies="10.0.0.9")
    assert address.own(request(host="box", **FORWARDED), settings) == "https://k.example.com"


def test_only_a_trusted_proxy_is_believed() -> None:
    settings = Settings(trusted_proxies="10.0.0.8, 10.0.0.9")
    asked = request(host="box:8080", **FORWARDED)
    assert address.own(asked, settings) == "https://tune.example.com"
    assert address.own(asked, Settings()) == "http://box:8080"
    stranger = request(peer="10.0.0.7", host="box:8080", **FORWARDED)
    assert address.own(stranger, settings) == "http://box:8080"


@pytest.mark.parametrize("host", ["", "a/b", 'a"b', "x" * 300, "a@b", "a b"])
def test_a_host_that_is_none_is_not_repeated(host: str) -> None:
    settings = Settings(host="127.0.0.1", port=9)
    assert address.own(request(host=host), settings) == "http://127.0.0.1:9"
