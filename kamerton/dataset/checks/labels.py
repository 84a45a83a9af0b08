"""Outputs that look like classes: how many of each there are, and how they are spelled."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from kamerton.dataset.checks.registry import whole_check
from kamerton.dataset.whole import FEW_ROWS, Whole, about_all, folded_label
from kamerton.findings import Hit

FEW_OF_LABEL = 5
MAJORITY = 0.8
TYPO_CHARACTERS = 6
"""Shorter words are often one letter apart and both right."""
SHORT_WORD = 4
TYPO_TIMES = 10
"""How much more frequent the right spelling is."""
_DOUBLED = re.compile(r"([^\W\d])\1")


@whole_check(
    "K301",
    "label-imbalance",
    "warning",
    what="have the most frequent label",
    advice="Add examples of the rare labels, or leave out some of the frequent one; judge the "
    "result label by label.",
    why="A model that always gives the most frequent label is already right most of the time, so "
    "the loss is low long before the others are learned. It is said from four fifths on.",
)
def label_imbalance(whole: Whole) -> Iterator[Hit]:
    counts = _by_meaning(whole)
    if len(counts) < 2:
        return
    label, most = max(counts.items(), key=lambda item: item[1])
    share = most / len(whole)
    if share >= MAJORITY:
        yield about_all(
            f"{label!r} is {share:.0%} of the outputs: always answering it would be right as often."
        )


@whole_check(
    "K302",
    "near-miss-label",
    "warning",
    what="have a label that is likely another one misspelled",
    advice="Spell every label in one way.",
    why="To the model `Normal`, `normal` and `normal ` are different answers: it learns to give "
    "one or the other at random, and whoever compares the answers counts the others as wrong.",
)
def near_miss_labels(whole: Whole) -> Iterator[Hit]:
    for wrong, right in _misspelled(whole.labels):
        places = whole.with_label(wrong)
        yield from whole.hits(places, "output", f"{wrong!r}, where {right!r} is frequent")


@whole_check(
    "K307",
    "too-few-examples",
    "warning",
    what="have a label with too few examples",
    advice="Add examples; a hundred good ones are a good start, and some dozens of each label.",
    why="From a few examples the model learns their words, not the task. Below 20 nothing is held "
    "out either, so nobody can say how well it does. Of labels it is said below 5 examples each.",
)
def too_few_examples(whole: Whole) -> Iterator[Hit]:
    if 0 < len(whole) < FEW_ROWS:
        there_are = "is only 1 example" if len(whole) == 1 else f"are only {len(whole)} examples"
        yield about_all(f"There {there_are}: too few for most tasks.")
        return
    wrong = {label for label, _ in _misspelled(whole.labels)}
    counts = _by_meaning(whole)
    if len(counts) < 2:
        return
    rare = {folded_label(label) for label, count in counts.items() if count < FEW_OF_LABEL}
    for label, count in whole.labels.items():
        if folded_label(label) in rare and label not in wrong:
            detail = f"{label!r} has only {count} example" + ("" if count == 1 else "s")
            yield from whole.hits(whole.with_label(label), "output", detail)


def _by_meaning(whole: Whole) -> dict[str, int]:
    """Labels with all their spellings counted together, under the most frequent one."""
    names: dict[str, str] = {}
    counts: dict[str, int] = defaultdict(int)
    for label, count in whole.labels.items():  # The most frequent first.
        counts[names.setdefault(folded_label(label), label)] += count
    return dict(counts)


def _misspelled(labels: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Labels, each with the frequent one that is meant."""
    right: dict[str, str] = {}
    for label, count in labels.items():  # The most frequent first.
        folded = folded_label(label)
        if folded in right:
            yield label, right[folded]
        elif meant := _typo_of(folded, count, right, labels):
            yield label, meant
        else:
            right[folded] = label


def _typo_of(folded: str, count: int, right: dict[str, str], labels: dict[str, int]) -> str:
    """The frequent label of which this one is a letter away; "" when there is none."""
    for other, label in right.items():
        if labels[label] >= TYPO_TIMES * count:
            if _DOUBLED.sub(r"\1", folded) == _DOUBLED.sub(r"\1", other):
                return label
            long = max(len(folded), len(other)) >= TYPO_CHARACTERS
            if long and _one_letter_apart(folded, other):
                return label
    return ""


def _one_letter_apart(one: str, other: str) -> bool:
    """One letter put in, left out or changed, or two neighbours swapped; digits are no typos."""
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    left, right = one[start : len(one) - end], other[start : len(other) - end]
    if any(letter.isdigit() for letter in left + right):
        return False
    # `Vitamin B` beside `Vitamin A`, `Type IV` beside `Type I`: a short word is a name of its own.
    if min(len(_word_at(one, start)), len(_word_at(other, start))) < SHORT_WORD:
        return False
    swapped = len(left) == 2 and left == right[::-1]
    return swapped or max(len(left), len(right)) == 1


def _word_at(label: str, place: int) -> str:
    """The word of which the letter at that place is a part, or ends."""
    before = re.search(r"\w*$", label[:place])
    after = re.match(r"\w*", label[place:])
    return (before[0] if before else "") + (after[0] if after else "")
