"""The real server with gRPC: what it outlives, what it says, and how it ends."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2

from kamerton.dataset.tutorial import EXAMPLES
from tests.loop.server import Server

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    from google.ai import generativelanguage_v1beta as generativelanguage

pytestmark = pytest.mark.xdist_group("faults")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", KAMERTON_GRPC="1", KAMERTON_GRPC_PORT="0")
    yield server
    server.kill()


def operations(server: Server, method: str, reply: Any) -> Any:
    """A method of google.longrunning.Operations."""
    authority = (server.data / "tls" / "ca.pem").read_bytes()
    channel = grpc.secure_channel(server.grpc_address(), grpc.ssl_channel_credentials(authority))
    return channel.unary_unary(
        f"/google.longrunning.Operations/{method}",
        lambda request: request.SerializeToString(),
        reply.FromString,
    )


def await_steps(server: Server, name: str, count: int) -> int:
    """The steps done, as soon as there are that many."""
    get = operations(server, "GetOperation", operations_pb2.Operation)
    request = operations_pb2.GetOperationRequest(name=name)
    metadata = generativelanguage.CreateTunedModelMetadata.pb()()
    deadline = time.monotonic() + 60
    while metadata.completed_steps < count:
        assert time.monotonic() < deadline, server.logs()
        found = get(request, metadata=(("x-goog-api-key", server.key),), timeout=10)
        assert found.metadata.Unpack(metadata)
    return int(metadata.completed_steps)


def test_a_server_with_grpc_survives_its_worker_and_ends_as_it_should(own: Server) -> None:
    own.await_warm()
    name = own.create(list(EXAMPLES), epochs=1000)["name"]
    metadata = (("x-goog-api-key", own.key),)
    wait = operations(own, "WaitOperation", operations_pb2.Operation)
    request = operations_pb2.WaitOperationRequest(name=name)
    waiting = wait.future(request, metadata=metadata, timeout=60)

    steps = await_steps(own, name, 1)
    own.descendants()["worker"].kill()
    await_steps(own, name, steps + 1)

    own.stop()
    with pytest.raises(grpc.RpcError) as caught:
        waiting.result(1)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    said = [line for line in own.log.read_text().splitlines() if line]
    known = re.compile("Your key|Kamerton listens|gRPC listens|Warming up|Ready to")
    assert not [line for line in said if not known.match(line)]
