"""Files at the real server: killed in the middle, large, trained on, expired."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from kamerton.dataset.tutorial import PAIRS
from tests.loop.server import Server

pytestmark = pytest.mark.xdist_group("files")

MEGABYTE = 1024 * 1024
SECONDS = 1.5
"""How long files are kept where they expire."""
KILLS = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("files") / "data")
    made.await_warm()
    yield made
    made.stop()


def uploaded(server: Server, content: Any, **headers: str) -> dict[str, Any]:
    answer = requests.post(
        f"{server.address}/upload/v1beta/files",
        data=content,
        headers={"x-goog-api-key": server.key, **headers},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    file: dict[str, Any] = answer.json()["file"]
    return file


def started(server: Server, size: int) -> str:
    """The path of a session; it stays the same when the server starts again elsewhere."""
    answer = requests.post(
        f"{server.address}/upload/v1beta/files",
        headers={
            "x-goog-api-key": server.key,
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(size),
        },
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    url = urlsplit(answer.headers["X-Goog-Upload-URL"])
    return f"{url.path}?{url.query}"


def command(server: Server, session: str, name: str, **more: Any) -> requests.Response:
    headers = {"X-Goog-Upload-Command": name}
    if "offset" in more:
        headers["X-Goog-Upload-Offset"] = str(more["offset"])
    data = more.get("data", b"")
    return requests.post(server.address + session, headers=headers, data=data, timeout=60)


def received(server: Server, session: str) -> int:
    answer = command(server, session, "query")
    assert answer.status_code == 200, answer.text
    return int(answer.headers["X-Goog-Upload-Size-Received"])


def send_until_killed(server: Server, session: str, content: bytes, offset: int) -> None:
    """The server dies while the rest of the file is on its way."""
    address = urlsplit(server.address)
    with socket.socket() as connection:
        connection.connect((address.hostname, address.port))
        head = (
            f"POST {session} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"X-Goog-Upload-Command: upload, finalize\r\nX-Goog-Upload-Offset: {offset}\r\n"
            f"Content-Length: {len(content) - offset}\r\n\r\n"
        )
        connection.sendall(head.encode())
        connection.sendall(content[offset : offset + 4 * MEGABYTE])
        (partial,) = (server.data / "uploads").iterdir()
        while partial.stat().st_size == offset:
            time.sleep(0.001)
        server.kill()


def test_an_upload_survives_kill_9_again_and_again(server: Server) -> None:
    content = random.Random(1).randbytes(32 * MEGABYTE)
    session, offset = started(server, len(content)), 0
    command(server, session, "upload", offset=0, data=content[:9])
    for _ in range(KILLS):
        before, offset = offset, received(server, session)
        assert offset > before
        assert "files" not in server.get("/v1beta/files").json()
        send_until_killed(server, session, content, offset)
        server.start()
    offset, answers = received(server, session), []
    for _ in range(2):  # The second answer is for a client that did not get the first.
        rest = content[offset:]
        answer = command(server, session, "upload, finalize", offset=offset, data=rest)
        assert answer.status_code == 200, answer.text
        answers.append(answer.json()["file"])
        server.kill()
        server.start()
    assert answers[0]["name"] == answers[1]["name"]
    download = server.get(f"/v1beta/{answers[0]['name']}:download?alt=media")
    assert download.content == content


def test_large_files_pass_through_and_leave_no_memory_behind(server: Server) -> None:
    process = psutil.Process(server.process.pid)
    uploaded(server, b"first, so that everything is imported")
    before, peak, done = process.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, process.memory_info().rss)

    def pieces() -> Iterator[bytes]:
        for number in range(50):
            yield bytes([number]) * MEGABYTE

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(4) as clients:
            files = list(clients.map(lambda _: uploaded(server, pieces()), range(4)))
    finally:
        done.set()
        watcher.join()
    assert [file["sizeBytes"] for file in files] == [str(50 * MEGABYTE)] * 4
    assert peak - before < 4 * 16 * MEGABYTE, f"{(peak - before) / MEGABYTE:.0f} MB"


# --- training on files ---------------------------------------------------------------------------

ROWS = {
    "contents": "\n".join(
        json.dumps({
            "systemInstruction": {"parts": [{"text": "Give the next number."}]},
            "contents": [
                {"role": "user", "parts": [{"text": text}]},
                {"role": "model", "parts": [{"text": output}]},
            ],
        })
        for text, output in PAIRS
    ),
    "turns": "\n".join(
        json.dumps({"messages": [
            {"role": "user", "content": "What comes after a number?"},
            {"role": "assistant", "content": "Ask."},
            {"role": "user", "content": text},
            {"role": "assistant", "content": output},
        ]})
        for text, output in PAIRS
    ),
    "array": json.dumps([{"instruction": text, "input": "", "output": out} for text, out in PAIRS]),
    "csv": "text_input,output\n" + "".join(f'"{text}","{output}"\n' for text, output in PAIRS),
}  # fmt: skip


def create(server: Server, uri: str, epochs: int = 1) -> requests.Response:
    task = {
        "hyperparameters": {"epochCount": epochs, "batchSize": 4},
        "trainingData": {"fileUri": uri},
    }
    body = {"baseModel": "models/gemini-1.0-pro-001", "tuningTask": task}
    return server.post("/v1beta/tunedModels", body)


def delete(server: Server, name: str) -> None:
    headers = {"x-goog-api-key": server.key}
    answer = requests.delete(f"{server.address}/v1beta/{name}", headers=headers, timeout=30)
    assert answer.json() == {}


def test_every_shape_of_file_trains_two_at_once(server: Server) -> None:
    files = [uploaded(server, rows.encode()) for rows in ROWS.values()]
    with ThreadPoolExecutor(len(files)) as callers:
        answers = list(callers.map(lambda file: create(server, file["uri"]), files))
    for answer in answers:
        assert answer.status_code == 200, answer.text
        done = server.await_done(answer.json())
        assert done["response"]["state"] == "ACTIVE", done
        assert done["metadata"]["totalSteps"] == 4


def test_a_run_keeps_its_own_copy_and_nobody_else_does(server: Server) -> None:
    marker = "кобальтовый-маркер-71"
    rows = "\n".join(json.dumps({"input": marker, "output": out}) for _, out in PAIRS)
    file = uploaded(server, rows.encode())
    operation = create(server, file["name"], epochs=40).json()
    delete(server, file["name"])
    assert create(server, file["name"]).status_code == 404
    assert not any(holding(server.data / folder, marker) for folder in ("files", "uploads"))
    done = server.await_done(operation)
    assert done["metadata"]["completedSteps"] == 150
    delete(server, operation["metadata"]["tunedModel"])
    assert not holding(server.data, marker)


def holding(folder: Path, marker: str) -> list[Path]:
    """The files under a folder with a text in them, written in either way that JSON has."""
    texts = (marker.encode(), json.dumps(marker)[1:-1].encode())
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(text in path.read_bytes() for text in texts)]


def test_files_expire_and_their_bytes_go(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", KAMERTON_FILE_HOURS=str(SECONDS / 3600))
    try:
        marker = "малахитовый-маркер-12"
        file = uploaded(server, marker.encode())
        assert holding(server.data, marker)
        time.sleep(SECONDS)
        assert server.get(f"/v1beta/{file['name']}").status_code == 404
        assert create(server, file["uri"]).status_code == 404
        deadline = time.monotonic() + 60
        while holding(server.data, marker):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        server.stop()
