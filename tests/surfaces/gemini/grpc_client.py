"""A gRPC server over verbs of a few lines, and how tests call it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import uvicorn
from google.rpc import error_details_pb2, status_pb2

from kamerton.surfaces import server
from kamerton.surfaces.gemini.rpcs import RPCS
from kamerton.surfaces.gemini.streams import AnswerThreads
from kamerton.surfaces.grpc_server import GrpcServer
from tests.surfaces.gemini.fake_service import app

T = TypeVar("T")
MODEL = "tunedModels/next-number-4kq0x9v1c2ab"
OWNER = (("x-goog-api-key", "owner-key"),)
NO_LIMIT = [("grpc.max_send_message_length", -1)]


def opened(channel: grpc.Channel, kind: str, name: str) -> Any:
    """A method of a channel: `kind` is unary_unary, unary_stream or stream_unary."""
    rpc = RPCS[name]
    return getattr(channel, kind)(f"/{rpc.service}/{rpc.name}", None, rpc.response.FromString)


class Serving:
    """gRPC and HTTP in one event loop, as the real server has them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, data: Path, **settings: Any) -> None:
        self._loop = loop
        self.app = app(data=data, port=0, **settings)
        listening = server.listen(self.app.settings)
        self.http_port = listening.getsockname()[1]
        answering = AnswerThreads(self.app.settings.max_pending_answers)
        self._http = uvicorn.Server(server.config(server.build(self.app, answering)))
        self._listening = asyncio.run_coroutine_threadsafe(self._http.serve([listening]), loop)
        self.url = f"http://127.0.0.1:{self.http_port}"
        with server.reserve(self.app.settings, 0) as reserved:
            self.endpoint = f"localhost:{reserved.getsockname()[1]}"
            self._grpc = GrpcServer(self.app, reserved, answering, self.url)
            self.run(self._grpc.start())
        self.authority = self.app.settings.authority_file().read_bytes()
        self.channel = self.connect()

    def connect(self) -> grpc.Channel:
        trusted = grpc.ssl_channel_credentials(self.authority)
        return grpc.secure_channel(self.endpoint, trusted, NO_LIMIT)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def stop(self, seconds: float) -> None:
        self.run(self._grpc.stop(seconds))

    def close(self) -> None:
        self.channel.close()
        self.stop(0)
        self._http.should_exit = True
        self._listening.result(10)

    def __call__(self, name: str, request: Any = None, **more: Any) -> Any:
        """The answer of a method."""
        return self.unary(name)(self.sent(name, request), **self._arguments(more))

    def stream(self, name: str, request: Any = None, **more: Any) -> Any:
        """The answer in pieces; of one piece where the method does not stream."""
        call = opened(self.channel, "unary_stream", name)
        return call(self.sent(name, request), **self._arguments(more))

    def unary(self, name: str) -> Any:
        return opened(self.channel, "unary_unary", name)

    @staticmethod
    def sent(name: str, request: Any) -> bytes:
        if isinstance(request, bytes):
            return request
        encoded: bytes = RPCS[name].request(**(request or {})).SerializeToString()
        return encoded

    @staticmethod
    def _arguments(more: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": OWNER, "timeout": 20, **more}


def refused(call: Any, code: grpc.StatusCode) -> grpc.Call:
    """The error of a call, which must have that code."""
    with pytest.raises(grpc.RpcError) as caught:
        for _ in call() or ():
            pass
    error = caught.value
    assert isinstance(error, grpc.Call)
    assert error.code() is code, error.details()
    return error


def details(error: grpc.Call, kind: Any) -> list[Any]:
    """What programs can read about an error."""
    (encoded,) = [v for k, v in error.trailing_metadata() if k == "grpc-status-details-bin"]
    status = status_pb2.Status.FromString(encoded)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    found = []
    for detail in status.details:
        made = kind()
        if detail.Unpack(made):
            found.append(made)
    return found


def wrong_fields(error: grpc.Call) -> Sequence[str]:
    (found,) = details(error, error_details_pb2.BadRequest)
    return [violation.field for violation in found.field_violations]


def prompt(text: str = "hi", model: str = MODEL, **config: Any) -> dict[str, Any]:
    contents = [{"parts": [{"text": text}]}]
    return {"model": model, "contents": contents, "generation_config": config}


def tuned(*pairs: tuple[str, str], **more: Any) -> dict[str, Any]:
    rows = [{"text_input": text, "output": output} for text, output in pairs or [("1", "2")]]
    task = {"training_data": {"examples": {"examples": rows}}}
    return {"tuned_model": {"base_model": "models/gemini-x", "tuning_task": task, **more}}


def await_(holds: Any, unless: type[Exception] | tuple[()] = (), seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except unless:
            pass
        time.sleep(0.02)
    raise AssertionError("it never came about")
