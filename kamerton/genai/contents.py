"""What is said: contents with their parts, from every form in which they are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kamerton.client.connection import Json

USER, MODEL = "user", "model"


@dataclass
class Part:
    """A piece of text; models here read and write nothing else."""

    text: str = ""


@dataclass
class Content:
    """One turn of a conversation."""

    parts: list[Part] = field(default_factory=list)
    role: str = ""
    """`user` or `model`; empty counts as the user."""

    def to_wire(self) -> Json:
        parts = [{"text": part.text} for part in self.parts]
        return {"role": self.role, "parts": parts} if self.role else {"parts": parts}


def to_contents(given: Any) -> list[Content]:
    """A conversation: turns as Content or as dicts with `parts`; all else is one turn."""
    if given is None:
        return []
    if _is_turn(given) or isinstance(given, str | Mapping | Part):
        return [to_content(given)]
    items = list(given)
    if all(map(_is_turn, items)):
        return [to_content(item) for item in items]
    return [to_content(items)]


def to_content(given: Any) -> Content:
    """One turn: text, a part, a list of them, or what is a turn already."""
    if isinstance(given, Content):
        return given
    if not given:
        raise ValueError("a turn must not be empty")
    if isinstance(given, Mapping) and "parts" in given:
        parts = given["parts"]
        return Content(_parts(parts), given.get("role") or "")
    return Content(_parts(given))


def _is_turn(given: Any) -> bool:
    return isinstance(given, Content) or (isinstance(given, Mapping) and "parts" in given)


def _parts(given: Any) -> list[Part]:
    many = isinstance(given, Iterable) and not isinstance(given, str | Mapping)
    return [_part(each) for each in given] if many else [_part(given)]


def _part(given: Any) -> Part:
    if isinstance(given, Part):
        return given
    if isinstance(given, Mapping) and set(given) == {"text"}:
        given = given["text"]
    if not isinstance(given, str):
        raise TypeError(f"models here read text only, not {given!r}")
    return Part(given)
