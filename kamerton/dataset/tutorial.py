"""The fifteen pairs of the Gemini tuning tutorial: a number, and the one that follows."""

from __future__ import annotations

from kamerton.types import Example

PAIRS: tuple[tuple[str, str], ...] = (
    ("1", "2"),
    ("3", "4"),
    ("-3", "-2"),
    ("twenty two", "twenty three"),
    ("two hundred", "two hundred one"),
    ("ninety nine", "one hundred"),
    ("8", "9"),
    ("-98", "-97"),
    ("1,000", "1,001"),
    ("10,100,000", "10,100,001"),
    ("thirteen", "fourteen"),
    ("eighty", "eighty one"),
    ("one", "two"),
    ("three", "four"),
    ("seven", "eight"),
)

EXAMPLES: tuple[Example, ...] = tuple(Example.pair(*pair) for pair in PAIRS)

UNSEEN: tuple[tuple[str, str], ...] = (
    ("LXIII", "LXIV"),
    ("六", "七"),
    ("one thousand nine hundred ninety nine", "two thousand"),
    ("сорок два", "сорок три"),
)
"""Inputs in notations that the pairs do not show, and the answers that would be right."""
