"""All rows of a dataset, as columns: what the checks need that look at them together."""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kamerton.dataset.near import Near, joined
from kamerton.dataset.seen import ARABIC, BRACKET, CJK, CYRILLIC, LATIN, LETTER, Seen, Texts
from kamerton.findings import Hit, Unit

MANY_LABELS = 200
"""With more different outputs than these they are texts, not classes."""
LABEL_CHARACTERS = 60
MOST_SHORT = 0.9
"""The share of outputs that are no longer than a label, when they are labels."""
_BUCKETS = 1 << 20
"""A power of two, and many more than there are rows."""
FEW_ROWS = 20
"""Fewer rows have no majority worth speaking of."""
CLEAR = 0.65
"""The share of a text's letters that makes its language."""
SCRIPTS = {LATIN: "Latin", CYRILLIC: "Cyrillic", ARABIC: "Arabic", CJK: "Chinese or Japanese"}
_SIGNS = " .,;!\"'`«»“”„"
_CYRILLIC = re.compile("[а-я]")
_LATIN = re.compile("[a-z]")
_TO_CYRILLIC = str.maketrans("aeopcxykmthb", "аеорсхукмтнв")
_TO_LATIN = str.maketrans("аеорсхукмтнв", "aeopcxykmthb")
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Column:
    """The inputs of all rows, or the outputs."""

    def __init__(self) -> None:
        self._parts: dict[str, list[NDArray[Any]]] = {}
        self.sorted = True
        """Each is at least the one before, as text."""
        self._newest = ""

    def add(self, texts: Texts) -> None:
        parts: dict[str, NDArray[Any]] = {
            "hashes": texts.hashes,
            "lengths": texts.lengths,
            "first": texts.first,
            "second": texts.second,
            "last": texts.last,
            "scripts": _scripts(texts),
        }
        for name, part in parts.items():
            self._parts.setdefault(name, []).append(part)
        self._follow(texts.texts)

    def _follow(self, texts: Sequence[str]) -> None:
        if self.sorted and texts:
            before = [self._newest, *texts[:-1]]
            self.sorted = all(map(operator.le, before, texts))
            self._newest = texts[-1]

    @cached_property
    def hashes(self) -> Numbers:
        """Equal for equal texts, in this process."""
        return self._joined("hashes", np.int64)

    @cached_property
    def earliest(self) -> Numbers:
        """Of each place, the first place with the same text."""
        return first_equal(self.hashes)

    @cached_property
    def lengths(self) -> Numbers:
        """In characters."""
        return self._joined("lengths", np.int64)

    @cached_property
    def first(self) -> NDArray[np.uint16]:
        return self._joined("first", np.uint16)

    @cached_property
    def second(self) -> NDArray[np.uint16]:
        return self._joined("second", np.uint16)

    @cached_property
    def last(self) -> NDArray[np.uint16]:
        return self._joined("last", np.uint16)

    @cached_property
    def scripts(self) -> NDArray[np.uint16]:
        """The kind of letters (as in `seen`) that most letters are of; 0 where there are few."""
        return self._joined("scripts", np.uint16)

    def _joined(self, name: str, kind: type) -> NDArray[Any]:
        return joined(self._parts.get(name, ()), kind)


class Whole:
    """What was gathered of a dataset so far: some dozen numbers a row, and no texts but labels."""

    def __init__(self, unit: Unit = "line", near: bool = True) -> None:
        self.unit = unit
        self.seeks_near = near
        """Whether near-duplicates are looked for."""
        self.validation: Whole | None = None
        """The same of the validation data, when there are any; set before the checks look."""
        self.inputs = Column()
        self.outputs = Column()
        self.near = Near()
        self._numbers: list[Numbers] = []
        self._json: list[Flags] = []
        self._repeated: list[Flags] = []
        self._labels: Counter[str] | None = Counter()
        self._row_count = 0

    def add(self, seen: Seen) -> None:
        """Some more rows: those without errors."""
        if not len(seen):
            return
        outputs = _last_answers(seen)
        self.inputs.add(seen.inputs)
        self.outputs.add(outputs)
        self._numbers.append(_array(seen.numbers))
        self._json.append(_json(outputs))
        self._repeated.append(_repeated(seen, outputs))
        self._count_labels(outputs)
        self._row_count += len(seen)
        if self.seeks_near:  # Nothing else takes as long.
            self.near.add(seen.inputs, outputs)

    def __len__(self) -> int:
        return self._row_count

    def _count_labels(self, outputs: Texts) -> None:
        if self._labels is not None:
            self._labels.update(outputs.texts)
            if len(self._labels) > 4 * MANY_LABELS:  # Some of them may be misspelled.
                self._labels = None

    @cached_property
    def numbers(self) -> Numbers:
        """Of the rows, by the unit of their source."""
        return joined(self._numbers, np.int64)

    @cached_property
    def json(self) -> Flags:
        """Of each output, whether it is a JSON object or array."""
        return joined(self._json, np.bool_)

    @cached_property
    def echoes(self) -> Flags:
        """Of each row, whether the answer is what was asked last."""
        equal: Flags = self.inputs.hashes == self.outputs.hashes
        found: Flags = equal | joined(self._repeated, np.bool_)
        return found

    @cached_property
    def labels(self) -> dict[str, int]:
        """How often each output occurs, the most frequent first, when outputs look like classes;
        else nothing."""
        return {} if self._labels is None else classes(self._labels, len(self))

    def with_label(self, label: str) -> Numbers:
        """Places of the rows with that output."""
        return np.flatnonzero(self.outputs.hashes == hash(label))

    def hits(
        self, places: Sequence[int] | Numbers, field: str, detail: str | Callable[[int], str] = ""
    ) -> Iterator[Hit]:
        """A hit for each of these places among the rows."""
        for place in np.asarray(places, np.int64).tolist():
            told = detail if isinstance(detail, str) else detail(place)
            yield Hit(int(self.numbers[place]), field, told)


def _array(numbers: Sequence[int]) -> Numbers:
    if isinstance(numbers, range):  # Ten times as fast.
        return np.arange(numbers.start, numbers.stop, numbers.step)
    return np.asarray(numbers, np.int64)


def first_equal(values: NDArray[np.int64] | NDArray[np.uint64]) -> Numbers:
    """Of each place, the first place with the same value."""
    places = np.arange(len(values))
    # Most values are alone in their bucket; to sort them all would take far longer.
    buckets = (values & values.dtype.type(_BUCKETS - 1)).astype(np.int64)
    shared = np.flatnonzero(np.bincount(buckets, minlength=1)[buckets] > 1)
    _, first, which = np.unique(values[shared], return_index=True, return_inverse=True)
    places[shared] = shared[first[which]]
    return places


def about_all(message: str) -> Hit:
    """A hit on the dataset as a whole."""
    return Hit(-1, "", message)


def classes(outputs: Counter[str], row_count: int) -> dict[str, int]:
    """The outputs, the most frequent first, when they look like classes; else nothing.

    They do when nearly all are short, and few for the number of rows: at most one in five rows
    has one that no row before it had, spellings of one label counted once.
    """
    short = {label: count for label, count in outputs.items() if len(label) <= LABEL_CHARACTERS}
    if row_count < FEW_ROWS or sum(short.values()) < MOST_SHORT * row_count:
        return {}
    if len({folded_label(label) for label in short}) > min(MANY_LABELS, row_count // 5):
        return {}
    return dict(Counter(short).most_common())


def folded_label(label: str) -> str:
    """Equal for spellings of one label: case, white space, quotes, a final stop and `ё` do not
    count, nor Latin letters among Cyrillic ones that look the same, and the reverse."""
    spelled = " ".join(label.casefold().replace("ё", "е").split())
    folded = spelled.strip(_SIGNS) or spelled
    cyrillic = len(_CYRILLIC.findall(folded))
    latin = 0 if folded.isascii() else len(_LATIN.findall(folded))
    if not (cyrillic and latin):
        return folded
    return folded.translate(_TO_CYRILLIC if cyrillic > latin else _TO_LATIN)


def _last_answers(seen: Seen) -> Texts:
    """Of a conversation the answers before belong to what leads to the last one."""
    made = seen.chunk.made
    if made is None or all(len(example.contents) == 1 for example in made):
        return seen.outputs
    return Texts([example.output for example in made])


def _repeated(seen: Seen, outputs: Texts) -> Flags:
    """Whether each answer is what comes last in an input of several parts: the newest turn of a
    conversation, what follows an instruction."""
    if seen.chunk.made is None:
        return np.zeros(len(seen), np.bool_)
    texts = zip(seen.inputs.texts, outputs.texts, strict=True)
    ends = [asked.endswith(f"\n\n{answer}") for asked, answer in texts]
    return np.array(ends, np.bool_)


def _json(outputs: Texts) -> Flags:
    """Whether each text is a JSON object or array."""
    are = np.zeros(len(outputs), np.bool_)
    begins = (outputs.first == ord("{")) | (outputs.first == ord("["))
    for place in np.flatnonzero(begins | _begins_blank(outputs)).tolist():
        are[place] = _is_json(outputs.texts[place])
    return are


def _begins_blank(outputs: Texts) -> Flags:
    """White space, and somewhere a bracket."""
    blank = (outputs.first == 32) | (outputs.first == 10)
    found: Flags = blank & ((outputs.marks & BRACKET) != 0)
    return found


def _is_json(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict | list)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False


def _scripts(texts: Texts) -> NDArray[np.uint16]:
    """Of each text the kind of letters that most letters are of; 0 where they are too mixed."""
    letters = texts.marks & np.uint16(LETTER)
    mixed = (letters & (letters - np.uint16(1))) != 0
    if not mixed.any():
        return letters
    kinds = [kind for kind in (*SCRIPTS, LETTER & ~sum(SCRIPTS)) if (letters & kind).any()]
    counts = np.stack([texts.count(kind) for kind in kinds])
    most = np.asarray(kinds, np.uint16)[counts.argmax(axis=0)]
    clear = counts.max(axis=0) >= CLEAR * counts.sum(axis=0)
    found: NDArray[np.uint16] = np.where(mixed, np.where(clear, most, np.uint16(0)), letters)
    return found
