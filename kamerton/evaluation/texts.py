"""Texts as a card shows them."""

from __future__ import annotations

MOST_CHARACTERS = 2000


def cut(text: str) -> str:
    """A text, or its beginning with an ellipsis."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
