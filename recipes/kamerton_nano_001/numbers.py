"""Numbers in the notations that the model counts in, and which successor pairs it never sees."""

# ruff: noqa: SIM905 - lists of words read best as sentences

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

_EN_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_EN_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
_RU_ONES = (
    "ноль один два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать "
    "тринадцать четырнадцать пятнадцать шестнадцать семнадцать восемнадцать девятнадцать"
).split()
_RU_TENS = (
    "- - двадцать тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто"
).split()
_RU_HUNDREDS = (
    "- сто двести триста четыреста пятьсот шестьсот семьсот восемьсот девятьсот"
).split()
_ROMAN = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"),
    (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip
_KANJI = " 一二三四五六七八九"
_KANJI_UNITS = ((1000, "千"), (100, "百"), (10, "十"))


def digits(number: int) -> str:
    return str(number)


def commas(number: int) -> str:
    return f"{number:,}"


def english(number: int) -> str:
    """`one thousand nine hundred ninety nine`: no "and", no hyphens."""
    if number < 20:
        return _EN_ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _EN_TENS[tens] + (f" {_EN_ONES[ones]}" if ones else "")
    for unit, name in ((1_000_000, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= unit:
            count, rest = divmod(number, unit)
            return f"{english(count)} {name}" + (f" {english(rest)}" if rest else "")
    raise ValueError(number)


def _russian_thousands(count: int) -> str:
    words = russian(count).split()
    words[-1] = {"один": "одна", "два": "две"}.get(words[-1], words[-1])
    if 10 < count % 100 < 20:
        form = "тысяч"
    else:
        form = {1: "тысяча", 2: "тысячи", 3: "тысячи", 4: "тысячи"}.get(count % 10, "тысяч")
    return form if count == 1 else " ".join([*words, form])


def russian(number: int) -> str:
    """Russian words below a million; one thousand is plain `тысяча`."""
    if number < 20:
        return _RU_ONES[number]
    parts = []
    if number >= 1000:
        parts.append(_russian_thousands(number // 1000))
    hundreds, rest = divmod(number % 1000, 100)
    if hundreds:
        parts.append(_RU_HUNDREDS[hundreds])
    if rest >= 20:
        parts.append(_RU_TENS[rest // 10])
        rest %= 10
    if rest:
        parts.append(_RU_ONES[rest])
    return " ".join(parts)


def roman(number: int) -> str:
    text = ""
    for value, letters in _ROMAN:
        count, number = divmod(number, value)
        text += letters * count
    return text


def kanji(number: int) -> str:
    """Japanese numerals below ten thousand; a unit's leading 一 is not written."""
    text = ""
    for unit, sign in _KANJI_UNITS:
        count, number = divmod(number, unit)
        if count:
            text += (_KANJI[count] if count > 1 else "") + sign
    return text + (_KANJI[number] if number else "")


@dataclass(frozen=True)
class Notation:
    """One way to write numbers, and how often each size of number is drawn."""

    name: str
    write: Callable[[int], str]
    lowest: int
    highest: int
    weight: float
    ranges: tuple[tuple[float, int, int], ...]

    def draw(self, rng: Random) -> int:
        """A number of this notation, small ones and carries more often."""
        (low, high) = rng.choices(
            [(low, high) for _, low, high in self.ranges], [weight for weight, _, _ in self.ranges]
        )[0]
        number = rng.randint(low, high)
        if rng.random() < 0.3:
            number = _pull_to_carry(number, rng)
        return min(max(number, self.lowest), self.highest)


def _pull_to_carry(number: int, rng: Random) -> int:
    """Sets the last digits so that the successor changes more than one of them."""
    unit = 10 ** rng.choices((1, 2, 3), (5, 3, 2))[0]
    if abs(number) < unit // 2:
        unit = 10
    if number < 0:
        return -(abs(number) // unit) * unit
    return number // unit * unit + unit - 1


NOTATIONS = (
    Notation("digits", digits, -99_999, 9_999_999, 30, (
        (28, 0, 99), (16, 100, 999), (16, 1000, 9999), (7, 10_000, 99_999),
        (8, 100_000, 999_999), (7, 1_000_000, 9_999_999),
        (13, -99, -1), (10, -999, -100), (5, -9999, -1000),
    )),
    Notation("commas", commas, 1000, 99_999_999, 9, (
        (5, 1000, 9999), (3, 10_000, 999_999), (2, 1_000_000, 99_999_999),
    )),
    Notation("English", english, 0, 999_999, 21, (
        (42, 0, 99), (27, 100, 999), (25, 1000, 9999), (6, 10_000, 999_999),
    )),
    Notation("Russian", russian, 0, 99_999, 12, (
        (50, 0, 99), (36, 100, 999), (12, 1000, 9999), (2, 10_000, 99_999),
    )),
    Notation("Roman", roman, 1, 3998, 15, ((52, 1, 100), (48, 101, 3998))),
    Notation("Japanese", kanji, 1, 9998, 12, ((52, 1, 99), (18, 100, 999), (30, 1000, 9998))),
)  # fmt: skip
BY_NAME = {notation.name: notation for notation in NOTATIONS}


def held_out(notation: str, number: int) -> bool:
    """Whether `number -> number + 1` is never shown upward: one in ten from 20."""
    return number >= 20 and zlib.crc32(f"nano/{notation}/{number}".encode()) % 10 == 0


def draw_notation(rng: Random) -> Notation:
    return rng.choices(NOTATIONS, [notation.weight for notation in NOTATIONS])[0]


def draw_start(notation: Notation, rng: Random) -> int:
    """A number whose successor pair is not held out."""
    while True:
        number = notation.draw(rng)
        if not held_out(notation.name, number):
            return number
