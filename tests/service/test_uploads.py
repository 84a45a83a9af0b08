"""Uploads that are cut, repeated, raced and killed: the file is whole or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamerton.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TooLarge,
)
from kamerton.service import arrivals, files, uploads
from kamerton.service.arrivals import Arrival
from kamerton.service.housekeeping import repair, sweep
from kamerton.store import files as store
from kamerton.types import Caller, Upload
from tests.service.conftest import ADMIN, ANN, BOB, FakeApp

CONTENT = bytes(range(256)) * 40


def with_settings(app: FakeApp, **changes: Any) -> FakeApp:
    settings = replace(app.settings, **changes)
    return FakeApp(settings, app.database, app.catalog, app.engine, app.runner)


def restarted(app: FakeApp) -> FakeApp:
    """As after kill -9: nothing that was in memory is there."""
    made = with_settings(app)
    repair(made.database, made.arrivals)
    return made


def begun(app: FakeApp, size: int | None = len(CONTENT), **more: Any) -> tuple[Upload, str]:
    return uploads.start(app, ANN, size=size, **more)


def on_disk(app: FakeApp) -> list[str]:
    folders = (app.settings.data / "uploads", app.settings.data / "files")
    return sorted(f"{folder.name}/{path.name}" for folder in folders for path in folder.iterdir())


def test_a_file_in_pieces(app: FakeApp) -> None:
    upload, secret = begun(app, file_id="mine", display_name="Числа", mime_type="text/plain")
    assert len(secret) > 40 and uploads.find(app, secret) == upload
    offset = uploads.receive(app, upload, 0, CONTENT[:4000])
    assert offset == uploads.received(app, upload) == 4000
    uploads.keep(app, upload)
    uploads.receive(app, upload, offset, CONTENT[4000:])
    with pytest.raises(PermissionDenied):
        files.get(app, ANN, "mine")
    made = uploads.finish(app, upload)
    assert made.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (made.id, made.display_name, made.mime_type) == ("mine", "Числа", "text/plain")
    assert made.size_bytes == len(CONTENT) and made.owner == ANN.owner
    assert files.get(app, ANN, "mine") == made
    assert on_disk(app) == [f"files/{made.uid}"]
    with files.open_(app, ANN, "mine")[1] as content:
        assert content.read() == CONTENT


def test_an_empty_file(app: FakeApp) -> None:
    for size in (0, None):
        made = uploads.finish(app, begun(app, size)[0])
        assert made.size_bytes == 0 and made.sha256 == hashlib.sha256(b"").hexdigest()


def test_the_same_may_come_twice_and_nothing_else(app: FakeApp) -> None:
    upload, secret = begun(app)
    uploads.receive(app, upload, 0, CONTENT[:500])
    assert uploads.receive(app, upload, 0, CONTENT[:500]) == 500
    assert uploads.receive(app, upload, 100, CONTENT[100:600]) == 600
    for offset, piece in ((0, b"x" * 10), (599, CONTENT[600:]), (601, b"y"), (300, b"")):
        with pytest.raises(InvalidArgument, match="expected at offset 600") as caught:
            uploads.receive(app, upload, offset, piece)
        assert caught.value.violations[0].field == "offset"
    uploads.receive(app, upload, 600, CONTENT[600:])
    made = uploads.finish(app, upload, len(CONTENT))
    again = uploads.find(app, secret)
    assert uploads.receive(app, again, 600, CONTENT[600:]) == len(CONTENT)
    assert uploads.finish(app, again, len(CONTENT)) == made
    assert uploads.finish(app, upload) == made
    with pytest.raises(InvalidArgument):
        uploads.receive(app, again, 600, b"other")
    with pytest.raises(InvalidArgument, match="is finished"):
        uploads.receive(app, again, len(CONTENT), b"more")
    with pytest.raises(InvalidArgument):
        uploads.finish(app, again, 600)
    assert Path(app.arrivals.path(made.uid)).read_bytes() == CONTENT


def test_a_finished_upload_answers_after_a_restart(app: FakeApp) -> None:
    upload, secret = begun(app)
    uploads.receive(app, upload, 0, CONTENT)
    made = uploads.finish(app, upload)
    app = restarted(app)
    again = uploads.find(app, secret)
    assert again.file == made and uploads.received(app, again) == len(CONTENT)
    assert uploads.receive(app, again, 0, CONTENT) == len(CONTENT)
    assert uploads.finish(app, again, len(CONTENT)) == made


@pytest.mark.parametrize("announced", [True, False])
def test_more_or_less_than_announced_or_allowed(app: FakeApp, announced: bool) -> None:
    app = with_settings(app, max_file_bytes=1000)
    if announced:
        with pytest.raises(TooLarge, match=r"^Request payload size exceeds the limit"):
            begun(app, 1001)
        upload, _ = begun(app, 500)
        with pytest.raises(InvalidArgument, match="500 bytes were announced, not more"):
            uploads.receive(app, upload, 0, CONTENT[:501])
        uploads.receive(app, upload, 0, CONTENT[:400])
        with pytest.raises(InvalidArgument, match="500 bytes were announced, 400 have come"):
            uploads.finish(app, upload)
    else:
        upload, _ = begun(app, None)
        uploads.receive(app, upload, 0, CONTENT[:900])
        with pytest.raises(TooLarge):
            uploads.expect(app, upload, 900, 101)
        with pytest.raises(TooLarge):
            uploads.receive(app, upload, 900, CONTENT[900:1001])
        assert uploads.finish(app, upload).size_bytes == 900


def test_a_full_quota_is_told_before_anything_is_kept(app: FakeApp) -> None:
    app = with_settings(app, max_owner_file_bytes=10_000)
    begun(app, 6000)
    with pytest.raises(ResourceExhausted, match="6000 are in use or on their way"):
        begun(app, 4001)
    upload, _ = begun(app, None)
    uploads.receive(app, upload, 0, CONTENT[:4000])
    with pytest.raises(ResourceExhausted):
        uploads.receive(app, upload, 4000, b"x")
    assert uploads.received(app, upload) == 4000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("file_id", "-a"),
        ("file_id", "a-"),
        ("file_id", "A"),
        ("file_id", "a" * 41),
        ("file_id", "../x"),
        ("display_name", "x" * 513),
        ("mime_type", "text/plain\r\nx: y"),
        ("mime_type", "текст"),
        ("mime_type", "x" * 256),
    ],
)
def test_names_that_cannot_be(app: FakeApp, field: str, value: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        uploads.start(app, ANN, **{field: value})  # type: ignore[arg-type]
    assert [violation.field for violation in caught.value.violations] == [field]


def test_a_taken_id_is_refused_at_either_end(app: FakeApp) -> None:
    first, second = begun(app, 0, file_id="x")[0], begun(app, 0, file_id="x")[0]
    uploads.finish(app, first)
    with pytest.raises(AlreadyExists):
        begun(app, 0, file_id="x")
    with pytest.raises(AlreadyExists):
        uploads.finish(app, second)
    files.delete(app, ANN, "x")
    assert uploads.finish(app, second).id == "x"


def test_files_leave_room_on_the_disk(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    upload, _ = begun(app)
    monkeypatch.setattr(arrivals, "RESERVE_BYTES", 2**62)
    with pytest.raises(ResourceExhausted, match="nearly full"):
        uploads.receive(app, upload, 0, CONTENT)
    assert uploads.received(app, upload) == 0


def test_cancel_removes_what_has_come(app: FakeApp) -> None:
    upload, secret = begun(app)
    uploads.receive(app, upload, 0, CONTENT[:10])
    uploads.cancel(app, upload)
    assert on_disk(app) == []
    with pytest.raises(NotFound):
        uploads.find(app, secret)
    # A request that was on its way meanwhile leaves nothing for long.
    uploads.receive(app, upload, 0, CONTENT[:10])
    with pytest.raises(NotFound):
        uploads.finish(app, replace(upload, size=None))
    sweep(app.database, app.arrivals)
    assert on_disk(app) == []


def test_a_finished_upload_cannot_be_cancelled(app: FakeApp) -> None:
    upload, _ = begun(app, 0)
    uploads.finish(app, upload)
    with pytest.raises(FailedPrecondition, match="delete the file"):
        uploads.cancel(app, upload)


def test_without_the_scope_nothing_begins(app: FakeApp) -> None:
    with pytest.raises(PermissionDenied, match="tuning"):
        uploads.start(app, Caller(ANN.owner, frozenset({"infer"})))


def test_an_upload_is_its_owners(app: FakeApp) -> None:
    upload, _ = begun(app)
    uploads.check_owner(upload, ANN)
    uploads.check_owner(upload, ADMIN)
    with pytest.raises(NotFound):
        uploads.check_owner(upload, BOB)


def test_uploads_end(app: FakeApp) -> None:
    app = with_settings(app, upload_hours=-1)
    upload, secret = begun(app)
    uploads.receive(app, upload, 0, CONTENT)
    with pytest.raises(NotFound):
        uploads.find(app, secret)
    with pytest.raises(NotFound):
        uploads.finish(app, upload)
    sweep(app.database, app.arrivals)
    assert on_disk(app) == []
    assert store.uids(app.database) == ({}, set())


# --- crashes -------------------------------------------------------------------------------------


def test_an_upload_goes_on_after_a_kill(app: FakeApp) -> None:
    upload, secret = begun(app)
    uploads.receive(app, upload, 0, CONTENT[:5000])
    app = restarted(app)
    upload = uploads.find(app, secret)
    assert uploads.received(app, upload) == 5000
    uploads.receive(app, upload, 5000, CONTENT[5000:])
    assert uploads.finish(app, upload).sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_killed_between_the_move_and_the_row(app: FakeApp) -> None:
    upload, secret = begun(app)
    uploads.receive(app, upload, 0, CONTENT)
    coming = app.settings.data / "uploads" / upload.uid
    coming.rename(app.arrivals.path(upload.uid))
    app = restarted(app)
    assert on_disk(app) == [f"uploads/{upload.uid}"]
    upload = uploads.find(app, secret)
    assert uploads.received(app, upload) == len(CONTENT)
    assert uploads.finish(app, upload).size_bytes == len(CONTENT)


def test_a_row_that_cannot_be_written_takes_the_move_back(
    app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, secret = begun(app)
    uploads.receive(app, upload, 0, CONTENT)
    with monkeypatch.context() as broken:
        broken.setattr(store, "finish", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            uploads.finish(app, upload)
    assert on_disk(app) == [f"uploads/{upload.uid}"]
    assert uploads.finish(app, uploads.find(app, secret)).size_bytes == len(CONTENT)


def test_rows_and_bytes_agree_after_a_start(app: FakeApp) -> None:
    made = [uploads.finish(app, begun(app, 0, file_id=id)[0]) for id in ("kept", "lost", "cut")]
    app.arrivals.path(made[1].uid).unlink()
    app.arrivals.path(made[2].uid).write_bytes(b"more than there was")
    dead, _ = begun(app, 10, resumable=False)
    uploads.receive(app, dead, 0, CONTENT[:5])
    (app.settings.data / "files" / "stranger").write_bytes(b"x")
    for _ in range(2):
        app = restarted(app)
        assert on_disk(app) == [f"files/{made[0].uid}"]
        assert [file.id for file in files.list_(app, ANN, page_size=9).items] == ["kept"]


def test_bytes_on_their_way_are_not_swept(app: FakeApp) -> None:
    upload, _ = begun(app)
    uploads.receive(app, upload, 0, CONTENT)
    with app.arrivals.of(upload).moved():
        sweep(app.database, app.arrivals)
    assert on_disk(app) == [f"files/{upload.uid}"]


def test_a_full_disk_keeps_what_was_whole(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    upload, _ = begun(app)
    uploads.receive(app, upload, 0, CONTENT[:100])

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if offset > 150:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:60], offset)

    write = os.pwrite
    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        with pytest.raises(ResourceExhausted, match="No space left on device"):
            uploads.receive(app, upload, 100, CONTENT[100:])
    assert uploads.received(app, upload) == 100
    assert (app.settings.data / "uploads" / upload.uid).stat().st_size == 100
    uploads.receive(app, upload, 100, CONTENT[100:])
    assert uploads.finish(app, upload).sha256 == hashlib.sha256(CONTENT).hexdigest()


# --- races ---------------------------------------------------------------------------------------


def both(*attempts: Callable[[], object]) -> list[object]:
    """What they come to at the same time; refusals too."""

    def outcome(attempt: Callable[[], object]) -> object:
        try:
            return attempt()
        except (InvalidArgument, NotFound) as error:
            return error

    with ThreadPoolExecutor(len(attempts)) as threads:
        return list(threads.map(outcome, attempts))


def sent(app: FakeApp, secret: str, content: bytes, seed: int) -> object:
    """The whole file in random pieces."""
    upload, at, cuts = uploads.find(app, secret), 0, random.Random(seed)
    while at < len(content):
        at = uploads.receive(app, upload, at, content[at : at + cuts.randint(1, 900)])
    return uploads.finish(app, upload, at)


@pytest.mark.parametrize("seed", range(5))
def test_two_who_send_the_same_both_succeed(app: FakeApp, seed: int) -> None:
    _, secret = begun(app)
    done = both(*(partial(sent, app, secret, CONTENT, seed + more) for more in (0, 100)))
    assert done[0] == done[1] == uploads.find(app, secret).file


@pytest.mark.parametrize("seed", range(5))
def test_of_two_who_send_different_things_one_succeeds(app: FakeApp, seed: int) -> None:
    _, secret = begun(app)
    other = CONTENT[:3000] + b"!" + CONTENT[3001:]
    contents = enumerate((CONTENT, other))
    done = both(*(partial(sent, app, secret, content, seed + n) for n, content in contents))
    made = uploads.find(app, secret).file
    assert made is not None and done.count(made) == 1
    assert sum(isinstance(found, InvalidArgument) for found in done) == 1
    content = app.arrivals.path(made.uid).read_bytes()
    assert content in (CONTENT, other)
    assert made.sha256 == hashlib.sha256(content).hexdigest()


@settings(max_examples=200, deadline=None)
@given(
    content=st.binary(max_size=60),
    steps=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20), st.booleans()), max_size=12),
)
def test_whatever_is_sent_it_stays_a_beginning_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, steps: list[tuple[int, int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("a")
    arrival = Arrival(folder / "coming", folder / "whole", finished=False)
    for offset, length, right in steps:
        piece = content[offset : offset + length]
        try:
            arrival.put(offset, piece if right else piece[::-1] + b"?")
        except InvalidArgument:
            assert not right or offset != arrival.size
        if (folder / "coming").exists():
            here = (folder / "coming").read_bytes()
            assert len(here) == arrival.size
            assert arrival.sha256() == hashlib.sha256(here).hexdigest()
            if all(right for *_, right in steps):
                assert content.startswith(here)
