"""Multipart bodies with either line break, in pieces of any size."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kamerton.errors import InvalidArgument
from kamerton.surfaces import multipart
from kamerton.surfaces.multipart import MAX_HEADER_BYTES, Headers, Parts

NAME = b"==--7=="
DELIMITER = b"--" + NAME


def cut(body: bytes, sizes: list[int]) -> list[tuple[Headers, bytes]]:
    """The parts of a body that arrives in pieces of those sizes, and then the rest."""
    parts, found, at = Parts(NAME), [], 0
    for size in [*sizes, len(body)]:
        for event in parts.feed(body[at : at + size]):
            if isinstance(event, dict):
                found.append((event, b""))
            else:
                found[-1] = (found[-1][0], found[-1][1] + event)
        at += size
    parts.end()
    return found


def joined(contents: list[bytes], line: bytes, preamble: bytes = b"", after: bytes = b"") -> bytes:
    """A body as clients write it."""
    body = preamble
    for content in contents:
        body += DELIMITER + line + b"Content-Type: text/plain" + line * 2 + content + line
    return body + DELIMITER + b"--" + after


NASTY = st.lists(
    st.sampled_from(
        [
            b"\r",
            b"\n",
            b"-",
            b"--",
            b"=",
            b" ",
            b"\t",
            NAME,
            DELIMITER,
            b"\n" + DELIMITER,
            b"\0\xff",
        ]
    ),
    max_size=12,
).map(b"".join)
LINES = st.sampled_from([b"\n", b"\r\n"])


@settings(max_examples=500, deadline=None)
@given(
    contents=st.lists(st.one_of(NASTY, st.binary(max_size=50)), min_size=1, max_size=3),
    line=LINES,
    sizes=st.lists(st.integers(0, 40), max_size=20),
    preamble=st.sampled_from([b"", b"\n", b"\r\n", b"for old readers\r\n"]),
    after=st.sampled_from([b"", b"\n", b"\r\nepilogue"]),
)
def test_every_content_comes_out_as_it_went_in(
    contents: list[bytes], line: bytes, sizes: list[int], preamble: bytes, after: bytes
) -> None:
    # Whoever writes a body chooses a boundary that is in none of the contents.
    boundary = rb"(^|\n)" + DELIMITER + rb"(--|[ \t]*\r?$|[ \t]*\r?\n)"
    assume(not any(re.search(boundary, content) for content in contents))
    body = joined(contents, line, preamble, after)
    assert [content for _, content in cut(body, sizes)] == contents


@settings(max_examples=300, deadline=None)
@given(body=st.one_of(NASTY, st.binary()), sizes=st.lists(st.integers(0, 9)), line=LINES)
def test_whatever_comes_is_read_or_refused(body: bytes, sizes: list[int], line: bytes) -> None:
    for whole in (body, DELIMITER + line + body, joined([b"x"], line)[:-2] + body):
        try:
            cut(whole, sizes)
        except InvalidArgument as error:
            assert error.message.startswith("Invalid multipart body: ")


@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
@pytest.mark.parametrize("content", [b"", b"x", b"x\n", b"x\r", b"x\r\n", b"\n\n", b"\r\n\r\n"])
def test_one_line_break_belongs_to_the_boundary(line: bytes, content: bytes) -> None:
    body = joined([b"{}", content], line)
    for size in range(1, len(body)):
        assert cut(body, [size])[1] == ({"content-type": "text/plain"}, content)


def test_a_part_without_headers_or_without_content() -> None:
    body = DELIMITER + b"  \n\nx\n" + DELIMITER + b"\nA: b\n\n" + DELIMITER + b"--\n"
    assert cut(body, []) == [({}, b"x"), ({"a": "b"}, b"")]


def test_headers_by_their_names_in_lower_case() -> None:
    body = DELIMITER + b"\r\nContent-TYPE:  a/b; c=d:e \r\nMIME-Version: 1.0\r\n\r\n"
    (headers, _), *_ = cut(body + b"\r\n" + DELIMITER + b"--", [])
    assert headers == {"content-type": "a/b; c=d:e", "mime-version": "1.0"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        joined([b"x"], b"\n")[:-2],
        DELIMITER + b"\nno colon\n\nx\n" + DELIMITER + b"--",
        DELIMITER + b"\n" + b"A: b\n" * MAX_HEADER_BYTES,
    ],
)
def test_bodies_that_are_none(body: bytes) -> None:
    with pytest.raises(InvalidArgument, match="Invalid multipart body"):
        cut(body, [7])


@pytest.mark.parametrize(
    ("content_type", "wanted"),
    [
        ("multipart/related; boundary=abc", b"abc"),
        ('multipart/related; boundary="===============7=="', b"===============7=="),
        ("Multipart/Related; start=x; BOUNDARY='a'", b"'a'"),
        ('multipart/form-data;boundary="a b"', b"a b"),
    ],
)
def test_boundaries(content_type: str, wanted: bytes) -> None:
    assert multipart.boundary(content_type) == wanted


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "multipart/related",
        "application/json; boundary=x",
        "multipart/related; boundary=",
        "multipart/related; boundary=я",
        "multipart/related; boundary=" + "x" * 201,
    ],
)
def test_content_types_without_a_boundary(content_type: str) -> None:
    with pytest.raises(InvalidArgument, match="Content-Type"):
        multipart.boundary(content_type)


@given(st.text())
def test_any_content_type_is_read_or_refused(text: str) -> None:
    for content_type in (text, f"multipart/related; boundary={text}", f'multipart/x; a="{text}'):
        try:
            assert multipart.boundary(content_type)
        except InvalidArgument:
            pass
