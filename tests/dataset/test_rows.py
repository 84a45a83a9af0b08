"""Files as rows: large ones piece by piece, and what is wrong with them as a whole."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamerton.dataset import rows
from kamerton.dataset.rows import file_rows
from kamerton.errors import InvalidArgument

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def read(content: str | bytes) -> list[rows.Row]:
    return list(
        file_rows(io.BytesIO(content if isinstance(content, bytes) else content.encode()), "f")
    )


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
    assert [row.place for row in found] == [f"item {n + 1}: " for n in range(len(items))]


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
        (b'["\xff"]', "not UTF-8"),
        (b'["\xd1', "not UTF-8"),
    ],
)
def test_arrays_that_are_none(content: str | bytes, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        read(content)


def test_an_item_that_json_allows_and_we_do_not_is_named() -> None:
    found = read('[{"a": 1}, {"a": "\\ud800"}, {"a": NaN}]')
    assert [bool(row.problem) for row in found] == [False, True, True]
    assert found[1].place == "item 2: "


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
    assert read(b"\n" * 9) == []
    with pytest.raises(InvalidArgument, match="more than 10 lines"):
        read(b"\n" * 11)


def test_which_line_is_no_text() -> None:
    with pytest.raises(InvalidArgument, match=r"not UTF-8 text \(line 3\)"):
        read(b'{"a": 1}\n\n{"a": "\xe9"}')


def test_csv_of_an_old_mac() -> None:
    found = read('text_input,output\r"a\rb",c\rd,e')
    assert [row.fields for row in found] == [
        {"text_input": "a\rb", "output": "c"},
        {"text_input": "d", "output": "e"},
    ]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text(alphabet='[]{}",:\\ \n\ra1я', max_size=40)))
def test_whatever_it_is_it_is_read_or_refused(content: str | bytes) -> None:
    try:
        assert all(row.place for row in read(content))
    except InvalidArgument as error:
        assert error.violations
