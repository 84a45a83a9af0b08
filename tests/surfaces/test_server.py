"""The server around the surfaces: health, its outer edge, and how it ends."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator

import pytest

from kamerton.errors import InvalidArgument
from kamerton.settings import Settings
from kamerton.surfaces import server
from tests.surfaces.gemini.fake_service import Http, Serving, Verbs, problem


def test_healthz_says_what_is_still_warming(http: Http) -> None:
    answer = http("GET", "/healthz", key=None)
    assert answer.status_code == 200
    assert answer.json() == {"status": "warming", "warming": {"engine": "loading the model"}}
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/", 404, "NOT_FOUND"),
        ("GET", "/v1beta", 404, "NOT_FOUND"),
        ("GET", "/v2/models", 404, "NOT_FOUND"),
        ("GET", "//v1/models", 404, "NOT_FOUND"),
        ("POST", "/healthz", 405, "UNIMPLEMENTED"),
        ("BREW", "/v1/models", 405, "UNIMPLEMENTED"),
    ],
)
def test_every_error_is_json(http: Http, method: str, path: str, status: int, name: str) -> None:
    if method == "BREW":
        assert b'"status": "INVALID_ARGUMENT"' in http.raw(b"BREW /v1/models HTTP/1.1\r\n\r\n")
    else:
        problem(http(method, path), status, name)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_broken_http_is_refused_in_json(http: Http, sent: bytes) -> None:
    received = http.raw(sent)
    assert received.startswith(b"HTTP/1.1 4")
    assert b"application/json" in received and b'"error"' in received
    assert received.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 50_000 + b"\r\n",
        b"GET /" + b"y" * 200_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_an_endless_head_is_refused_or_cut(http: Http, sent: bytes) -> None:
    received = http.raw(sent)
    assert received == b"" or received.startswith(b"HTTP/1.1 400")


def test_a_lying_content_length_does_not_reach_the_next_request(http: Http) -> None:
    body = b"x" * 30
    sent = (
        b"POST /v1beta/tunedModels HTTP/1.1\r\nhost: x\r\nx-goog-api-key: owner-key\r\n"
        b"content-length: 100000000\r\n\r\n" + body
    )
    received = http.raw(sent)
    assert received.startswith(b"HTTP/1.1 400")
    assert b"Request payload size exceeds the limit" in received
    assert received.count(b"HTTP/1.1") == 1


def test_a_refused_body_does_not_keep_the_connection(
    http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.5)
    head = b"POST /v1beta/tunedModels HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", http.port), timeout=5) as connection:
        connection.sendall(head + b"abc")
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        connection.sendall(b"x")
        assert connection.recv(65536) == b""  # closed by the server


def test_an_upgrade_that_would_lose_the_body_is_refused(http: Http) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n"
    assert http.raw(get).startswith(b"HTTP/1.1 200 ")
    post = get.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n{}")
    assert http.raw(post).startswith(b"HTTP/1.1 400 ")


def test_nothing_of_a_refused_request_is_kept(http: Http, verbs: Verbs) -> None:
    class Sent(list[int]):
        pass

    def refuse() -> weakref.ref[Sent]:
        sent = Sent(range(10))
        try:
            raise InvalidArgument(f"{len(sent)} are too many")  # its traceback holds what was sent
        except InvalidArgument as error:
            verbs.error = error
        return weakref.ref(sent)

    gc.disable()
    try:
        kept = refuse()
        assert http("GET", "/v1beta/tunedModels").status_code == 400
        verbs.error = None
        deadline = time.monotonic() + 5
        while kept() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert kept() is None
    finally:
        gc.enable()


def test_what_nobody_foresaw(http: Http, verbs: Verbs, caplog: pytest.LogCaptureFixture) -> None:
    verbs.error = KeyError("a secret prompt")
    with caplog.at_level(logging.ERROR):
        error = problem(http("GET", "/v1/tunedModels"), 500, "INTERNAL")
    reference = error["message"].split("Reference: ")[1][:8]
    logged = caplog.text
    assert reference in logged and "KeyError" in logged and "fake_service.py" in logged
    assert "secret" not in logged + str(error) and "owner-key" not in logged


@pytest.fixture
def local(verbs: Verbs) -> Iterator[Http]:
    serving = Serving(open=True)
    made = Http(serving.url, serving.port)
    yield made
    made.close()
    serving.close()


def test_an_open_server_answers_only_to_localhost(local: Http) -> None:
    def get(**headers: str) -> int:
        return local("GET", "/v1/models", headers=headers).status_code

    for host in ("localhost", f"localhost:{local.port}", "127.0.0.1", "127.8.0.1:80", "[::1]:8080"):
        assert get(Host=host) == 200
        assert get(Origin=f"http://{host}") == 200
    for host in ("evil.example", "localhost.evil.example", "10.0.0.1", "[::2]", "", "a b", "[x"):
        assert get(Host=host) == 403, host
    for origin in ("http://evil.example", "null", "", "file://", "http://[x"):
        assert get(Origin=origin) == 403, origin
    problem(local("DELETE", "/v1/x", headers={"Host": "evil.example"}), 403, "PERMISSION_DENIED")


def test_an_open_server_listens_only_on_loopback() -> None:
    with pytest.raises(InvalidArgument, match="loopback"):
        server.listen(Settings(open=True, host="0.0.0.0", port=0))
    server.listen(Settings(open=True, host="127.0.0.1", port=0)).close()


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InvalidArgument, match="Cannot listen on 127"):
            server.listen(Settings(port=taken.getsockname()[1]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    program = (
        "from tests.surfaces.gemini.fake_service import app\n"
        "from kamerton.surfaces import server\n"
        "listening = server.listen(app(port=0).settings)\n"
        "server.run(app(), listening, lambda url: print(url, flush=True))\n"
        "print('closed', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.send_signal(number)
    output, errors = process.communicate(timeout=10)
    assert (output, errors, process.returncode) == ("closed\n", "", 0)


def test_the_server_never_imports_torch() -> None:
    program = (
        "import sys, kamerton.surfaces.server\n"
        "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"
