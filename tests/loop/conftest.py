"""One real server for all loop tests that do not kill it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.loop.server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server") / "data")
    server.await_warm()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def tutored(server: Server) -> str:
    """The name of a model tuned on the tutorial's fifteen pairs."""
    from kamerton.dataset.tutorial import EXAMPLES

    operation = server.await_done(server.create(list(EXAMPLES)))
    return str(operation["metadata"]["tunedModel"])
