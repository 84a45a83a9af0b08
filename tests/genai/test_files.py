"""Files as scripts see them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import kamerton.genai as genai
from tests.client.fake_uploads import FakeUploads
from tests.fake_server import FakeServer

FILE = {
    "name": "files/abc",
    "displayName": "data.jsonl",
    "mimeType": "application/jsonl",
    "sizeBytes": "720",
    "createTime": "2026-11-21T08:16:11.879270123Z",
    "sha256Hash": "aGFzaA==",
    "uri": "http://127.0.0.1:8080/v1beta/files/abc",
    "state": "ACTIVE",
}


@pytest.fixture
def uploads() -> Iterator[FakeUploads]:
    fake = FakeUploads()
    genai.configure(client_options={"api_endpoint": fake.endpoint})
    yield fake
    fake.close()
    genai.configure()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("data.jsonl", "application/jsonl"),
        ("data.csv", "text/csv"),
        ("data", "application/octet-stream"),
    ],
)
def test_upload_from_disk(uploads: FakeUploads, tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b"some text")
    file = genai.upload_file(tmp_path / name)
    assert uploads.content == b"some text"
    assert uploads.file == {"displayName": name, "mimeType": kind}
    assert (file.name, file.size_bytes) == ("files/abc", 9)


def test_upload_of_a_file_object_with_everything_said(uploads: FakeUploads) -> None:
    genai.upload_file(io.BytesIO(b"x"), name="mine", display_name="d", mime_type="text/plain")
    assert uploads.file == {"name": "files/mine", "displayName": "d", "mimeType": "text/plain"}


def test_fields_have_their_python_names(server: FakeServer) -> None:
    server.when("GET /v1beta/files/abc", FILE)
    file = genai.get_file("abc")
    assert file.state.name == "ACTIVE"
    assert (file.size_bytes, file.sha256_hash) == (720, b"hash")
    assert file.create_time == datetime(2026, 11, 21, 8, 16, 11, 879270, UTC)
    assert file.to_dict()["mime_type"] == "application/jsonl"
    assert genai.get_file(file) == file


def test_list_and_delete(server: FakeServer) -> None:
    server.when("GET /v1beta/files", {"files": [FILE], "nextPageToken": "n"}, {"files": [FILE]})
    server.when("DELETE /v1beta/files/abc", {})
    first, second = genai.list_files()
    assert server.requests[0][0] == "GET /v1beta/files?pageSize=100"
    first.delete()
    genai.delete_file(second.name)
    assert [call for call, _ in server.requests[2:]] == ["DELETE /v1beta/files/abc"] * 2
