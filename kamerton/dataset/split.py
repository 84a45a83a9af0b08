"""Which examples are held out: stratified, with duplicates on one side, the same every time."""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import blake2b

from kamerton.dataset.whole import classes, folded_label
from kamerton.errors import InvalidArgument, Violation
from kamerton.types import Example, Holdout

MAX_SHARE = 0.5
"""Of all examples, and of each stratum: the rest is there to learn from."""
_BETWEEN_WORDS = re.compile(r"[\W_]+")

Group = list[int]
"""Places of the examples that ask the same: they stay together."""


def hold_out(examples: Sequence[Example], holdout: Holdout) -> tuple[int, ...]:
    """Places of the examples to hold out, ascending; none when there are too few.

    Each label, or each quarter of the examples by the length of their outputs, gives its share.
    What is chosen depends on texts and seed alone, not on the order of the examples. Inputs that
    differ in case, spaces or punctuation count as the same. Raises InvalidArgument for a `holdout`
    that cannot be.
    """
    _check(holdout)
    if len(examples) < holdout.from_examples:
        return ()
    wanted = max(holdout.at_least, round(holdout.share * len(examples)))
    wanted = min(wanted, math.floor(MAX_SHARE * len(examples)))
    groups = _groups(examples, holdout.seed)
    strata = _strata(examples, groups)
    chosen: list[Group] = []
    rest: list[Group] = []
    last: list[Group] = []  # One of each stratum: to learn from, as long as there are others.
    for stratum, quota in zip(strata, _quotas(strata, wanted), strict=True):
        taken, left = _taken(stratum, quota)
        chosen += taken
        rest += left[:-1]
        last += left[-1:]
    more = [*sorted(rest, key=len), *sorted(last, key=len)]
    held_out = sum(map(len, chosen))
    most = math.floor(MAX_SHARE * len(examples)) - held_out
    chosen += _filled(more, wanted - held_out, most)
    return tuple(sorted(place for group in chosen for place in group))


def _check(holdout: Holdout) -> None:
    wrong = []
    if not 0 < holdout.share <= MAX_SHARE:
        wrong.append(Violation("holdout.share", f"must be above 0 and at most {MAX_SHARE}"))
    if holdout.at_least < 1:
        wrong.append(Violation("holdout.at_least", "must be at least 1"))
    if holdout.from_examples < 2:
        wrong.append(Violation("holdout.from_examples", "must be at least 2"))
    if wrong:
        raise InvalidArgument.all_of(wrong)


def _groups(examples: Sequence[Example], seed: int) -> list[Group]:
    """Examples with the same input together, in an order drawn by the seed."""
    found: dict[bytes, Group] = defaultdict(list)
    key = str(seed).encode()
    for place, example in enumerate(examples):
        asked = "\n".join([turn.text for turn in example.contents]).casefold()
        # Without its signs, unless there is nothing else in it.
        text = _BETWEEN_WORDS.sub("", asked) or asked
        digest = blake2b(text.encode(errors="replace"), digest_size=16, key=key).digest()
        found[digest].append(place)
    return [found[digest] for digest in sorted(found)]


def _strata(examples: Sequence[Example], groups: Sequence[Group]) -> list[list[Group]]:
    """The groups by label or by length of the output, each in their order."""
    outputs = [example.output for example in examples]
    labels = classes(Counter(outputs), len(outputs))
    lengths = sorted(map(len, outputs))
    quarters = [lengths[len(lengths) * quarter // 4] for quarter in (1, 2, 3)]

    def stratum(output: str) -> str:
        return folded_label(output) if labels else str(bisect(quarters, len(output)))

    found: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        # The least of them, so that it does not matter which came first.
        found[stratum(min(outputs[place] for place in group))].append(group)
    return [found[name] for name in sorted(found)]


def _quotas(strata: Sequence[Sequence[Group]], wanted: int) -> list[int]:
    """How many examples each gives: in proportion, by the method of largest remainders."""
    sizes = [sum(map(len, groups)) for groups in strata]
    exact = [wanted * size / sum(sizes) for size in sizes]
    quotas = [math.floor(share) for share in exact]
    by_rest = sorted(range(len(strata)), key=lambda at: (quotas[at] - exact[at], at))
    for at in by_rest[: wanted - sum(quotas)]:
        quotas[at] += 1
    return quotas


def _taken(groups: Sequence[Group], quota: int) -> tuple[list[Group], list[Group]]:
    """Whole groups with together at most so many examples and half of all, in their order; and
    the others."""
    room = min(quota, math.floor(MAX_SHARE * sum(map(len, groups))))
    taken: list[Group] = []
    left: list[Group] = []
    for group in groups:
        fits = len(group) <= room
        (taken if fits else left).append(group)
        room -= len(group) * fits
    return taken, left


def _filled(groups: Sequence[Group], missing: int, most: int) -> list[Group]:
    """Groups until nothing is missing, which many copies of few inputs leave: the last of them
    may be more than that."""
    filled: list[Group] = []
    for group in groups:
        if missing <= 0 or len(group) > most:
            break
        filled.append(group)
        missing, most = missing - len(group), most - len(group)
    return filled
