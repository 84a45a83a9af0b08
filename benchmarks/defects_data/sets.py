"""Clean sets of examples: ten kinds of tasks, each in English and Russian."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from types import ModuleType
from typing import Literal

from benchmarks.defects_data import english, russian
from benchmarks.defects_data.writing import LANGUAGES, Language, Writer, told

Shape = Literal["pairs", "prompt", "instruction", "messages", "contents", "sharegpt", "inline"]
"""How a set is written down; `inline` are the rows of a request, the others JSON lines."""


@dataclass(eq=False, slots=True)
class Row:
    """One row of a set, before it is written down."""

    input: str
    output: str
    system: str = ""
    before: tuple[tuple[str, str], ...] = ()
    """Earlier questions and answers."""
    learned: bool = True
    """Whether any of its answers has a weight other than 0."""
    broken: str | dict[str, object] | None = None
    """What stands in its place, when it cannot be read: a line, or an object."""
    codes: list[str] = field(default_factory=list)
    """Of the defects in it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One task in one language."""

    name: str
    language: Language
    shape: Shape
    make: Callable[[Writer], Row]

    @property
    def labels(self) -> tuple[str, ...]:
        """The outputs of a classification; none for other tasks."""
        return tuple(_words(self.language).LABELS.get(self.name, {}).values())

    @property
    def is_free(self) -> bool:
        """Whether outputs are sentences."""
        return self.name in ("support", "long", "dialogs", "translation")

    def rows(self, seed: object, count: int) -> list[Row]:
        """So many rows, each input once."""
        writer = Writer(Random(f"{self.name} {self.language} {seed}"), self.language)
        rows: dict[str, Row] = {}
        for _ in range(count * 5):
            writer.fixed = {}
            row = self.make(writer)
            rows.setdefault(asked(row).casefold(), row)
            if len(rows) == count:
                break
        return list(rows.values())


def asked(row: Row) -> str:
    """All that leads to the last answer."""
    turns = [row.system, *(text for turn in row.before for text in turn), row.input]
    return "\n\n".join(filter(None, turns))


def _words(language: Language) -> ModuleType:
    return english if language == "en" else russian


def _support(writer: Writer) -> Row:
    writer.fix("product", "order", "city", "tracking")
    return Row(writer.slot("support_in"), writer.slot("support_out"))


def _dialog(writer: Writer) -> Row:
    system = writer.slot("dialog_system") if writer.chance.random() < 0.7 else ""
    writer.fix("product", "order", "city")
    before = tuple(
        (writer.slot("support_in"), writer.slot("support_out"))
        for _ in range(writer.chance.choice((1, 1, 2)))
    )
    last = writer.write("{detail} {ask}")
    return Row(last, writer.slot("support_out"), system, before)


def _labelled(name: str) -> Callable[[Writer], Row]:
    def make(writer: Writer) -> Row:
        labels = _words(writer.language).LABELS[name]
        shares = [5, 4, 3, 3, 2][: len(labels)]
        slot = writer.chance.choices(list(labels), shares)[0]
        if name != "logs":
            return Row(writer.slot(slot), labels[slot])
        # The first and the last line are empty: often nothing is asked, the line stands alone.
        ask = writer.chance.choice(_words(writer.language).GRAMMAR["log_ask"].split("\n"))
        return Row(ask + writer.write(f"{{log_head}} {{{slot}}}"), labels[slot])

    return make


def _extraction(writer: Writer) -> Row:
    writer.fix("person", "city", "item", "quantity", "price", "date")
    names = ("person", "city", "item", "quantity", "price", "date")
    fields: dict[str, object] = {name: writer.fixed[name] for name in names}
    fields["quantity"] = int(writer.fixed["quantity"])
    return Row(writer.slot("order_in"), json.dumps(fields, ensure_ascii=False))


def _long(writer: Writer) -> Row:
    return Row(writer.slot("long_in"), writer.slot("long_out"))


def _translation(writer: Writer) -> Row:
    sentences = [told(writer.chance) for _ in range(writer.chance.choice((1, 2, 2, 3)))]
    said, translated = (" ".join(both[side] for both in sentences) for side in LANGUAGES)
    return Row(translated, said) if writer.language == "en" else Row(said, translated)


def _facts(writer: Writer) -> Row:
    words, chance = _words(writer.language), writer.chance
    kind = chance.choices(list(words.QUESTIONS), [3, 5, 5, 4, 4, 3, 3])[0]
    country, capital = chance.choice(words.CAPITALS.split("|")).split()
    a, b, c = chance.randint(3, 59), chance.randint(2, 59), chance.randint(1000, 999_999)
    answers = {
        "capital": capital,
        "sum": str(a + b),
        "product": str(a * b),
        "grams": str(1000 * a + b),
        "minutes": str(60 * a + b),
        "compare": str(max(a, b)),
        "backwards": str(c)[::-1],
    }
    writer.fixed = {"country": country, "a": str(a), "b": str(b), "c": str(c)}
    question = writer.write(chance.choice(words.QUESTIONS[kind].split("\n")))
    return Row(question, words.ANSWERS.get(kind, "{}").format(answers[kind]))


_COMMANDS = """show the last {number} lines of {path}
покажи последние {number} строк {path}
tail -n {number} {path}

count the lines of {path}
посчитай строки в {path}
wc -l < {path}

delete files older than {small} days in {path}
удали файлы старше {small} дней в {path}
find {path} -mtime +{small} -delete

all users from {city} younger than {number}
все пользователи из города {city} моложе {number}
SELECT name FROM users WHERE city = '{city}' AND age < {number};

undo the last {small} commits
отмени последние {small} коммитов
git reset --hard HEAD~{small}

which process listens on port {port}
какой процесс слушает порт {port}
ss -ltnp | grep :{port}

copy {path} to the host {ip}
скопируй {path} на хост {ip}
scp {path} root@{ip}:/srv/

the orders of {year} with their sums
заказы за {year} год с суммами
SELECT id, SUM(price) AS total FROM orders WHERE year = {year} GROUP BY id;

replace {letter}_{number} by {letter}_{small} in {path}
замени {letter}_{number} на {letter}_{small} в {path}
sed -i 's/{letter}_{number}/{letter}_{small}/g' {path}

show the pods of node-{number}
покажи поды узла node-{number}
kubectl get pods -A --field-selector spec.nodeName=node-{number}

a list of the squares up to {number}
список квадратов до {number}
squares = [n ** 2 for n in range({number})]

is x between {small} and {number}
лежит ли x между {small} и {number}
if {small} < x and x < {number}: print("yes")

fetch {url} and keep the answer
скачай {url} и сохрани ответ
curl -sSL '{url}' -o answer_{small}.bin

stop the container web_{number}
останови контейнер web_{number}
docker stop web_{number} && docker rm web_{number}"""
_WISHES = {
    "en": "I need a command: \nPlease: \nWith a short command, \n\nOn the test server: ",
    "ru": "Нужна команда: \nПожалуйста: \nОдной командой: \n\nНа тестовом сервере: ",
}


def _command(writer: Writer) -> Row:
    names = ["number", "path", "small", "city", "port", "ip", "year", "letter", "url"]
    writer.fix(*names)
    wish, own, command = writer.chance.choice(_COMMANDS.split("\n\n")).split("\n")
    asked_for = wish if writer.language == "en" else own
    before = writer.chance.choice(_WISHES[writer.language].split("\n"))
    return Row(before + writer.write(asked_for), writer.write(command))


_MAKERS: dict[str, tuple[Shape, Callable[[Writer], Row]]] = {
    "support": ("pairs", _support),
    "logs": ("messages", _labelled("logs")),
    "sentiment": ("pairs", _labelled("sentiment")),
    "intents": ("inline", _labelled("intents")),
    "facts": ("prompt", _facts),
    "extraction": ("instruction", _extraction),
    "translation": ("contents", _translation),
    "long": ("pairs", _long),
    "dialogs": ("messages", _dialog),
    "commands": ("sharegpt", _command),
}


def kinds() -> Iterator[Kind]:
    for name, (shape, make) in _MAKERS.items():
        for language in LANGUAGES:
            yield Kind(name, language, shape, make)
