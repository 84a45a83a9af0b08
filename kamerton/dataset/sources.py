"""Everything that holds examples, as a `Source`: files of every format, inline rows, examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import UNSET, UnsetType

from kamerton.dataset import parquet, rows
from kamerton.dataset.chunks import Chunk, Source
from kamerton.dataset.encodings import Stream, text_of, unpacked
from kamerton.dataset.gathering import chunks_of
from kamerton.dataset.shapes import KEYS, Columns, columns_of, shape_name
from kamerton.errors import InvalidArgument
from kamerton.types import Example

MAX_BYTES = 2 * 1024**3
"""Of a file, unpacked."""
_MAX_PIECES = 2
"""Of a file, in one chunk."""


def source_of(
    file: Path | BinaryIO,
    name: str = "",
    *,
    input_key: str = "",
    output_key: str = "",
    most_bytes: int = MAX_BYTES,
) -> Source:
    """A file's rows; `name` is what errors call it, by default its own name.

    An open file must be binary and at its beginning, and stays the caller's to close. With
    `input_key` and `output_key` exactly those two columns are taken. InvalidArgument when a
    path cannot be opened; a file that cannot be read says so when its chunks are asked for.
    """
    columns = _named(input_key, output_key)
    if not isinstance(file, Path):
        return _source(file, name or "the file", columns, most_bytes)
    try:
        opened = file.open("rb")
    except OSError as error:
        raise InvalidArgument(f"{file}: {error.strerror or error}") from error
    source = _source(opened, name or file.name, columns, most_bytes)
    source.chunks = _closing(opened, source.chunks)
    next(source.chunks)
    return source


def inline_source(rows_: Iterable[Mapping[str, Any]], name: str = "examples") -> Source:
    """Rows of a request, which are counted from 0."""
    shapes: Counter[str] = Counter()
    chunks = chunks_of(rows.inline_rows(rows_), shapes)
    return Source(name, "example", "rows of the request", chunks, shapes)


def example_source(examples: Iterable[Example], name: str = "examples") -> Source:
    """Ready examples, which are counted from 0."""
    return Source(name, "example", "examples", _example_chunks(iter(examples)))


def _example_chunks(examples: Iterator[Example]) -> Iterator[Chunk]:
    number = 0
    while some := list(islice(examples, rows.MAX_ROWS)):
        yield Chunk.of(range(number, number + len(some)), some)
        number += len(some)


def _named(input_key: str, output_key: str) -> Columns | None:
    if not input_key and not output_key:
        return None
    if not (input_key and output_key) or input_key == output_key:
        field, other = ("input", "output") if not input_key else ("output", "input")
        rule = f"must name another column than {other}_key; name both or none"
        raise InvalidArgument.of(f"{field}_key", rule)
    return input_key, output_key


def _closing(file: BinaryIO, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """Begun at once, by a first chunk that is nobody's: so the file is closed, come what may."""
    with file:
        yield Chunk((), [], [])
        yield from chunks


def _source(file: BinaryIO, name: str, columns: Columns | None, most_bytes: int) -> Source:
    source = Source(name, "line", "not recognised", iter(()))
    try:
        stream = unpacked(file, name, most_bytes)
        if stream.peek(4) == parquet.MAGIC:
            source.unit, source.format = "row", "Parquet"
            found = parquet.parquet_rows(file, stream, columns)
            source.chunks = chunks_of(found, source.shapes, columns)
        else:
            _recognise(source, text_of(stream), columns)
    except InvalidArgument as error:
        source.chunks = _refused(error)
    return source


def _refused(error: InvalidArgument) -> Iterator[Chunk]:
    raise error
    yield


def _recognise(source: Source, text: Stream, columns: Columns | None) -> None:
    start = rows.start_of(text)
    wrapping = rows.wrapping_of(start)
    if start.startswith("[") or wrapping:
        source.unit, source.format = "item", "JSON array"
        source.chunks = chunks_of(rows.array_rows(text, wrapping), source.shapes, columns)
    elif start.startswith("{") or not start:
        source.format = "JSON lines"
        rows.check_lines(start, text.name)
        if rows.has_old_mac_lines(start):
            text = _with_newlines(text)
        source.chunks = _together(_json_lines(text, source.shapes, columns))
    else:
        delimiter = rows.delimiter_of(start)
        source.format = rows.TABLES[delimiter]
        found = rows.table_rows(text, delimiter, columns)
        source.chunks = chunks_of(found, source.shapes, columns)


def _with_newlines(text: Stream) -> Stream:
    """Carriage returns, which no string in JSON has as they are, become newlines."""
    return Stream(lambda size: text.read(size).replace(b"\r", b"\n"), text.name, text.most_bytes)


# JSON lines are what nearly everybody has: rows that are plain pairs become columns as they are
# decoded, without an object each, at the speed of the decoder.


def _json_lines(text: Stream, shapes: Counter[str], columns: Columns | None) -> Iterator[Chunk]:
    for some in rows.lines_of(text):
        pair = columns or _pair_in(some.head())
        chunk = _plain(some, pair, KEYS if columns is None else frozenset()) if pair else None
        if pair and chunk:
            shapes[shape_name(pair)] += len(chunk.inputs)
            yield chunk
        else:
            yield from chunks_of(rows.json_rows(some, text.name), shapes, columns)


def _together(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same rows in fewer chunks: each costs the checks something, however small it is."""
    ready: Chunk | None = None
    ended: InvalidArgument | None = None
    pieces = 0
    try:
        for chunk in chunks:
            if ready and pieces < _MAX_PIECES and _fit(ready, chunk):
                ready.numbers = range(ready.numbers[0], chunk.numbers[-1] + 1)
                ready.inputs += chunk.inputs
                ready.outputs += chunk.outputs
                pieces += 1
            else:
                if ready:
                    yield ready
                ready, pieces = chunk, 1
    except InvalidArgument as error:
        ended = error
    if ready:
        yield ready
    if ended:
        raise ended


def _fit(chunk: Chunk, next_: Chunk) -> bool:
    """Whether both are plain pairs of lines that follow each other."""
    plain = isinstance(chunk.numbers, range) and isinstance(next_.numbers, range)
    return plain and len(chunk.inputs) + len(next_.inputs) <= rows.MAX_ROWS


def _pair_in(line: bytes) -> Columns | None:
    try:
        fields = msgspec.json.decode(line)
    except _NOT_PLAIN:
        return None
    return columns_of(fields) if isinstance(fields, dict) else None


def _plain(some: rows.Lines, pair: Columns, keys: frozenset[str]) -> Chunk | None:
    """None unless every row is a pair with these fields, and has no other of `keys`."""
    try:
        try:
            found = _decoder(pair).decode_lines(some.block)
        except msgspec.ValidationError:
            some.block.decode()  # What is not decoded must be UTF-8, too.
            found = _decoder(pair, keys).decode_lines(some.block)
    except _NOT_PLAIN:
        return None
    # Empty lines, or rows over several lines, or both and several rows in one.
    if len(found) != some.count or not some.braces:
        return None
    numbers = range(some.first, some.first + len(found))
    return Chunk(numbers, [row.input for row in found], [row.output for row in found])


_NOT_PLAIN = (msgspec.DecodeError, ValueError, RecursionError)
"""ValueError also of names that msgspec's structs cannot have."""


@lru_cache(maxsize=32)
def _decoder(pair: Columns, refused: frozenset[str] | None = None) -> msgspec.json.Decoder[Any]:
    """Of a pair's row; without `refused`, of one that has no other fields at all."""
    others = sorted(refused - set(pair)) if refused else []
    absent = [(f"other_{number}", UnsetType, UNSET) for number in range(len(others))]
    names = dict(
        zip(("input", "output", *(field[0] for field in absent)), (*pair, *others), strict=True)
    )
    row = msgspec.defstruct(
        "row",
        [("input", str), ("output", str), *absent],
        rename=names,
        forbid_unknown_fields=refused is None,
        gc=False,
    )
    return msgspec.json.Decoder(row)
