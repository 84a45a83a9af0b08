"""From files to rows: JSON lines, a JSON array or CSV, told apart by how they begin."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, BinaryIO

import msgspec

from kamerton.errors import InvalidArgument

OTHER_SPELLINGS = {"textInput": "text_input", "systemInstruction": "system_instruction"}
MAX_LINE_BYTES = 2 * 1024**2
"""Four times what the longest example takes when every character is escaped."""
MAX_LINES = 4_000_000
_SNIFFED_BYTES = 64 * 1024
_WINDOW_BYTES = 2 * MAX_LINE_BYTES
_BLANKS = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
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
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 text (line {number}); save it as UTF-8"
            raise InvalidArgument.of(name, problem) from error
    raise InvalidArgument.of(name, f"more than {MAX_LINES} lines")


def _json_rows(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _json_row(f"line {number}: ", line)


def _json_row(place: str, text: str) -> Row:
    try:
        return Row(place, msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError) as error:
        return Row(place, None, f"is not valid JSON: {_short(error)}")


def _array_rows(file: BinaryIO, name: str) -> Iterator[Row]:
    try:
        yield from _items(_Window(file))
    except UnicodeDecodeError as error:
        raise InvalidArgument.of(name, "not UTF-8 text; save it as UTF-8") from error
    except ValueError as error:
        raise InvalidArgument.of(name, f"is not valid JSON: {error}") from error


def _items(text: _Window) -> Iterator[Row]:
    """Of a JSON array. ValueError where it is none."""
    text.peek()
    text.skip(1)
    next_ = text.peek()
    for number in count(1):
        if next_ == "]" and number == 1:
            break
        yield _json_row(f"item {number}: ", text.value())
        next_ = text.peek()
        if next_ not in (",", "]"):
            raise text.wrong("a comma or the end of the array is missing")
        if next_ == "]":
            break
        text.skip(1)
        text.peek()
    text.skip(1)
    if text.peek():
        raise text.wrong("there is more after the end of the array")


class _Window:
    """A text that is looked at a few megabytes at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._window, self._at, self._line = "", 0, 1
        self._ended = False

    def peek(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            blanks = _BLANKS.match(self._window, self._at)
            assert blanks is not None
            self.skip(blanks.end() - self._at)
            if self._at < len(self._window):
                return self._window[self._at]
            self._window, self._at = self._read(), 0
            if not self._window:
                return ""

    def skip(self, length: int) -> str:
        """What is passed over."""
        start, self._at = self._at, self._at + length
        self._line += self._window.count("\n", start, self._at)
        return self._window[start : self._at]

    def value(self) -> str:
        """The JSON value that begins here. ValueError when there is none, or it is too long."""
        short = len(self._window) - self._at < MAX_LINE_BYTES
        if short and not self._ended:  # More characters than any row needs.
            self._window, self._at = self._window[self._at :] + self._read(), 0
        try:
            _, end = _DECODER.raw_decode(self._window, self._at)
        except RecursionError:
            raise self.wrong("nested too deep") from None
        except json.JSONDecodeError as error:
            raise self.wrong(error.msg, error.pos) from None
        except ValueError:
            raise self.wrong("a number is too long") from None
        return self.skip(end - self._at)

    def wrong(self, what: str, at: int | None = None) -> ValueError:
        line = self._line + self._window.count("\n", self._at, at)
        return ValueError(f"{what} in line {line}")

    def _read(self) -> str:
        piece = self._file.read(_WINDOW_BYTES)
        self._ended = not piece
        return self._decoder.decode(piece, final=not piece)


def _short(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if "truncated" in str(error):
        return "it ends too early; each line must be one whole object"
    return str(error).removeprefix("JSON is malformed: ")


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
