"""Defects of rows and of whole sets: what is seeded where, so that it can be looked for."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from benchmarks.defects_data.seeds import inserted, spoilers
from benchmarks.defects_data.sets import Kind, Row, kinds
from benchmarks.defects_data.shapes import broken

NOTHING = ("", " ", "   ", "\n\t", "\u200b", "\xa0")


@dataclass(frozen=True, slots=True)
class Seed:
    """One defect; it is found when any of its rows is named."""

    code: str
    rows: tuple[Row, ...]


class Sower:
    """Puts defects into a set of rows, no two into the same row."""

    def __init__(self, kind: Kind, rows: list[Row], chance: Random) -> None:
        self.kind = kind
        self.rows = rows
        self.seeds: list[Seed] = []
        self.held_out: list[Row] = []
        """Rows for the validation data."""
        self._chance = chance
        self._foreign = next(k for k in kinds() if k.name == kind.name and k != kind)
        self._clean = chance.sample(rows, len(rows))
        self._texts = [(row.input, row.output) for row in rows]

    def sow(self, each: int) -> None:
        """So many of each defect that rows of this kind can have."""
        for code, ways in _ways(self).items():
            for way in self._chance.choices(ways, k=each):
                way(code)

    # Each of these takes a row that is still clean.

    def _take(self) -> Row:
        return self._clean.pop()

    def _plant(self, code: str, *rows: Row) -> None:
        for row in rows:
            row.codes.append(code)
        self.seeds.append(Seed(code, rows))

    def _add(self, row: Row) -> None:
        self.rows.insert(self._chance.randint(0, len(self.rows)), row)

    def spoil(self, code: str) -> None:
        row = self._take()
        way = self._chance.choice(spoilers()[code])
        # A label or an object that is spoilt would be another defect as well.
        if self.kind.is_free and self._chance.random() < 0.5:
            row.output = way(self._chance, row.output, self.kind.language)
        else:
            row.input = way(self._chance, row.input, self.kind.language)
        self._plant(code, row)

    def empty_output(self, code: str) -> None:
        row = self._take()
        row.output = self._chance.choice(NOTHING)
        self._plant(code, row)

    def empty_input(self, code: str) -> None:
        row = self._take()
        row.input, row.before, row.system = self._chance.choice(NOTHING), (), ""
        self._plant(code, row)

    def unreadable(self, code: str) -> None:
        row = self._take()
        row.broken = self._chance.choice(list(broken(self.kind, row)))
        self._plant(code, row)

    def _longer(self, characters: int, side: Literal[0, 1] = 0) -> str:
        """Inputs or outputs of the set, one after another."""
        text = ""
        while len(text) <= characters:
            text += " " + self._chance.choice(self._texts)[side]
        return text.strip()

    def long_input(self, code: str) -> None:
        row = self._take()
        row.input = self._longer(self._chance.randint(40_001, 60_000))
        self._plant(code, row)

    def long_output(self, code: str) -> None:
        row = self._take()
        row.output = self._longer(self._chance.randint(5_001, 9_000), side=1)
        self._plant(code, row)

    def over_context(self, code: str) -> None:
        row = self._take()
        row.input = self._longer(self._chance.randint(8_000, 30_000))
        self._plant(code, row)

    def unlearned(self, code: str) -> None:
        row = self._take()
        row.learned = False
        self._plant(code, row)

    def duplicate(self, code: str) -> None:
        row = self._take()
        copied = copy.deepcopy(row)
        self._add(copied)
        self._plant(code, row, copied)

    def near_duplicate(self, code: str) -> None:
        row = self._take()
        while len(row.input.split()) < 10:
            row = self._take()
        copied = copy.deepcopy(row)
        copied.input = self._chance.choice(_ALIKE)(self._chance, row.input, self.kind)
        self._add(copied)
        self._plant(code, row, copied)

    def contradiction(self, code: str) -> None:
        row = self._take()
        others = [other.output for other in self._clean[:50] if other.output != row.output]
        copied = copy.deepcopy(row)
        copied.output = self._chance.choice(others)
        self._add(copied)
        self._plant(code, row, copied)

    def echo(self, code: str) -> None:
        row = self._take()
        row.output = row.input
        self._plant(code, row)

    def leak(self, code: str) -> None:
        row = self._take()
        copied = copy.deepcopy(row)
        copied.input = self._chance.choice(
            (row.input, row.input, row.input.upper(), f" {row.input}!")
        )
        self.held_out.append(copied)
        self._plant(code, row)

    def near_label(self, code: str) -> None:
        row = self._take()
        row.output = self._chance.choice(_MISSPELT)(self._chance, row.output)
        self._plant(code, row)

    def no_json(self, code: str) -> None:
        row = self._take()
        said = row.output
        row.output = self._chance.choice(
            (
                said[: self._chance.randint(len(said) // 2, len(said) - 1)],
                said.replace('"', "'"),
                said[:-1] + ",}",
                said.replace('": ', '" '),
                f"Here you are: {said}",
                f"{said}\n{said}",
                said.replace('"', "“"),
                "N/A",
                "; ".join(f"{name}: {value}" for name, value in json.loads(said).items()),
            )
        )
        self._plant(code, row)

    def other_case(self, code: str) -> None:
        row = self._take()
        while not row.output[0].isupper():
            row = self._take()
        row.output = row.output[0].lower() + row.output[1:]
        self._plant(code, row)

    def other_stop(self, code: str) -> None:
        row = self._take()
        if self.kind.is_free:
            while not row.output[-2:-1].isalnum():  # After a bracket it is a matter of taste.
                row = self._take()
            row.output = row.output.rstrip(".!?")
        else:
            row.output += "."
        self._plant(code, row)

    def outlier(self, code: str) -> None:
        row = self._take()
        if self.kind.labels:
            row.output = self._longer(400)
        elif self._chance.random() < 0.5:
            row.output = "OK." if self.kind.language == "en" else "Да."
        else:
            usual = sorted(len(output) for _, output in self._texts)[len(self._texts) // 2]
            row.output = self._longer(20 * usual, side=1)[:4900].rstrip(" .") + "."
        self._plant(code, row)

    def other_language(self, code: str) -> None:
        row = self._take()
        if self.kind.name == "translation":
            row.output = self._take().input
        else:
            foreign = self._foreign.rows(self._chance.random(), 1)[0]
            row.input, row.output = foreign.input, foreign.output
            row.before, row.system = foreign.before, foreign.system
        self._plant(code, row)


def _ways(sower: Sower) -> dict[str, list[Callable[[str], None]]]:
    """By code, for the defects that make sense in this kind of set."""
    kind = sower.kind
    ways: dict[str, Callable[[str], None]] = dict.fromkeys(spoilers(), sower.spoil)
    ways |= {
        "K101": sower.empty_output,
        "K102": sower.empty_input,
        "K103": sower.unreadable,
        "K104": sower.long_input,
        "K105": sower.long_output,
        "K106": sower.over_context,
        "K201": sower.duplicate,
        "K202": sower.near_duplicate,
        "K203": sower.contradiction,
        "K204": sower.echo,
        "K205": sower.leak,
    }
    if kind.shape in ("messages", "sharegpt"):
        ways["K107"] = sower.unlearned
    if kind.shape == "instruction":
        del ways["K102"]  # The instruction is there in any case.
    if kind.name == "facts":
        del ways["K202"]  # Texts so short differ by more than a slip, or are the same.
    if kind.name == "commands":
        del ways["K403"]  # Commands have its signs for reasons of their own.
    if kind.labels:
        ways["K302"] = sower.near_label
    if kind.name == "extraction":
        ways["K303"] = sower.no_json
    if kind.is_free:
        ways |= {"K304": sower.other_case, "K305": sower.other_stop, "K306": sower.outlier}
    if kind.name == "sentiment":
        ways["K306"] = sower.outlier
    if kind.is_free:
        ways["K401"] = sower.other_language
    return {code: [way] for code, way in ways.items()}


# Almost the same text, and almost the same label.


_FILLERS = {"en": ("really", "maybe", "again"), "ru": ("опять", "уже", "вообще")}


def _other_word(chance: Random, text: str, kind: Kind) -> str:
    """One word is another, or gone, or there is one more."""
    words = text.split(" ")
    place = chance.choice([at for at, word in enumerate(words) if word.isalpha() and len(word) > 2])
    filler = chance.choice(_FILLERS[kind.language])
    instead = chance.choice(([filler], [filler, words[place]], []))
    return " ".join([*words[:place], *instead, *words[place + 1 :]])


_ALIKE: tuple[Callable[[Random, str, Kind], str], ...] = (
    lambda chance, text, kind: text.lower() if text != text.lower() else text.upper(),
    lambda chance, text, kind: text.upper(),
    lambda chance, text, kind: text.replace(".", "").replace(",", "") + "!",
    lambda chance, text, kind: text.replace(" ", "  ", chance.randint(1, 5)) + " ",
    _other_word,
    _other_word,
    lambda chance, text, kind: inserted(chance, text, "-"),
)


def _slip(chance: Random, label: str) -> str:
    place = chance.randrange(1, len(label))
    return chance.choice(
        (
            label[:place] + label[place + 1 :],
            label[:place] + label[place - 1] + label[place:],
            label[: place - 1] + label[place] + label[place - 1] + label[place + 1 :],
        )
    )


_TWINS = str.maketrans("aeocpxаеосрх", "аеосрхaeocpx")
"""Latin and Cyrillic letters that look the same."""


def _other(label: str, misspelt: str) -> str:
    """Two equal letters can change places without a slip."""
    return misspelt if misspelt != label else label + label[-1]


_MISSPELT: tuple[Callable[[Random, str], str], ...] = (
    lambda chance, label: label.upper(),
    lambda chance, label: label.capitalize() if label[0].islower() else label.lower(),
    lambda chance, label: label + chance.choice((" ", "\n", ".", "!", "\xa0")),
    lambda chance, label: f" {label}",
    lambda chance, label: f'"{label}"',
    lambda chance, label: _other(label, _slip(chance, label)),
    lambda chance, label: label.translate(_TWINS),
)
