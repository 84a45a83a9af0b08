"""A small Hugging Face hub over HTTP, with one model at one commit."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" * 6 + "c0ff"
MODEL = "someone/some-model"


class FakeHub:
    """Serves the files of a folder as MODEL; `gated` asks for the token `hf_good`."""

    def __init__(self, folder: Path, gated: bool = False) -> None:
        self.folder = folder
        self.gated = gated
        self.fetched: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.answer(self)

            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        allowed = request.headers.get("Authorization") == "Bearer hf_good" or not self.gated
        if path.startswith("/api/models/"):
            asked = path.removeprefix("/api/models/")
            if not asked.startswith(MODEL):
                self._say(request, 404, {"X-Error-Code": "RepoNotFound"}, b"{}")
            elif "/tree/" in asked:
                self._json(request, [self._entry(file) for file in self._files()])
            elif "/revision/" in asked and asked.split("/")[-1] not in ("main", COMMIT):
                self._say(request, 404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
            else:
                self._json(request, self._info())
        elif not allowed:
            headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}
            self._say(request, 403, headers, b"")
        else:
            self._file(request, path.split("/")[-1])

    def _files(self) -> list[Path]:
        return sorted(file for file in self.folder.iterdir() if file.is_file())

    def _info(self) -> dict[str, object]:
        siblings = [
            {
                "rfilename": file.name,
                "size": file.stat().st_size,
                "blobId": _sha1(file),
                **({"lfs": _lfs(file)} if file.suffix == ".safetensors" else {}),
            }
            for file in self._files()
        ]
        siblings.append({"rfilename": "original/model.safetensors", "size": 1, "blobId": "0" * 40})
        return {"_id": "1", "id": MODEL, "sha": COMMIT, "siblings": siblings, "tags": []}

    def _entry(self, file: Path) -> dict[str, object]:
        entry: dict[str, object] = {
            "type": "file",
            "path": file.name,
            "size": file.stat().st_size,
            "oid": _sha1(file),
        }
        return entry | ({"lfs": _lfs(file)} if file.suffix == ".safetensors" else {})

    def _file(self, request: BaseHTTPRequestHandler, name: str) -> None:
        content = (self.folder / name).read_bytes()
        file = self.folder / name
        etag = _sha256(file) if file.suffix == ".safetensors" else _sha1(file)
        if request.command == "GET":
            self.fetched.append(name)
        self._say(request, 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}, content)

    def _json(self, request: BaseHTTPRequestHandler, value: object) -> None:
        self._say(request, 200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _say(
        self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes
    ) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)


def _lfs(file: Path) -> dict[str, object]:
    return {"sha256": _sha256(file), "oid": _sha256(file), "size": file.stat().st_size,
            "pointerSize": 134}  # fmt: skip


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _sha1(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
