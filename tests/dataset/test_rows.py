"""Text as rows: large files piece by piece, and what is wrong with them as a whole."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamerton.dataset import rows
from kamerton.dataset.encodings import Stream, text_of
from kamerton.errors import InvalidArgument

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def read(content: str | bytes) -> list[rows.Row]:
    file = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    text = text_of(Stream(file.read, "f", 2**32))
    start = rows.start_of(text)
    if start.startswith("["):
        return list(rows.array_rows(text))
    if start.startswith("{") or not start:
        return [row for some in rows.lines_of(text) for row in rows.json_rows(some, "f")]
    return list(rows.table_rows(text, rows.delimiter_of(start)))


@settings(max_examples=200, deadline=None)
@given(
    items=st.lists(JSON, max_size=6),
    indent=st.sampled_from([None, 1]),
    ascii=st.booleans(),
    blanks=st.integers(0, 100) | st.integers(5800, 6000) | st.integers(11_800, 12_000),
)
def test_an_array_is_its_items(
    items: list[Any], indent: int | None, ascii: bool, blanks: int
) -> None:
    text = json.dumps(items, indent=indent, ensure_ascii=ascii)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(rows, "MAX_LINE_BYTES", 3000)
        patches.setattr(rows, "_WINDOW_BYTES", 6000)
        found = read(f"\ufeff[{' ' * blanks}\r\n{text.removeprefix('[')}\n\n")
    assert [row.fields for row in found] == items
    assert [row.number for row in found] == list(range(1, len(items) + 1))


def test_a_window_moves_on_when_a_row_needs_it() -> None:
    items = [{"text_input": "я" * length} for length in (10, 2_000_000, 3, 4_000_000 // 3, 1)] * 3
    found = read(json.dumps(items, ensure_ascii=False))
    assert [row.fields for row in found] == items


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[", "Expecting value in line 1"),
        ("[1", "a comma or the end of the array is missing in line 1"),
        ("[1\n 2]", "a comma or the end of the array is missing in line 2"),
        ("[1,\n\n]", "Expecting value in line 3"),
        ("[\n{},\n{'a': 1}]", "in line 3"),
        ("[1] [2]", "there is more after the end"),
        ("[" * 100_000, "nested too deep in line 1"),
        ("[" + "1" * 5_000 + "]", "a number is too long"),
        (b'["\xff"]', r"line 1\): byte 0xFF is byte 3 of the line and byte 3 of the file"),
        (b'\xef\xbb\xbf[\n"\xd1', r"line 2\): byte 0xD1 is byte 2 of the line and byte 7 of"),
    ],
)
def test_arrays_that_are_none(content: str | bytes, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        read(content)


def test_an_item_that_json_allows_and_we_do_not_is_named() -> None:
    found = read('[{"a": 1}, {"a": "\\ud800"}, {"a": NaN}]')
    assert [bool(row.problem) for row in found] == [False, True, True]
    assert found[1].number == 2


def test_the_end_of_a_file_is_read_once() -> None:
    # Copying the rest for every item took 12 s for these two megabytes.
    content = "[" + ",".join(["{}"] * 200_000) + " " * 1_500_000 + "]"
    start = time.process_time()
    assert len(read(content)) == 200_000
    assert time.process_time() - start < 5


def test_a_line_may_not_be_endless() -> None:
    with pytest.raises(InvalidArgument, match="line 2 has more than 2097152 bytes"):
        read(b'{"a": 1}\n' + b"x" * (rows.MAX_LINE_BYTES + 1))


def test_there_may_not_be_endless_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_LINES", 10)
    assert read(b"\n" * 10) == []
    with pytest.raises(InvalidArgument, match="more than 10 lines"):
        read(b"\n" * 11)


def test_which_byte_is_no_text() -> None:
    where = r"not UTF-8 text \(line 3\): byte 0xE9 is byte 8 of the line and byte 18 of the file"
    with pytest.raises(InvalidArgument, match=where):
        read(b'{"a": 1}\n\n{"a": "\xe9"}')
    with pytest.raises(InvalidArgument, match="byte 2 of the line and byte 3000015 of the file"):
        read(b"[" + b'"abcd",\n' * 375_000 + b"{},\n" * 2 + b"   \n[\xe9]]")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=12))
def test_lines_and_where_they_begin_do_not_depend_on_pieces(lines: list[bytes]) -> None:
    content = b"\n".join(lines)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(rows, "PIECE_BYTES", 7)
        found = list(rows.lines_of(Stream(io.BytesIO(content).read, "f", 2**32)))
    assert b"\n".join(line for some in found for line in some.lines) == content.removesuffix(b"\n")
    for some in found:
        assert content[: some.before].count(b"\n") == some.first - 1
        assert content[some.before :].startswith(some.lines[0])


def test_csv_of_an_old_mac() -> None:
    found = read('text_input,output\r"a\rb",c\rd,e')
    assert [row.fields for row in found] == [
        {"text_input": "a\rb", "output": "c"},
        {"text_input": "d", "output": "e"},
    ]


def test_a_row_of_a_table_may_not_be_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 3000)
    assert len(read("text_input,output\n" + '"a\n",b\n' * 1000)) == 1000
    with pytest.raises(InvalidArgument, match="one row has more than 3000 characters"):
        read("text_input,output\n" + '"a\n",' * 1000)


def test_after_a_broken_quote_nothing_is_read_and_that_is_said() -> None:
    for rest, says in (
        ('"c,d\ne,f\n', "opened in line 3 is never closed; 1 line after it was not read; close"),
        ('"c,d\n' + "e,f\n" * 9, "opened in line 3 is never closed; 9 lines after it were not"),
        ('"c"d,e\nf,g\n', "line 3 is not valid CSV: .* expected after .*; no line after it was"),
        ('"' + "a,b\n" * 40_000, "line 3 is not valid CSV: .* is its last quote there\\?"),
    ):
        file = io.BytesIO(f"text_input,output\na,b\n{rest}".encode())
        found = rows.table_rows(Stream(file.read, "f", 2**32), ",")
        assert next(found).number == 2
        with pytest.raises(InvalidArgument, match=says):
            next(found)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"a": 1} {"a": 2}', "several objects are in one line; give each a line of its own"),
        ('{"a": 1}, {"a": 2}', "several objects are in one line"),
        ('{"a": 1},', "a comma follows the object; take it away"),
        ('{"a": NaN}', "it has NaN, which is no JSON; write null or leave it out"),
        ('{"a": -Infinity}', "it has -Infinity, which is no JSON"),
        ('{"a": "NaN", }', "trailing comma"),
    ],
)
def test_lines_with_more_than_json(line: str, says: str) -> None:
    (row,) = read(line)
    assert says in row.problem


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text(alphabet='[]{}",:\\ \n\ra1я', max_size=40)))
def test_whatever_it_is_it_is_read_or_refused(content: str | bytes) -> None:
    try:
        assert all(row.number for row in read(content))
    except InvalidArgument as error:
        assert error.violations
