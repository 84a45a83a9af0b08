"""Made-up sets for the checks of whole datasets."""

from __future__ import annotations

import random
from collections.abc import Sequence

from kamerton.dataset.check import check
from kamerton.dataset.chunks import Source
from kamerton.dataset.sources import inline_source
from kamerton.findings import Finding

Pairs = list[tuple[str, str]]
ENGLISH = [
    "river",
    "stone",
    "window",
    "paper",
    "garden",
    "winter",
    "market",
    "engine",
    "letter",
    "forest",
    "silver",
    "bridge",
    "candle",
    "harbour",
    "meadow",
    "pencil",
    "kitchen",
    "shadow",
    "ticket",
    "mountain",
]
RUSSIAN = [
    "река",
    "камень",
    "окно",
    "бумага",
    "сад",
    "зима",
    "рынок",
    "мотор",
    "письмо",
    "лес",
    "серебро",
    "мост",
    "свеча",
    "гавань",
    "луг",
    "карандаш",
    "кухня",
    "тень",
    "билет",
    "гора",
]


def texts(count: int, words: Sequence[str] = ENGLISH, length: int = 14, seed: int = 0) -> list[str]:
    """Sentences of random words, none like another."""
    choose = random.Random(seed)
    return [" ".join(choose.choices(words, k=length)) for _ in range(count)]


def pairs(count: int, words: Sequence[str] = ENGLISH, seed: int = 0) -> Pairs:
    """Inputs and outputs in which there is nothing to find."""
    answers = texts(count, words, 6, seed + 1)
    return list(zip(texts(count, words, seed=seed), map(sentence, answers), strict=True))


def classified(count: int, labels: Sequence[str], words: Sequence[str] = ENGLISH) -> Pairs:
    choose = random.Random(3)
    return [(text, choose.choice(labels)) for text in texts(count, words)]


def sentence(text: str) -> str:
    return f"{text.capitalize()}."


def findings(rows: Pairs, validation: Pairs | None = None) -> dict[str, Finding]:
    """What the checks say, by code."""
    source, beside = _source(rows), None if validation is None else _source(validation)
    return {found.code: found for found in check(source, validation=beside).findings}


def numbers(found: dict[str, Finding], code: str) -> list[int]:
    """The rows that a check found, from 0."""
    return [hit.number for hit in found[code].hits] if code in found else []


def _source(rows: Pairs) -> Source:
    return inline_source([{"text_input": asked, "output": answer} for asked, answer in rows])
