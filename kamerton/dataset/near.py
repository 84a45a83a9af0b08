"""Rows that are nearly the same: MinHash sketches of inputs, and pairs of sketches that agree.

A sketch is one-permutation hashing (Li, Owen and Zhang, 2012, arXiv:1208.1259) of the shingles of
five characters of a text, of which only letters and digits count, in lower case. Candidates share
a band of the sketch (Broder's and Indyk's locality-sensitive hashing); how much of two sketches
is equal then estimates the Jaccard similarity of the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kamerton.dataset.seen import Texts

MAX_ROWS = 100_000
MAX_UNITS = 50_000_000
"""In more rows, or more text than this in UTF-16, none are looked for."""
SHINGLE = 5
BINS = 64
BAND = 4
"""Bins in one band; more of them find less and are wrong less often."""
LEAST_CHARACTERS = 30
"""Letters and digits; shorter texts are like each other by nature."""
_EMPTY = np.uint32(0xFFFFFFFF)
_NEIGHBOURS = 3
"""With how many of those after it in a band a row is compared: more are alike by template."""

Sketch = NDArray[np.uint32]
Prints = NDArray[np.uint64]
Pairs = NDArray[np.int64]
_Units = tuple[NDArray[np.uint16], NDArray[np.int64]]
"""Of some texts, and where each text begins among them, as `Texts` has them."""


class Near:
    """The texts of all rows so far, until somebody asks which are nearly the same."""

    def __init__(self) -> None:
        self._chunks: list[tuple[_Units, _Units]] = []
        self._row_count = self._unit_count = 0

    def add(self, inputs: Texts, outputs: Texts) -> None:
        self._row_count += len(inputs)
        self._unit_count += len(inputs.units) + len(outputs.units)
        if self._row_count > MAX_ROWS or self._unit_count > MAX_UNITS:
            self._chunks.clear()
        else:
            # Without the texts, which take far more memory.
            units = (inputs.units, inputs.starts), (outputs.units, outputs.starts)
            self._chunks.append(units)

    @cached_property
    def _folded(self) -> list[tuple[Folded, Folded]]:
        """Without the units, which then go."""
        folded = []
        while self._chunks:
            inputs, outputs = self._chunks.pop(0)
            folded.append((Folded(*inputs), Folded(*outputs, sketched=False)))
        return folded

    @cached_property
    def prints(self) -> Prints:
        """Of the inputs: equal where letters and digits are, and the same in every process."""
        return joined([folded.prints for folded, _ in self._folded], np.uint64)

    @cached_property
    def answer_prints(self) -> Prints:
        """The same of the outputs."""
        return joined([folded.prints for _, folded in self._folded], np.uint64)

    def pairs(self, least: float) -> Pairs:
        """[n, 2]: places of rows with the same answer and the same digits, and inputs that are at
        least so similar, the earlier row first."""
        if not self._folded:
            return np.zeros((0, 2), np.int64)
        sketches = np.concatenate([folded.sketches for folded, _ in self._folded])
        lengths = joined([folded.lengths for folded, _ in self._folded], np.int64)
        digits = joined([folded.digit_prints for folded, _ in self._folded], np.uint64)
        answers = self.answer_prints
        found = _candidates(sketches, lengths >= LEAST_CHARACTERS)
        left, right = found[:, 0], found[:, 1]
        found = found[(answers[left] == answers[right]) & (digits[left] == digits[right])]
        alike: Pairs = found[_similarity(sketches, found) >= least]
        return alike


def _candidates(sketches: Sketch, long: NDArray[np.bool_]) -> Pairs:
    """Rows that have a band in common with one of the next in the order of that band."""
    found: list[Pairs] = []
    rows = np.flatnonzero(long)
    for start in range(0, BINS, BAND):
        band = sketches[rows, start : start + BAND]
        keys = _mixed(band)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        filled = (band[order] != _EMPTY).any(axis=1)
        for step in range(1, _NEIGHBOURS + 1):
            same = np.flatnonzero((ordered[step:] == ordered[:-step]) & filled[:-step])
            found.append(np.stack([rows[order[same]], rows[order[same + step]]], axis=1))
    pairs: Pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    return pairs


def _mixed(band: Sketch) -> Prints:
    keys = np.zeros(len(band), np.uint64)
    for column in range(band.shape[1]):
        keys = mix(keys * np.uint64(31) + band[:, column].astype(np.uint64))
    return keys


def _similarity(sketches: Sketch, pairs: Pairs) -> NDArray[np.float64]:
    """Of each pair, the share of equal bins among those that are not empty in both."""
    shares = []
    for at in range(0, len(pairs), 100_000):
        part = pairs[at : at + 100_000]
        left, right = sketches[part[:, 0]], sketches[part[:, 1]]
        used = (left != _EMPTY) | (right != _EMPTY)
        equal = (left == right) & used
        shares.append(equal.sum(axis=1) / np.maximum(1, used.sum(axis=1)))
    return np.concatenate(shares) if shares else np.zeros(0)


class Folded:
    """Texts of which only letters and digits are left, in lower case: what a text is by its
    sketch, and hashes that are equal where the texts are."""

    def __init__(
        self, units: NDArray[np.uint16], starts: NDArray[np.int64], sketched: bool = True
    ) -> None:
        lower = np.take(_lower(), units)
        kept = lower != 0
        self.lengths: NDArray[np.int64] = np.add.reduceat(kept, starts, dtype=np.int64)
        begins = np.cumsum(self.lengths) - self.lengths
        rows = np.repeat(np.arange(len(starts)), self.lengths)
        left = lower[kept].astype(np.uint64)
        self.prints = _print(left, rows, len(starts))
        """[rows]"""
        digits = (left >= ord("0")) & (left <= ord("9"))
        self.digit_prints = _print(left[digits], rows[digits], len(starts))
        """[rows], of the digits alone."""
        none = np.zeros((0, BINS), np.uint32)
        self.sketches = _sketches(left, rows, begins, self.lengths) if sketched else none
        """[rows, BINS]"""


def _print(units: Prints, rows: NDArray[np.int64], row_count: int) -> Prints:
    """Of each row a hash of its units in their order."""
    counts = np.bincount(rows, minlength=row_count)
    starts = np.cumsum(counts) - counts
    within = (np.arange(len(rows)) - starts[rows]).astype(np.uint64)
    prints = np.zeros(row_count, np.uint64)
    np.add.at(prints, rows, mix(units + (within + np.uint64(1)) * _POWERS[1]))
    return prints


def _sketches(
    units: Prints,
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> Sketch:
    """Of each row, the least hash of the shingles in each bin."""
    count = max(0, len(units) - SHINGLE + 1)
    hashes = np.zeros(count, np.uint64)
    for ahead in range(SHINGLE):
        hashes += _POWERS[ahead] * units[ahead : ahead + count]
    places = np.arange(count)
    inside = places - starts[rows[:count]] + SHINGLE <= lengths[rows[:count]]
    hashes = mix(hashes[inside])
    sketches = np.full(len(lengths) * BINS, _EMPTY)
    bins = rows[:count][inside] * BINS + (hashes >> np.uint64(58)).astype(np.int64)
    np.minimum.at(sketches, bins, hashes.astype(np.uint32))
    return sketches.reshape(len(lengths), BINS)


def mix(numbers: Prints) -> Prints:
    """Spreads numbers over all 64 bits; the finalizer of Steele's SplitMix64."""
    mixed: Prints = numbers ^ (numbers >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


_POWERS = [np.uint64(pow(0x9E3779B97F4A7C15, power, 2**64)) for power in range(SHINGLE)]


@cache
def _lower() -> NDArray[np.uint16]:
    """By UTF-16 unit: the unit in lower case, and 0 for what is neither letter nor digit."""
    table = np.zeros(0x10000, np.uint16)
    for code in range(0x10000):
        letter = chr(code)
        if 0xD800 <= code <= 0xDFFF:
            table[code] = code  # Half of a character beyond.
        elif letter.isalnum():
            lower = letter.lower().replace("ё", "е")
            table[code] = ord(lower) if len(lower) == 1 and ord(lower) < 0x10000 else code
    return table


def joined(parts: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    """One column of all its parts, also when there are none."""
    return np.concatenate(parts) if parts else np.zeros(0, kind)
