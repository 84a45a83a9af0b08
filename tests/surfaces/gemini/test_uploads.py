"""Files over HTTP: every upload protocol as its clients speak it, and as nobody should."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import queue
import random
import re
import socket
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from kamerton.inference.catalog import Catalog
from kamerton.service import credentials, uploads
from kamerton.settings import Settings
from kamerton.store import files as store
from kamerton.store.database import Database
from kamerton.types import Scope, Upload
from tests.service.conftest import FakeApp, FakeEngine, FakeRunner
from tests.surfaces.gemini.fake_service import Http, Serving, fields, problem

CONTENT = bytes(range(256)) * 3 + b"\r\n"
FULL: frozenset[Scope] = frozenset({"tuning"})


class Server:
    """The whole server in this process, with an engine and a runner of a few lines."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.app = made_app(Settings(data=data, **settings))
        self._serving = Serving(self.app)
        self.call = Http(self._serving.url, self._serving.port)
        self.port, self.url = self._serving.port, self._serving.url
        self.keys = {name: self.key(f"{name}@x.org", FULL) for name in ("ann", "bob")}
        self.keys["admin"] = self.key("root@x.org", credentials.SCOPES)
        self.keys["reader"] = self.key("ann@x.org", frozenset())

    def key(self, owner: str, scopes: frozenset[Scope]) -> str:
        return credentials.create_in(self.app.database, "key", owner=owner, scopes=scopes)[1]

    def __call__(
        self, method: str, path: str, who: str | None = "ann", **more: Any
    ) -> requests.Response:
        return self.call(method, path, key=self.keys[who] if who else None, **more)

    def start(self, body: Any = None, size: int | None = len(CONTENT), **headers: str) -> str:
        """The path of a new session, with X-Goog-Upload-* headers."""
        answer = self("POST", "/upload/v1beta/files", json=body or {}, headers=START | {
            **({} if size is None else {"X-Goog-Upload-Header-Content-Length": str(size)}),
            **headers,
        })  # fmt: skip
        assert answer.status_code == 200 and answer.content == b"", answer.text
        assert answer.headers["X-Goog-Upload-Status"] == "active"
        assert answer.headers["X-Goog-Upload-Chunk-Granularity"] == "262144"
        return self.path(answer.headers["X-Goog-Upload-URL"])

    def start_other(self, body: Any = None, **headers: str) -> str:
        """The path of a new session, as googleapiclient begins it."""
        path = "/upload/v1beta/files?alt=json&uploadType=resumable"
        answer = self("POST", path, json=body or {}, headers=headers)
        assert answer.status_code == 200, answer.text
        return self.path(answer.headers["Location"])

    def path(self, url: str) -> str:
        assert url.startswith(f"{self.url}/upload/v1beta/files?"), url
        return url.removeprefix(self.url)

    def session(self, path: str, command: str, data: bytes = b"", **more: Any) -> Any:
        """One request at a session's address, which needs no key."""
        headers = {"X-Goog-Upload-Command": command}
        if (offset := more.get("offset")) is not None:
            headers["X-Goog-Upload-Offset"] = str(offset)
        return self("POST", path, who=None, data=data, headers=headers)

    def put(self, path: str, data: bytes, content_range: str = "") -> requests.Response:
        headers = {"Content-Range": content_range} if content_range else {}
        return self("PUT", path, who=None, data=data, headers=headers, allow_redirects=False)

    def close(self) -> None:
        self.call.close()
        self._serving.close()


START = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}


def made_app(settings: Settings) -> FakeApp:
    (settings.data / "tuned_models").mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_address())
    database.migrate()
    catalog = Catalog.of("", settings.aliases)
    return FakeApp(settings, database, catalog, FakeEngine(), FakeRunner(database))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    made.close()


def check_file(answer: requests.Response, content: bytes = CONTENT) -> dict[str, Any]:
    """A final answer: the whole file, described as published."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Goog-Upload-Status"] == "final"
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
    file: dict[str, Any] = answer.json()["file"]
    assert re.fullmatch(r"files/[a-z0-9-]{1,40}", file["name"])
    assert file.get("sizeBytes", "0") == str(len(content))
    assert base64.b64decode(file["sha256Hash"]) == hashlib.sha256(content).digest()
    assert file["state"] == "ACTIVE" and file["source"] == "UPLOADED"
    lifetime = moment(file["expirationTime"]) - moment(file["createTime"])
    assert lifetime == timedelta(hours=48) and file["updateTime"] == file["createTime"]
    return file


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def stored(server: Server, file: dict[str, Any]) -> bytes:
    answer = server("GET", f"/v1beta/{file['name']}:download?alt=media")
    assert answer.status_code == 200
    return answer.content


# --- X-Goog-Upload -------------------------------------------------------------------------------


def test_12_pieces_with_query_and_repeat(server: Server) -> None:
    body = {"file": {"display_name": "Числа", "mime_type": "application/jsonl"}}
    path = server.start(body)
    query = server.session(path, "query")
    assert query.headers["X-Goog-Upload-Size-Received"] == "0"
    for _ in range(2):  # The second is what a client sends that has not seen the first answer.
        answer = server.session(path, "upload", CONTENT[:300], offset=0)
        assert answer.status_code == 200 and answer.content == b""
        assert answer.headers["X-Goog-Upload-Status"] == "active"
        assert answer.headers["X-Goog-Upload-Size-Received"] == "300"
    query = server.session(path, "query")
    assert query.headers["X-Goog-Upload-Size-Received"] == "300"
    assert query.headers["X-Goog-Upload-Status"] == "active"
    wrong = problem(server.session(path, "upload", b"abc", offset=301), 400, "INVALID_ARGUMENT")
    assert "offset 300" in wrong["message"] and fields(wrong) == ["X-Goog-Upload-Offset"]
    last = server.session(path, "upload, finalize", CONTENT[300:], offset=300)
    file = check_file(last)
    assert file["displayName"] == "Числа" and file["mimeType"] == "application/jsonl"
    assert file["uri"] == f"{server.url}/v1beta/{file['name']}"
    assert stored(server, file) == CONTENT
    for again in (
        server.session(path, "upload, finalize", CONTENT[300:], offset=300),
        server.session(path, "finalize"),
        server.session(path, "query"),
    ):
        assert check_file(again) == file
    refused = server.session(path, "upload, finalize", b"other", offset=300)
    problem(refused, 400, "INVALID_ARGUMENT")
    assert server("GET", f"/v1beta/{file['name']}").json() == file


@pytest.mark.parametrize("version", ["v1beta", "v1", "v1alpha"])
@pytest.mark.parametrize("prefix", ["/upload", "/resumable/upload"])
def test_every_prefix(server: Server, prefix: str, version: str) -> None:
    answer = server("POST", f"{prefix}/{version}/files", headers=START)
    url = answer.headers["X-Goog-Upload-URL"]
    assert url.startswith(f"{server.url}{prefix}/{version}/files?upload_id=")
    path = url.removeprefix(server.url)
    file = check_file(server.session(path, "upload, finalize", CONTENT, offset=0))
    assert server("GET", f"/{version}/{file['name']}").json() == file


def test_finalize_alone_and_cancel(server: Server) -> None:
    path = server.start(size=None)
    server.session(path, "upload", CONTENT, offset=0)
    wrong = server.session(path, "finalize", b"bytes")
    assert fields(problem(wrong, 400, "INVALID_ARGUMENT")) == ["X-Goog-Upload-Command"]
    check_file(server.session(path, "finalize"))
    assert problem(server.session(path, "cancel"), 400, "FAILED_PRECONDITION")
    path = server.start()
    server.session(path, "upload", CONTENT[:9], offset=0)
    cancelled = server.session(path, "cancel")
    assert cancelled.status_code == 200
    assert cancelled.headers["X-Goog-Upload-Status"] == "cancelled"
    for command in ("query", "cancel", "finalize"):
        problem(server.session(path, command), 404, "NOT_FOUND")


def test_an_empty_file(server: Server) -> None:
    for size in (0, None):
        path = server.start(size=size)
        check_file(server.session(path, "upload, finalize", offset=0), b"")


def test_what_the_headers_say_stands_in(server: Server) -> None:
    headers = {"X-Goog-Upload-Header-Content-Type": "text/csv"}
    name = "Числа.csv".encode().decode("latin-1")
    answer = server.call.raw(
        f"POST /upload/v1beta/files HTTP/1.1\r\nHost: x\r\nx-goog-api-key: {server.keys['ann']}\r\n"
        f"X-Goog-Upload-Protocol: resumable\r\nX-Goog-Upload-Command: start\r\n"
        f"X-Goog-Upload-Header-Content-Type: {headers['X-Goog-Upload-Header-Content-Type']}\r\n"
        f"X-Goog-Upload-File-Name: {name}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    )
    found = re.search(rb"x-goog-upload-url: http://x(\S+)", answer)
    assert found, answer
    file = check_file(server.session(found[1].decode(), "upload, finalize", CONTENT, offset=0))
    assert file["displayName"] == "Числа.csv" and file["mimeType"] == "text/csv"


def test_names_are_chosen_and_taken_once(server: Server) -> None:
    for number, name in enumerate(("files/my-file-1", "my-file-2")):
        path = server.start({"file": {"name": name}}, 0)
        file = check_file(server.session(path, "finalize"), b"")
        assert file["name"] == f"files/my-file-{number + 1}"
    taken = {"file": {"name": "my-file-1"}}
    answer = server("POST", "/upload/v1beta/files", json=taken, headers=START)
    problem(answer, 409, "ALREADY_EXISTS")
    one, other = (server.start({"file": {"name": "raced"}}, 0) for _ in range(2))
    check_file(server.session(one, "finalize"), b"")
    problem(server.session(other, "finalize"), 409, "ALREADY_EXISTS")
    server("DELETE", "/v1beta/files/raced")
    check_file(server.session(other, "finalize"), b"")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"file": {"name": "files/Big"}}, "file.name"),
        ({"file": {"name": "files/"}}, "file.name"),
        ({"file": {"name": "a/b"}}, "file.name"),
        ({"file": {"displayName": "x" * 513}}, "file.display_name"),
        ({"file": {"display_name": 7}}, "file.display_name"),
        ({"file": {"mimeType": "a\nb"}}, "file.mime_type"),
        ({"file": {"sizeBytes": "-1"}}, "file.size_bytes"),
        ({"file": {"sizeBytes": "12"}}, "file.size_bytes"),
        ({"file": {"size_bytes": "many"}}, "file.size_bytes"),
        ({"file": []}, "file"),
        ({"file": {"displayName": "x", "mimeType": 1}}, "file.mime_type"),
    ],
)
def test_metadata_that_cannot_be(server: Server, body: Any, field: str) -> None:
    headers = START | {"X-Goog-Upload-Header-Content-Length": "770"}
    answer = server("POST", "/upload/v1beta/files", json=body, headers=headers)
    assert fields(problem(answer, 400, "INVALID_ARGUMENT")) == [field]


@pytest.mark.parametrize(
    "body",
    [
        b'{"file": {"displayName": "x",},}',
        b'{"file": {"display_name": "x", "sizeBytes": "770", "createTime": "x", "state": 99}}',
        b'{"displayName": "x", "who": "knows"}',
        b"{'file': {'display_name': 'x', \"mimeType\": \"it's\",}}",
        b'\xef\xbb\xbf{"file": {"display_name": "x", "uri": null, "size_bytes": 770}}',
    ],
)
def test_metadata_as_clients_write_it(server: Server, body: bytes) -> None:
    answer = server("POST", "/upload/v1beta/files", data=body, headers=START)
    assert answer.status_code == 200, answer.text
    path = server.path(answer.headers["X-Goog-Upload-URL"])
    file = check_file(server.session(path, "upload, finalize", CONTENT, offset=0))
    assert file["displayName"] == "x"


@pytest.mark.parametrize("body", [b"[]", b"{", b"{'file: 1}", b'"\\' * 400_000, b"'\"" * 400_000])
def test_metadata_that_are_no_json(server: Server, body: bytes) -> None:
    answer = server("POST", "/upload/v1beta/files", data=body, headers=START)
    assert "JSON" in problem(answer, 400, "INVALID_ARGUMENT")["message"]
    assert answer.elapsed.total_seconds() < 2


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"X-Goog-Upload-Command": "begin"}, "X-Goog-Upload-Command"),
        ({"X-Goog-Upload-Command": "upload"}, "X-Goog-Upload-Offset"),
        ({"X-Goog-Upload-Command": "upload", "X-Goog-Upload-Offset": "x"}, "X-Goog-Upload-Offset"),
        ({"X-Goog-Upload-Command": "upload", "X-Goog-Upload-Offset": "-1"}, "X-Goog-Upload-Offset"),
        ({"X-Goog-Upload-Command": "start"}, "X-Goog-Upload-Command"),
        ({"Content-Range": "bytes 0-1"}, "Content-Range"),
        ({"Content-Range": "bytes 0-99/770"}, "Content-Range"),
        ({"Content-Range": "bytes 5-7/770"}, "Content-Range"),
    ],
)
def test_headers_that_cannot_be(server: Server, headers: dict[str, str], field: str) -> None:
    answer = server("POST", server.start(), who=None, data=b"abc", headers=headers)
    assert fields(problem(answer, 400, "INVALID_ARGUMENT")) == [field]


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"X-Goog-Upload-Protocol": "carrier pigeon"}, "X-Goog-Upload-Protocol"),
        (START | {"X-Goog-Upload-Command": "query"}, "X-Goog-Upload-Command"),
        (START | {"X-Goog-Upload-Header-Content-Length": "1e3"},
         "X-Goog-Upload-Header-Content-Length"),
    ],
)  # fmt: skip
def test_starts_that_cannot_be(server: Server, headers: dict[str, str], field: str) -> None:
    answer = server("POST", "/upload/v1beta/files", data=b"{}", headers=headers)
    assert fields(problem(answer, 400, "INVALID_ARGUMENT")) == [field]


def test_more_than_announced(server: Server) -> None:
    path = server.start(size=100)
    answer = server.session(path, "upload, finalize", b"x" * 101, offset=0)
    assert fields(problem(answer, 400, "INVALID_ARGUMENT")) == ["file.size_bytes"]
    answer = server.session(path, "upload, finalize", b"x" * 99, offset=0)
    assert fields(problem(answer, 400, "INVALID_ARGUMENT")) == ["file.size_bytes"]
    check_file(server.session(path, "upload, finalize", b"x" * 100, offset=0), b"x" * 100)


# --- googleapiclient -----------------------------------------------------------------------------


def test_ranges(server: Server) -> None:
    headers = {"x-upload-content-type": "text/csv", "x-upload-content-length": str(len(CONTENT))}
    path = server.start_other({"file": {"displayName": "d", "name": "files/ranges"}}, **headers)
    answer = server.put(path, b"", f"bytes */{len(CONTENT)}")
    assert answer.status_code == 308 and "Range" not in answer.headers
    for _ in range(2):
        answer = server.put(path, CONTENT[:256], f"bytes 0-255/{len(CONTENT)}")
        assert answer.status_code == 308 and answer.headers["Range"] == "bytes=0-255"
        assert "Location" not in answer.headers and answer.content == b""
    answer = server.put(path, CONTENT[256:300], "bytes 256-299/*")
    assert answer.status_code == 308 and answer.headers["Range"] == "bytes=0-299"
    answer = server.put(path, b"", f"bytes */{len(CONTENT)}")
    assert answer.status_code == 308 and answer.headers["Range"] == "bytes=0-299"
    file = check_file(server.put(path, CONTENT[300:], f"bytes 300-769/{len(CONTENT)}"))
    assert file["mimeType"] == "text/csv" and file["name"] == "files/ranges"
    for asked in (f"bytes */{len(CONTENT)}", "bytes */*"):
        assert check_file(server.put(path, b"", asked)) == file
    assert check_file(server.put(path, CONTENT[300:], "bytes 300-769/770")) == file
    assert stored(server, file) == CONTENT


def test_whole_or_empty_without_a_range(server: Server) -> None:
    check_file(server.put(server.start_other(), CONTENT))
    check_file(server.put(server.start_other(), b""), b"")
    check_file(server.put(server.start_other(), b"", "bytes */0"), b"")


def test_all_has_come_and_nobody_said_so(server: Server) -> None:
    path = server.start_other()
    server.put(path, CONTENT, "bytes 0-769/*")
    check_file(server.put(path, b"", "bytes */770"))


# --- in one request ------------------------------------------------------------------------------


def related(metadata: bytes, content: bytes, line: bytes, boundary: bytes) -> bytes:
    lines = (
        b"--" + boundary,
        b"Content-Type: application/json",
        b"MIME-Version: 1.0",
        b"",
        metadata,
        b"--" + boundary,
        b"Content-Type: text/csv",
        b"Content-Transfer-Encoding: binary",
        b"",
        content,
        b"--" + boundary + b"--",
        b"",
    )
    return line.join(lines)


@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
@pytest.mark.parametrize(
    "content", [b"", b"x\n", b"x\r", b"\r\n", CONTENT, b"\n--=7", b"y" * 3000000]
)
@pytest.mark.parametrize("asked", ["query", "header", "content type"])
def test_18_multipart(server: Server, line: bytes, content: bytes, asked: str) -> None:
    boundary = b"===============7330845974216740156=="
    headers = {"Content-Type": f'multipart/related; boundary="{boundary.decode()}"'}
    path = "/upload/v1beta/files" + ("?alt=json&uploadType=multipart" if asked == "query" else "")
    if asked == "header":
        headers["X-Goog-Upload-Protocol"] = "multipart"
    body = related(b'{"file": {"displayName": "m"}}', content, line, boundary)
    file = check_file(server("POST", path, data=body, headers=headers), content)
    assert file["displayName"] == "m" and file["mimeType"] == "text/csv"
    assert stored(server, file) == content


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b\n\n{}\n--b--",
        b"--b\n\n{\n--b\n\nx\n--b--",
        b"--b\n\n{}\n--b\n\nx",
        b"--b\n\n{}\n--b\n\nx\n--b\n\ny\n--b--",
        b"--b\n\n{}\n--b\nContent-Transfer-Encoding: base64\n\neA==\n--b--",
        b"--b\n\n" + b" " * 1_100_000 + b"{}\n--b\n\nx\n--b--",
    ],
)
def test_multipart_that_is_none(server: Server, body: bytes) -> None:
    before = server("GET", "/v1beta/files").json()
    headers = {"Content-Type": "multipart/related; boundary=b"}
    answer = server("POST", "/upload/v1beta/files", data=body, headers=headers)
    problem(answer, 400, "INVALID_ARGUMENT")
    assert server("GET", "/v1beta/files").json() == before


def test_multipart_without_a_boundary(server: Server) -> None:
    for content_type in ("multipart/related", "text/plain", "multipart/related; boundary=\xff"):
        answer = server(
            "POST",
            "/upload/v1beta/files?uploadType=multipart",
            data=b"x",
            headers={"Content-Type": content_type},
        )
        assert "Content-Type" in problem(answer, 400, "INVALID_ARGUMENT")["message"]


@pytest.mark.parametrize("query", ["", "?uploadType=media", "?upload_protocol=raw"])
def test_raw_bytes(server: Server, query: str) -> None:
    headers = {"Content-Type": "text/csv", "X-Goog-Upload-File-Name": "a.csv"}
    path = f"/upload/v1beta/files{query}"
    file = check_file(server("POST", path, data=CONTENT, headers=headers))
    assert file["displayName"] == "a.csv" and file["mimeType"] == "text/csv"
    assert stored(server, file) == CONTENT
    check_file(server("POST", path, data=iter([CONTENT[:9], CONTENT[9:]])))


# --- cut connections -----------------------------------------------------------------------------


def cut_short(server: Server, path: str, headers: str, content: bytes) -> None:
    """A request whose client dies in the middle of the body."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost:{server.port}\r\n{headers}\r\n\r\n"
        with contextlib.suppress(ConnectionError):
            connection.sendall(head.encode() + content)
            time.sleep(0.01)  # What is not read before the end is known is not kept.


def test_a_hundred_cuts_and_a_whole_file(server: Server) -> None:
    content = random.Random(7).randbytes(1_500_000)
    path, dice = server.start(size=len(content)), random.Random(8)
    for _ in range(100):
        at = int(server.session(path, "query").headers["X-Goog-Upload-Size-Received"])
        command = "X-Goog-Upload-Command: upload, finalize\r\n"
        length = f"X-Goog-Upload-Offset: {at}\r\nContent-Length: {len(content) - at}"
        cut_short(server, path, command + length, content[at : at + dice.randint(0, 30_000)])
    at = int(server.session(path, "query").headers["X-Goog-Upload-Size-Received"])
    assert at > 0
    file = check_file(server.session(path, "upload, finalize", content[at:], offset=at), content)
    assert stored(server, file) == content


def test_what_was_cut_in_one_request_is_gone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: queue.Queue[str] = queue.Queue()
    cancel = uploads.cancel

    def noted(app: FakeApp, upload: Upload) -> None:
        cancel(app, upload)
        cancelled.put(upload.uid)

    monkeypatch.setattr(uploads, "cancel", noted)
    key = f"x-goog-api-key: {server.keys['ann']}\r\n"
    body = related(b"{}", b"x" * 3000, b"\r\n", b"b")[:2500]
    for kind in ("multipart/related; boundary=b", "text/plain"):
        head = f"{key}Content-Type: {kind}\r\nContent-Length: 9999"
        cut_short(server, "/upload/v1beta/files", head, body)
        uid = cancelled.get(timeout=10)
        assert uid not in store.uids(server.app.database)[1]
        assert not list(server.app.settings.data.rglob(uid))


# --- who may -------------------------------------------------------------------------------------


def test_nothing_begins_without_the_right(server: Server) -> None:
    for headers in (START, {}, {"Content-Type": "multipart/related; boundary=b"}):
        arguments = {"data": b"{}", "headers": headers}
        problem(server("POST", "/upload/v1beta/files", None, **arguments), 401, "UNAUTHENTICATED")
        answer = server("POST", "/upload/v1beta/files", "reader", **arguments)
        assert "tuning" in problem(answer, 403, "PERMISSION_DENIED")["message"]


def test_11_a_session_needs_no_key_and_refuses_anothers(server: Server) -> None:
    path = server.start()
    query = {"X-Goog-Upload-Command": "query"}
    for who in (None, "ann", "admin"):
        assert server("POST", path, who, headers=query).status_code == 200
    problem(server("POST", path, "bob", headers=query), 404, "NOT_FOUND")
    unknown = "/upload/v1beta/files?upload_id=x"
    for headers in (query, {"Content-Range": "bytes */*"}, {}):
        problem(server("POST", unknown, None, headers=headers), 404, "NOT_FOUND")


def test_a_session_is_known_by_a_long_secret_that_is_not_kept(server: Server) -> None:
    secret = urlsplit(server.start()).query.partition("&")[0].removeprefix("upload_id=")
    assert len(secret) >= 43
    kept = server.app.settings.data
    server.app.database.close()
    for path in kept.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()


def test_files_are_seen_by_their_owner(server: Server) -> None:
    file = check_file(server("POST", "/upload/v1beta/files", data=CONTENT))
    path = f"/v1beta/{file['name']}"
    for who in ("ann", "admin", "reader"):
        assert server("GET", path, who).json() == file
        assert file in server("GET", "/v1beta/files?pageSize=100", who).json()["files"]
    assert "files" not in server("GET", "/v1beta/files", "bob").json()
    for foreign in (path, "/v1beta/files/no-such-file"):
        for method, end in (("GET", ""), ("DELETE", ""), ("GET", ":download?alt=media")):
            problem(server(method, foreign + end, "bob"), 403, "PERMISSION_DENIED")
    problem(server("GET", "/v1beta/files/no-such-file", "admin"), 404, "NOT_FOUND")
    problem(server("DELETE", path, "reader"), 403, "PERMISSION_DENIED")
    assert server("DELETE", path, json={}).json() == {}
    problem(server("GET", path), 403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    "id", ["..", "%2e%2e%2fx", "..%2f..%2fkamerton.db", "x" * 41, "X", "%00", "a%5cb", "%252e"]
)
def test_ids_never_become_paths(server: Server, id: str) -> None:
    for end in ("", ":download?alt=media"):
        answer = server.call.raw(
            f"GET /v1beta/files/{id}{end} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"x-goog-api-key: {server.keys['admin']}\r\n\r\n".encode()
        )
        assert answer.startswith(b"HTTP/1.1 404"), answer


def test_lists_have_pages(server: Server) -> None:
    names = [check_file(server("POST", "/upload/v1beta/files", "bob", data=b"x"), b"x")["name"]
             for _ in range(12)]  # fmt: skip
    first = server("GET", "/v1beta/files", "bob").json()
    assert [file["name"] for file in first["files"]] == names[:1:-1]
    rest = {"pageToken": first["nextPageToken"], "pageSize": "3"}
    found = server("GET", "/v1/files", "bob", params=rest).json()
    assert [file["name"] for file in found["files"]] == names[1::-1]
    assert "nextPageToken" not in found
    problem(server("GET", "/v1beta/files", params=rest), 400, "INVALID_ARGUMENT")


def test_downloads_are_never_shown_as_pages(server: Server) -> None:
    headers = {"Content-Type": "text/html"}
    file = check_file(server("POST", "/upload/v1beta/files", data=CONTENT, headers=headers))
    answer = server("GET", f"/v1beta/{file['name']}:download?alt=media")
    assert answer.content == CONTENT and answer.headers["Content-Length"] == "770"
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


# --- limits and odds and ends --------------------------------------------------------------------


def test_limits(tmp_path: Path) -> None:
    server = Server(tmp_path, max_file_bytes=1000, max_owner_file_bytes=1500)
    try:
        for headers in (
            START | {"X-Goog-Upload-Header-Content-Length": "1001"},
            {"Content-Type": "text/plain"},
        ):
            answer = server("POST", "/upload/v1beta/files", data=b" " * 1001, headers=headers)
            error = problem(answer, 400, "INVALID_ARGUMENT")
            assert error["message"].startswith("Request payload size exceeds the limit:")
        chunked = server("POST", "/upload/v1beta/files", data=iter([b"x" * 900, b"x" * 900]))
        problem(chunked, 400, "INVALID_ARGUMENT")
        path = server.start(size=None)
        answer = server.session(path, "upload", b"x" * 1001, offset=0)
        problem(answer, 400, "INVALID_ARGUMENT")
        server.session(path, "upload", b"x" * 900, offset=0)
        answer = server("POST", "/upload/v1beta/files", data=b"x" * 601)
        error = problem(answer, 429, "RESOURCE_EXHAUSTED")
        kinds = [detail["@type"].rpartition(".")[2] for detail in error["details"]]
        assert "QuotaFailure" in kinds and answer.headers["Retry-After"]
        check_file(server("POST", "/upload/v1beta/files", data=b"x" * 600), b"x" * 600)
        check_file(server("POST", "/upload/v1beta/files", "bob", data=CONTENT))
    finally:
        server.close()


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH", "HEAD"])
def test_other_methods(server: Server, method: str) -> None:
    answer = server(method, "/upload/v1beta/files")
    assert answer.status_code == 405
    if method != "HEAD":
        problem(answer, 405, "UNIMPLEMENTED")


def test_compressed_bodies_are_refused(server: Server) -> None:
    headers = {"Content-Encoding": "gzip"}
    for path in ("/upload/v1beta/files", server.start()):
        answer = server("POST", path, data=b"x", headers=headers)
        assert "Content-Encoding" in problem(answer, 400, "INVALID_ARGUMENT")["message"]


def test_one_line_when_asked_for(server: Server) -> None:
    answer = server("POST", "/upload/v1beta/files?prettyPrint=false", data=CONTENT)
    assert b"\n" not in answer.content and check_file(answer)


@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_the_discovery_document_leads_to_the_upload(server: Server, version: str) -> None:
    answer = server("GET", f"/$discovery/rest?version={version}&key=whatever", None)
    document = answer.json()
    assert document["rootUrl"] == f"{server.url}/" and document["servicePath"] == ""
    method = document["resources"]["media"]["methods"]["upload"]
    assert method["path"] == f"{version}/files" and method["httpMethod"] == "POST"
    assert method["supportsMediaUpload"]
    for protocol in ("simple", "resumable"):
        path = method["mediaUpload"]["protocols"][protocol]["path"]
        assert server("POST", path, data=b"x").status_code == 200
    for kind in ("request", "response"):
        assert method[kind]["$ref"] in document["schemas"]
    wrong = server("GET", "/$discovery/rest?version=v7", None)
    assert fields(problem(wrong, 400, "INVALID_ARGUMENT")) == ["version"]


# --- training on a file --------------------------------------------------------------------------

FILE_URI = "tuned_model.tuning_task.training_data.file_uri"


def create(server: Server, uri: Any, who: str = "ann") -> requests.Response:
    data = {"trainingData": {"fileUri": uri}}
    body = {"baseModel": "models/gemini-1.0-pro-001", "tuningTask": data}
    return server("POST", "/v1beta/tunedModels", who, json=body)


def test_tuning_on_a_file(server: Server) -> None:
    rows = "\n".join(json.dumps({"text_input": str(n), "output": str(n + 1)}) for n in range(15))
    file = check_file(server("POST", "/upload/v1beta/files", data=rows.encode()), rows.encode())
    for uri in (file["name"], file["uri"]):
        answer = create(server, uri)
        assert answer.status_code == 200, answer.text
        assert answer.json()["metadata"]["totalSteps"] == 19
    problem(create(server, file["name"], "bob"), 403, "PERMISSION_DENIED")
    problem(create(server, "files/none", "admin"), 404, "NOT_FOUND")
    server("DELETE", f"/v1beta/{file['name']}")
    problem(create(server, file["name"]), 403, "PERMISSION_DENIED")


def test_a_file_and_examples_exclude_each_other(server: Server) -> None:
    rows = b'{"text_input": "1", "output": "2"}'
    file = check_file(server("POST", "/upload/v1beta/files", data=rows), rows)
    nothing: Any
    for nothing in ({}, {"examples": {}}, {"examples": {"examples": []}}, {"examples": None}):
        data = {"fileUri": file["name"], **nothing}
        body: Any = {"baseModel": "gemini-pro", "tuningTask": {"trainingData": data}}
        assert server("POST", "/v1beta/tunedModels", "ann", json=body).status_code == 200
    body["tuningTask"]["trainingData"]["examples"] = {"examples": [{"output": "2"}]}
    answer = server("POST", "/v1beta/tunedModels", "ann", json=body)
    assert fields(problem(answer, 400, "INVALID_ARGUMENT")) == [FILE_URI]


def test_bad_rows_of_a_file(server: Server) -> None:
    rows = b'{"text_input": "1"}\n' * 250
    file = check_file(server("POST", "/upload/v1beta/files", data=rows), rows)
    error = problem(create(server, file["name"]), 400, "INVALID_ARGUMENT")
    assert error["message"].startswith(f"{file['name']}: 250 of 250 rows cannot be used; line 1: ")
    violations = error["details"][0]["fieldViolations"]
    assert violations[0] == {"field": FILE_URI, "description": "line 1: output is missing"}
    assert len(violations) == 101 and "150 more" in violations[-1]["description"]


_connected: list[Any] = []
sys.addaudithook(
    lambda event, arguments: _connected.append(arguments[-1]) if event == "socket.connect" else None
)


@pytest.mark.parametrize("uri", ["gs://b/o", "/etc/passwd", "http://127.0.0.1:9/x", 7, {}])
def test_nothing_is_fetched(server: Server, uri: Any) -> None:
    _connected.clear()
    server.call.close()
    assert fields(problem(create(server, uri), 400, "INVALID_ARGUMENT")) == [FILE_URI]
    assert _connected == [("127.0.0.1", server.port)]
