"""Training examples as turns in front of a question: what prompting does without tuning."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, zip_longest
from random import Random

from kamerton.dataset.whole import classes, folded_label
from kamerton.types import Content, Example

MOST_SHOTS = 5
_SEED = 0


def choose(
    trained: Sequence[Example], count: Callable[[Sequence[Content]], int], tokens: int
) -> tuple[Example, ...]:
    """Up to five examples that fit into so many tokens together; `count` tells how many the turns
    of a conversation take.

    They come from the shorter half of each label in turn, or of all when there are no labels:
    the shortest of all would be the odd ones. The same for the same examples.
    """
    chosen: list[Example] = []
    asked: set[tuple[Content, ...]] = set()
    left = tokens
    for example in _in_turn(trained):
        cost = count(_turns(example))
        if cost <= left and example.contents not in asked:
            chosen.append(example)
            asked.add(example.contents)
            left -= cost
        if len(chosen) == MOST_SHOTS:
            break
    return tuple(chosen)


def prompt(shots: Sequence[Example], row: Example) -> list[Content]:
    """The examples as a conversation that the question ends; a system turn stays in front.

    The examples' own system turns are left out: a prompt has one, the question's.
    """
    system = [turn for turn in row.contents if turn.role == "system"]
    asked = [turn for turn in row.contents if turn.role != "system"]
    return [*system, *chain.from_iterable(map(_turns, shots)), *asked]


def _turns(example: Example) -> list[Content]:
    asked = [turn for turn in example.contents if turn.role != "system"]
    return [*asked, Content("model", example.output)]


def _in_turn(trained: Sequence[Example]) -> Iterator[Example]:
    """Examples in the order in which they are tried."""
    groups: defaultdict[str, list[Example]] = defaultdict(list)
    labelled = classes(Counter(example.output for example in trained), len(trained))
    for example in trained:
        groups[folded_label(example.output) if labelled else ""].append(example)
    frequent = sorted(groups.values(), key=len, reverse=True)
    rounds = zip_longest(*map(_shorter_half, frequent))
    return (example for example in chain.from_iterable(rounds) if example is not None)


def _shorter_half(examples: list[Example]) -> list[Example]:
    """Mixed, so that the first few are not of one kind."""
    shorter = sorted(examples, key=_length)[: (len(examples) + 1) // 2]
    return Random(_SEED).sample(shorter, len(shorter))


def _length(example: Example) -> int:
    return len(example.output) + sum(len(turn.text) for turn in example.contents)
