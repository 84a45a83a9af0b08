"""Uploads: what is sent, in which pieces, and what happens when some of it gets lost."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator

import pytest

from kamerton.client import uploads
from kamerton.client.connection import Connection
from kamerton.client.uploads import upload
from kamerton.errors import Unavailable
from tests.client.fake_uploads import FakeUploads

Start = Callable[..., FakeUploads]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(uploads, "PIECE_BYTES", 8)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    started: list[FakeUploads] = []

    def start_server(*losses: str) -> FakeUploads:
        started.append(FakeUploads(list(losses)))
        return started[-1]

    yield start_server
    for server in started:
        server.close()


@pytest.mark.parametrize(
    ("size", "commands"),
    [
        (0, [("upload, finalize", 0)]),
        (5, [("upload, finalize", 0)]),
        (8, [("upload, finalize", 0)]),
        (20, [("upload", 0), ("upload", 8), ("upload, finalize", 16)]),
    ],
)
def test_pieces(start: Start, size: int, commands: list[tuple[str, int]]) -> None:
    server, content = start(), os.urandom(size)
    file = upload(Connection(server.endpoint, "kam-secret"), io.BytesIO(content))
    assert file == {"name": "files/abc", "sizeBytes": str(size)}
    assert (server.content, server.commands) == (content, commands)


def test_what_is_told_of_the_file(start: Start) -> None:
    server = start()
    connection = Connection(server.endpoint, "kam-secret")
    upload(
        connection,
        io.BytesIO(b"x"),
        name="files/mine",
        display_name="Данные",
        mime_type="application/jsonl",
    )
    assert server.file == {
        "name": "files/mine",
        "displayName": "Данные",
        "mimeType": "application/jsonl",
    }
    assert server.started["X-Goog-Upload-Protocol"] == "resumable"
    assert server.started["x-goog-api-key"] == "kam-secret"


def test_only_what_is_left_of_a_file_object(start: Start) -> None:
    server, content = start(), io.BytesIO(b"header, then data")
    content.seek(8)
    upload(Connection(server.endpoint), content)
    assert server.content == b"then data"
    assert server.started["X-Goog-Upload-Header-Content-Length"] == "9"


def test_a_pipe_that_drips(start: Start) -> None:
    class Drops(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(3, size or 0))

    server = start()
    upload(Connection(server.endpoint), Drops(b"0123456789abcdefXY"))
    assert server.content == b"0123456789abcdefXY"
    assert [offset for _, offset in server.commands] == [0, 8, 16]


def test_a_pipe_whose_size_nobody_knows(start: Start) -> None:
    class Pipe(io.BytesIO):
        def seek(self, offset: int, whence: int = 0, /) -> int:
            raise io.UnsupportedOperation("seek")

    server = start()
    upload(Connection(server.endpoint), Pipe(b"0123456789"))
    assert server.content == b"0123456789"
    assert "X-Goog-Upload-Header-Content-Length" not in server.started


@pytest.mark.parametrize("losses", [["before"], ["half"], ["", "after"], ["", "", "half", "half"]])
def test_a_lost_piece_is_sent_again_from_where_the_server_is(
    start: Start, losses: list[str]
) -> None:
    server, content = start(*losses), os.urandom(20)
    file = upload(Connection(server.endpoint), io.BytesIO(content))
    assert server.content == content
    assert file["sizeBytes"] == "20"
    assert ("query", 0) in server.commands


def test_an_answer_that_got_lost_is_asked_for(start: Start) -> None:
    server = start("after")
    assert upload(Connection(server.endpoint), io.BytesIO(b"x"))["name"] == "files/abc"
    assert server.commands == [("upload, finalize", 0), ("query", 0)]


def test_a_server_that_stays_away_is_given_up(start: Start) -> None:
    server = start(*["before"] * 9)
    with pytest.raises(Unavailable):
        upload(Connection(server.endpoint), io.BytesIO(b"x"))
    assert [command for command, _ in server.commands].count("upload, finalize") == 5
