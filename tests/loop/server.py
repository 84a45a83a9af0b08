"""The real server, started by its command and ended by its pid."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
import requests

from kamerton.types import Example

KAMERTON = [sys.executable, "-m", "kamerton"]


def await_ended(processes: Iterable[psutil.Process], seconds: float = 10) -> None:
    """Until all have ended; a zombie has, whoever is to bury it."""
    deadline = time.monotonic() + seconds
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < deadline, f"{process} is still there"
                time.sleep(0.02)


def shell(server: Server, script: str, **more: str) -> str:
    """What a script of bash prints, told where the server is as the tutorial's own are."""
    names = {
        "base_url": server.address,
        "access_token": server.key,
        "project_id": "my-project-id",
        **more,
    }
    found = subprocess.run(
        ["bash", "-c", script], env={**os.environ, **names}, capture_output=True, timeout=60
    )
    return found.stdout.decode()


class Server:
    """`kamerton serve` on a free port, with the owner's key that it printed."""

    def __init__(self, data: Path, **environment: str) -> None:
        self.data = data
        self._environment = environment
        self.log = data.with_suffix(".log")
        self.key = ""
        self.start()

    def start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*KAMERTON, "serve", "--port", str(port), "--data", str(self.data)],
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1", **self._environment},
            )
        self._await(lambda: self.get("/healthz", anonymous=True).status_code == 200, 30)
        found = re.search(r"kam-\S+", self.log.read_text())
        assert found, self.log.read_text()
        self.key = found[0]

    def await_warm(self) -> None:
        self._await(lambda: self.get("/healthz").json()["status"] == "ok", 120)

    def get(self, path: str, anonymous: bool = False) -> requests.Response:
        headers = {} if anonymous else {"x-goog-api-key": self.key}
        return requests.get(self.address + path, headers=headers, timeout=30)

    def post(self, path: str, body: Mapping[str, Any]) -> requests.Response:
        headers = {"x-goog-api-key": self.key}
        return requests.post(self.address + path, headers=headers, json=body, timeout=60)

    def run(self, *command: str) -> str:
        """What a command prints that is told this server's data folder."""
        line = [*KAMERTON, *command, "--data", str(self.data)]
        return subprocess.run(line, capture_output=True, check=True).stdout.decode()

    def key_of(self, owner: str) -> str:
        """A new key with which `owner` may tune."""
        return self.run("keys", "create", "--owner", owner, "--scope", "tuning").strip()

    def grpc_address(self) -> str:
        """Where it serves gRPC, when KAMERTON_GRPC told it to."""
        found = re.findall(r"gRPC listens on 127\.0\.0\.1:(\d+)", self.log.read_text())
        return f"localhost:{found[-1]}"

    def create(
        self, examples: list[Example], epochs: int = 5, batch: int = 4, **more: Any
    ) -> dict[str, Any]:
        """Start a tuning as the tutorial does; the operation."""
        pairs = [{"text_input": e.contents[0].text, "output": e.output} for e in examples]
        body = {
            "display_name": "number generator",
            "base_model": "models/gemini-1.0-pro-001",
            "tuning_task": {
                "hyperparameters": {
                    "batch_size": batch,
                    "learning_rate": 0.001,
                    "epoch_count": epochs,
                },
                "training_data": {"examples": {"examples": pairs}},
            },
            **more,
        }
        answer = self.post("/v1beta/tunedModels", body)
        assert answer.status_code == 200, answer.text
        operation: dict[str, Any] = answer.json()
        return operation

    def await_done(self, operation: Mapping[str, Any], seconds: float = 90) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found: dict[str, Any] = self.get(f"/v1/{operation['name']}").json()
            if found.get("done"):
                return found
            time.sleep(0.05)
        raise AssertionError(f"not done after {seconds} s: {found}\n{self.logs()}")

    def ask(self, model: str, text: str, **config: Any) -> str:
        body = {
            "contents": [{"parts": [{"text": text}]}],
            "generationConfig": {"temperature": 0, **config},
        }
        answer = self.post(f"/v1beta/{model}:generateContent", body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["candidates"][0]["content"]["parts"][0]["text"])

    def descendants(self) -> dict[str, psutil.Process]:
        """The child processes by their module: engine, worker and trainer."""
        found = {}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                found[child.cmdline()[-1].rsplit(".", 1)[-1]] = child
            except psutil.NoSuchProcess:  # It has just ended.
                pass
        return found

    def logs(self) -> str:
        files = [self.log, *sorted((self.data / "logs").glob("*.log"))]
        return "\n".join(f"--- {file.name}\n{file.read_text()[-3000:]}" for file in files)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """As Ctrl-C and service managers do it."""
        children = list(self.descendants().values())
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(20) == 0, self.logs()
        finally:
            self.process.kill()
        await_ended(children)

    def _await(self, holds: Any, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.logs()
            try:
                if holds():
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"not so after {seconds} s\n{self.logs()}")
