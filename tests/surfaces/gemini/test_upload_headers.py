"""Commands, numbers and ranges as clients write them, and as nobody should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.errors import InvalidArgument
from kamerton.surfaces.gemini import upload_headers
from kamerton.surfaces.gemini.upload_headers import ContentRange

NUMBERS = st.integers(0, 10**18 - 1)


@given(first=st.integers(0, 10**17), length=st.integers(1, 10**6), rest=st.integers(0, 10**6))
def test_ranges(first: int, length: int, rest: int) -> None:
    end = first + length
    for total in (None, end + rest):
        text = f"bytes {first}-{end - 1}/{'*' if total is None else total}"
        found = upload_headers.content_range({"content-range": text})
        assert found == ContentRange(first, end, total)


@given(total=NUMBERS)
def test_ranges_without_bytes(total: int) -> None:
    asked = {"content-range": f"bytes */{total}"}
    assert upload_headers.content_range(asked) == ContentRange(None, 0, total)
    assert upload_headers.content_range({"content-range": "bytes */*"}) == ContentRange(
        None, 0, None
    )
    assert upload_headers.content_range({}) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes 0-9",
        "bytes 9-0/10",
        "bytes 0-9/9",
        "bytes -1-9/10",
        "bytes 0-/10",
        "bytes ٣-٤/10",
        "bytes 0-1/" + "9" * 5000,
        "items 0-9/10",
        "bytes 0-9/10, 20-30",
    ],
)
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        upload_headers.content_range({"content-range": text})
    assert [violation.field for violation in caught.value.violations] == ["Content-Range"]


@given(st.one_of(st.text(), st.from_regex(r"bytes [0-9]*-?[0-9]*/[0-9*]*")))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (
        lambda: upload_headers.content_range({"content-range": text}),
        lambda: upload_headers.number({"n": text}, "n"),
        lambda: upload_headers.commands({"x-goog-upload-command": text}),
        lambda: upload_headers.text({"n": text}, "n"),
    ):
        try:
            read()
        except InvalidArgument as error:
            assert error.violations


@given(NUMBERS)
def test_numbers(number: int) -> None:
    assert upload_headers.number({"n": f" {number} "}, "n") == number
    assert upload_headers.number({}, "n") is None


@pytest.mark.parametrize("text", ["", "-1", "1.0", "1e3", "0x1", "٣", "1_000", "9" * 19])
def test_numbers_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="n: must be a whole number"):
        upload_headers.number({"n": text}, "n")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("upload", {"upload"}),
        ("upload, finalize", {"upload", "finalize"}),
        ("Upload,Finalize", {"upload", "finalize"}),
        ("finalize ,upload,", {"upload", "finalize"}),
        ("query", {"query"}),
        ("", set()),
    ],
)
def test_commands(text: str, wanted: set[str]) -> None:
    assert upload_headers.commands({"x-goog-upload-command": text}) == wanted


@pytest.mark.parametrize("text", ["uplaod", "upload finalize", "query, cancel", "start, upload"])
def test_commands_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="X-Goog-Upload-Command"):
        upload_headers.commands({"x-goog-upload-command": text})


def test_text_is_utf_8_where_http_says_latin_1() -> None:
    wire = "Числа.jsonl".encode().decode("latin-1")
    assert upload_headers.text({"n": wire}, "n") == "Числа.jsonl"
    assert upload_headers.text({"n": "caf\xe9"}, "n") == "caf\xe9"
