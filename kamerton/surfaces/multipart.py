"""Multipart bodies, cut into their parts as they arrive.

Line breaks may be CRLF or bare LF, which the libraries at hand do not read. Exactly one of them
before a boundary belongs to the boundary; which kind, the part's own headers tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message

from kamerton.errors import InvalidArgument

Headers = dict[str, str]
"""By their names in lower case."""

MAX_HEADER_BYTES = 16 * 1024
_MAX_BOUNDARY = 200
_MAX_PADDING = 64
_AFTER_BOUNDARY = re.compile(rb"(--)|[ \t]{0,%d}\r?\n" % _MAX_PADDING)
_UNDECIDED = re.compile(rb"(?:-|[ \t]{0,%d}\r?)\Z" % _MAX_PADDING)
_BLANK_LINE = re.compile(rb"(?:\A|\n)(\r?)\n")


def boundary(content_type: str) -> bytes:
    """What separates the parts of a body with that Content-Type."""
    header = Message()
    header["content-type"] = content_type
    found = header.get_boundary() or ""
    if header.get_content_maintype() != "multipart" or not found:
        raise wrong('Content-Type must be like multipart/related; boundary="..."')
    if not found.isascii() or not found.isprintable() or len(found) > _MAX_BOUNDARY:
        raise wrong(f"Content-Type: the boundary must be at most {_MAX_BOUNDARY} ASCII characters")
    return found.encode()


class Parts:
    """Give it the body piece by piece; it gives back the headers of a part, then its content."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\n--" + boundary
        # The first boundary has no line before it, so one is put there; so it is for each content.
        self._buffer = b"\n"
        self._unsaid = 1
        """Bytes at the beginning of the buffer that are nobody's content."""
        self._crlf = True
        self._where = "preamble"

    def feed(self, piece: bytes) -> Iterator[Headers | bytes]:
        self._buffer += piece
        while self._where != "end":
            if self._where == "headers":
                headers = self._take_headers()
                if headers is None:
                    return
                yield headers
                continue
            within = self._where
            content, more = self._take_content()
            if content and within == "content":
                yield content
            if not more:
                return
        self._buffer = b""

    def end(self) -> None:
        """Raises InvalidArgument unless the last boundary has been seen."""
        if self._where != "end":
            raise wrong("the body ends before its closing boundary")

    def _take_headers(self) -> Headers | None:
        """None when more is needed."""
        blank = _BLANK_LINE.search(self._buffer)
        if (blank.end() if blank else len(self._buffer)) > MAX_HEADER_BYTES:
            raise wrong(f"the headers of a part have more than {MAX_HEADER_BYTES} bytes")
        if blank is None:
            return None
        lines = self._buffer[: blank.start()].decode(errors="replace").split("\n")
        self._crlf = blank[1] == b"\r"
        self._buffer = b"\n" + self._buffer[blank.end() :]
        self._unsaid, self._where = 1, "content"
        return dict(map(_header, filter(str.strip, lines)))

    def _take_content(self) -> tuple[bytes, bool]:
        """Content up to a boundary, and whether there was one; else all that is surely content."""
        start, length = 0, len(self._delimiter)
        while (at := self._buffer.find(self._delimiter, start)) >= 0:
            if after := _AFTER_BOUNDARY.match(self._buffer, at + length):
                content = self._cut(self._line_break(at), after.end())
                self._where = "end" if after[1] else "headers"
                return content, True
            if _UNDECIDED.match(self._buffer, at + length):
                return self._cut(self._line_break(at), self._line_break(at)), False
            start = at + 1
        keep = max(0, len(self._buffer) - length - 1)
        return self._cut(keep, keep), False

    def _line_break(self, at: int) -> int:
        """Where the line break that ends at the line feed `at` begins."""
        before = at > self._unsaid and self._buffer[at - 1 : at] == b"\r"
        return at - 1 if self._crlf and before else at

    def _cut(self, end: int, rest: int) -> bytes:
        """Takes what is before `rest` off the buffer; what of it is content up to `end`."""
        content = self._buffer[self._unsaid : end]
        self._unsaid = max(0, self._unsaid - rest)
        self._buffer = self._buffer[rest:]
        return content


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise wrong("a header of a part has no colon")
    return name.strip().lower(), value.strip()


def wrong(what: str) -> InvalidArgument:
    return InvalidArgument(f"Invalid multipart body: {what}.")
