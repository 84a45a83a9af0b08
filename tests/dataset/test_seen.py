from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.dataset.check import RowTokens
from kamerton.dataset.chunks import Chunk
from kamerton.dataset.seen import (
    ANGLE,
    ARABIC,
    AT,
    BRACKET,
    BROKEN,
    CJK,
    CYRILLIC,
    DIGIT,
    INVISIBLE,
    LATIN,
    MARKDOWN,
    OTHER_LETTER,
    SIGN,
    VISIBLE,
    Seen,
    Texts,
    with_any,
    with_digits,
)

KINDS = [
    ("a", LATIN),
    ("Å", LATIN | BROKEN),
    ("é", LATIN),
    ("ж", CYRILLIC),
    ("Ё", CYRILLIC),
    ("ش", ARABIC),
    ("日", CJK),
    ("ひ", CJK),
    ("한", CJK),
    ("λ", OTHER_LETTER),
    ("א", OTHER_LETTER),
    ("ह", OTHER_LETTER),
    ("7", DIGIT),
    ("٣", DIGIT),
    (".", SIGN),
    ("—", SIGN),
    ("🙂", SIGN),
    ("<", SIGN | ANGLE),
    ("&", SIGN | ANGLE),
    ("[", SIGN | BRACKET),
    ("@", SIGN | AT),
    ("*", SIGN | MARKDOWN),
    ("\ufffd", SIGN | BROKEN),
    ("\u200b", INVISIBLE),
    ("\x00", INVISIBLE),
    ("\x1b", INVISIBLE),
    ("\u202e", INVISIBLE),
    ("\ufeff", INVISIBLE),
    ("\u00ad", INVISIBLE),
    (" ", 0),
    ("\t\r\n", 0),
    ("\u00a0\u3000\u2003", 0),
    ("", 0),
]


@pytest.mark.parametrize(("text", "kinds"), KINDS)
def test_characters_have_kinds(text: str, kinds: int) -> None:
    assert Texts(["x", text, "ж"]).marks[1] == kinds


@given(st.lists(st.text(max_size=8) | st.text("aж\n🙂 ", max_size=8), max_size=12))
def test_texts_do_not_run_into_each_other(texts: list[str]) -> None:
    together = Texts(texts)
    assert together.marks.tolist() == [int(Texts([text]).marks[0]) for text in texts]
    assert together.lengths.tolist() == list(map(len, texts))
    for kind in (CYRILLIC, LATIN, SIGN):
        alone = [int(Texts([text]).count(kind)[0]) for text in texts]
        assert together.count(kind).tolist() == alone


@given(st.lists(st.text(max_size=8), min_size=1, max_size=12))
def test_white_space_alone_is_not_visible(texts: list[str]) -> None:
    lacking = set(Texts(texts).lacking(VISIBLE).tolist())
    assert {at for at, text in enumerate(texts) if not text.strip()} <= lacking


def test_first_and_last_units() -> None:
    texts = Texts(["привет", "", "x", "🙂!"])
    assert [chr(unit) for unit in texts.first[[0, 2]]] == ["п", "x"]
    assert [chr(unit) for unit in texts.last] == ["т", "\n", "x", "!"]
    assert texts.first[1] == ord("\n")


def test_screens() -> None:
    texts = Texts(["a1", "12 345", "<b>", "ж"])
    assert with_any(ANGLE | CYRILLIC)(texts).tolist() == [2, 3]
    assert with_digits(1)(texts).tolist() == [0, 1]
    assert with_digits(5)(texts).tolist() == [1]
    assert with_digits(1)(Texts(["ж"])).tolist() == []
    assert with_any(ANGLE)(Texts([])).tolist() == []


def test_rows_are_left_out_with_all_that_is_theirs() -> None:
    seen = Seen(Chunk([3, 4, 6], ["a", "b", "c"], ["x", "y", "z"]), frozenset({"<m>"}))
    seen.tokens = {0: RowTokens(1, 1), 2: RowTokens(3, 3)}
    others = seen.without([1])
    assert list(others.numbers) == [3, 6]
    assert others.inputs.texts == ["a", "c"]
    assert others.outputs.texts == ["x", "z"]
    assert [example.output for example in others.chunk.examples] == ["x", "z"]
    assert others.tokens == {0: RowTokens(1, 1), 1: RowTokens(3, 3)}
    assert others.special_tokens == {"<m>"}
    assert seen.without([]) is seen


@pytest.mark.parametrize("start", ["", "слово " * 400, "word " * 400, "1,2;3! " * 400, "字" * 2000])
def test_the_quick_way_finds_what_looking_up_every_unit_finds(start: str) -> None:
    rest = ["", " ", "a", "Я", "ё", "Ё", "A1", "<b>", "\u200b", "🙂", "a@b", "слово word", "\n"]
    found = Texts([start, *rest])
    alone = [int(Texts([text]).marks[0]) for text in [start, *rest]]
    assert found.marks.tolist() == alone
    looked_up = [np.bitwise_or.reduce(kinds) for kinds in np.split(found._kinds, found.starts[1:])]
    assert found.marks.tolist() == [int(kinds) for kinds in looked_up]
