"""Safety settings and ratings. No safety model runs in Kamerton: they are read and answered as
clients expect, and change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

from kamerton.client.connection import Json

T = TypeVar("T", bound=IntEnum)


class HarmCategory(IntEnum):
    HARM_CATEGORY_UNSPECIFIED = 0
    HARM_CATEGORY_HARASSMENT = 7
    HARM_CATEGORY_HATE_SPEECH = 8
    HARM_CATEGORY_SEXUALLY_EXPLICIT = 9
    HARM_CATEGORY_DANGEROUS_CONTENT = 10
    HARM_CATEGORY_CIVIC_INTEGRITY = 11


class HarmBlockThreshold(IntEnum):
    HARM_BLOCK_THRESHOLD_UNSPECIFIED = 0
    BLOCK_LOW_AND_ABOVE = 1
    BLOCK_MEDIUM_AND_ABOVE = 2
    BLOCK_ONLY_HIGH = 3
    BLOCK_NONE = 4
    OFF = 5


class HarmProbability(IntEnum):
    HARM_PROBABILITY_UNSPECIFIED = 0
    NEGLIGIBLE = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4


@dataclass
class SafetyRating:
    category: HarmCategory = HarmCategory.HARM_CATEGORY_UNSPECIFIED
    probability: HarmProbability = HarmProbability.HARM_PROBABILITY_UNSPECIFIED
    blocked: bool = False


def to_settings(given: Any) -> dict[HarmCategory, HarmBlockThreshold]:
    """One threshold for every category, a mapping from category to threshold, or a list of
    dicts with `category` and `threshold`."""
    if given is None:
        return {}
    if isinstance(given, str | int):
        return {
            category: _found(HarmBlockThreshold, given) for category in HarmCategory if category
        }
    pairs: Iterable[tuple[Any, Any]] = (
        given.items()
        if isinstance(given, Mapping)
        else ((each["category"], each["threshold"]) for each in given)
    )
    return {
        _found(HarmCategory, category, "HARM_CATEGORY_"): _found(HarmBlockThreshold, threshold)
        for category, threshold in pairs
    }


def to_wire(settings: Mapping[HarmCategory, HarmBlockThreshold]) -> list[Json]:
    return [{"category": c.name, "threshold": t.name} for c, t in settings.items()]


def _found(kind: type[T], value: str | int, prefix: str = "") -> T:
    """By number, or by name in any case; of a category also the beginning of its name."""
    if isinstance(value, int):
        return kind(value)
    name = prefix + value.upper().removeprefix(prefix)
    for each in kind:
        if each.name == name or (prefix and name != prefix and each.name.startswith(name)):
            return each
    raise ValueError(f"{value!r} is no {kind.__name__}")
