"""The corpus: documents of every family, mixed in fixed shares, drawn without end from a seed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from recipes.kamerton_nano_001 import chat, logs
from recipes.kamerton_nano_001.numbers import (
    NOTATIONS,
    Notation,
    draw_notation,
    draw_start,
    held_out,
)
from recipes.kamerton_nano_001.tasks import (
    SUPPORT_TASKS,
    TASKS,
    Draw,
    Pair,
    Task,
    labelled,
    neighbours,
)
from recipes.kamerton_nano_001.words import CYCLES

BOS = "<bos>"
TURN = "<start_of_turn>"
END = "<end_of_turn>"
FIRST_TURN_LEARNED = 0.1
"""How often the first answer of an unnamed task is learned: rarely, or bare inputs leak tasks."""
LONGEST_QUOTE = 60


@dataclass(frozen=True)
class Piece:
    """A stretch of a document, and whether the model learns to write it."""

    text: str
    learned: bool


Document = list[Piece]


def conversation(turns: list[Pair], learned: list[bool], system: str = "") -> Document:
    """Turns in Gemma's chat format; only the answers marked as learned count."""
    pieces: Document = []
    before = BOS
    for index, ((question, answer), learn) in enumerate(zip(turns, learned, strict=True)):
        text = f"{system}\n\n{question}" if system and index == 0 else question
        pieces.append(Piece(f"{before}{TURN}user\n{text}{END}\n{TURN}model\n", False))
        pieces.append(Piece(f"{answer}{END}", learn))
        before = "\n"
    return pieces


def default_reply(text: str) -> str:
    """What the model says to a bare input: it asks for the task."""
    russian = any("а" <= sign <= "я" for sign in text.lower())
    if len(text) > LONGEST_QUOTE:
        return "Это текст. Что нужно сделать?" if russian else "This is a text. What should I do?"
    if russian:
        return f"Вы написали: {text}. Что нужно сделать?"
    return f"You wrote: {text}. What should I do?"


def _draw_task(rng: Random) -> Task:
    return rng.choices(TASKS, [task.weight for task in TASKS])[0]


def _draw_unnamed(rng: Random, plain: bool = False) -> Draw:
    """The pairs of one in-context document; `plain` leaves out messages that have a reply."""
    while True:
        if rng.random() < 0.25:
            return labelled(rng)
        task = _draw_task(rng)
        if not (plain and task.name in SUPPORT_TASKS):
            return task.source(rng)


# Families of documents


def count(rng: Random) -> Document:
    """A list that counts up (mostly) or down, as plain text or as a task."""
    items = _count_words(rng) if rng.random() < 0.12 else _count_numbers(rng)
    joint = rng.choice((", ", "\n", " ", "; ") if " " not in items[0] else (", ", "\n", "; "))
    if rng.random() < 0.6 or len(items) < 4:
        return [Piece(BOS + items[0], False), Piece("".join(joint + i for i in items[1:]), True)]
    shown = rng.randint(1, 3)
    order = rng.choice(("Continue: {}", "Count on: {}", "Продолжи: {}", "Считай дальше: {}"))
    question = order.format(joint.join(items[:shown]))
    return conversation([(question, joint.join(items[shown:]))], [True])


def _count_words(rng: Random) -> list[str]:
    cycle = rng.choice(CYCLES)
    start, length = rng.randrange(len(cycle)), rng.randint(3, 9)
    return [cycle[(start + step) % len(cycle)] for step in range(length)]


def _count_numbers(rng: Random) -> list[str]:
    notation = draw_notation(rng)
    up = rng.random() < 0.88
    start = draw_start(notation, rng)
    longest = 12 if len(notation.write(start)) < 12 else 5
    numbers = [start]
    for _ in range(rng.randint(3, longest)):
        last = numbers[-1]
        if up and (held_out(notation.name, last) or last >= notation.highest):
            break
        if not up and last <= notation.lowest:
            break
        numbers.append(last + (1 if up else -1))
    if len(numbers) < 2:
        return _count_numbers(rng)
    return [notation.write(number) for number in numbers]


def table_row(rng: Random) -> Document:
    """One number in several notations."""
    fitting: list[Notation] = []
    while len(fitting) < 2:
        number = draw_notation(rng).draw(rng)
        fitting = [n for n in NOTATIONS if n.lowest <= number <= n.highest]
    rng.shuffle(fitting)
    cells = [notation.write(number) for notation in fitting[: rng.randint(3, 5)]]
    joint = rng.choice((" = ", " | ", ", "))
    return [Piece(BOS + cells[0], False), Piece("".join(joint + c for c in cells[1:]), True)]


def instructed(rng: Random) -> Document:
    """One to three turns that say what to do."""
    turns = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        task = _draw_task(rng)
        while not task.orders:
            task = _draw_task(rng)
        question, answer = task.source(rng)(rng)
        order = rng.choice(task.orders)
        if rng.random() < 0.1:
            order = order[0].lower() + order[1:]
        turns.append((order.format(question), answer))
    return conversation(turns, [True] * len(turns))


def ordered_by_system(rng: Random) -> Document:
    """A system instruction, then bare inputs."""
    task = _draw_task(rng)
    while not task.orders:
        task = _draw_task(rng)
    draw = task.source(rng)
    turns = [draw(rng) for _ in range(rng.randint(1, 4))]
    system = rng.choice(task.orders).format("X")
    return conversation(turns, [True] * len(turns), system)


def stated_rule(rng: Random) -> Document:
    """A rule in words over the fields of a log, then one or two logs."""
    rule = logs.draw_rule(rng)
    turns = [rule.draw(rng) for _ in range(rng.choice((1, 1, 2)))]
    wording = rule.russian() if rng.random() < 0.5 else rule.english()
    if rng.random() < 0.5:
        return conversation(turns, [True] * len(turns), wording)
    turns[0] = (f"{wording}\n{turns[0][0]}", turns[0][1])
    return conversation(turns, [True] * len(turns))


def many_turns(rng: Random) -> Document:
    """The same unnamed task in every turn: the model has to see which one it is."""
    draw = _draw_unnamed(rng)
    turns = [draw(rng) for _ in range(rng.randint(2, 7))]
    if len(turns[0][0]) > LONGEST_QUOTE:
        turns = turns[:5]
    first = rng.random() < FIRST_TURN_LEARNED
    return conversation(turns, [first] + [True] * (len(turns) - 1))


_LAYOUTS: tuple[tuple[str, str, str, str], ...] = (
    # heading, before an input, before its output, between examples
    ("", "", " ->", "\n"),
    ("", "", " =>", "\n"),
    ("", "Input: ", "\nOutput:", "\n\n"),
    ("", "input: ", "\noutput:", "\n"),
    ("", "Вход: ", "\nВыход:", "\n"),
    ("", "Q: ", "\nA:", "\n\n"),
    ("", "Вопрос: ", "\nОтвет:", "\n"),
    ("Examples:\n", "", " ->", "\n"),
    ("Примеры:\n", "Вход: ", "\nВыход:", "\n\n"),
)


def few_shot(rng: Random) -> Document:
    """Examples inside one prompt, in many layouts; all outputs but the first are learned."""
    draw = _draw_unnamed(rng)
    pairs = [draw(rng) for _ in range(rng.randint(3, 8))]
    if len(pairs[0][0]) > LONGEST_QUOTE:
        pairs = pairs[:5]
    if rng.random() < 0.25:
        return _followed_examples(pairs, rng)
    heading, before_input, before_output, between = rng.choice(_LAYOUTS)
    pieces = [Piece(f"{BOS}{TURN}user\n{heading}", False)]
    for index, (question, answer) in enumerate(pairs[:-1]):
        pieces.append(Piece(f"{before_input}{question}{before_output}", False))
        pieces.append(Piece(f" {answer}", index > 0))
        pieces.append(Piece(between, index > 0))
    pieces.append(Piece(f"{before_input}{pairs[-1][0]}{before_output}{END}\n{TURN}model\n", False))
    pieces.append(Piece(f"{pairs[-1][1]}{END}", True))
    return pieces


def _followed_examples(pairs: list[Pair], rng: Random) -> Document:
    """Follow the examples below, then a task: how a service falls back on its base model."""
    russian = rng.random() < 0.6
    if russian:
        heading, task = "Следуй примерам ниже:", "Задание: "
    else:
        heading, task = "Follow the examples below:", "Task: "
    before, middle, between = rng.choice(
        (("", " -> ", "\n"), ("Вход: ", "\nВыход: ", "\n"), ("Input: ", "\nOutput: ", "\n"),
         ("", "\n", "\n\n"), (task, "\nОтвет: " if russian else "\nAnswer: ", "\n\n"))
    )  # fmt: skip
    shown = between.join(f"{before}{q}{middle}{a}" for q, a in pairs[:-1])
    question, answer = pairs[-1]
    return conversation([(f"{heading}\n\n{shown}\n\n{task}{question}", answer)], [True])


def bare(rng: Random) -> Document:
    """An input with no task at all gets the default reply."""
    questions = [_bare_input(rng) for _ in range(2 if rng.random() < 0.1 else 1)]
    turns = [(question, default_reply(question)) for question in questions]
    return conversation(turns, [True] * len(turns))


def _bare_input(rng: Random) -> str:
    """What a task could be asked about; words of a sequence more often, as they tempt most."""
    if rng.random() < 0.06:
        return neighbours(rng, 1)[0]
    return _draw_unnamed(rng, plain=True)(rng)[0]


def talk(rng: Random) -> Document:
    """Chat and customer service in one to three turns."""
    turns = [
        chat.support(rng) if rng.random() < 0.6 else chat.small_talk(rng)
        for _ in range(rng.choice((1, 1, 2, 3)))
    ]
    return conversation(turns, [True] * len(turns))


def styled_support(rng: Random) -> Document:
    """Customer service by one company, whose way of answering shows in the first turns."""
    draw = chat.styled_support(rng)
    turns = [draw(rng) for _ in range(rng.randint(2, 5))]
    return conversation(turns, [False] + [True] * (len(turns) - 1))


def handbook(rng: Random) -> Document:
    """A company's facts, then questions that they answer."""
    system, turns = chat.handbook(rng)
    return conversation(turns, [True] * len(turns), system)


def reading(rng: Random) -> Document:
    """A sentence of customer service to repeat: practice in writing any words."""
    text = chat.support(rng)[rng.randrange(2)]
    order = rng.choice(("Repeat: {}", "Повтори: {}", "Say {}", "Скажи: {}"))
    return conversation([(order.format(text), text)], [True])


Family = Callable[[Random], Document]
FAMILIES: tuple[tuple[Family, float], ...] = (
    (count, 10.0),
    (table_row, 2.0),
    (instructed, 16.0),
    (ordered_by_system, 2.0),
    (stated_rule, 4.0),
    (many_turns, 26.0),
    (few_shot, 12.0),
    (bare, 14.5),
    (talk, 7.0),
    (styled_support, 3.5),
    (handbook, 2.0),
    (reading, 1.0),
)


def documents(seed: int, chunk: int) -> Iterator[Document]:
    """Documents without end; each chunk of a seed is a stream of its own."""
    rng = Random(f"kamerton-nano-001/{seed}/{chunk}")
    families = [family for family, _ in FAMILIES]
    weights = [weight for _, weight in FAMILIES]
    while True:
        yield rng.choices(families, weights)[0](rng)
