"""A server that takes files by the resumable protocol, and can lose what it is sent."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SESSION = "/upload/v1beta/files?upload_id=secret&upload_protocol=resumable"


class FakeUploads:
    """Holds one upload; `losses` says for each piece what happens to it on its way: nothing,
    "before" it is written, "half" written, or "after" all of it was."""

    def __init__(self, losses: list[str] | None = None) -> None:
        self.losses = losses or []
        self.file: dict[str, Any] = {}
        self.started: dict[str, str] = {}
        self.commands: list[tuple[str, int]] = []
        self.content = b""
        self.final = False
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                command = self.headers["X-Goog-Upload-Command"]
                if command == "start":
                    fake.file = json.loads(body)["file"]
                    fake.started = dict(self.headers)
                    # Another host, as a proxy that is not trusted would make it.
                    return self.respond(
                        {"X-Goog-Upload-URL": f"https://elsewhere.example{SESSION}"}
                    )
                assert self.path == SESSION
                if command == "query":
                    fake.commands.append((command, 0))
                    return self.respond({})
                fake.commands.append((command, int(self.headers["X-Goog-Upload-Offset"])))
                fate = fake.losses.pop(0) if fake.losses else ""
                fake.take(command, body, fate)
                if fate:
                    return self.respond({}, 503)
                return self.respond({})

            def respond(self, headers: dict[str, str], status: int = 200) -> None:
                about = {"name": "files/abc", "sizeBytes": str(len(fake.content))}
                text = json.dumps({"file": about}).encode() if fake.final else b""
                self.send_response(status)
                self.send_header("X-Goog-Upload-Status", "final" if fake.final else "active")
                self.send_header("X-Goog-Upload-Size-Received", str(len(fake.content)))
                self.send_header("Content-Length", str(len(text)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def take(self, command: str, body: bytes, fate: str) -> None:
        offset = self.commands[-1][1]
        assert offset == len(self.content), "a piece at the wrong place"
        written = {"before": b"", "half": body[: len(body) // 2]}.get(fate, body)
        self.content += written
        self.final = "finalize" in command and fate not in ("before", "half")

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
