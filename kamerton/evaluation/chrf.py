"""How alike two texts are, by the pieces of up to six characters that they share."""

from __future__ import annotations

from collections import Counter

LONGEST = 6
"""Characters in a piece."""
BETA = 2
"""Recall counts so many times as much as precision."""


def chrf(right: str, answer: str) -> float:
    """chrF of an answer, from 0 to 1: the F-score of precision and recall, each averaged over the
    lengths of pieces; white space does not count.

    M. Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015; with
    beta 2 as in her "chrF deconstructed", WMT 2016. Lengths that one of the texts does not reach
    are left out, as sacrebleu does.
    """
    right, answer = "".join(right.split()), "".join(answer.split())
    lengths = range(1, min(LONGEST, len(right), len(answer)) + 1)
    if not lengths:
        return float(right == answer)
    shared = [(_pieces(right, length) & _pieces(answer, length)).total() for length in lengths]
    precision = _mean_share(shared, len(answer))
    recall = _mean_share(shared, len(right))
    if not precision + recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


def _pieces(text: str, length: int) -> Counter[str]:
    return Counter(text[start : start + length] for start in range(len(text) - length + 1))


def _mean_share(shared: list[int], characters: int) -> float:
    """Of all pieces of each length in a text, the share that is shared; the mean over lengths."""
    shares = (count / (characters - place) for place, count in enumerate(shared))
    return sum(shares) / len(shared)
