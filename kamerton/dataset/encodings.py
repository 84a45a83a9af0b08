"""From the bytes of a file to UTF-8 text: gzip is unpacked, UTF-16 recoded, nothing endless."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable
from typing import BinaryIO, cast

from kamerton.errors import InvalidArgument

Read = Callable[[int], bytes]
"""At most so many bytes, and none only at the end."""
PIECE_BYTES = 256 * 1024
"""Read at once: what is made of them fits the caches, where larger pieces took a fifth longer."""
_SNIFFED_BYTES = 4096
MAX_PACKINGS = 2
"""A file in gzip is often packed once more by whoever sends it."""
_GZIP = b"\x1f\x8b"
_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word document; save it as CSV",
    b"\x28\xb5\x2f\xfd": "packed with zstd; unpack it, or pack it with gzip",
    b"BZh": "packed with bzip2; unpack it, or pack it with gzip",
    b"\xfd7zXZ": "packed with xz; unpack it, or pack it with gzip",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"%PDF": "a PDF document; save its examples as JSON lines or CSV",
    b"PARE": "encrypted Parquet; save it without encryption",
    b"ARROW1": "an Arrow file; save it as Parquet",
    b"Obj\x01": "an Avro file; save it as Parquet or JSON lines",
    b"SQLite format": "an SQLite database; export the table as CSV",
}
"""Files that people try, by how they begin."""


class Stream:
    """Bytes that can be looked at before they are read, and are not endless."""

    def __init__(self, read: Read, name: str, most_bytes: int, packed: bool = False) -> None:
        self.name = name
        """What errors call it."""
        self.packed = packed
        """Whether it comes out of gzip."""
        self.most_bytes = most_bytes
        self.at = 0
        """Bytes that were read so far."""
        self._read = read
        self._seen = b""

    def peek(self, size: int) -> bytes:
        """The next bytes: fewer only at the end."""
        while len(self._seen) < size and (piece := self._read(size - len(self._seen))):
            self._seen += piece
        return self._seen[:size]

    def read(self, size: int = PIECE_BYTES) -> bytes:
        """As many bytes as asked for, fewer only at the end."""
        piece = self.peek(size)
        self._seen = self._seen[size:]
        self.at += len(piece)
        if self.at > self.most_bytes:
            raise self.too_large()
        return piece

    def too_large(self) -> InvalidArgument:
        problem = f"holds more than {self.most_bytes} bytes; split it into smaller files"
        return InvalidArgument.of(self.name, problem)


def unpacked(file: BinaryIO, name: str, most_bytes: int) -> Stream:
    """A file's bytes, taken out of gzip where they are in it."""
    stream = Stream(_reading(file, name), name, most_bytes)
    for _ in range(MAX_PACKINGS):
        if stream.peek(2) != _GZIP:
            return stream
        stream = Stream(_unpacking(stream), name, most_bytes, packed=True)
    if stream.peek(2) == _GZIP:
        raise InvalidArgument.of(name, f"is packed with gzip more than {MAX_PACKINGS} times")
    return stream


def text_of(stream: Stream) -> Stream:
    """Bytes that are UTF-8 without a mark in front, if they are text at all."""
    start = stream.peek(16)
    for magic, what in _NO_TEXT.items():
        if start.startswith(magic):
            raise InvalidArgument.of(stream.name, f"is {what}")
    if start.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    elif start.startswith(_UTF_32):
        raise InvalidArgument.of(stream.name, "is UTF-32 text; save it as UTF-8")
    elif encoding := _UTF_16.get(start[:2]):
        return Stream(_Recoder(stream, encoding).read, stream.name, stream.most_bytes)
    elif _may_be_utf_16(stream.peek(_SNIFFED_BYTES)):
        problem = "looks like UTF-16 without a byte order mark; save it as UTF-8"
        raise InvalidArgument.of(stream.name, problem)
    return stream


def _may_be_utf_16(start: bytes) -> bool:
    """Text in other letters than Latin has no NUL in it but those of its line ends."""
    newlines = start.count(b"\n")
    ends = (start.count(b"\n\0"), start.count(b"\0\n"))
    return 0 in start[:4] or (newlines > 0 and newlines in ends)


def not_utf8(
    name: str, error: UnicodeDecodeError, line: int, before: int, line_start: int
) -> InvalidArgument:
    """What is wrong with bytes that begin in `line`, after `before` bytes of the file; that line
    itself begins after `line_start` of them."""
    start = error.object[: error.start]
    at = before + error.start
    if newlines := start.count(b"\n"):
        line, line_start = line + newlines, before + start.rindex(b"\n") + 1
    return InvalidArgument.of(
        name,
        f"not UTF-8 text (line {line}): byte 0x{error.object[error.start]:02X} is byte "
        f"{at - line_start + 1} of the line and byte {at + 1} of the file; save it as UTF-8",
    )


def _reading(file: BinaryIO, name: str) -> Read:
    def read(size: int) -> bytes:
        try:
            return file.read(size)
        except OSError as error:
            raise InvalidArgument.of(name, f"cannot be read: {error.strerror or error}") from error

    return read


def _unpacking(packed: Stream) -> Read:
    # Of a file object it needs no more than read().
    file = gzip.GzipFile(fileobj=cast(BinaryIO, packed), mode="rb")

    def read(size: int) -> bytes:
        try:
            return file.read(size)
        except EOFError as error:
            problem = "ends in the middle of its gzip packing; fetch or pack it again"
            raise InvalidArgument.of(packed.name, problem) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            problem = f"is broken gzip, fetch or pack it again ({error})"
            raise InvalidArgument.of(packed.name, problem) from error

    return read


class _Recoder:
    """UTF-16 bytes as UTF-8."""

    def __init__(self, stream: Stream, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready = b""
        self._line = 1
        stream.read(2)

    def read(self, size: int) -> bytes:
        while not self._ready and (self._stream.peek(1) or self._decoder.getstate()[0]):
            text = self._decoded()
            self._line += text.count("\n")
            self._ready = text.encode()
        piece, self._ready = self._ready[:size], self._ready[size:]
        return piece

    def _decoded(self) -> str:
        before = self._stream.at - len(self._decoder.getstate()[0])
        piece = self._stream.read()
        try:
            return self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            line = self._line + error.object[: error.start].decode(self._encoding).count("\n")
            raise InvalidArgument.of(
                self._stream.name,
                f"not UTF-16 text (line {line}): {error.reason} at byte "
                f"{before + error.start + 1} of the file; save it as UTF-8",
            ) from error
