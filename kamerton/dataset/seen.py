"""Rows as the checks see them: which kinds of characters each text has, found out once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kamerton.dataset.check import RowTokens
from kamerton.dataset.chunks import Chunk
from kamerton.findings import Hit

# The kinds, as bits. White space is none of them.
LATIN = 1 << 0
CYRILLIC = 1 << 1
ARABIC = 1 << 2
CJK = 1 << 3
OTHER_LETTER = 1 << 4
DIGIT = 1 << 5
SIGN = 1 << 6
"""Every visible character that is neither letter nor digit, emoji included."""
INVISIBLE = 1 << 7
"""Control characters, of no width, or for the direction of writing."""
ANGLE = 1 << 8
"""`<` and `&`: markup may begin."""
BRACKET = 1 << 9
"""`[` and `{`."""
AT = 1 << 10
MARKDOWN = 1 << 11
"""One of: * _ ` # ~ |"""
BROKEN = 1 << 12
"""What is frequent in text that was decoded with the wrong encoding, and rare elsewhere."""
LETTER = LATIN | CYRILLIC | ARABIC | CJK | OTHER_LETTER
VISIBLE = LETTER | DIGIT | SIGN

_RANGES = (
    (SIGN, "!-/ :-@ [-` {-~ \xa1-\xac \xae-\xbf \u0300-\u036f \u1ab0-\u1aff \u2010-\u2027"),
    (SIGN, "\u2030-\u205e \u2070-\u2bff \u2e00-\u2e7f \u3001-\u303f \ud800-\udfff \ufe00-\ufe2f"),
    (SIGN, "\uff00-\uff0f \uff1a-\uff20 \uff3b-\uff40 \uff5b-\uff65 \ufffc-\ufffd \ue000-\uf8ff"),
    (DIGIT, "0-9 \u0660-\u0669 \u06f0-\u06f9 \u0966-\u096f \uff10-\uff19"),
    (LATIN, "A-Z a-z \xaa \xb5 \xba \xc0-\xd6 \xd8-\xf6 \xf8-\u02af \u1e00-\u1eff \uff21-\uff3a"),
    (LATIN, "\uff41-\uff5a"),
    (CYRILLIC, "\u0400-\u052f \u1c80-\u1c8f \u2de0-\u2dff \ua640-\ua69f"),
    (ARABIC, "\u0620-\u065f \u066e-\u06d3 \u06d5-\u06ef \u06fa-\u06ff \u0750-\u077f"),
    (ARABIC, "\u08a0-\u08ff \ufb50-\ufdff \ufe70-\ufefc"),
    (CJK, "\u1100-\u11ff \u2e80-\u2fdf \u3040-\u318f \u31a0-\u4dbf \u4e00-\u9fff \ua960-\ua97f"),
    (CJK, "\uac00-\ud7ff \uf900-\ufaff \uff66-\uffdc"),
    (INVISIBLE, "\x00-\x08 \x0b-\x0c \x0e-\x1f \x7f-\x9f \xad \u061c \u180e \u200b-\u200f"),
    (INVISIBLE, "\u202a-\u202e \u2060-\u206f \ufeff \ufff9-\ufffb \udb40"),
    (ANGLE, "< &"),
    (BRACKET, "[ {"),
    (AT, "@"),
    (MARKDOWN, "* _ ` # ~ |"),
    (
        BROKEN,
        "\x80-\x9f \xc2-\xc5 \xd0-\xd1 \xee-\xf0 \xb0-\xb1 \xb5 \u0402 \u0405 \u0455"
        " \u201a \u20ac \ufffd \xa9 \xb6 \u0407 \u0458 \u040e",
    ),
)
"""Ranges of UTF-16 code units, from and to, that have a kind; what is in none is OTHER_LETTER."""


def _table() -> NDArray[np.uint16]:
    table = np.zeros(0x10000, np.uint16)
    for kind, ranges in _RANGES:
        for span in ranges.split(" "):
            table[ord(span[0]) : ord(span[-1]) + 1] |= kind
    spaces = [code for code in range(0x10000) if chr(code).isspace()]
    table[0x2B0:][table[0x2B0:] == 0] = OTHER_LETTER
    table[spaces] &= INVISIBLE
    return table


_KINDS = _table()
Places = NDArray[np.intp]
_BLOCK = 16 * 1024
_SAMPLE = slice(1000)
_MOST_RARE = 0.25
"""Of the units, that are looked up one by one."""
_NOWHERE: Places = np.zeros(0, np.intp)


class Texts:
    """One column of some rows, with the kinds of characters in each text."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        count = len(texts)
        self.lengths: NDArray[np.int64] = np.fromiter(map(len, texts), np.int64, count)
        """In characters."""
        # Before all else: texts that were just decoded are still in the processor's cache.
        self.hashes: NDArray[np.int64] = np.fromiter(map(hash, texts), np.int64, count)
        """Equal for equal texts, in this process."""
        # A line break after each text, so that an empty one has a place as well.
        joined = "\n".join([*texts, ""])
        self.units = np.frombuffer(joined.encode("utf-16-le", "surrogatepass"), np.uint16)
        """In UTF-16, of all texts, with a line break after each."""
        sizes = self.lengths + 1
        if self.units.size != int(sizes.sum()):
            sizes = sizes + _astral(joined, sizes)
        self._ends = np.cumsum(sizes) - 1
        self.starts = self._ends + 1 - sizes
        """Where each text begins among the units."""
        self.marks: NDArray[np.uint16] = self._marked() if count else np.zeros(0, np.uint16)
        """Of each text, the kinds of characters that it has."""
        self._all = int(np.bitwise_or.reduce(self.marks))

    def __len__(self) -> int:
        return len(self.texts)

    def _marked(self) -> NDArray[np.uint16]:
        # Most characters are letters of one alphabet, or spaces. To compare all with these, and
        # look up the others, is far faster than to look up all.
        if _is_cyrillic(self.units[_SAMPLE]):
            kind, letters = CYRILLIC, self.units - np.uint16(ord("А"))
            others = letters >= 64
        else:
            kind, letters = LATIN, (self.units | np.uint16(0x20)) - np.uint16(ord("a"))
            others = letters >= 26
        rare = np.flatnonzero(others & (self.units != ord(" ")))
        if len(rare) > _MOST_RARE * len(self.units):
            found: NDArray[np.uint16] = np.bitwise_or.reduceat(self._kinds, self.starts)
            return found
        # The line break after each text is one of them, so that none is without.
        places = np.searchsorted(rare, self.starts)
        marks: NDArray[np.uint16] = np.bitwise_or.reduceat(_KINDS[self.units[rare]], places)
        without = np.bitwise_and.reduceat(others, self.starts)
        marks[~without] |= kind
        return marks

    @cached_property
    def _kinds(self) -> NDArray[np.uint16]:
        """Of each unit."""
        return _looked_up(self.units)

    def having(self, kinds: int) -> Places:
        """Places of the texts with a character of one of these kinds."""
        return np.flatnonzero(self.marks & kinds) if self._all & kinds else _NOWHERE

    def lacking(self, kinds: int) -> Places:
        """Places of the texts without any character of these kinds."""
        return np.flatnonzero((self.marks & kinds) == 0)

    def count(self, kinds: int) -> NDArray[np.int64]:
        """Of each text, how many of its characters are of these kinds."""
        if not len(self):
            return np.zeros(0, np.int64)
        are = (self._kinds & kinds) != 0
        return np.add.reduceat(are, self.starts, dtype=np.int64)

    @cached_property
    def first(self) -> NDArray[np.uint16]:
        """The first UTF-16 unit of each text; a line break for an empty one."""
        first: NDArray[np.uint16] = self.units[self.starts]
        return first

    @cached_property
    def second(self) -> NDArray[np.uint16]:
        """The second UTF-16 unit of each text; a line break where there is none."""
        second: NDArray[np.uint16] = self.units[np.minimum(self.starts + 1, self._ends)]
        return second

    @cached_property
    def last(self) -> NDArray[np.uint16]:
        """The last UTF-16 unit of each text; a line break for an empty one."""
        last: NDArray[np.uint16] = self.units[np.maximum(self._ends - 1, self.starts)]
        return last


def _is_cyrillic(units: NDArray[np.uint16]) -> bool:
    return bool(np.count_nonzero((units >> 8) == 4) * 2 > len(units))


def _looked_up(units: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The kinds of each unit. In blocks, because NumPy makes indices of eight bytes first, and
    those of all units would not stay in the processor's cache."""
    kinds = np.empty(len(units), np.uint16)
    for start in range(0, len(units), _BLOCK):
        block = slice(start, start + _BLOCK)
        # Every unit is in the table; "clip" only saves looking whether it is.
        np.take(_KINDS, units[block], out=kinds[block], mode="clip")
    return kinds


def _astral(joined: str, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each text, how many of its characters take two UTF-16 units."""
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    return np.add.reduceat(codes > 0xFFFF, np.cumsum(sizes) - sizes, dtype=np.int64)


class Seen:
    """Some rows that could be read, as the checks look at them."""

    def __init__(self, chunk: Chunk, special_tokens: frozenset[str] = frozenset()) -> None:
        self.chunk = chunk
        self.special_tokens = special_tokens
        """Texts of the tokenizer's own marks."""
        self.tokens: dict[int, RowTokens] = {}
        """By place, of the rows whose tokens were counted."""
        self.numbers = chunk.numbers
        self.inputs = Texts(chunk.inputs)
        self.outputs = Texts(chunk.outputs)

    def __len__(self) -> int:
        return len(self.numbers)

    def hit(self, place: int, field: str = "", detail: str = "") -> Hit:
        """One of these rows, by its place among them."""
        return Hit(self.numbers[place], field, detail)

    def input_field(self, place: int) -> str:
        """What the input of a row is called: a conversation has no `text_input`."""
        made = self.chunk.made
        return "text_input" if made is None or len(made[place].contents) == 1 else "input"

    def search(
        self, screen: Callable[[Texts], Places], find: Callable[[str], str]
    ) -> Iterator[Hit]:
        """A hit for each text on which `find` has something to say; only those are looked at
        whose places the screen gives."""
        for place in screen(self.inputs).tolist():
            if detail := find(self.inputs.texts[place]):
                yield self.hit(place, self.input_field(place), detail)
        for place in screen(self.outputs).tolist():
            if detail := find(self.outputs.texts[place]):
                yield self.hit(place, "output", detail)

    def without(self, places: Iterable[int]) -> Seen:
        """The other rows."""
        gone = set(places)
        if not gone:
            return self
        chunk, kept = self.chunk, [at for at in range(len(self)) if at not in gone]
        others = Seen(
            Chunk(
                [chunk.numbers[at] for at in kept],
                [chunk.inputs[at] for at in kept],
                [chunk.outputs[at] for at in kept],
                None if chunk.made is None else [chunk.made[at] for at in kept],
            ),
            self.special_tokens,
        )
        tokens = self.tokens
        others.tokens = {new: tokens[at] for new, at in enumerate(kept) if at in tokens}
        return others


def with_any(kinds: int) -> Callable[[Texts], Places]:
    """A screen that lets texts through in which one of these kinds occurs."""
    return lambda texts: texts.having(kinds)


def with_digits(at_least: int) -> Callable[[Texts], Places]:
    """A screen that lets texts through with so many digits."""

    def screen(texts: Texts) -> Places:
        # Counting takes longer than looking whether there are any.
        if not len(texts.having(DIGIT)):
            return _NOWHERE
        return np.flatnonzero(texts.count(DIGIT) >= at_least)

    return screen
