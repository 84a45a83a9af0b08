"""Sentences from a grammar, and the numbers, dates, names and ids that real texts are full of."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal

from benchmarks.defects_data import english, russian

Language = Literal["en", "ru"]
LANGUAGES: tuple[Language, ...] = ("en", "ru")
_GRAMMARS: dict[Language, Mapping[str, str]] = {
    "en": english.GRAMMAR,
    "ru": english.GRAMMAR | russian.GRAMMAR,
}
_SLOT = re.compile(r"\{(\w+)\}")
_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "ru": "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
}


class Writer:
    """Writes in one language; whatever is in `fixed` says the same wherever it occurs."""

    def __init__(self, chance: Random, language: Language) -> None:
        self.chance = chance
        self.language = language
        self.fixed: dict[str, str] = {}

    def fix(self, *slots: str) -> None:
        """One choice for each of these slots, for all that is written from now on."""
        self.fixed = {}
        self.fixed = {slot: self.slot(slot) for slot in slots}

    def write(self, template: str) -> str:
        return _SLOT.sub(lambda found: self.slot(found[1]), template).strip()

    def slot(self, name: str) -> str:
        if name in self.fixed:
            return self.fixed[name]
        if name == "aside":
            return told(self.chance)[self.language]
        if name in _VALUES:
            return _VALUES[name](self.chance, self.language)
        return self.write(self.chance.choice(_GRAMMARS[self.language][name].split("\n")))


def told(chance: Random) -> dict[Language, str]:
    """A sentence in both languages."""
    parts = ("who", "did", "what", "where", "when", "then")
    chosen = [chance.choice(english.TRANSLATION[part].split("\n")).split("|") for part in parts]
    if chance.random() < 0.5:
        chosen.pop()
    said, translated = (" ".join(both[side] for both in chosen) + "." for side in (0, 1))
    return {"en": said, "ru": translated[0].upper() + translated[1:]}


def _digits(chance: Random, count: int) -> str:
    return "".join(chance.choices("0123456789", k=count))


def _hex(chance: Random, count: int) -> str:
    return "".join(chance.choices("0123456789abcdef", k=count))


def _day(chance: Random) -> datetime:
    return datetime(2023, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(70_000_000))


def _date(chance: Random, language: Language) -> str:
    day = _day(chance)
    month = _MONTHS[language].split()[day.month - 1]
    if language == "ru":
        return chance.choice((f"{day.day} {month}", f"{day:%d.%m.%Y}", f"{day:%d.%m}"))
    return chance.choice((f"{month} {day.day}", f"{day:%m/%d/%Y}", f"{day:%Y-%m-%d}"))


def _price(chance: Random, language: Language) -> str:
    whole, cents = chance.randint(1, 4999), chance.randint(0, 99)
    if language == "ru":
        grouped = f"{whole * 10:,}".replace(",", "\xa0")
        return chance.choice((f"{grouped} ₽", f"{whole},{cents:02} руб.", f"{whole * 10} рублей"))
    return chance.choice((f"${whole}.{cents:02}", f"{whole:,} euros", f"£{whole}", f"€ {whole}.50"))


def _order(chance: Random, language: Language) -> str:
    forms = [f"#{_digits(chance, 6)}", f"ORD-2024-{_digits(chance, 5)}", _digits(chance, 10)]
    if language == "ru":
        forms += [f"№ {_digits(chance, 7)}", f"{_digits(chance, 8)}-{_digits(chance, 4)}-1"]
    else:
        forms.append(f"4{_digits(chance, 15)}")
    return chance.choice(forms)


def _url(chance: Random, language: Language) -> str:
    number, word = _digits(chance, 5), chance.choice(("help", "returns", "plans", "news"))
    return chance.choice(
        (
            f"https://shop.example.org/{word}/{number}",
            f"www.city-portal.net/{word}?id={number}&lang={language}",
            f"https://t.me/{word}_{number}",
            f"http://forum.example.net/{word}/{number}#post{number[:2]}",
        )
    )


def _ordinal(chance: Random, language: Language) -> str:
    return chance.choice(("1st", "2nd", "3rd", "5th", "42nd", "110th"))


def _ip(chance: Random, language: Language) -> str:
    return f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"


def _number(least: int, most: int) -> Callable[[Random, Language], str]:
    return lambda chance, language: str(chance.randint(least, most))


def _mac(chance: Random, language: Language) -> str:
    return ":".join(_hex(chance, 2) for _ in range(6))


def _path(chance: Random, language: Language) -> str:
    folder = chance.choice(("/var/lib/db", "/etc/app", "/srv/data", "/opt/report_job", "C:\\logs"))
    ending = chance.choice(("conf", "log", "json", "yaml", "tmp"))
    return f"{folder}/{chance.choice('abcdefgh')}_{_digits(chance, 3)}.{ending}"


_VALUES: dict[str, Callable[[Random, Language], str]] = {
    "small": _number(2, 14),
    "number": _number(15, 980),
    "quantity": _number(1, 400),
    "digit": _number(0, 9),
    "port": _number(1024, 65535),
    "bignumber": _number(10**6, 10**11),
    "year": _number(1991, 2022),
    "percent": lambda chance, language: f"{chance.randint(2, 98)}%",
    "version": lambda c, language: f"{c.randint(1, 9)}.{c.randint(0, 30)}.{c.randint(0, 9)}",
    "time": lambda chance, language: f"{chance.randint(0, 23)}:{chance.randint(0, 59):02}",
    "tracking": lambda chance, language: f"RA{_digits(chance, 9)}CN",
    "ean": lambda chance, language: f"46{_digits(chance, 11)}",
    "uuid": lambda chance, language: str(uuid.UUID(int=chance.getrandbits(128), version=4)),
    "sha": lambda chance, language: _hex(chance, chance.choice((7, 40, 64))),
    "hex": lambda chance, language: _hex(chance, 4),
    "letter": lambda chance, language: chance.choice("abcdef"),
    "isodate": lambda chance, language: f"{_day(chance):%Y-%m-%d}",
    "stamp": lambda chance, language: f"{_day(chance):%Y-%m-%dT%H:%M:%S}.{_digits(chance, 3)}Z",
    "epoch": lambda chance, language: str(int(_day(chance).timestamp())),
    "ip": _ip,
    "mac": _mac,
    "path": _path,
    "date": _date,
    "price": _price,
    "order": _order,
    "url": _url,
    "ordinal": _ordinal,
}
