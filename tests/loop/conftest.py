"""One real server for all loop tests that do not kill it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.loop.server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("server") / "data"
    server = Server(data, KAMERTON_GRPC="1", KAMERTON_GRPC_PORT="0")
    server.await_warm()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def tutored(server: Server) -> str:
    """The name of a model tuned on the tutorial's fifteen pairs."""
    from kamerton.dataset.tutorial import EXAMPLES

    operation = server.await_done(server.create(list(EXAMPLES)))
    return str(operation["metadata"]["tunedModel"])


@pytest.fixture(scope="session")
def variables(server: Server) -> dict[str, str]:
    """The environment of the scripts in clients/: what `kamerton env` prints, the address for
    gRPC, and somebody else who may call."""
    other = "other@example.com"
    return {
        **json.loads(server.run("env", "--server", server.address, "--key", server.key, "--json")),
        "GRPC_ENDPOINT": server.grpc_address(),
        "OWNER": "owner@localhost",
        "OTHER": other,
        "OTHER_KEY": server.key_of(other),
    }
