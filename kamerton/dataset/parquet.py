"""Rows of Parquet files, some at a time, and only the columns that matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from kamerton.dataset.encodings import Stream
from kamerton.dataset.rows import MAX_LINES, Row
from kamerton.dataset.shapes import KEYS, Columns, check_header
from kamerton.errors import InvalidArgument

MAGIC = b"PAR1"
_BATCH_BYTES = 1024**2
_BATCH_ROWS = 64
"""Few: a text that is stored once can stand in every row."""
_MAX_METADATA_BYTES = 32 * 1024**2


def parquet_rows(file: BinaryIO, stream: Stream, columns: Columns | None) -> Iterator[Row]:
    """InvalidArgument where it is damaged, too large, or has none of the columns."""
    if stream.packed or not file.seekable():
        problem = "is Parquet inside gzip or a pipe; unpack it into a file of its own"
        raise InvalidArgument.of(stream.name, problem)
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(
            file,
            buffer_size=_BATCH_BYTES,
            pre_buffer=False,
            thrift_string_size_limit=_MAX_METADATA_BYTES,
            thrift_container_size_limit=_MAX_METADATA_BYTES,
        )
        yield from _rows(table, stream, columns)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        problem = f"cannot be read as Parquet ({str(error)[:200]}); write it again"
        raise InvalidArgument.of(stream.name, problem) from error


def _rows(table: Any, stream: Stream, columns: Columns | None) -> Iterator[Row]:
    names = table.schema_arrow.names
    check_header(names, columns, stream.name)
    _check_size(table.metadata, stream)
    wanted = columns or [name for name in names if name in KEYS]
    batches = table.iter_batches(_BATCH_ROWS, columns=list(wanted), use_threads=False)
    number = 0
    for batch in batches:
        for fields in batch.to_pylist():
            number += 1
            yield Row(number, fields if columns else _without_nulls(fields))


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """A row of a table has every column; what it has nothing in was not meant."""
    return {name: value for name, value in fields.items() if value is not None}


def _check_size(metadata: Any, stream: Stream) -> None:
    if metadata.num_rows > MAX_LINES:
        raise InvalidArgument.of(stream.name, f"more than {MAX_LINES} rows")
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > stream.most_bytes:
        raise stream.too_large()
