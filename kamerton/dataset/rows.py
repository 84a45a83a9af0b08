"""From text to rows: JSON lines, a JSON array or a table of cells, told apart by how they begin."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import Any

import msgspec

from kamerton.dataset.encodings import PIECE_BYTES, Stream, not_utf8
from kamerton.dataset.shapes import KEYS, Columns, check_header
from kamerton.errors import InvalidArgument

MAX_LINE_BYTES = 2 * 1024**2
"""Four times what the longest example takes when every character is escaped."""
MAX_LINES = 4_000_000
MAX_ROWS = 2_000
"""That travel together."""
_SNIFFED_BYTES = 64 * 1024
_WINDOW_BYTES = 2 * MAX_LINE_BYTES
_BLANKS = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_OLD_MAC_OBJECTS = re.compile(r"\}[ \t]*\r\s*\{")
_WRAPPING = re.compile(r'(?:\{\s*"examples"\s*:\s*){1,2}(?=\[)')
_DELIMITER_LINE = re.compile(r'"?sep=([,;\t])"?\r?$', re.IGNORECASE)
"""Written by Excel, in front of the names of the columns."""
_OLD_MAC_LINES = re.compile(r"(?<=\r)(?!\n|$)")


@dataclass(frozen=True, slots=True)
class Row:
    """What may be an example."""

    number: int
    fields: Any
    problem: str = ""
    """Why not even the fields could be read."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Some whole lines, as one piece until somebody needs them apart."""

    first: int
    """Number of the first one."""
    before: int
    """Bytes of the file before it."""
    block: bytes
    """With what ends each line, but perhaps the last one of a file."""
    count: int
    braces: bool
    """A closing one stands right before every newline."""

    @property
    def lines(self) -> list[bytes]:
        """Each without what ends it."""
        # Not splitlines(): it also cuts at characters that JSON strings may hold as they are.
        return self.block.split(b"\n")[: self.count]

    def head(self) -> bytes:
        """The first one."""
        end = self.block.find(b"\n")
        return self.block if end < 0 else self.block[:end]

    def texts(self, name: str) -> Iterator[tuple[int, str]]:
        """Each by its number. InvalidArgument where one is no UTF-8 text."""
        before = self.before
        for number, line in enumerate(self.lines, self.first):
            try:
                yield number, line.decode()
            except UnicodeDecodeError as error:
                raise not_utf8(name, error, number, before, before) from error
            before += len(line) + 1


def start_of(text: Stream) -> str:
    """What tells formats apart: the first characters that are not white space."""
    return text.peek(_SNIFFED_BYTES).decode(errors="replace").lstrip()


def lines_of(text: Stream) -> Iterator[Lines]:
    """All of a file's lines, some at a time."""
    first, rest, ended = 1, b"", False
    while not ended:
        before = text.at - len(rest)
        piece = text.read(PIECE_BYTES)
        ended = not piece
        end = piece.rfind(b"\n") + 1
        if not end and not ended and len(rest) <= MAX_LINE_BYTES:
            rest += piece
            continue
        # A view: a piece is large, and copied once is enough.
        block, rest = b"".join([rest, memoryview(piece)[:end]]), piece[end:]
        some = Lines(first, before, block, *_ends(block))
        beyond = _beyond(some, rest)
        if beyond:
            some = replace(some, count=beyond[0])
        if some.count:
            yield some
        first += some.count
        if beyond:
            raise InvalidArgument.of(text.name, beyond[1])


def _ends(block: bytes) -> tuple[int, bool]:
    """How many lines it has, of which the last may have no end; and whether there is a closing
    brace right before every newline."""
    import numpy as np  # Not at the top: a server that starts should not load it.

    units = np.frombuffer(block, np.uint8)
    newlines = np.flatnonzero(units == ord("\n"))
    count = len(newlines) + (bool(block) and not block.endswith(b"\n"))
    braces = units[np.maximum(newlines - 1, 0)] == ord("}")
    if not braces.all():  # CR before it, perhaps.
        returns = units[np.maximum(newlines - 1, 0)] == ord("\r")
        braces |= returns & (units[np.maximum(newlines - 2, 0)] == ord("}"))
    return count, bool(braces.all())


def _beyond(some: Lines, rest: bytes) -> tuple[int, str] | None:
    """How many of these lines are within the limits, and what is wrong with the next one."""
    fit = MAX_LINES + 1 - some.first
    if max(len(some.block), len(rest)) > MAX_LINE_BYTES:
        for number, line in enumerate(islice(chain(some.lines, [rest]), max(fit, 0))):
            if len(line) > MAX_LINE_BYTES:
                problem = f"has more than {MAX_LINE_BYTES} bytes; one line, one example"
                return number, f"line {some.first + number} {problem}"
    return (fit, f"more than {MAX_LINES} lines") if fit < some.count else None


def json_rows(some: Lines, name: str) -> Iterator[Row]:
    for number, line in some.texts(name):
        if line.strip():
            yield _json_row(number, line)


def _json_row(number: int, text: str) -> Row:
    try:
        return Row(number, msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError) as error:
        return Row(number, None, f"is not valid JSON: {_short(error, text.strip())}")


def _short(error: Exception, text: str) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if "truncated" in str(error):
        return "it ends too early; each line must be one whole object"
    constants: list[str] = []
    rest = ""
    try:  # Python's own decoder takes more, and says where a value ends.
        _, end = json.JSONDecoder(parse_constant=constants.append).raw_decode(text)
        rest = text[end:].lstrip()
    except (ValueError, RecursionError):
        pass
    if constants:
        return f"it has {constants[0]}, which is no JSON; write null or leave it out"
    if rest == ",":
        return "a comma follows the object; take it away"
    if rest.startswith(("{", ",")):
        return "several objects are in one line; give each a line of its own"
    return str(error).removeprefix("JSON is malformed: ")


def check_lines(start: str, name: str) -> None:
    """InvalidArgument where what begins so is JSON, but not one object a line."""
    first, _, after = start.partition("\n")
    first, after = first.strip(), after.lstrip()
    if first.endswith("},") and not _json_row(1, first[:-1]).problem:
        problem = "has a comma after each line; put [ before the rows and ] after them"
        raise InvalidArgument.of(name, f"{problem}, or take the commas away")
    too_early = "ends too early" in _json_row(1, first).problem
    if after and not after.startswith("{") and too_early:
        problem = "has an object that goes on in the next line (line 1); write each in one line"
        raise InvalidArgument.of(name, f"{problem}, or all of them as one array: [ {{…}}, {{…}} ]")


def has_old_mac_lines(start: str) -> bool:
    """Whether a carriage return alone stands between two objects."""
    return bool(_OLD_MAC_OBJECTS.search(start.partition("\n")[0]))


def wrapping_of(start: str) -> str:
    """What stands before the array in a file that is one object with a list of examples."""
    wrapping = _WRAPPING.match(start)
    return wrapping[0] if wrapping else ""


def array_rows(text: Stream, wrapping: str = "") -> Iterator[Row]:
    """The items of a JSON array, with `wrapping` before it."""
    try:
        yield from _items(_Window(text), wrapping)
    except ValueError as error:
        raise InvalidArgument.of(text.name, f"is not valid JSON: {error}") from error


def _items(text: _Window, wrapping: str) -> Iterator[Row]:
    """ValueError where it is no array."""
    text.peek()
    text.skip(len(wrapping) + 1)
    next_ = text.peek()
    for number in count(1):
        if next_ == "]" and number == 1:
            break
        yield _json_row(number, text.value())
        next_ = text.peek()
        if next_ not in (",", "]"):
            raise text.wrong("a comma or the end of the array is missing")
        if next_ == "]":
            break
        text.skip(1)
        text.peek()
    text.skip(1)
    for _ in range(wrapping.count("{")):
        if text.peek() != "}":
            raise text.wrong("after the list of examples its object must end; keep the list alone,")
        text.skip(1)
    if text.peek():
        raise text.wrong("there is more after the end of the array")


class _Window:
    """A text that is looked at a few megabytes at a time."""

    def __init__(self, text: Stream) -> None:
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._window, self._at, self._line = "", 0, 1
        self._line_start = text.at
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
        before = self._text.at - len(self._decoder.getstate()[0])
        piece = self._text.read(_WINDOW_BYTES)
        self._ended = not piece
        try:
            decoded = self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            line = self._line + self._window.count("\n", self._at)
            raise not_utf8(self._text.name, error, line, before, self._line_start) from error
        if b"\n" in piece:
            self._line_start = self._text.at - len(piece) + piece.rindex(b"\n") + 1
        return decoded


TABLES = {",": "CSV", ";": "CSV with semicolons", "\t": "TSV"}
"""What a table is called, by what stands between its cells."""


def delimiter_of(start: str) -> str:
    header_line = start.split("\n", 1)[0]
    if said := _DELIMITER_LINE.match(header_line):
        return said[1]
    return max(TABLES, key=header_line.count)


def table_rows(text: Stream, delimiter: str, columns: Columns | None = None) -> Iterator[Row]:
    """A table that has `columns`, or those of a shape we know."""
    pieces = _Pieces(text)
    reader = csv.reader(pieces, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    while True:
        pieces.taken = 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            after = reader.line_num - line
            raise InvalidArgument.of(text.name, _broken_table(error, line, after)) from error
        number, line = line, reader.line_num + 1
        if not any(cells) or (len(cells) == 1 and not cells[0].strip()):
            continue
        if header is None and _DELIMITER_LINE.match(delimiter.join(cells)):
            continue
        if header is None:
            header = _header(cells, text.name, columns)
        else:
            yield _table_row(number, header, cells)


class _Pieces:
    """A table's lines with their ends, because a cell may go on in the next one."""

    def __init__(self, text: Stream) -> None:
        self.taken = 0
        """Characters since the last row."""
        self._name = text.name
        self._pieces = (
            piece
            for some in lines_of(text)
            for _, line in some.texts(text.name)
            for piece in _with_ends(line)
        )

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece = next(self._pieces)
        self.taken += len(piece)
        if self.taken > MAX_LINE_BYTES:
            problem = f"one row has more than {MAX_LINE_BYTES} characters; is a quote missing?"
            raise InvalidArgument.of(self._name, problem)
        return piece


def _with_ends(line: str) -> list[str]:
    if "\r" not in line[:-1]:  # As good as always.
        return [line + "\n"]
    return _OLD_MAC_LINES.split(line + "\n")


def _broken_table(error: csv.Error, line: int, after: int) -> str:
    """What follows a broken quote cannot be told apart: `after` lines, or all that are left."""
    what = str(error)
    if "unexpected end" in what:
        lines = "1 line after it was" if after == 1 else f"{after} lines after it were"
        advice = "close it, and write a quote inside a cell twice"
        return f"the quote opened in line {line} is never closed; {lines} not read; {advice}"
    if "field larger" in what:
        what = f"a cell has more than {csv.field_size_limit()} characters; is its last quote there?"
    return f"line {line} is not valid CSV: {what}; no line after it was read"


def _header(cells: Sequence[str], name: str, columns: Columns | None) -> list[str]:
    header = [cell.strip() for cell in cells]
    try:
        check_header(header, columns, name)
    except InvalidArgument as error:
        rule = "the first line must name the columns, such as text_input,output"
        raise InvalidArgument.of(name, f"{rule}; it {error.violations[0].description}") from None
    wanted = columns or KEYS
    if twice := [cell for cell in header if cell in wanted and header.count(cell) > 1]:
        raise InvalidArgument.of(name, f"has two columns {twice[0]}; rename one")
    return header


def _table_row(number: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) > len(header):
        counts = f"has {len(cells)} cells for {len(header)} columns"
        return Row(number, None, f"{counts}; put quotes around text with the delimiter in it")
    return Row(number, dict(zip(header, cells, strict=False)))


def inline_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    return (Row(number, fields) for number, fields in enumerate(rows))
