"""Candidates that answer by rule, and a clock that moves when they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kamerton.card import Who
from kamerton.types import Content, Example

Rule = Callable[[str], str]
"""From the last turn to the answer."""


@dataclass
class Candidates:
    """`generate` and `clock` of a card; every answer takes so many seconds."""

    rules: dict[Who, Rule]
    pace: float = 0.0
    now: float = 100.0
    asked: list[tuple[Who, Sequence[Content]]] = field(default_factory=list)

    def generate(self, who: Who, prompts: Sequence[Sequence[Content]]) -> list[str]:
        self.now += self.pace * len(prompts)
        self.asked += [(who, prompt) for prompt in prompts]
        return [self.rules[who](prompt[-1].text) for prompt in prompts]

    def clock(self) -> float:
        return self.now

    def count(self, who: Who) -> int:
        return sum(name == who for name, _ in self.asked)


def labelled(count: int) -> list[Example]:
    """Messages, every third of them spam."""
    return [
        Example.pair(f"message {number}", "ham" if number % 3 else "spam")
        for number in range(count)
    ]


def knows_spam(text: str) -> str:
    return "ham" if int(text.split()[1]) % 3 else "Spam."
