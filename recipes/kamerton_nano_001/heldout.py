"""What a trained base is judged on: the tutorial's examples, held-out numbers, transaction logs."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from kamerton.dataset.tutorial import PAIRS
from recipes.kamerton_nano_001.numbers import (
    BY_NAME,
    Notation,
    commas,
    digits,
    english,
    held_out,
    kanji,
    roman,
    russian,
)
from recipes.kamerton_nano_001.words import ALPHABETS, CYCLES, ROMAN_LETTERS

Pair = tuple[str, str]


@dataclass(frozen=True)
class TestSet:
    """Successor pairs of one kind."""

    __test__ = False
    name: str
    pairs: tuple[Pair, ...]


def _between(write: Callable[[int], str], low: int, high: int) -> list[Pair]:
    """Pairs of a range, thinned where the range is large."""
    step = max((high - low) // 20_000, 1)
    return [(write(n), write(n + 1)) for n in range(low, high + 1, step)]


def _unseen(notation: Notation, high: int) -> list[Pair]:
    numbers = [n for n in range(20, high) if held_out(notation.name, n)]
    return [(notation.write(n), notation.write(n + 1)) for n in numbers]


def _sequences() -> list[Pair]:
    pairs = [(c[i], c[(i + 1) % len(c)]) for c in CYCLES for i in range(len(c))]
    letters = [pair for a in ALPHABETS for pair in itertools.pairwise(a)]
    return pairs + [pair for pair in letters if pair[0] not in ROMAN_LETTERS]


def number_sets(size: int = 30) -> list[TestSet]:
    """The seventeen sets of up to `size` pairs, always the same, without the tutorial's inputs."""
    pools = {
        "digits 0-9999": _between(digits, 0, 9999),
        "digits, 5-7 places": _between(digits, 10_007, 9_999_990),
        "negative": _between(digits, -999, -1),
        "with commas": _between(commas, 1000, 9999) + _between(commas, 10_003, 9_999_990),
        "English 0-99": _between(english, 0, 99),
        "English 100-9999": _between(english, 100, 9999),
        "English, carry": [(english(n), english(n + 1)) for n in range(199, 9999, 100)],
        "Roman 1-100": _between(roman, 1, 100),
        "Roman 101-3000": _between(roman, 101, 3000),
        "Japanese 1-99": _between(kanji, 1, 99),
        "Japanese 100-9999": _between(kanji, 100, 9998),
        "Russian 0-999": _between(russian, 0, 999),
        "weekdays, months, letters": _sequences(),
        "unseen pair: digits": _unseen(BY_NAME["digits"], 9999),
        "unseen pair: English": _unseen(BY_NAME["English"], 2000),
        "unseen pair: Roman": _unseen(BY_NAME["Roman"], 1000),
        "unseen pair: Japanese": _unseen(BY_NAME["Japanese"], 2000),
    }
    known = {question for question, _ in PAIRS}
    sets = []
    for name, pool in pools.items():
        fresh = [pair for pair in pool if pair[0] not in known]
        count = min(size, len(fresh))
        sets.append(TestSet(name, tuple(Random(f"held out/{name}").sample(fresh, count))))
    return sets


SUSPICIOUS, NORMAL = "Подозрительная", "Нормальная"


def transaction_logs(count: int, seed: int) -> list[Pair]:
    """JSON logs whose class shows in four fields, each right in 97 cases of 100."""
    rng = Random(f"transaction logs/{seed}")
    return [_log(rng) for _ in range(count)]


def _log(rng: Random) -> Pair:
    suspicious = rng.random() < 0.5

    def looks_suspicious() -> bool:
        return suspicious == (rng.random() < 0.97)

    log = {
        "id": rng.randint(10_000, 99_999),
        "amount": rng.randint(60_000, 400_000) if looks_suspicious() else rng.randint(100, 15_000),
        "hour": rng.randint(0, 5) if looks_suspicious() else rng.randint(8, 22),
        "country": rng.choice(("NG", "CN", "KZ")) if looks_suspicious() else "RU",
        "device": "new" if looks_suspicious() else "known",
        "currency": "RUB",
    }
    return json.dumps(log), SUSPICIOUS if suspicious else NORMAL
