"""A small server with scripted answers, for tests of what the clients send and make of them."""

from __future__ import annotations

import json
import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

NAME = "tunedModels/next-number-4kq0x9v1c2ab"
OPERATION = f"{NAME}/operations/bvl8dymw0fhw"

Json = dict[str, Any]


class FakeServer:
    """Answers from a table of "METHOD path" -> answers, the last of which stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Json | list[Json] | str]]] = {}
        self.requests: list[tuple[str, Json | None]] = []
        self.headers: list[Message] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                url = urlsplit(self.path)
                fake.requests.append((f"{self.command} {self.path}", body))
                fake.headers.append(self.headers)
                status, answer = fake.answer(f"{self.command} {url.path}")
                if parse_qs(url.query).get("alt") == ["sse"] and isinstance(answer, list):
                    text = "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in answer)
                else:
                    text = answer if isinstance(answer, str) else json.dumps(answer)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def when(self, call: str, *answers: Json | list[Json] | str, status: int = 200) -> None:
        self.answers[call] = [(status, answer) for answer in answers]

    def answer(self, call: str) -> tuple[int, Json | list[Json] | str]:
        found = self.answers.get(call)
        if not found:
            return 404, refusal(404, "NOT_FOUND", f"{call} is not there")
        return found.pop(0) if len(found) > 1 else found[0]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def refusal(code: int, status: str, message: str, *details: Json) -> Json:
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


def snapshots(count: int) -> list[Json]:
    return [
        {"step": step, "epoch": 1, "meanLoss": 7 / step, "computeTime": "2026-11-21T08:16:13Z"}
        for step in range(1, count + 1)
    ]


def operation(steps: int = 0, **outcome: Any) -> Json:
    metadata: Json = {"totalSteps": 10, "tunedModel": NAME}
    if steps:
        metadata |= {
            "completedSteps": steps,
            "completedPercent": steps * 10.0,
            "snapshots": snapshots(steps),
        }
    return {"name": OPERATION, "metadata": metadata, **outcome}


def says(text: str) -> Json:
    return {"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}}]}


DONE = operation(10, done=True, response={"name": NAME, "state": "ACTIVE"})
FAILED = operation(3, done=True, error={"code": 9, "message": "the loss is not finite"})
