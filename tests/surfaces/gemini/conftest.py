"""One gRPC server for all tests of a process that do not stop it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.surfaces.gemini.fake_service import Verbs
from tests.surfaces.gemini.grpc_client import Serving


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


@pytest.fixture(scope="session")
def shared(
    loop: asyncio.AbstractEventLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    made = Serving(loop, tmp_path_factory.mktemp("data"))
    yield made
    made.close()


@pytest.fixture
def rpc(shared: Serving, verbs: Verbs) -> Serving:
    return shared
