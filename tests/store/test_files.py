"""Files and uploads as rows: quotas that hold, ids that are free again, what has expired."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kamerton.errors import AlreadyExists, ResourceExhausted
from kamerton.store import files
from kamerton.store.database import Database
from kamerton.types import File, Upload

HOUR = timedelta(hours=1)
QUOTA = files.Quota(bytes=1000, files=5)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(f"sqlite:///{tmp_path / 'k.db'}")
    made.migrate()
    return made


def upload(
    size: int | None = 100,
    file_id: str = "",
    owner: str = "ann@x.org",
    lifetime: timedelta = HOUR,
) -> Upload:
    uid, now = uuid.uuid4().hex, datetime.now(UTC)
    return Upload(uid, owner, file_id or uid, "name", "text/plain", size, now, now + lifetime)


def add(database: Database, asked: Upload, quota: files.Quota = QUOTA) -> Upload:
    files.add_upload(database, asked, f"hash of {asked.uid}", quota)
    return asked


def finished(database: Database, asked: Upload, lifetime: timedelta = HOUR) -> File:
    made = files.finish(database, add(database, asked).uid, asked.size or 0, "00", lifetime)
    assert made is not None
    return made


def test_an_upload_becomes_a_file(database: Database) -> None:
    asked = add(database, upload(file_id="x"))
    assert files.find_upload(database, secret_hash=f"hash of {asked.uid}") == asked
    assert files.get(database, "x") is None
    made = files.finish(database, asked.uid, 100, "ab", HOUR)
    assert made is not None and made.expire_time - made.create_time == HOUR
    assert (made.id, made.uid, made.owner) == ("x", asked.uid, asked.owner)
    assert files.get(database, "x") == made
    found = files.find_upload(database, uid=asked.uid)
    assert found is not None and found.file == made
    assert files.find_upload(database, secret_hash="another") is None


def test_what_was_announced_counts_until_it_is_here_or_gone(database: Database) -> None:
    first, second = add(database, upload(600)), add(database, upload(300))
    with pytest.raises(ResourceExhausted, match="900 are in use or on their way, and 101 more"):
        add(database, upload(101))
    add(database, upload(101, owner="bob@x.org"))
    files.finish(database, first.uid, 600, "", HOUR)
    with pytest.raises(ResourceExhausted):
        add(database, upload(101))
    files.delete_upload(database, second.uid)
    add(database, upload(101))
    files.delete_(database, first.uid)
    add(database, upload(899))


def test_what_nobody_announced_counts_as_it_comes(database: Database) -> None:
    unknown = add(database, upload(None))
    files.reserve(database, unknown.uid, 600, QUOTA)
    files.reserve(database, unknown.uid, 500, QUOTA)
    with pytest.raises(ResourceExhausted, match="600 are in use"):
        add(database, upload(401))
    add(database, upload(400))
    with pytest.raises(ResourceExhausted):
        files.reserve(database, unknown.uid, 601, QUOTA)


def test_the_number_of_files_has_a_limit_too(database: Database) -> None:
    for _ in range(3):
        finished(database, upload(0))
    for _ in range(2):
        add(database, upload(0))
    with pytest.raises(ResourceExhausted, match="5 files and uploads"):
        add(database, upload(0))


def test_a_quota_is_never_passed_by_a_race(database: Database) -> None:
    together, won = threading.Barrier(8), []

    def race() -> None:
        together.wait()
        for _ in range(4):
            try:
                won.append(add(database, upload(90), files.Quota(1000, 100)))
            except ResourceExhausted:
                pass

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 11


def test_an_id_is_taken_by_a_file_and_free_after_it(database: Database) -> None:
    first, second = add(database, upload(file_id="x")), add(database, upload(file_id="x"))
    made = files.finish(database, first.uid, 1, "", HOUR)
    assert made is not None
    with pytest.raises(AlreadyExists, match="files/x already exists"):
        add(database, upload(file_id="x"))
    with pytest.raises(AlreadyExists):
        files.finish(database, second.uid, 1, "", HOUR)
    files.delete_(database, made.uid)
    assert files.find_upload(database, uid=first.uid) is None
    again = files.finish(database, second.uid, 1, "", HOUR)
    assert again is not None and files.get(database, "x") == again


def test_what_has_expired_is_not_there(database: Database) -> None:
    old = finished(database, upload(900, "x"), lifetime=-HOUR)
    late = add(database, upload(90, lifetime=-HOUR))
    assert files.get(database, "x") is None
    assert files.list_(database, None, 10, None) == ([], None)
    assert files.find_upload(database, uid=old.uid) is None
    assert files.find_upload(database, uid=late.uid) is None
    assert files.finish(database, late.uid, 90, "", HOUR) is None
    new = finished(database, upload(1000, "x"))
    assert files.get(database, "x") == new
    files.remove_expired(database)
    assert files.uids(database) == ({new.uid: 1000}, {new.uid})


def test_pages_are_newest_first_and_not_shifted_by_what_comes(database: Database) -> None:
    made = [finished(database, upload(1, f"f{number}")) for number in range(4)]
    shown, place = files.list_(database, "ann@x.org", 3, None)
    assert [file.id for file in shown] == ["f3", "f2", "f1"]
    finished(database, upload(1, "later"))
    shown, place = files.list_(database, "ann@x.org", 3, place)
    assert shown == [made[0]] and place is None
    finished(database, upload(1, "other", owner="bob@x.org"))
    assert [file.id for file in files.list_(database, "bob@x.org", 3, None)[0]] == ["other"]
    assert len(files.list_(database, None, 10, None)[0]) == 6


def test_after_a_start_nobody_can_go_on_with_what_has_no_secret(database: Database) -> None:
    files.add_upload(database, upload(), None, QUOTA)
    files.add_upload(database, upload(), None, QUOTA)
    resumable = add(database, upload())
    whole = upload()
    files.add_upload(database, whole, None, QUOTA)
    files.finish(database, whole.uid, 1, "", HOUR)
    files.remove_hopeless(database)
    assert files.uids(database) == ({whole.uid: 1}, {resumable.uid, whole.uid})
