"""JSON transaction logs, and rules over one or two of their fields."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from recipes.kamerton_nano_001.words import LABEL_PAIRS

Value = int | str | bool
Log = dict[str, Value]

_AMOUNTS = ((1, 999), (1000, 9999), (10_000, 49_999), (50_000, 99_999), (100_000, 999_999))
_CHOICES: dict[str, tuple[Value, ...]] = {
    "currency": ("RUB", "USD", "EUR"),
    "country": ("RU", "DE", "US", "NG", "CN", "KZ", "FR"),
    "device": ("known", "new"),
    "new_device": (True, False),
    "channel": ("web", "app", "pos", "atm"),
    "merchant": ("grocery", "casino", "crypto", "taxi", "pharmacy", "electronics"),
    "ip_match": (True, False),
    "type": ("payment", "transfer", "withdrawal", "refund"),
    "card_present": (True, False),
    "status": ("ok", "error", "timeout"),
    "night": (True, False),
    "vpn": (True, False),
}
_RANGES: dict[str, tuple[int, int]] = {
    "hour": (0, 23),
    "attempts": (1, 9),
    "age_days": (0, 900),
    "user_id": (1, 9999),
    "id": (1, 99_999),
    "distance_km": (0, 9000),
    "score": (0, 100),
    "tx_per_hour": (1, 40),
}
FIELDS = ("amount", *_CHOICES, *_RANGES)
_NUMERIC_RULES = ("amount", "hour", "attempts", "age_days", "distance_km", "score", "tx_per_hour")


def draw_value(field: str, rng: Random) -> Value:
    if field == "amount":
        return rng.randint(*rng.choice(_AMOUNTS))
    if field in _CHOICES:
        return rng.choice(_CHOICES[field])
    return rng.randint(*_RANGES[field])


def write_log(log: Log) -> str:
    return json.dumps(log, ensure_ascii=False)


@dataclass(frozen=True)
class Condition:
    """One test on one field, with its wording."""

    field: str
    holds: Callable[[Log], bool]
    english: str
    russian: str


def _threshold(field: str, rng: Random) -> int:
    if field == "amount":
        return rng.choice((500, 1000, 5000, 10_000, 20_000, 50_000, 100_000))
    low, high = _RANGES[field]
    return rng.randint(low + (high - low) // 5, high - (high - low) // 5)


def draw_condition(field: str, rng: Random) -> Condition:
    if field in _CHOICES:
        value = rng.choice(_CHOICES[field])
        shown = json.dumps(value) if isinstance(value, bool) else str(value)
        return Condition(
            field, lambda log: log[field] == value, f"{field} is {shown}", f"{field} равно {shown}"
        )
    limit = _threshold(field, rng)
    if rng.random() < 0.7:
        return Condition(
            field,
            lambda log: int(log[field]) > limit,
            f"{field} is above {limit}",
            f"{field} больше {limit}",
        )
    return Condition(
        field,
        lambda log: int(log[field]) < limit,
        f"{field} is below {limit}",
        f"{field} меньше {limit}",
    )


@dataclass(frozen=True)
class Rule:
    """A yes-no question about logs of one shape."""

    fields: tuple[str, ...]
    conditions: tuple[Condition, ...]
    any_of: bool
    labels: tuple[str, str]

    def holds(self, log: Log) -> bool:
        found = (condition.holds(log) for condition in self.conditions)
        return any(found) if self.any_of else all(found)

    def draw(self, rng: Random) -> tuple[str, str]:
        """A log and its label, both labels about equally often."""
        wanted = rng.random() < 0.5
        for _ in range(12):
            log = {field: draw_value(field, rng) for field in self.fields}
            if self.holds(log) == wanted:
                break
        return write_log(log), self.labels[0 if self.holds(log) else 1]

    def english(self) -> str:
        joined = (" or " if self.any_of else " and ").join(c.english for c in self.conditions)
        return f"If {joined}, answer {self.labels[0]}, otherwise {self.labels[1]}."

    def russian(self) -> str:
        joined = (" или " if self.any_of else " и ").join(c.russian for c in self.conditions)
        return f"Если {joined}, ответь {self.labels[0]}, иначе {self.labels[1]}."


def draw_rule(rng: Random, most_fields: int = 5) -> Rule:
    """A rule over one field or two, its log's fields in any order, its labels in either order."""
    first = rng.choice(_NUMERIC_RULES) if rng.random() < 0.5 else rng.choice(tuple(_CHOICES))
    tested = [first]
    if rng.random() < 0.5:
        tested.append(rng.choice([f for f in (*_NUMERIC_RULES, *_CHOICES) if f != first]))
    others = [field for field in FIELDS if field not in tested]
    count = max(0, rng.randint(2, most_fields) - len(tested))
    shape = tested + rng.sample(others, count)
    rng.shuffle(shape)
    labels = rng.choice(LABEL_PAIRS)
    return Rule(
        tuple(shape),
        tuple(draw_condition(field, rng) for field in tested),
        rng.random() < 0.35,
        labels if rng.random() < 0.6 else (labels[1], labels[0]),
    )


def draw_feature_vote(rng: Random) -> Callable[[Random], tuple[str, str]]:
    """Logs whose class shows in several correlated fields at once, as in real fraud data."""
    labels = rng.choice(LABEL_PAIRS)
    shape = rng.sample(
        ["amount", "hour", "device", "country", "attempts", "vpn", "age_days"], rng.randint(2, 4)
    )
    ranges: dict[str, tuple[Callable[[Random], Value], Callable[[Random], Value]]] = {
        "amount": (lambda r: r.randint(50_000, 500_000), lambda r: r.randint(100, 9999)),
        "hour": (lambda r: r.randint(0, 5), lambda r: r.randint(8, 21)),
        "device": (lambda r: "new", lambda r: "known"),
        "country": (lambda r: r.choice(("NG", "CN")), lambda r: "RU"),
        "attempts": (lambda r: r.randint(4, 9), lambda r: 1),
        "vpn": (lambda r: True, lambda r: False),
        "age_days": (lambda r: r.randint(0, 9), lambda r: r.randint(100, 900)),
    }

    def draw(source: Random) -> tuple[str, str]:
        side = source.randrange(2)
        log = {
            field: ranges[field][side if source.random() < 0.95 else 1 - side](source)
            for field in shape
        }
        return write_log(log), labels[side]

    return draw
