"""How near answers are to the right ones, row by row and over all rows."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import msgspec

from kamerton.card import Confusion, Metric, Scores
from kamerton.dataset.whole import classes, folded_label
from kamerton.evaluation.chrf import chrf

MOST = 0.5
"""More right answers than this share are JSON, numbers or short: so is the task."""
TOLERANCE = 0.01
"""By which share of the right number an answer may be off."""
SHORT_WORDS = 3
SHORT_CHARACTERS = 30
CONFUSION_LABELS = 20
"""More labels make a matrix that nobody reads; F1 counts all of them."""
_NUMBER = re.compile(r"([-+−]?)(\d{1,3}(?:[, \u00a0]\d{3})+|\d+)(?:[.,](\d+))? ?%?\.?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Task:
    """What kind of answers a dataset asks for, and so how they are compared."""

    metric: Metric
    labels: frozenset[str] = frozenset()
    """Folded; empty unless the answers are classes."""
    json: bool = False
    numbers: bool = False


def task_of(rights: Sequence[str]) -> Task:
    """The task that all right answers of a dataset together are.

    JSON is compared as JSON, numbers with a fraction within a tolerance, classes, whole numbers
    and short answers as texts: of two counts that are 1 % apart, one is wrong. Longer texts can
    only be more or less alike.
    """
    if _most(rights, lambda right: _json(right) is not None):
        return Task("json_equal", json=True)
    labels = frozenset(map(folded_label, classes(Counter(rights), len(rights))))
    numbers = _most(rights, lambda right: _number(right) is not None)
    if labels or numbers:
        measured = numbers and not labels and _most(rights, _has_fraction)
        return Task("numeric" if measured else "normalised", labels, numbers=numbers)
    return Task("normalised" if _most(rights, _is_short) else "chrf")


def row_scores(metric: Metric, rights: Sequence[str], given: Sequence[str]) -> list[float]:
    """From 0 to 1, for each row."""
    return [_COMPARED[metric](right, answer) for right, answer in zip(rights, given, strict=True)]


def scores(
    task: Task, rights: Sequence[str], given: Sequence[str], loss: float | None = None
) -> Scores:
    """One candidate's answers against the right ones; at least one row."""
    same_json = row_scores("json_equal", rights, given) if task.json else []
    return Scores(
        row_count=len(rights),
        loss=loss,
        perplexity=_perplexity(loss),
        exact=fmean(r.strip() == g.strip() for r, g in zip(rights, given, strict=True)),
        normalised=fmean(row_scores("normalised", rights, given)),
        chrf=fmean(row_scores("chrf", rights, given)),
        f1=_f1(rights, given) if task.labels else None,
        confusion=_confusion(rights, given) if task.labels else None,
        json_valid=fmean(_json(answer) is not None for answer in given) if task.json else None,
        json_equal=fmean(same_json) if task.json else None,
        numeric=fmean(row_scores("numeric", rights, given)) if task.numbers else None,
        errors=sum(not answer.strip() for answer in given),
    )


def _same_text(right: str, answer: str) -> float:
    return float(folded_label(right) == folded_label(answer))


def _same_json(right: str, answer: str) -> float:
    wanted = _json(right)
    return float(_json(answer) == wanted) if wanted is not None else _same_text(right, answer)


def _same_number(right: str, answer: str) -> float:
    wanted, number = _number(right), _number(answer)
    if wanted is None:
        return _same_text(right, answer)
    return float(number is not None and abs(number - wanted) <= TOLERANCE * abs(wanted))


_COMPARED: dict[Metric, Callable[[str, str], float]] = {
    "normalised": _same_text,
    "json_equal": _same_json,
    "numeric": _same_number,
    "chrf": chrf,
}


def _most(texts: Sequence[str], are: Callable[[str], bool]) -> bool:
    return sum(map(are, texts)) > MOST * len(texts)


def _json(text: str) -> bytes | None:
    """A JSON object or array in one layout, the same for the same content; else None."""
    try:
        value = msgspec.json.decode(text)
        return (
            msgspec.json.encode(value, order="sorted") if isinstance(value, dict | list) else None
        )
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return None


def _number(text: str) -> float | None:
    """The number that a text is, with separators of thousands and a decimal point or comma."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        return None
    sign, whole, fraction = found.groups()
    number = float(f"{re.sub(r'[^0-9]', '', whole)}.{fraction or 0}")
    return -number if sign in ("-", "−") else number


def _has_fraction(text: str) -> bool:
    found = _NUMBER.fullmatch(text.strip())
    return found is not None and found[3] is not None


def _is_short(text: str) -> bool:
    return len(text) <= SHORT_CHARACTERS and len(text.split()) <= SHORT_WORDS


def _perplexity(loss: float | None) -> float | None:
    """None as well where the loss is beyond what a float can raise."""
    return math.exp(loss) if loss is not None and loss < 700 else None


def _f1(rights: Sequence[str], given: Sequence[str]) -> float:
    """The mean F1 of all labels among the right answers, each as important as the other."""
    pairs = Counter(_folded_pairs(rights, given))
    right, answered = Counter[str](), Counter[str]()
    for (label, answer), count in pairs.items():
        right[label] += count
        answered[answer] += count
    return fmean(2 * pairs[label, label] / (right[label] + answered[label]) for label in right)


def _confusion(rights: Sequence[str], given: Sequence[str]) -> Confusion:
    spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for right in rights:
        spellings[folded_label(right)][right.strip()] += 1
    frequent = sorted(spellings, key=lambda label: -spellings[label].total())[:CONFUSION_LABELS]
    columns = {label: place for place, label in enumerate(frequent)}
    counts = [[0] * (len(frequent) + 1) for _ in frequent]
    for label, answer in _folded_pairs(rights, given):
        if label in columns:
            counts[columns[label]][columns.get(answer, len(frequent))] += 1
    names = tuple(spellings[label].most_common(1)[0][0] for label in frequent)
    return Confusion(names, tuple(map(tuple, counts)))


def _folded_pairs(rights: Sequence[str], given: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(map(folded_label, rights), map(folded_label, given), strict=True))
