"""Named tasks of the corpus: each turns an input into an output, and some can be asked in words."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from recipes.kamerton_nano_001 import chat, logs
from recipes.kamerton_nano_001.numbers import (
    BY_NAME,
    NOTATIONS,
    Notation,
    draw_notation,
    draw_start,
    held_out,
)
from recipes.kamerton_nano_001.words import (
    ALPHABETS,
    ANTONYMS,
    CATEGORIES_RU,
    CITIES,
    CYCLES,
    DICTIONARY,
    ITEMS,
    LABEL_PAIRS,
    NAMES,
    ROMAN_LETTERS,
)

Pair = tuple[str, str]
Draw = Callable[[Random], Pair]
Source = Callable[[Random], Draw]
"""Fixes what one document has in common (notations, labels), then draws its pairs."""


@dataclass(frozen=True)
class Task:
    """A task: its share of the documents, its pairs, and how it is asked in words."""

    name: str
    weight: float
    source: Source
    orders: tuple[str, ...] = ()


def steady(draw: Draw) -> Source:
    """A source whose documents have nothing in common but the task."""
    return lambda rng: draw


# Numbers


def _some_notations(rng: Random) -> list[Notation]:
    """The notations of one document: half the time all of them, else a few."""
    if rng.random() < 0.55:
        return list(NOTATIONS)
    return rng.sample(NOTATIONS, rng.choice((1, 1, 2, 3, 4)))


def _pick(notations: list[Notation], rng: Random) -> Notation:
    return rng.choices(notations, [notation.weight for notation in notations])[0]


def _numeric(convert: Callable[[Notation, int, Random], Pair]) -> Source:
    def source(rng: Random) -> Draw:
        notations = _some_notations(rng)
        return lambda r: convert(notation := _pick(notations, r), notation.draw(r), r)

    return source


def neighbours(rng: Random, step: int) -> Pair:
    """Neighbours in a sequence of words or letters; words go round, letters do not.

    A capital that is also a Roman numeral is never asked about.
    """
    if rng.random() < 0.6:
        cycle = rng.choice(CYCLES)
        index = rng.randrange(len(cycle))
        word, answer = cycle[index], cycle[(index + step) % len(cycle)]
        if rng.random() < 0.1 and word[0].isupper():
            return word.lower(), answer.lower()
        return word, answer
    alphabet = rng.choice(ALPHABETS)
    index = rng.randrange(max(0, -step), len(alphabet) - max(0, step))
    if alphabet[index] in ROMAN_LETTERS:
        return neighbours(rng, step)
    return alphabet[index], alphabet[index + step]


def successor(rng: Random) -> Draw:
    """Pairs n -> n + 1, never a held-out one; in a tenth of the turns a word of a sequence."""
    notations = _some_notations(rng)
    words = rng.choice((0.0, 0.15, 0.2, 1.0) if len(notations) < 3 else (0.0, 0.15, 0.2))

    def draw(r: Random) -> Pair:
        if r.random() < words:
            return neighbours(r, 1)
        notation = _pick(notations, r)
        number = draw_start(notation, r)
        return notation.write(number), notation.write(number + 1)

    return draw


def predecessor(rng: Random) -> Draw:
    notations = _some_notations(rng)

    def draw(r: Random) -> Pair:
        if r.random() < 0.08:
            return neighbours(r, -1)
        notation = _pick(notations, r)
        number = notation.draw(r)
        if number == notation.lowest:
            number += 1
        return notation.write(number), notation.write(number - 1)

    return draw


def _offset(step: int) -> Source:
    def convert(notation: Notation, number: int, rng: Random) -> Pair:
        number = min(number, notation.highest - step)
        return notation.write(number), notation.write(number + step)

    return _numeric(convert)


def _double(notation: Notation, number: int, rng: Random) -> Pair:
    if number * 2 > notation.highest:
        number //= 4
    number = max(number, notation.lowest, 1 if notation.name != "commas" else 1000)
    number = min(number, notation.highest // 2)
    return notation.write(number), notation.write(number * 2)


def _to(target: str) -> Source:
    """Rewriting a number in another notation."""

    def source(rng: Random) -> Draw:
        goal = BY_NAME[target]
        others = [n for n in NOTATIONS if n.name not in (target, "commas")]
        chosen = others if rng.random() < 0.5 else rng.sample(others, rng.choice((1, 2)))

        def draw(r: Random) -> Pair:
            notation = _pick(chosen, r)
            number = min(max(abs(notation.draw(r)), 1), goal.highest, 9999)
            return notation.write(min(number, notation.highest)), goal.write(
                min(number, notation.highest)
            )

        return draw

    return source


def _next_three(notation: Notation, number: int, rng: Random) -> Pair:
    while any(held_out(notation.name, number + step) for step in range(3)):
        number = notation.draw(rng)
    number = min(number, notation.highest - 3)
    if any(held_out(notation.name, number + step) for step in range(3)):
        return _next_three(notation, notation.draw(rng), rng)
    write = notation.write
    return write(number), ", ".join(write(number + step) for step in (1, 2, 3))


def _parity(odd: str, even: str) -> Source:
    return _numeric(lambda n, number, r: (n.write(number), odd if number % 2 else even))


def _size(notation: Notation, number: int, rng: Random) -> Pair:
    return notation.write(number), "big" if number >= 100 else "small"


# Words and texts


def _any_text(rng: Random) -> str:
    """Something short to copy or to transform."""
    kind = rng.randrange(4)
    if kind == 0:
        notation = draw_notation(rng)
        return notation.write(notation.draw(rng))
    if kind == 1:
        return rng.choice(DICTIONARY)[rng.randrange(2)]
    return _phrase(rng)


def _phrase(rng: Random, least: int = 2) -> str:
    language = rng.randrange(2)
    return " ".join(rng.choice(DICTIONARY)[language] for _ in range(rng.randint(least, 4)))


def _word(rng: Random) -> str:
    return rng.choice(DICTIONARY)[rng.randrange(2)]


def _on(text: Callable[[Random], str], change: Callable[[str], str]) -> Source:
    def draw(rng: Random) -> Pair:
        drawn = text(rng)
        return drawn, change(drawn)

    return steady(draw)


def _entry(asked: int, answer: int) -> Source:
    def draw(rng: Random) -> Pair:
        entry = rng.choice(DICTIONARY)
        return entry[asked], entry[answer]

    return steady(draw)


def _category(rng: Random) -> Pair:
    english, russian, category = rng.choice(DICTIONARY)
    if rng.random() < 0.5:
        return english, category
    return russian, CATEGORIES_RU[category]


def _antonym(rng: Random) -> Pair:
    pair = rng.choice(ANTONYMS)
    return pair if rng.random() < 0.5 else (pair[1], pair[0])


def _purchase(rng: Random) -> dict[str, str]:
    return {
        "name": rng.choice(NAMES),
        "item": rng.choice(ITEMS),
        "city": rng.choice(CITIES),
        "price": str(rng.randint(1, 999)),
    }


def _purchase_text(record: dict[str, str]) -> str:
    return "{name} from {city} bought a {item} for {price} dollars.".format(**record)


def _extract(field: str) -> Source:
    def draw(rng: Random) -> Pair:
        record = _purchase(rng)
        return _purchase_text(record), record[field]

    return steady(draw)


def _record(rng: Random) -> Pair:
    record = _purchase(rng)
    return _purchase_text(record), json.dumps(record)


def _first_value(rng: Random) -> Pair:
    field = rng.choice(logs.FIELDS)
    log = {name: logs.draw_value(name, rng) for name in dict.fromkeys((field, "amount", "hour"))}
    return logs.write_log(log), str(log[field])


_TABLES = (
    ("users", "пользователей"), ("orders", "заказов"), ("payments", "платежей"),
    ("products", "товаров"), ("tickets", "обращений"), ("reviews", "отзывов"),
)  # fmt: skip


def _sql(rng: Random) -> Pair:
    table, russian = rng.choice(_TABLES)
    number = rng.randint(1, 999)
    city = rng.choice(CITIES)
    return rng.choice(
        (
            (f"How many {table} are there?", f"SELECT COUNT(*) FROM {table};"),
            (f"Сколько {russian}?", f"SELECT COUNT(*) FROM {table};"),
            (f"Show all {table}", f"SELECT * FROM {table};"),
            (f"Покажи {number} {russian}", f"SELECT * FROM {table} LIMIT {number};"),
            (f"Show {number} {table}", f"SELECT * FROM {table} LIMIT {number};"),
            (f"{table} with id {number}", f"SELECT * FROM {table} WHERE id = {number};"),
            (
                f"Сколько {russian} в городе {city}?",
                f"SELECT COUNT(*) FROM {table} WHERE city = '{city}';",
            ),
            (f"{table} from {city}", f"SELECT * FROM {table} WHERE city = '{city}';"),
            (
                f"Сколько {russian} вчера?",
                f"SELECT COUNT(*) FROM {table} WHERE date = CURRENT_DATE - 1;",
            ),
        )
    )


def _reversed_words(text: str) -> str:
    return " ".join(reversed(text.split()))


# Texts with a class


def _language(rng: Random) -> Pair:
    side = rng.randrange(2)
    text = " ".join(rng.choice(DICTIONARY)[side] for _ in range(rng.randint(1, 4)))
    return text, ("English", "Russian")[side]


TASKS: tuple[Task, ...] = (
    Task("next", 11.0, successor, (
        "What comes after {}?", "What number comes after {}?", "Next after {}", "Next: {}",
        "Which comes next: {}?", "Add one to {}", "{} plus one", "Что идёт после {}?",
        "Следующее число: {}", "Какое число следует за {}?", "Прибавь один: {}",
    )),
    Task("previous", 0.9, predecessor, (
        "What comes before {}?", "Previous: {}", "Subtract one from {}", "Что идёт перед {}?",
        "Предыдущее число: {}",
    )),
    Task("to digits", 1.4, _to("digits"), ("Write {} in digits", "Цифрами: {}", "Digits: {}")),
    Task("to English", 1.4, _to("English"), ("Write {} in words", "In English: {}")),
    Task("to Russian", 1.1, _to("Russian"), ("Словами: {}", "Напиши словами: {}")),
    Task("to Roman", 1.4, _to("Roman"), (
        "Write {} in Roman numerals", "Римскими цифрами: {}", "Roman: {}",
    )),
    Task("to Japanese", 1.1, _to("Japanese"), ("Write {} in Japanese", "По-японски: {}")),
    Task("plus two", 0.5, _offset(2), ("Add two to {}", "{} plus two", "Прибавь два: {}")),
    Task("plus ten", 0.4, _offset(10), ("Add ten to {}", "Прибавь десять: {}")),
    Task("double", 0.8, _numeric(_double), ("Double {}", "Twice {}", "Удвой {}")),
    Task("parity", 0.6, _parity("odd", "even"), ("Is {} odd or even?",)),
    Task("чётность", 0.5, _parity("нечётное", "чётное"), ("Чётное или нечётное: {}?",)),
    Task("size", 0.4, _numeric(_size), ("Is {} big or small?",)),
    Task("notation", 0.5, _numeric(lambda n, x, r: (n.write(x), n.name)), (
        "What notation is {}?",
    )),
    Task("next three", 0.5, _numeric(_next_three), ("Next three after {}",)),
    Task("echo", 0.7, _on(_any_text, str), ("Repeat: {}", "Повтори: {}", "Say {}")),
    Task("twice", 0.4, _on(_any_text, lambda t: f"{t} {t}"), ("Repeat twice: {}",)),
    Task("brackets", 0.3, _on(_any_text, lambda t: f"[{t}]"), ("Put {} in brackets",)),
    Task("quotes", 0.3, _on(_any_text, lambda t: f'"{t}"'), ("Quote: {}",)),
    Task("wrap", 0.4, _on(_any_text, lambda t: json.dumps({"value": t}, ensure_ascii=False)), (
        "Wrap in JSON: {}",
    )),
    Task("to Russian word", 1.0, _entry(0, 1), ("Translate to Russian: {}", "Переведи: {}")),
    Task("to English word", 1.0, _entry(1, 0), ("Translate to English: {}", "Переведи: {}")),
    Task("category", 0.7, steady(_category), ("What kind of thing is {}?", "Категория: {}")),
    Task("antonym", 0.7, steady(_antonym), ("Opposite of {}", "Антоним: {}")),
    Task("upper case", 0.5, _on(_word, str.upper), ("Upper case: {}", "Заглавными: {}")),
    Task("first letter", 0.3, _on(_word, lambda t: t[0]), ("First letter of {}",)),
    Task("length", 0.3, _on(_word, lambda t: str(len(t))), ("How many letters in {}?",)),
    Task("first word", 0.3, _on(_phrase, lambda t: t.split()[0]), ("First word: {}",)),
    Task("last word", 0.3, _on(_phrase, lambda t: t.split()[-1]), ("Last word: {}",)),
    Task("reverse", 0.3, _on(_phrase, _reversed_words), ("Reverse the words: {}",)),
    Task("count words", 0.3, _on(_phrase, lambda t: str(len(t.split()))), (
        "How many words: {}?",
    )),
    Task("commas", 0.3, _on(_phrase, lambda t: ", ".join(t.split())), ("With commas: {}",)),
    Task("language", 0.4, steady(_language), ("Which language: {}",)),
    Task("sentiment", 0.6, steady(chat.sentiment), ("Sentiment: {}", "Тональность: {}")),
    Task("spam", 0.4, steady(chat.spam), ("Spam or ham: {}",)),
    Task("topic", 0.5, steady(chat.topic), ("Topic: {}", "Тема обращения: {}")),
    Task("name", 0.3, _extract("name"), ("Who? {}",)),
    Task("city", 0.3, _extract("city"), ("Which city? {}",)),
    Task("price", 0.3, _extract("price"), ("What price? {}",)),
    Task("item", 0.3, _extract("item"), ("What was bought? {}",)),
    Task("record", 0.5, steady(_record), ("As JSON: {}", "Extract to JSON: {}")),
    Task("SQL", 1.0, steady(_sql), ("SQL: {}", "Write SQL: {}", "Преобразуй вопрос в SQL: {}")),
    Task("first value", 0.4, steady(_first_value), ("First value: {}",)),
)  # fmt: skip
SUPPORT_TASKS = ("topic",)
"""Tasks whose inputs are messages that have an answer of their own."""


# Labelled tasks: what the labels mean is learned from the document alone


def _relabel(draw: Draw, labels: Pair, first: str) -> Draw:
    def relabelled(rng: Random) -> Pair:
        text, label = draw(rng)
        return text, labels[0] if label == first else labels[1]

    return relabelled


def labelled(rng: Random) -> Draw:
    """A two-way classification with labels drawn for this document."""
    kind = rng.random()
    if kind < 0.40:
        return logs.draw_rule(rng, most_fields=4).draw
    if kind < 0.55:
        return logs.draw_feature_vote(rng)
    labels = rng.choice(LABEL_PAIRS)
    if rng.random() < 0.5:
        labels = (labels[1], labels[0])
    if kind < 0.66:
        return _relabel(chat.sentiment, labels, "positive")
    if kind < 0.74:
        return _relabel(chat.spam, labels, "spam")
    if kind < 0.80:
        return _relabel(_language, labels, "English")
    if kind < 0.88:
        return _relabel(_parity("odd", "even")(rng), labels, "odd")
    if kind < 0.94:
        return _relabel(_numeric(_size)(rng), labels, "big")
    first, second = rng.sample(sorted(CATEGORIES_RU), 2)
    words = {
        label: [entry[:2] for entry in DICTIONARY if entry[2] == category]
        for label, category in zip(labels, (first, second), strict=True)
    }

    def draw(r: Random) -> Pair:
        label = r.choice(labels)
        return r.choice(r.choice(words[label])), label

    return draw
