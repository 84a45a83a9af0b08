"""Every shape people keep examples in, read into `Example`: JSONL, JSON, CSV, inline rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from kamerton.dataset.rows import OTHER_SPELLINGS, Row, file_rows, inline_rows
from kamerton.errors import InvalidArgument, Violation
from kamerton.types import Content, Example, Role

MAX_INPUT_CHARACTERS = 40_000
MAX_OUTPUT_CHARACTERS = 5_000
_MAX_IN_MESSAGE = 10
MAX_ECHO = 100
"""Characters of a row that a complaint about it repeats."""


def read_examples(source: Path | Iterable[Mapping[str, Any]]) -> list[Example]:
    """All rows of a file, or all inline rows, in their order.

    One row that cannot be used refuses the whole source, and the error names every such row.
    """
    if not isinstance(source, Path):
        return _examples("examples", inline_rows(source))
    try:
        with source.open("rb") as file:
            return read_file(file, source.name)
    except OSError as error:
        raise InvalidArgument(f"{source}: {error.strerror or error}") from error


def read_file(file: BinaryIO, name: str, at_most: int | None = None) -> list[Example]:
    """`read_examples` of an open file, which errors call `name`; with a limit on their number."""
    return _examples(name, file_rows(file, name), at_most)


def _examples(name: str, rows: Iterable[Row], at_most: int | None = None) -> list[Example]:
    examples: list[Example] = []
    violations: list[Violation] = []
    row_count = bad_count = 0
    for row in rows:
        if row_count == at_most:
            raise InvalidArgument.of(name, f"more than {at_most} examples; use fewer of them")
        row_count += 1
        try:
            examples.append(_example(row))
        except InvalidArgument as error:
            bad_count += 1
            violations.extend(error.violations)
    if violations:
        raise InvalidArgument(
            f"{name}: {bad_count} of {_count(row_count, 'row')} cannot be used; "
            + _summary(violations),
            tuple(violations),
        )
    if not examples:
        raise InvalidArgument.of(name, "no examples in it")
    return examples


def check_limits(examples: Sequence[Example]) -> tuple[Violation, ...]:
    """What breaks the limits on the number and length of examples; empty when all is well."""
    if not examples:
        return (Violation("examples", "at least one example is needed"),)
    return tuple(
        Violation(f"examples[{number}].{field}", description)
        for number, example in enumerate(examples)
        for field, description in _too_short_or_long(example)
    )


def _too_short_or_long(example: Example) -> Iterator[tuple[str, str]]:
    lengths = (
        ("text_input", sum(len(turn.text) for turn in example.contents), MAX_INPUT_CHARACTERS),
        ("output", len(example.output), MAX_OUTPUT_CHARACTERS),
    )
    for field, length, limit in lengths:
        if length == 0:
            yield field, "is empty"
        elif length > limit:
            yield field, f"{length} characters, at most {limit}"


# Shapes of a row. Each knows the Example it stands for; msgspec checks names and types.


class _Pair(msgspec.Struct):
    text_input: str
    output: str

    def example(self) -> Example:
        return Example.pair(self.text_input, self.output)


class _InputOutput(msgspec.Struct):
    input: str
    output: str

    def example(self) -> Example:
        return Example.pair(self.input, self.output)


class _PromptCompletion(msgspec.Struct):
    prompt: str
    completion: str

    def example(self) -> Example:
        return Example.pair(self.prompt, self.completion)


class _Instruction(msgspec.Struct):
    instruction: str
    output: str
    input: str | None = None

    def example(self) -> Example:
        text = f"{self.instruction}\n\n{self.input}" if self.input else self.instruction
        return Example.pair(text, self.output)


class _TextPart(msgspec.Struct):
    text: str


class _Turn(msgspec.Struct):
    parts: list[_TextPart]
    role: Literal["user", "model"] = "user"

    def content(self) -> Content:
        return Content(self.role, _joined(self.parts))


class _System(msgspec.Struct):
    parts: list[_TextPart]


class _Contents(msgspec.Struct):
    """A row as Gemini keeps conversations."""

    contents: list[_Turn]
    system_instruction: _System | None = None

    def example(self) -> Example:
        turns = [turn.content() for turn in self.contents]
        if self.system_instruction and self.system_instruction.parts:
            turns.insert(0, Content("system", _joined(self.system_instruction.parts)))
        return _conversation("contents", turns, answer_role="model")


_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "model",
}


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_TextPart]

    def turn(self) -> Content:
        text = self.content if isinstance(self.content, str) else _joined(self.content)
        return Content(_ROLES[self.role], text)


class _Messages(msgspec.Struct):
    """A row as OpenAI keeps conversations."""

    messages: list[_Message]

    def example(self) -> Example:
        turns = [message.turn() for message in self.messages]
        return _conversation("messages", turns, answer_role="assistant")


_Shape = _Pair | _InputOutput | _PromptCompletion | _Instruction | _Contents | _Messages

_SHAPES: tuple[tuple[tuple[str, ...], type[_Shape]], ...] = (
    (("contents",), _Contents),
    (("messages",), _Messages),
    (("instruction",), _Instruction),
    (("prompt", "completion"), _PromptCompletion),
    (("text_input",), _Pair),
    (("input",), _InputOutput),
    (("output",), _Pair),
)
"""The first line with a key that the row has decides what the row has to look like."""


def _joined(parts: Iterable[_TextPart]) -> str:
    return "".join(part.text for part in parts)


def _conversation(field: str, turns: Sequence[Content], answer_role: str) -> Example:
    """The last turn is the answer to learn; everything before it leads there."""
    if not turns or turns[-1].role != "model":
        raise InvalidArgument.of(field, f"must end with a turn of role {answer_role}")
    if any(turn.role == "system" for turn in turns[1:]):
        raise InvalidArgument.of(field, "must have its system turn first, and only one")
    if len(turns) < 2 or turns[-2].role != "user":
        raise InvalidArgument.of(field, "must have a user turn right before the answer")
    return Example(tuple(turns[:-1]), turns[-1].text)


# From rows to examples.


def _example(row: Row) -> Example:
    """The example a row stands for, or InvalidArgument with all that is wrong with it."""
    whole_row = row.place.rstrip(":. ")
    if row.problem:
        raise InvalidArgument.of(whole_row, row.problem)
    if not isinstance(row.fields, Mapping):
        raise InvalidArgument.of(whole_row, f"must be an object, not {_kind_of(row.fields)}")
    fields = {OTHER_SPELLINGS.get(name, name): value for name, value in row.fields.items()}
    shape = next((shape for names, shape in _SHAPES if any(n in fields for n in names)), None)
    if shape is None:
        has = ", ".join(str(name)[:MAX_ECHO] for name in list(fields)[:5]) or "nothing"
        raise InvalidArgument.of(whole_row, f"has {has}, but no text_input and output")
    try:
        example = msgspec.convert(fields, shape).example()
    except msgspec.ValidationError as error:
        field, description = (text[:MAX_ECHO] for text in _explained(str(error)))
        raise InvalidArgument.of(row.place + field, description) from None
    except InvalidArgument as error:
        wrong = error.violations[0]
        raise InvalidArgument.of(row.place + wrong.field, wrong.description) from None
    found = tuple(
        Violation(row.place + field, description)
        for field, description in _too_short_or_long(example)
    )
    if found:
        raise InvalidArgument("limits", found)
    return example


_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")
_WRONG_TYPE = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`")
_WRONG_VALUE = re.compile(r"Invalid enum value (?P<value>.+?)(?= - at|$)")
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`")
_KINDS = {
    "str": "text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def _explained(complaint: str) -> tuple[str, str]:
    """msgspec's complaint as field path and description, in our words."""
    at = _PATH.search(complaint)
    path = at["path"] if at else ""
    if missing := _MISSING.search(complaint):
        return ".".join(filter(None, (path, missing["field"]))), "is missing"
    if wrong := _WRONG_TYPE.search(complaint):
        if wrong["got"] == "null":
            return path, "is missing"
        wanted = " or ".join(
            _KINDS.get(kind, kind) for kind in wrong["wanted"].split(" | ") if kind != "null"
        )
        return path, f"must be {wanted}, not {_KINDS.get(wrong['got'], wrong['got'])}"
    if value := _WRONG_VALUE.search(complaint):
        return path, f"cannot be {value['value']} here"
    return path or "row", complaint


def _kind_of(value: object) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, Sequence):
        return "a list"
    return "null" if value is None else "a plain value"


def _summary(violations: Sequence[Violation]) -> str:
    shown = "; ".join(sentence(violation) for violation in violations[:_MAX_IN_MESSAGE])
    left_out = len(violations) - _MAX_IN_MESSAGE
    return f"{shown}; and {_count(left_out, 'more problem')}" if left_out > 0 else shown


def sentence(violation: Violation) -> str:
    """`line 7: output is missing`, `examples[7].output: 5210 characters, at most 5000`."""
    reads_on = violation.description.startswith(("is ", "must ", "has ", "cannot "))
    return f"{violation.field}{' ' if reads_on else ': '}{violation.description}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
