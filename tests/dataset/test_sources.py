"""Sources: formats, encodings and packings told by content, shapes counted, no row dropped."""

from __future__ import annotations

import gc
import gzip
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamerton.dataset import rows, sources
from kamerton.dataset.chunks import Chunk, Source
from kamerton.dataset.sources import example_source, inline_source, source_of
from kamerton.errors import InvalidArgument
from kamerton.findings import Hit
from kamerton.types import Content, Example

ONE = Example.pair("один", "two")
LINE = '{"text_input": "один", "output": "two"}'


def of(content: str | bytes, **options: Any) -> Source:
    return source_of(
        io.BytesIO(content if isinstance(content, bytes) else content.encode()), "f", **options
    )


def examples(source: Source) -> list[Example]:
    return [example for chunk in source.chunks for example in chunk.examples]


def unreadable(source: Source) -> list[Hit]:
    return [hit for chunk in source.chunks for hit in chunk.unreadable]


# --- formats and encodings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "format", "unit"),
    [
        (LINE + "\n", "JSON lines", "line"),
        (LINE, "JSON lines", "line"),
        (f"[{LINE}]", "JSON array", "item"),
        ("text_input,output\r\nодин,two\r\n", "CSV", "line"),
        ("output;text_input\ntwo;один", "CSV with semicolons", "line"),
        ("text_input\toutput\nодин\ttwo\n", "TSV", "line"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("packings", [0, 1, 2])
def test_every_format_in_every_wrapping(
    text: str, format: str, unit: str, encoding: str, packings: int
) -> None:
    content = ("\ufeff" + text if encoding == "utf-16-be" else text).encode(encoding)
    for _ in range(packings):
        content = gzip.compress(content, mtime=0)
    source = of(content)
    assert (source.format, source.unit) == (format, unit)
    assert examples(source) == [ONE]
    assert source.shapes == {"text_input, output": 1}


def test_gzip_may_have_parts() -> None:
    packed = (
        gzip.compress(f"{LINE}\n".encode(), mtime=0)
        + gzip.compress(LINE.encode(), mtime=0)
        + bytes(100)
    )
    assert examples(of(packed)) == [ONE] * 2


def test_a_pipe_that_gives_little_at_a_time() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, content: bytes) -> None:
            self.rest = content

        def read(self, size: int = -1) -> bytes:
            piece, self.rest = self.rest[:3], self.rest[3:]
            return piece

    for content in ((LINE + "\n") * 3, f"[{LINE}, {LINE},\n{LINE}]"):
        for encoding in ("utf-8-sig", "utf-16"):
            raw = content.encode(encoding)
            for sent in (raw, gzip.compress(raw, mtime=0)):
                assert examples(source_of(cast(BinaryIO, Pipe(sent)), "p")) == [ONE] * 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1), st.integers(2, 9))
def test_utf_16_is_the_same_text(texts: list[str], piece: int) -> None:
    lines = "\n".join(json.dumps({"input": t, "output": t}, ensure_ascii=False) for t in texts)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("kamerton.dataset.encodings.PIECE_BYTES", piece)
        found = examples(of(lines.encode("utf-16")))
    assert found == [Example.pair(t, t) for t in texts]


BROKEN = gzip.compress((LINE + "\n").encode() * 1000, mtime=0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (BROKEN[:-9], "f: ends in the middle of its gzip packing; fetch or pack it again"),
        (BROKEN[:4], "ends in the middle of its gzip packing"),
        (BROKEN[:60] + b"\xff" * 9 + BROKEN[69:], "is broken gzip, fetch or pack it again"),
        (BROKEN[:-8] + b"abcd" + BROKEN[-4:], "is broken gzip, .* again \\(CRC check failed"),
        (BROKEN + b"more", "is broken gzip"),
        (
            gzip.compress(gzip.compress(BROKEN, mtime=0), mtime=0),
            "packed with gzip more than 2 times",
        ),
        (b"PK\x03\x04xlsx", "is a ZIP archive or an Excel workbook; unpack it, or save"),
        (gzip.compress(b"PK\x03\x04xlsx", mtime=0), "is a ZIP archive"),
        (LINE.encode("utf-32"), "is UTF-32 text; save it as UTF-8"),
        (LINE.encode("utf-16-le"), "looks like UTF-16 without a byte order mark; save it as"),
        ("вход\tвыход\nа\tб\n".encode("utf-16-le"), "looks like UTF-16 without a byte order"),
        ("вход\tвыход\r\nа\tб\r\n".encode("utf-16-be"), "looks like UTF-16 without a byte"),
        (f"{LINE},\n{LINE},\n".encode(), "has a comma after each line; put \\[ before the rows"),
        (json.dumps(json.loads(LINE), indent=1).encode(), "goes on in the next line .* as one arr"),
        (b'{\n "data": [\n  {}\n ]\n}', "has an object that goes on in the next line"),
        (f'{{"examples": [{LINE}], "x": 1}}'.encode(), "its object must end; keep the list alone"),
        (f"{LINE}\n{LINE}".encode("utf-16")[:-1], r"not UTF-16 text \(line 2\): truncated data"),
        (f"{LINE}\n".encode("utf-16") + b"\x00\xdc", r"\(line 2\): illegal .* at byte 83 of the"),
        (LINE.encode("cp1251"), r"\(line 1\): byte 0xEE is byte 17 of the line and byte 17 of"),
        (f"{LINE}\n\n ".encode() + b"\xe9", r"line 3\): byte 0xE9 is byte 2 of the line and byte "),
        (f"[{LINE},\n{LINE}".encode(), "is not valid JSON: a comma or the end of the array is"),
        (b"PAR1 and no more", "cannot be read as Parquet"),
        (
            gzip.compress(b"PAR1 and no more", mtime=0),
            "is Parquet inside gzip or a pipe; unpack it",
        ),
    ],
)
def test_what_cannot_be_read_to_its_end_says_what_to_do(content: bytes, says: str) -> None:
    source = of(content)
    with pytest.raises(InvalidArgument, match=says) as caught:
        examples(source)
    assert caught.value.message.startswith("f: ")


def test_rows_before_the_break_are_there() -> None:
    for content in (
        f"{LINE}\n".encode() * 3 + b"\xff\n",
        f"{LINE}\n".encode() * 3 + b'{"\xff": 1}',
    ):
        source = of(content)
        assert len(next(source.chunks).examples) == 3
        with pytest.raises(InvalidArgument, match="line 4"):
            next(source.chunks)


def test_a_broken_byte_counts_wherever_it_is() -> None:
    for field in (
        b'"text_input": "\xff", "output": "b"',
        b'"text_input": "a", "output": "b", "c": "\xff"',
    ):
        with pytest.raises(InvalidArgument, match=r"line 2\): byte 0xFF"):
            examples(of(LINE.encode() + b"\n{" + field + b"}\n"))


# --- limits -----------------------------------------------------------------------------------


def test_a_gzip_bomb_is_refused_early() -> None:
    bomb = gzip.compress((LINE + "\n").encode() * 2_000_000, compresslevel=1)
    start = time.process_time()
    with pytest.raises(InvalidArgument, match="holds more than 1000000 bytes; split it"):
        examples(of(bomb, most_bytes=1_000_000))
    with pytest.raises(InvalidArgument, match="line 1 has more than 2097152 bytes"):
        examples(of(gzip.compress(gzip.compress(bytes([32]) * 200_000_000, 1, mtime=0))))
    assert time.process_time() - start < 3


def test_a_large_file_is_refused() -> None:
    content = (LINE + "\n") * 1000
    assert len(examples(of(content, most_bytes=len(content.encode())))) == 1000
    with pytest.raises(InvalidArgument, match="holds more than"):
        examples(of(content, most_bytes=len(content.encode()) - 1))


@pytest.mark.parametrize("extra", ["", ', "id": 7'])
def test_chunks_are_small_and_numbers_right(extra: str) -> None:
    line = '{"input": "%s", "output": "b"' + extra + "}"
    lines = [line % n for n in range(5000)]
    lines[1000] = ""
    lines[2000] = "{}"
    lines[3000:] = [line % ("x" * 30_000)] * 200
    source = of("\n".join(lines))
    chunks = list(source.chunks)
    assert max(len(chunk.numbers) for chunk in chunks) <= 10_000
    assert max(sum(map(len, chunk.inputs)) for chunk in chunks) < 3_000_000
    numbers = [number for chunk in chunks for number in chunk.numbers]
    assert numbers == [n + 1 for n in range(3200) if n not in (1000, 2000)]
    texts = [text for chunk in chunks for text in chunk.inputs]
    assert texts[:2500] == [str(n) for n in range(2502) if n not in (1000, 2000)]
    assert [hit.number for chunk in chunks for hit in chunk.unreadable] == [2001]
    assert source.shapes == {"input, output": 3198}


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_pieces_that_would_be_too_many_rows_stay_apart(ends: str) -> None:
    line = json.dumps({"input": "x" * 140, "output": "b"}) + ends
    chunks = list(of(line * 6000).chunks)
    assert all(chunk.made is None for chunk in chunks)  # All of them in the quick way.
    assert max(len(chunk.inputs) for chunk in chunks) <= rows.MAX_ROWS
    assert sum(len(chunk.inputs) for chunk in chunks) == 6000


def test_lines_end_with_a_carriage_return() -> None:
    chunks = list(of("\r".join([LINE, LINE, "{}", LINE])).chunks)
    assert [number for chunk in chunks for number in chunk.numbers] == [1, 2, 4]
    assert [hit.number for chunk in chunks for hit in chunk.unreadable] == [3]


def test_two_objects_in_a_line_are_not_made_up_for_by_an_empty_one() -> None:
    (chunk,) = of(f"{LINE}\n{LINE}{LINE}\n\n{LINE}\n").chunks
    assert list(chunk.numbers) == [1, 4]
    assert [hit.number for hit in chunk.unreadable] == [2]


def test_reading_is_quick() -> None:
    # A row to an object, as other rows are read, would take more than three times as long.
    content = (
        json.dumps({"text_input": "я" * 250, "output": "да"}, ensure_ascii=False) + "\n"
    ) * 50_000
    start = time.process_time()
    for line in io.BytesIO(content.encode()):
        json.loads(line)
    plainly = time.process_time() - start
    start = time.process_time()
    assert sum(len(chunk.inputs) for chunk in of(content).chunks) == 50_000
    assert time.process_time() - start < plainly


# --- the quick way and the thorough one ---------------------------------------------------------

KEYS = ("text_input", "textInput", "output", "input", "prompt", "completion", "instruction", "x")
ROWS = st.lists(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["a", "", "б\ud7ff", 1, None, ["a"]])),
    min_size=1,
    max_size=8,
)


def thoroughly(source: Source) -> tuple[list[Any], ...]:
    chunks = list(source.chunks)
    return (
        [number for chunk in chunks for number in chunk.numbers],
        [example for chunk in chunks for example in chunk.examples],
        [text for chunk in chunks for text in zip(chunk.inputs, chunk.outputs, strict=True)],
        [hit for chunk in chunks for hit in chunk.unreadable],
        sorted(source.shapes.items()),
    )


def test_a_pair_that_is_more_than_a_pair() -> None:
    items = [{"input": "a", "output": "b"}, {"input": "a", "output": "b", "instruction": "c"}]
    wanted = [Example.pair("a", "b"), Example.pair("c\n\na", "b")]
    source = of("\n".join(map(json.dumps, items)) + "\n")
    assert examples(source) == wanted
    assert source.shapes == {"input, output": 1, "instruction, input, output": 1}


def test_empty_lines_are_counted() -> None:
    for extra in ("", "\n", "\n \r\n"):
        (chunk,) = of(f"{LINE}\n{extra}{LINE}\n{extra}").chunks
        assert list(chunk.numbers) == [1, 2 + extra.count("\n")]


@settings(max_examples=300, deadline=None)
@given(ROWS, st.sampled_from([{}, {"input_key": "x", "output_key": "output"}]))
def test_pairs_read_as_columns_are_the_same_rows(
    items: list[dict[str, Any]], named: dict[str, str]
) -> None:
    content = "\n".join(json.dumps(item) for item in items)
    quick = thoroughly(of(content, **named))
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(sources, "_plain", lambda *_: None)
        assert thoroughly(of(content, **named)) == quick
    array = thoroughly(of(f"[{','.join(json.dumps(item) for item in items)}]", **named))
    assert array == quick


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text(alphabet='{}":, \\x', max_size=8).map(lambda t: f'{{"input": {t}'), max_size=4)
)
def test_lines_that_are_no_json(lines: list[str]) -> None:
    content = "\n".join([LINE, *lines])
    quick = thoroughly(of(content))
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(sources, "_plain", lambda *_: None)
        assert thoroughly(of(content)) == quick


# --- named columns --------------------------------------------------------------------------------

NAMED = {"input_key": "question", "output_key": 'the "answer"'}


def test_named_columns_and_no_others() -> None:
    row = {"question": "a", 'the "answer"': "b", "messages": 7, "text_input": "x", "output": "y"}
    wanted = [Example.pair("a", "b")]
    source = of(json.dumps(row), **NAMED)
    assert examples(source) == wanted
    assert source.shapes == {'question, the "answer"': 1}
    assert examples(of(json.dumps([row]), **NAMED)) == wanted
    assert examples(of('id,"the ""answer""",question\n1,b,a\n', **NAMED)) == wanted


def test_a_named_column_that_is_not_there() -> None:
    assert unreadable(of('{"q": 1, "a": 2}', **NAMED)) == [
        Hit(1, "", 'has q, a, but no question and no the "answer"')
    ]
    row = '{"question": null, "the \\"answer\\"": 7}'
    assert unreadable(of(row, **NAMED)) == [Hit(1, "question", "is missing")]
    with pytest.raises(InvalidArgument, match="has the columns q, a, but no question"):
        examples(of("q,a\n1,2\n", **NAMED))
    with pytest.raises(InvalidArgument, match="has two columns question; rename one"):
        examples(of('question,question,"the ""answer"""\n1,2,3\n', **NAMED))
    with pytest.raises(
        InvalidArgument, match="has the columns q, a, but no text_input and output; rename"
    ):
        examples(of("q,a\n1,2\n"))


def test_one_named_column_is_half_a_pair() -> None:
    with pytest.raises(InvalidArgument) as caught:
        of(LINE, input_key="text_input")
    assert caught.value.violations[0].field == "output_key"


# --- conversations ----------------------------------------------------------------------------


def said(*turns: tuple[str, str] | tuple[str, str, object]) -> dict[str, Any]:
    return {
        "messages": [
            {"role": role, "content": text, **({"weight": weight[0]} if weight else {})}
            for role, text, *weight in turns
        ]
    }


def test_all_answers_are_learned() -> None:
    row = said(
        ("system", "s"), ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")
    )
    (chunk,) = inline_source([row]).chunks
    turns = (
        Content("system", "s"),
        Content("user", "1"),
        Content("model", "2"),
        Content("user", "3"),
    )
    assert chunk.examples == [Example(turns, "4")]
    assert (chunk.inputs, chunk.outputs) == (["s\n\n1\n\n2\n\n3"], ["2\n\n4"])


def test_the_last_learned_answer_is_the_output_and_nothing_follows_it() -> None:
    turns = (("user", "1"), ("assistant", "2", 0), ("user", "3"), ("assistant", "4", 1))
    (chunk,) = inline_source([said(*turns, ("user", "5"), ("assistant", "6", 0.0))]).chunks
    seen = (Content("user", "1"), Content("model", "2", learn=False), Content("user", "3"))
    assert chunk.examples == [Example(seen, "4")]
    assert chunk.outputs == ["4"]


def test_a_row_without_a_learned_answer_is_told_apart() -> None:
    row = said(("user", "1"), ("assistant", "2", 0))
    source = inline_source([said(("user", "1"), ("assistant", "2")), row])
    (chunk,) = source.chunks
    assert list(chunk.numbers) == [0] and not chunk.unreadable
    assert [(hit.number, hit.detail) for hit in chunk.unlearned] == [
        (1, "the row has no answer to learn: the weight of each is 0")
    ]


@pytest.mark.parametrize(
    ("row", "field", "detail"),
    [
        (said(("user", "1")), "messages", "must end with a turn of role assistant"),
        (said(("user", "1"), ("assistant", "2"), ("user", "3")), "messages", "must end with"),
        (said(("assistant", "0")), "messages", "must have a user turn right before the answer"),
        (
            said(("assistant", "0"), ("user", "1"), ("assistant", "2")),
            "messages",
            "must have a user turn right before turn 1",
        ),
        (
            said(("user", "1"), ("system", "s"), ("assistant", "2")),
            "messages",
            "must have its system",
        ),
        (said(("user", "1"), ("assistant", "2", 2)), "messages[1].weight", "must be 0 or 1, not 2"),
        (said(("user", "1"), ("assistant", "2", "0")), "messages[1].weight", "must be a number"),
        ({"conversations": [{"from": "bot", "value": "x"}]}, "conversations[0].from", "cannot be"),
        ({"conversations": [{"from": "gpt"}]}, "conversations[0].value", "is missing"),
        ({"conversations": []}, "conversations", "must end with a turn of role gpt"),
    ],
)
def test_conversations_that_are_none(row: dict[str, Any], field: str, detail: str) -> None:
    (hit,) = unreadable(inline_source([row]))
    assert hit.field == field
    assert hit.detail.startswith(detail)


def test_share_gpt() -> None:
    turns = [
        {"from": "human", "value": "1"},
        {"from": "gpt", "value": "2", "weight": 0},
        {"from": "user", "value": "3"},
        {"from": "chatgpt", "value": "4"},
    ]
    source = inline_source([{"system": "s", "conversations": turns, "id": 7}])
    seen = (
        Content("system", "s"),
        Content("user", "1"),
        Content("model", "2", learn=False),
        Content("user", "3"),
    )
    assert examples(source) == [Example(seen, "4")]
    assert source.shapes == {"conversations": 1}


# --- sources ----------------------------------------------------------------------------------


def test_examples_and_rows_are_counted_from_nought() -> None:
    source = example_source(iter([ONE] * 4500))
    chunks = list(source.chunks)
    assert [number for chunk in chunks for number in chunk.numbers] == list(range(4500))
    assert source.unit == inline_source([]).unit == "example"
    assert [hit.number for hit in unreadable(inline_source([{"x": 1}]))] == [0]


def test_a_path_is_closed_whether_it_is_read_or_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{LINE}\n" * 5000)
    assert len(examples(source_of(path))) == 5000
    source = source_of(path)
    next(source.chunks)
    del source
    source_of(path)
    gc.collect()  # An open file would warn here, and warnings are errors.
    with pytest.raises(InvalidArgument, match=r"absent: No such file"):
        source_of(tmp_path / "absent")
    with pytest.raises(InvalidArgument, match=r"Is a directory"):
        source_of(tmp_path)


def test_an_open_file_stays_open() -> None:
    for content in (LINE.encode(), gzip.compress(LINE.encode(), mtime=0), b"PAR1"):
        file = io.BytesIO(content)
        source = source_of(file, "f")
        try:
            examples(source)
        except InvalidArgument:
            pass
        del source
        gc.collect()
        assert not file.closed


def test_a_disk_that_fails_is_no_traceback() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(InvalidArgument, match="f: cannot be read: Input/output error"):
        examples(source_of(Failing(), "f"))


def test_examples_are_made_when_they_are_asked_for() -> None:
    chunk = next(of(LINE).chunks)
    assert chunk.made is None
    assert chunk.examples is chunk.examples


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [b"", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"[", b'{"', b"PAR1", b"\x1f\x8b"]
    ),
    st.binary(max_size=60),
    st.booleans(),
)
def test_whatever_it_is_it_is_read_or_refused(start: bytes, content: bytes, packed: bool) -> None:
    content = gzip.compress(start + content, mtime=0) if packed else start + content
    source = of(content)
    try:
        found: Iterator[Chunk] = source.chunks
        assert all(
            len(chunk.numbers) == len(chunk.inputs) == len(chunk.examples) for chunk in found
        )
    except InvalidArgument as error:
        assert error.message.startswith("f: ")
