"""Who sees a file, what becomes of it, and training on one."""

from __future__ import annotations

import gzip
import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from kamerton.errors import InvalidArgument, NotFound, PermissionDenied, ResourceExhausted
from kamerton.inference.catalog import EMBEDDED
from kamerton.service import files, housekeeping, readings, uploads
from kamerton.service.housekeeping import Housekeeping
from kamerton.service.readings import Data
from kamerton.types import Caller, Content, Example, File
from tests.service.conftest import ADMIN, ANN, BOB, FakeApp


def uploaded(app: FakeApp, content: str | bytes = b"x", caller: Caller = ANN, **more: Any) -> File:
    upload, _ = uploads.start(app, caller, **more)
    uploads.receive(app, upload, 0, content if isinstance(content, bytes) else content.encode())
    return uploads.finish(app, upload)


def examples_of(app: FakeApp, caller: Caller, uri: str) -> list[Example]:
    """As a run is given them."""
    reading = readings.read(app, caller, EMBEDDED, Data(uri))
    readings.refuse(reading)
    return list(reading.examples)


def test_only_the_owner_and_administrators_see_a_file(app: FakeApp) -> None:
    made = uploaded(app, file_id="mine")
    for caller in (ANN, ADMIN):
        assert files.get(app, caller, "mine") == made
        assert files.list_(app, caller, page_size=9).items == (made,)
        files.open_(app, caller, "mine")[1].close()
    assert files.list_(app, BOB, page_size=9).items == ()
    refusals = set()
    for id in ("mine", "none"):
        for verb in (files.get, files.open_, files.delete):
            with pytest.raises(PermissionDenied) as caught:
                verb(app, BOB, id)
            refusals.add(caught.value.message.replace(id, "..."))
    assert len(refusals) == 1
    with pytest.raises(NotFound):
        files.get(app, ADMIN, "none")


def test_without_the_scope_nothing_is_deleted(app: FakeApp) -> None:
    uploaded(app, file_id="mine")
    with pytest.raises(PermissionDenied, match="tuning"):
        files.delete(app, Caller(ANN.owner, frozenset({"infer"})), "mine")


def test_lists_go_page_by_page(app: FakeApp) -> None:
    for number in range(5):
        uploaded(app, file_id=f"f{number}")
    first = files.list_(app, ANN, page_size=3)
    assert [file.id for file in first.items] == ["f4", "f3", "f2"]
    rest = files.list_(app, ANN, page_size=3, page_token=first.next_page_token)
    assert [file.id for file in rest.items] == ["f1", "f0"] and not rest.next_page_token
    with pytest.raises(InvalidArgument, match="page_token"):
        files.list_(app, BOB, page_size=3, page_token=first.next_page_token)


def test_deleting_removes_the_bytes_under_a_reader(app: FakeApp) -> None:
    uploaded(app, b"the marker", file_id="mine")
    with files.open_(app, ANN, "mine")[1] as content:
        files.delete(app, ANN, "mine")
        assert content.read() == b"the marker"
    assert not list((app.settings.data / "files").iterdir())
    with pytest.raises(PermissionDenied):
        files.get(app, ANN, "mine")
    assert uploaded(app, b"new", file_id="mine").size_bytes == 3


def test_files_expire_and_their_bytes_go(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "SWEEP_SECONDS", 0.01)
    settings = replace(app.settings, file_hours=0.5 / 3600)
    app = FakeApp(settings, app.database, app.catalog, app.engine, app.runner)
    app.housekeeping = Housekeeping(app.database, app.arrivals)
    made = uploaded(app, file_id="mine")
    path = app.arrivals.path(made.uid)
    assert path.exists()
    gone = threading.Event()
    for _ in range(300):
        if not path.exists():
            break
        gone.wait(0.01)
    assert not path.exists()
    with pytest.raises(PermissionDenied):
        examples_of(app, ANN, "files/mine")
    assert uploaded(app, file_id="mine").uid != made.uid
    app.close()


# --- training on a file --------------------------------------------------------------------------

ROW = {"text_input": "1", "output": "2"}
PAIRS = [Example.pair("1", "2"), Example.pair("a\n\nb", "c")]
TURNS = (Content("user", "1"), Content("model", "2"), Content("user", "3"))


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (json.dumps(ROW), PAIRS[:1]),
        ('{"instruction": "a", "input": "b", "output": "c"}', PAIRS[1:]),
        (json.dumps([ROW, ROW], indent=1), PAIRS[:1] * 2),
        ("text_input,output\r\n1,2\r\n", PAIRS[:1]),
        ("output\ttext_input\n2\t1\n", PAIRS[:1]),
        ('\ufeff{"messages": [{"role": "user", "content": "1"}, '
         '{"role": "assistant", "content": "2"}, {"role": "user", "content": "3"}, '
         '{"role": "assistant", "content": "4"}]}', [Example(TURNS, "4")]),
        ('{"contents": [{"role": "user", "parts": [{"text": "1"}]}, '
         '{"role": "model", "parts": [{"text": "2"}]}]}\n' + json.dumps(ROW), PAIRS[:1] * 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("display_name", ["", "train.csv", "данные.jsonl"])
def test_every_shape_is_told_by_its_content(
    app: FakeApp, content: str, wanted: list[Example], display_name: str
) -> None:
    uploaded(app, content, file_id="x", display_name=display_name, mime_type="application/json")
    assert examples_of(app, ANN, "files/x") == wanted


@pytest.mark.parametrize(
    "uri",
    [
        "files/x-1",
        "http://127.0.0.1:8080/v1beta/files/x-1",
        "https://proxy.example.com/deep/v1/files/x-1",
    ],
)
def test_names_of_a_file(app: FakeApp, uri: str) -> None:
    uploaded(app, json.dumps(ROW), file_id="x-1")
    assert examples_of(app, ANN, uri) == PAIRS[:1]
    with pytest.raises(PermissionDenied):
        examples_of(app, BOB, uri)


@pytest.mark.parametrize(
    "uri",
    [
        "x-1",
        "/etc/passwd",
        "file:///v1beta/files/x-1",
        "gs://bucket/files/x-1",
        "http://169.254.169.254/latest",
        "http://host/v1beta/files/x-1?x=y",
        "http://host/v1beta/files/x-1#",
        "http://host/v1beta/files/../x-1",
        "https:///v1beta/files/x-1",
        "files/X",
        "files/x-1\n",
        "files/../files/x-1",
        " files/x-1",
        "files/",
    ],
)
def test_anything_else_is_refused(app: FakeApp, uri: str) -> None:
    uploaded(app, json.dumps(ROW), file_id="x-1")
    with pytest.raises(InvalidArgument) as caught:
        examples_of(app, ANN, uri)
    assert [violation.field for violation in caught.value.violations] == ["file_uri"]


def test_all_bad_rows_are_named_by_line(app: FakeApp) -> None:
    good, bad = json.dumps(ROW), '{"text_input": "1"}'
    uploaded(app, "\n".join([good, bad, good, "{"]), file_id="x", display_name="train.jsonl")
    with pytest.raises(InvalidArgument) as caught:
        examples_of(app, ANN, "files/x")
    assert caught.value.message.startswith("train.jsonl: 2 of 4 rows cannot be used; line 2: ")
    found = [(violation.field, violation.description) for violation in caught.value.violations]
    assert found[0] == ("file_uri", "line 2: output is missing")
    assert found[1][1].startswith("line 4 is not valid JSON")
    uploaded(app, "\n".join([bad] * 250), file_id="y")
    with pytest.raises(InvalidArgument) as caught:
        examples_of(app, ANN, "files/y")
    assert caught.value.message.startswith("files/y: 250 of 250 rows")
    assert len(caught.value.violations) + caught.value.more == 250


def test_what_is_too_large_to_train_on(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded(app, "\n".join([json.dumps(ROW)] * 11), file_id="x")
    with monkeypatch.context() as limits:
        limits.setattr(readings, "MAX_EXAMPLES", 10)
        with pytest.raises(InvalidArgument, match="more than 10 examples"):
            examples_of(app, ANN, "files/x")
        limits.setattr(files, "MAX_TRAINING_BYTES", 100)
        with pytest.raises(InvalidArgument, match="at most 100 can be trained on"):
            examples_of(app, ANN, "files/x")
    assert len(examples_of(app, ANN, "files/x")) == 11


def test_one_large_file_at_a_time_is_read(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded(app, json.dumps(ROW), file_id="x")
    monkeypatch.setattr(files, "READING_SECONDS", 0.01)
    busy = threading.Lock()
    monkeypatch.setattr(files._creating, "reading", busy)  # Held by another.
    with busy:
        examples_of(app, ANN, "files/x")  # a small one
        monkeypatch.setattr(files, "SMALL_BYTES", 1)
        with pytest.raises(ResourceExhausted, match="try again"):
            examples_of(app, ANN, "files/x")
        readings.read(app, ANN, EMBEDDED, Data("files/x"), only_check=True)  # in another turn
        monkeypatch.setattr(files, "READING_SECONDS", 60)
        monkeypatch.setattr(files._creating, "waiting", threading.BoundedSemaphore(1))
        with files._creating.waiting, pytest.raises(ResourceExhausted, match="try again"):
            examples_of(app, ANN, "files/x")  # without waiting
    examples_of(app, ANN, "files/x")


def test_packed_files_are_small_when_their_rows_are(
    app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SMALL_BYTES", 100_000)

    def most_bytes(content: bytes) -> int:
        file = uploaded(app, content)
        with files.source(app, ANN, f"files/{file.id}") as (source, most):
            if not content.startswith(b"PAR1"):
                assert sum(len(chunk.numbers) for chunk in source.chunks)  # From its start.
            return most

    row = json.dumps(ROW).encode() + b"\n"
    assert most_bytes(gzip.compress(row * 25)) == len(row) * 25
    assert most_bytes(gzip.compress(row * 10_000)) == files.MAX_TRAINING_BYTES
    assert most_bytes(b"PAR1" + b"x" * 90) == 94 * 200
    assert most_bytes(b"PAR1" + b"x" * 1000) == files.MAX_TRAINING_BYTES
    with pytest.raises(InvalidArgument):
        most_bytes(gzip.compress(row * 25)[:-9])


def test_a_complaint_repeats_little_of_a_row(app: FakeApp) -> None:
    long = "k" * 1_000_000
    rows = ({long: 1}, {"messages": [{"role": long, "content": "x"}]}, {"contents": [{long: 1}]})
    uploaded(app, "\n".join(map(json.dumps, rows)), file_id="x")
    with pytest.raises(InvalidArgument) as refused:
        examples_of(app, ANN, "files/x")
    assert len(refused.value.violations) == 3
    assert all(len(found.description) < 1000 for found in refused.value.violations)
    assert len(refused.value.message) < 5000
