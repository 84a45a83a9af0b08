"""Parquet: every shape, only the columns that matter, and files that are damaged or too large."""

from __future__ import annotations

import gc
import gzip
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamerton.dataset import parquet
from kamerton.dataset.chunks import Source
from kamerton.dataset.sources import source_of
from kamerton.errors import InvalidArgument
from kamerton.findings import Hit
from kamerton.types import Content, Example


def parquet_of(rows: list[dict[str, Any]], **columns: pa.DataType) -> bytes:
    table = pa.Table.from_pylist(rows)
    for name, type_ in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table.column(name).cast(type_))
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=100)
    return file.getvalue()


def of(content: bytes, **options: Any) -> Source:
    return source_of(io.BytesIO(content), "f", **options)


def examples(source: Source) -> list[Example]:
    return [example for chunk in source.chunks for example in chunk.examples]


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_pairs_in_any_kind_of_text(type_: pa.DataType) -> None:
    rows = [{"id": n, "input": f"вопрос {n}", "output": "б"} for n in range(1050)]
    source = of(parquet_of(rows, output=type_))
    assert (source.format, source.unit) == ("Parquet", "row")
    chunks = list(source.chunks)
    assert [number for chunk in chunks for number in chunk.numbers] == list(range(1, 1051))
    assert [text for chunk in chunks for text in chunk.inputs] == [row["input"] for row in rows]
    assert source.shapes == {"input, output": 1050}


def test_conversations_with_nulls() -> None:
    said = [
        {"role": "user", "content": "1", "weight": None, "name": None},
        {"role": "assistant", "content": "2", "weight": 0, "name": None},
        {"role": "user", "content": "3", "weight": None, "name": "Ann"},
        {"role": "assistant", "content": "4", "weight": 1, "name": None},
    ]
    turns = [
        {"role": "user", "parts": [{"text": "1"}]},
        {"role": "model", "parts": [{"text": "2"}]},
    ]
    mixed = parquet_of(
        [
            {"messages": said, "contents": None, "systemInstruction": None},
            {"messages": None, "contents": turns, "systemInstruction": {"parts": [{"text": "s"}]}},
            {"messages": None, "contents": None, "systemInstruction": None},
        ]
    )
    source = of(mixed)
    chunks = list(source.chunks)
    seen = (Content("user", "1"), Content("model", "2", learn=False), Content("user", "3"))
    assert [example for chunk in chunks for example in chunk.examples] == [
        Example(seen, "4"),
        Example((Content("system", "s"), Content("user", "1")), "2"),
    ]
    assert [hit for chunk in chunks for hit in chunk.unreadable] == [
        Hit(3, "", "has nothing, but no text_input and output")
    ]
    assert source.shapes == {"messages": 1, "contents": 1}


def test_named_columns_and_what_is_in_them() -> None:
    content = parquet_of([{"q": "a", "a": 1}, {"q": None, "a": 2}])
    (chunk,) = of(content, input_key="q", output_key="a").chunks
    assert list(chunk.unreadable) == [
        Hit(1, "a", "must be text, not a number"),
        Hit(2, "q", "is missing"),
    ]
    with pytest.raises(InvalidArgument, match="f: has the columns q, a, but no x"):
        examples(of(content, input_key="q", output_key="x"))
    with pytest.raises(InvalidArgument, match="has the columns q, a, but no text_input and output"):
        examples(of(content))


def test_damaged_packed_or_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    content = parquet_of([{"input": f"{n} " * 50, "output": "b"} for n in range(1000)])
    for broken in (content[:-1], content[:4], content[:2000] + b"\xff" * 900 + content[2900:]):
        with pytest.raises(InvalidArgument, match=r"f: cannot be read as Parquet \(.+\); write it"):
            examples(of(broken))
    with pytest.raises(InvalidArgument, match="inside gzip or a pipe; unpack it into a file"):
        examples(of(gzip.compress(content)))
    with pytest.raises(InvalidArgument, match="holds more than 10000 bytes; split it"):
        examples(of(content, most_bytes=10_000))
    monkeypatch.setattr(parquet, "MAX_LINES", 999)
    with pytest.raises(InvalidArgument, match="more than 999 rows"):
        examples(of(content))


def test_text_that_is_no_utf8() -> None:
    rows = pa.table({"input": pa.array([b"\xff"]), "output": ["b"]})
    file = io.BytesIO()
    pq.write_table(rows, file)
    (chunk,) = of(file.getvalue()).chunks
    assert list(chunk.unreadable) == [Hit(1, "input", "must be text, not bytes")]


def test_the_caller_closes_the_file() -> None:
    file = io.BytesIO(parquet_of([{"input": "a", "output": "b"}]))
    assert examples(source_of(file, "f")) == [Example.pair("a", "b")]
    gc.collect()
    assert not file.closed


def test_a_text_stored_once_does_not_fill_the_memory() -> None:
    content = parquet_of([{"input": "x" * 1_000_000, "output": "b"}] * 100)
    assert len(content) < 100_000
    assert max(len(chunk.inputs) for chunk in of(content).chunks) < 10


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_broken_is_refused(data: st.DataObject) -> None:
    content = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        for chunk in of(bytes(content)).chunks:
            assert len(chunk.inputs) == len(chunk.examples)
    except InvalidArgument as error:
        assert error.message.startswith("f: ")


SMALL = parquet_of([{"input": "a", "output": "b"}, {"input": "aa", "output": "bb"}])


def test_pyarrow_is_loaded_for_parquet_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"input": "a", "output": "b"}')
    script = (
        "import sys; from pathlib import Path; from kamerton.dataset import convert, sources; "
        "list(sources.source_of(Path(sys.argv[1])).chunks); print('pyarrow' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=True)
    assert found.stdout.strip() == b"False"
