"""What tuning cost elsewhere: short questions that ship with the product, to both models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec

from kamerton.card import Forgetting, Lost, Who
from kamerton.evaluation.asking import Generate
from kamerton.evaluation.texts import cut
from kamerton.types import Content, Example

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Probe:
    """A question and the answers that are right."""

    input: str
    answers: tuple[str, ...]


@cache
def probes() -> tuple[Probe, ...]:
    """The same for every model, so that cards can be compared."""
    lines = files("kamerton.evaluation").joinpath("probes.jsonl").read_bytes()
    return tuple(msgspec.json.Decoder(Probe).decode_lines(lines))


def examples() -> list[Example]:
    """The probes with their first right answer, to measure a loss on."""
    return [Example.pair(probe.input, probe.answers[0]) for probe in probes()]


def knows(probe: Probe, answer: str) -> bool:
    """Whether an answer says a right one, be it among other words.

    A repeated question does not count: who says all of it again knows nothing.
    """
    said = _words(answer).replace(_words(probe.input), " ")
    return any(_words(right) in said for right in probe.answers)


def forgetting(generate: Generate, losses: Mapping[Who, float]) -> Forgetting:
    """Base and tuned model on all probes, so that cards can be compared: a few short questions."""
    prompts = [[Content("user", probe.input)] for probe in probes()]
    return _compared(probes(), generate("base", prompts), generate("tuned", prompts), losses)


def _compared(
    asked: Sequence[Probe],
    base: Sequence[str],
    tuned: Sequence[str],
    losses: Mapping[Who, float],
) -> Forgetting:
    rows = list(zip(asked, base, tuned, strict=True))
    known = [row for row in rows if knows(row[0], row[1])]
    lost = tuple(
        Lost(probe.input, probe.answers[0], cut(before), cut(after))
        for probe, before, after in known
        if not knows(probe, after)
    )
    return Forgetting(
        probe_count=len(rows),
        base_right=len(known),
        tuned_right=sum(knows(probe, after) for probe, _, after in rows),
        still_right=len(known) - len(lost),
        base_loss=losses.get("base"),
        tuned_loss=losses.get("tuned"),
        lost=lost,
    )


def _words(text: str) -> str:
    """The words of a text between spaces, without case and signs."""
    return f" {' '.join(_WORD.findall(text.casefold().replace('ё', 'е')))} "
