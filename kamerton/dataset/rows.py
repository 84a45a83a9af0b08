"""From files to rows: JSON lines, a JSON array or CSV, told apart by how they begin."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from kamerton.errors import InvalidArgument

OTHER_SPELLINGS = {"textInput": "text_input", "systemInstruction": "system_instruction"}
MAX_LINE_BYTES = 2 * 1024**2
"""Four times what the longest example takes when every character is escaped."""
MAX_LINES = 4_000_000
MAX_ARRAY_BYTES = 64 * 1024**2
"""An array is read as a whole; lines are not."""
_SNIFFED_BYTES = 64 * 1024
_OLD_MAC_LINES = re.compile(r"(?<=\r)(?!\n|$)")


@dataclass(frozen=True, slots=True)
class Row:
    """What may be an example."""

    place: str
    """What stands before a field's name, such as `line 7: ` or `examples[6].`."""
    fields: Any
    problem: str = ""
    """Why not even the fields could be read."""


def inline_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    for number, fields in enumerate(rows):
        yield Row(f"examples[{number}].", fields)


def file_rows(file: BinaryIO, name: str) -> Iterator[Row]:
    """Of a file that stands at its beginning; `name` is what errors call it."""
    start = file.read(_SNIFFED_BYTES).decode(errors="replace").removeprefix("\ufeff").lstrip()
    file.seek(0)
    if start.startswith("["):
        return _array_rows(file, name)
    lines = _lines(file, name)
    if start.startswith("{") or not start:
        return _json_rows(lines)
    return _csv_rows(lines, name, header_line=start.split("\n", 1)[0])


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    """One at a time: files may be larger than what should be in memory."""
    # Not splitlines(): it also cuts at characters that JSON strings may hold as they are.
    for number in range(1, MAX_LINES + 1):
        line = file.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        if len(line) > MAX_LINE_BYTES:
            raise InvalidArgument.of(
                name, f"line {number} has more than {MAX_LINE_BYTES} bytes; one line, one example"
            )
        yield _text(line, name, f"in line {number}").removeprefix("\ufeff" if number == 1 else "")
    raise InvalidArgument.of(name, f"more than {MAX_LINES} lines")


def _text(content: bytes, name: str, place: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument.of(name, f"not UTF-8 text ({place}); save it as UTF-8") from error


def _json_rows(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield Row(f"line {number}: ", msgspec.json.decode(line))
        except (msgspec.DecodeError, RecursionError) as error:
            yield Row(f"line {number}: ", None, f"is not valid JSON: {_short(error)}")


def _array_rows(file: BinaryIO, name: str) -> Iterator[Row]:
    content = file.read(MAX_ARRAY_BYTES + 1)
    if len(content) > MAX_ARRAY_BYTES:
        problem = f"a JSON array of more than {MAX_ARRAY_BYTES} bytes; save it as JSON lines"
        raise InvalidArgument.of(name, problem)
    text = _text(content, name, "somewhere").removeprefix("\ufeff")
    try:
        rows = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument.of(
            name, f"is not valid JSON: {_short(error)}{_line_of(error, text)}"
        ) from error
    for number, row in enumerate(rows, start=1):
        yield Row(f"item {number}: ", row)


def _short(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if "truncated" in str(error):
        return "it ends too early; each line must be one whole object"
    return str(error).removeprefix("JSON is malformed: ")


def _line_of(error: Exception, text: str) -> str:
    at = re.search(r"\(byte (\d+)\)", str(error))
    if not at:
        return ""
    lines_before = text.encode()[: int(at[1])].count(b"\n")
    return f" in line {lines_before + 1}"


def _csv_rows(lines: Iterable[str], name: str, header_line: str) -> Iterator[Row]:
    delimiter = max(",;\t", key=header_line.count)
    pieces = (piece for line in lines for piece in _OLD_MAC_LINES.split(line))
    reader = csv.reader(pieces, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    while True:
        place = f"line {line}: "
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # What follows a broken quote cannot be told apart, so the reading ends here.
            yield Row(place, None, f"is not valid CSV: {error}")
            return
        line = reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = _csv_header(cells, name)
        else:
            yield _csv_row(place, header, cells)


def _csv_header(cells: Sequence[str], name: str) -> list[str]:
    header = [OTHER_SPELLINGS.get(cell.strip(), cell.strip()) for cell in cells]
    pairs = ({"text_input", "output"}, {"input", "output"}, {"prompt", "completion"})
    if not any(pair <= set(header) for pair in (*pairs, {"instruction", "output"})):
        raise InvalidArgument.of(
            name, "the first line must name the columns, such as text_input,output"
        )
    return header


def _csv_row(place: str, header: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) > len(header):
        counts = f"has {len(cells)} cells for {len(header)} columns"
        return Row(place, None, f"{counts}; put quotes around text with the delimiter in it")
    return Row(place, dict(zip(header, cells, strict=False)))
