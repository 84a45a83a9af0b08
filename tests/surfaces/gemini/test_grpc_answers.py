"""Answers over gRPC, whole and in pieces, to clients that may leave; and how the server ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from kamerton.errors import InvalidArgument, Unavailable
from kamerton.surfaces import server
from kamerton.surfaces.gemini import grpc_methods, streams
from kamerton.surfaces.gemini.streams import AnswerThreads
from kamerton.surfaces.grpc_server import GrpcServer
from kamerton.types import Chunk
from tests.surfaces.gemini.fake_service import Http, Verbs, problem
from tests.surfaces.gemini.grpc_client import (
    MODEL,
    OWNER,
    Serving,
    await_,
    opened,
    prompt,
    refused,
)


@pytest.fixture
def narrow(loop: asyncio.AbstractEventLoop, tmp_path: Path, verbs: Verbs) -> Iterator[Serving]:
    """A server that makes one answer at a time."""
    made = Serving(loop, tmp_path, max_pending_answers=1)
    yield made
    made.close()


# --- answers -------------------------------------------------------------------------------------


def test_a_whole_answer(rpc: Serving, verbs: Verbs) -> None:
    answer = rpc("GenerateContent", prompt(temperature=0.5))
    assert answer.candidates[0].content.parts[0].text == "LXIV"
    assert answer.usage_metadata.total_token_count == 7
    assert verbs.asked["config"].temperature == 0.5
    assert verbs.closed.is_set()


def test_a_stream(rpc: Serving) -> None:
    pieces = list(rpc.stream("StreamGenerateContent", prompt()))
    assert [piece.candidates[0].content.parts[0].text for piece in pieces] == ["LX", "IV"]
    assert pieces[-1].candidates[0].finish_reason == 1


def test_an_error_in_the_middle_of_a_stream(rpc: Serving, verbs: Verbs) -> None:
    verbs.chunks = [Chunk("LX"), Unavailable("the engine is gone")]
    stream = rpc.stream("StreamGenerateContent", prompt())
    assert next(stream).candidates[0].content.parts[0].text == "LX"
    error = refused(lambda: stream, grpc.StatusCode.UNAVAILABLE)
    assert error.details() == "the engine is gone"
    assert verbs.closed.is_set()


def endless(verbs: Verbs) -> None:
    verbs.chunks = [Chunk("x", output_tokens=1)] * 10_000
    verbs.pause = 0.01


@pytest.mark.parametrize("name", ["GenerateContent", "StreamGenerateContent"])
def test_a_client_that_leaves_stops_the_work(rpc: Serving, verbs: Verbs, name: str) -> None:
    endless(verbs)
    if name == "GenerateContent":
        call = rpc.unary(name).future(rpc.sent(name, prompt()), metadata=OWNER)
        await_(lambda: verbs.calls)
    else:
        call = rpc.stream(name, prompt())
        next(call)
    call.cancel()
    assert verbs.closed.wait(5)


@pytest.mark.parametrize("name", ["GenerateContent", "StreamGenerateContent"])
def test_a_client_that_leaves_before_the_first_piece(rpc: Serving, verbs: Verbs, name: str) -> None:
    verbs.pause = 10
    call = rpc.stream(name, prompt())
    await_(lambda: verbs.calls)
    assert not verbs.closed.is_set()
    call.cancel()
    assert verbs.closed.wait(2)


@pytest.mark.parametrize("name", ["GenerateContent", "StreamGenerateContent"])
def test_a_deadline_stops_the_work(rpc: Serving, verbs: Verbs, name: str) -> None:
    endless(verbs)
    refused(lambda: rpc.stream(name, prompt(), timeout=0.5), grpc.StatusCode.DEADLINE_EXCEEDED)
    assert verbs.closed.wait(5)


def test_a_closed_connection_stops_the_work(rpc: Serving, verbs: Verbs) -> None:
    endless(verbs)
    name = "StreamGenerateContent"
    with rpc.connect() as channel:
        call = opened(channel, "unary_stream", name)
        next(call(rpc.sent(name, prompt()), metadata=OWNER))
    assert verbs.closed.wait(5)


def test_an_answer_that_is_not_read_stops_the_work(
    rpc: Serving, verbs: Verbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_methods, "SLOWEST_READER", 0.3)
    verbs.chunks = [Chunk("x" * 100_000, output_tokens=1)] * 1000
    stream = rpc.stream("StreamGenerateContent", prompt())
    next(stream)
    assert verbs.closed.wait(10)
    refused(lambda: stream, grpc.StatusCode.CANCELLED)


def test_one_limit_for_answers_of_both_transports(narrow: Serving, verbs: Verbs) -> None:
    endless(verbs)
    http = Http(narrow.url, narrow.http_port)
    body = {"contents": [{"parts": [{"text": "hi"}]}]}

    stream = narrow.stream("StreamGenerateContent", prompt())
    next(stream)
    assert http("POST", f"/v1beta/{MODEL}:generateContent", json=body).status_code == 429
    refused(lambda: narrow("GenerateContent", prompt()), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert narrow("GetTunedModel", {"name": MODEL}).name == MODEL, "a read need not wait"
    stream.cancel()
    assert verbs.closed.wait(5)

    verbs.closed.clear()
    path = f"/v1beta/{MODEL}:streamGenerateContent"
    with http("POST", path, json=body, stream=True) as answer:
        received = answer.iter_content(10)
        assert next(received)
        refused(
            lambda: narrow.stream("StreamGenerateContent", prompt()),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        )
    assert verbs.closed.wait(5)
    verbs.pause, verbs.chunks = 0, [Chunk("free again", finish_reason="STOP")]
    await_(lambda: narrow("GenerateContent", prompt()).candidates, unless=grpc.RpcError)
    http.close()


def test_waiting_for_operations_has_a_limit_of_its_own(
    loop: asyncio.AbstractEventLoop,
    tmp_path: Path,
    verbs: Verbs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "MOST_WAITS", 2)
    verbs.wait = 10
    served = Serving(loop, tmp_path, max_pending_answers=1)
    http = Http(served.url, served.http_port)
    asked = {"name": f"{MODEL}/operations/bvl8dymw0fhw"}
    waiting = [served.stream("WaitOperation", asked) for _ in range(2)]
    await_(lambda: len(verbs.calls) == 2)

    more = http("POST", f"/v1/{asked['name']}:wait", json={})
    assert "poll with GET" in problem(more, 429, "RESOURCE_EXHAUSTED")["message"]
    full = refused(lambda: served("WaitOperation", asked), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert "operations" in str(full.details())
    assert served("GenerateContent", prompt()).candidates, "answers have other places"

    verbs.wait = 0
    for call in waiting:
        call.cancel()
    await_(lambda: http("POST", f"/v1/{asked['name']}:wait", json={}).status_code == 200)
    http.close()
    served.close()


# --- the server ----------------------------------------------------------------------------------


def test_stopping_lets_an_answer_end(narrow: Serving, verbs: Verbs) -> None:
    verbs.chunks = [Chunk("x")] * 20
    verbs.pause = 0.05
    answer = narrow.unary("GenerateContent").future(
        narrow.sent("GenerateContent", prompt()), metadata=OWNER
    )
    await_(lambda: verbs.calls)
    narrow.stop(10)
    assert answer.result(1).candidates[0].content.parts[0].text == "x" * 20
    with narrow.connect() as channel:
        call = opened(channel, "unary_unary", "ListModels")
        refused(lambda: call(b"", metadata=OWNER, timeout=2), grpc.StatusCode.UNAVAILABLE)


def test_stopping_does_not_wait_for_ever(narrow: Serving, verbs: Verbs) -> None:
    endless(verbs)
    stream = narrow.stream("StreamGenerateContent", prompt())
    next(stream)
    narrow.stop(0.3)
    refused(lambda: stream, grpc.StatusCode.UNAVAILABLE)
    assert verbs.closed.wait(5)


def test_a_taken_port_is_told_before_anything_starts(rpc: Serving) -> None:
    port = int(rpc.endpoint.rpartition(":")[2])
    with pytest.raises(InvalidArgument, match=f"Cannot listen on 127.0.0.1:{port}"):
        server.reserve(rpc.app.settings, port)


def test_a_port_that_is_taken_later_is_an_error(rpc: Serving) -> None:
    """Also by another server of this kind, which would be allowed to share it."""
    port = rpc.endpoint.rpartition(":")[2]
    reserved: Any = SimpleNamespace(getsockname=lambda: ("127.0.0.1", port))
    again = GrpcServer(rpc.app, reserved, AnswerThreads(1), "")
    with pytest.raises(InvalidArgument, match=f"Cannot listen on 127.0.0.1:{port}"):
        rpc.run(again.start())
