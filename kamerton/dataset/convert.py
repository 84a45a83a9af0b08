"""Examples of any shape and file format, written as any other."""

from __future__ import annotations

import csv
import gzip
import io
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from kamerton.dataset.chunks import Source
from kamerton.dataset.sentences import refusal
from kamerton.errors import InvalidArgument
from kamerton.findings import Hit
from kamerton.types import Content, Example

_PAIRS = {
    "text_input": ("text_input", "output"),
    "input": ("input", "output"),
    "prompt": ("prompt", "completion"),
    "instruction": ("instruction", "output"),
}
_CONVERSATIONS = ("messages", "contents", "conversations")
SHAPES = (*_PAIRS, *_CONVERSATIONS)
"""Those that can be written, by the key that tells them."""
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_MAX_WRONG = 1_000
"""Rows that are named before there is no use in reading on."""
_OPENAI = {"system": "system", "user": "user", "model": "assistant"}
_SHARE_GPT = {"system": "system", "user": "human", "model": "gpt"}

Fields = dict[str, Any]
Write = Callable[[Sequence[Fields]], object]


def convert(
    source: Source,
    target: Path,
    shape: str = "text_input",
    on_rows: Callable[[int], None] | None = None,
) -> int:
    """Write all examples to `target`, whole or not at all, and answer how many they are.

    The format is told by the target's ending: .jsonl, .json, .csv, .tsv or .parquet, each but
    the last also with .gz behind it. `on_rows` hears how many rows were read so far. Raises
    InvalidArgument for an unknown shape or ending, a target that exists, and every row that
    cannot be read or that the shape cannot hold, named by its place in the source.
    """
    ending = _ending(target, shape)
    with _published(target) as file, ExitStack() as opened:
        if target.suffix == ".gz":
            packing = gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0)
            file = cast(BinaryIO, opened.enter_context(packing))
        write = opened.enter_context(_WRITERS[ending](file, shape, ending))
        return _write_all(source, write, shape, ending in _DELIMITERS, on_rows)


def _write_all(
    source: Source,
    write: Write,
    shape: str,
    is_table: bool,
    on_rows: Callable[[int], None] | None,
) -> int:
    read = written = 0
    wrong: list[Hit] = []
    for chunk in source.chunks:
        read += len(chunk.numbers) + len(chunk.unreadable) + len(chunk.unlearned)
        found = [*chunk.unreadable, *chunk.unlearned, *chunk.shortened]
        for number, example in zip(chunk.numbers, chunk.examples, strict=True):
            if objection := _objection(example, shape, is_table):
                found.append(Hit(number, "", objection))
        wrong += sorted(found, key=lambda hit: hit.number)
        if len(wrong) > _MAX_WRONG:
            break
        if not wrong:
            write([_fields(example, shape) for example in chunk.examples])
            written += len(chunk.examples)
        if on_rows:
            on_rows(read)
    if wrong:
        raise refusal(source, wrong, read)
    if not written:
        raise InvalidArgument.of(source.name, "no examples in it")
    return written


def _ending(target: Path, shape: str) -> str:
    if shape not in SHAPES:
        raise InvalidArgument.of("shape", f"{shape} is none of {', '.join(SHAPES)}")
    ending = Path(target.name.removesuffix(".gz")).suffix
    if ending not in _WRITERS:
        raise InvalidArgument.of(target.name, f"must end with one of {', '.join(_WRITERS)}")
    if ending == ".parquet" and target.suffix == ".gz":
        raise InvalidArgument.of(target.name, "Parquet is packed already; leave out .gz")
    if ending in _DELIMITERS and shape in _CONVERSATIONS:
        pairs = ", ".join(_PAIRS)
        raise InvalidArgument.of("shape", f"a table cannot hold {shape}; take one of {pairs}")
    return ending


@contextmanager
def _published(target: Path) -> Iterator[BinaryIO]:
    """A file that becomes `target` once it is whole."""
    if target.exists():
        raise InvalidArgument.of(str(target), "exists already; remove it or take another name")
    aside = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.rename(target)
    except OSError as error:
        raise InvalidArgument(f"{target}: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


# What a shape can hold, and how.


def _objection(example: Example, shape: str, is_table: bool) -> str:
    """Why an example cannot be written without loss; "" when it can."""
    turns = example.contents
    if shape in _PAIRS and (len(turns) != 1 or turns[0].role != "user"):
        what = "system text" if turns and turns[0].role == "system" else "several turns"
        return f"has {what}, which {shape} cannot hold; take messages, contents or conversations"
    if shape == "contents" and not all(turn.learn for turn in turns):
        return "has an answer with the weight 0, which contents cannot hold; take messages"
    texts = [*(turn.text for turn in turns), example.output]
    if is_table and not any(texts):
        return "is empty, and a table would lose it"
    if is_table and max(map(len, texts)) > csv.field_size_limit():
        return f"has more than {csv.field_size_limit()} characters, too many for a cell"
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return "has half a character in it (a lone surrogate), which no file can hold"
    return ""


def _fields(example: Example, shape: str) -> Fields:
    if names := _PAIRS.get(shape):
        return dict(zip(names, (example.contents[0].text, example.output), strict=True))
    turns = [*example.contents, Content("model", example.output)]
    if shape == "messages":
        return {shape: [_said(turn, "role", _OPENAI, "content") for turn in turns]}
    if shape == "conversations":
        return {shape: [_said(turn, "from", _SHARE_GPT, "value") for turn in turns]}
    system = turns.pop(0) if turns[0].role == "system" else None
    fields: Fields = {"systemInstruction": {"parts": [{"text": system.text}]}} if system else {}
    return fields | {shape: [{"role": turn.role, "parts": [{"text": turn.text}]} for turn in turns]}


def _said(turn: Content, role_key: str, roles: dict[str, str], text_key: str) -> Fields:
    fields: Fields = {role_key: roles[turn.role], text_key: turn.text}
    return fields if turn.learn else fields | {"weight": 0}


# What writes rows into a file of each format.


@contextmanager
def _json_lines(file: BinaryIO, shape: str, ending: str) -> Iterator[Write]:
    yield lambda rows: file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


@contextmanager
def _json_array(file: BinaryIO, shape: str, ending: str) -> Iterator[Write]:
    before = b"[\n"

    def write(rows: Sequence[Fields]) -> None:
        nonlocal before
        for row in rows:
            file.write(before + msgspec.json.encode(row))
            before = b",\n"

    yield write
    file.write(b"\n]\n")


@contextmanager
def _table(file: BinaryIO, shape: str, ending: str) -> Iterator[Write]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    # Everything in quotes: what must be is not the same in every version of Python.
    writer = csv.writer(
        text, delimiter=_DELIMITERS[ending], quoting=csv.QUOTE_ALL, lineterminator="\n"
    )
    text.write(_DELIMITERS[ending].join(_PAIRS[shape]) + "\n")
    try:
        yield lambda rows: writer.writerows(row.values() for row in rows)
    finally:
        text.detach()


@contextmanager
def _parquet(file: BinaryIO, shape: str, ending: str) -> Iterator[Write]:
    import pyarrow
    import pyarrow.parquet

    schema = _schema(pyarrow, shape)
    with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        yield lambda rows: writer.write_batch(
            pyarrow.RecordBatch.from_pylist(list(rows), schema=schema)
        )


def _schema(pyarrow: Any, shape: str) -> Any:
    text = pyarrow.string()
    if shape in _PAIRS:
        return pyarrow.schema([(name, text) for name in _PAIRS[shape]])
    if shape == "contents":
        part = pyarrow.struct([("text", text)])
        system = pyarrow.struct([("parts", pyarrow.list_(part))])
        turn = pyarrow.struct([("role", text), ("parts", pyarrow.list_(part))])
        return pyarrow.schema([("systemInstruction", system), (shape, pyarrow.list_(turn))])
    keys = ("role", "content") if shape == "messages" else ("from", "value")
    turn = pyarrow.struct([(keys[0], text), (keys[1], text), ("weight", pyarrow.int8())])
    return pyarrow.schema([(shape, pyarrow.list_(turn))])


_WRITERS = {
    ".jsonl": _json_lines,
    ".json": _json_array,
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _parquet,
}
