"""The JSON border: what is read, what is refused, and how fast."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from kamerton.errors import InvalidArgument, TooLarge
from kamerton.surfaces import body


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"", {}),
        (b" \r\n\t", {}),
        (b"{}", {}),
        (b"\xef\xbb\xbf{}", {}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": [1, 2,],}', {"a": [1, 2]}),
        (b'{"a": {"b": 1 ,\r\n } , }', {"a": {"b": 1}}),
        (b'{"a": ",}", "b": ",]",}', {"a": ",}", "b": ",]"}),
        (b'{"a": "\\",}", "b": "\\\\",}', {"a": '",}', "b": "\\"}),
        ('{"имя": "число",}'.encode(), {"имя": "число"}),
        (b"{'file': {'display_name': 'TEXT'}}", {"file": {"display_name": "TEXT"}}),
        (
            b"""{'a': "it's, }", "b": 'say "hi" it\\'s \\u0041', 'c': [',]',]}""",
            {"a": "it's, }", "b": 'say "hi" it\'s A', "c": [",]"]},
        ),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (
            b'{"a": 18446744073709551615, "b": -9223372036854775808}',
            {"a": 2**64 - 1, "b": -(2**63)},
        ),
        (b'{"a":' + b"[" * 99 + b"]" * 99 + b"}", None),
    ],
)
def test_what_is_read(sent: bytes, read: object) -> None:
    assert read is None or body.parse(sent) == read
    body.parse(sent)


@pytest.mark.parametrize(
    "sent",
    [
        b"[]",
        b"1",
        b'"a"',
        b"null",
        b"{",
        b'{"a"',
        b'{"a": "',
        b'{"a": "\\',
        b"{} {}",
        b"{}{}",
        b'{"a": 1 // one\n}',
        b'{"a": /* one */ 1}',
        b"{'a': 1, b}",
        b"{'a: 1}",
        b"{'a': 'b\\'}",
        b"{a: 1}",
        b"{,}",
        b'{"a": [,]}',
        b'{"a": [1,,]}',
        b'{"a": 01}',
        b'{"a": 0x10}',
        b'{"a": NaN}',
        b'{"a": -Infinity,}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 18446744073709551616}',
        b'{"a": -9223372036854775809}',
        b'{"a": "\\ud800"}',
        b'{"\\udc00": 1}',
        b'{"a": "\\ud800\\ud800"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\xff"}',
        b'{"a": "\x00"}',
        b'{"a": "x\ny"}',
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-le"),
        b"\x1f\x8b\x08\x00",
        b'{"a":' + b"[" * 101 + b"]" * 101 + b"}",
    ],
)
def test_what_is_refused(sent: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"^Invalid JSON payload received: "):
        body.parse(sent)


@pytest.mark.parametrize(
    "sent",
    [
        b"[" * 500_000,
        b'{"a":' * 500_000,
        b"[" * 500_000 + b"]" * 500_000,
        b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'"' + b'\\"' * 500_000,
        b"'" * 500_001,
        b"{'" + b"\\'" * 500_000,
        b"{" + b"," * 500_000,
        b'{"a": 1,' + b" " * 500_000,
    ],
)
def test_nonsense_is_refused_quickly(sent: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(InvalidArgument):
        body.parse(sent)
    assert time.perf_counter() - start < 0.5


def test_only_what_is_typed_by_hand_is_read_leniently() -> None:
    assert body.parse(b'{"a": [1,],}') == {"a": [1]}
    with pytest.raises(InvalidArgument):
        body.parse(b'{"a": [1,], "b": "' + b"x" * body.LENIENT_CHARACTERS + b'"}')


def test_a_complaint_says_where() -> None:
    with pytest.raises(InvalidArgument, match=r"line 2, column 8"):
        body.parse(b'{\n  "a": x\n}')


def read(*pieces: bytes, limit: int = 10, **headers: str) -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(body.read(stream(), named, limit))


def test_a_body_is_read_up_to_its_limit() -> None:
    assert read(b"12345", b"67890") == b"1234567890"
    for sent, length in (((b"12345", b"678901"), "3"), ((), "11"), ((), "9" * 5000)):
        with pytest.raises(TooLarge, match=r"^Request payload size exceeds the limit: 10 bytes"):
            read(*sent, content_length=length)


def test_compressed_bodies_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="Content-Encoding"):
        read(b"x", content_encoding="gzip")
    assert read(b"x", content_encoding="identity") == b"x"
