"""Every shape people keep examples in, read into `Example`: JSONL, JSON, CSV, inline rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import msgspec

from kamerton.errors import InvalidArgument, Violation
from kamerton.types import Content, Example, Role

MAX_INPUT_CHARACTERS = 40_000
MAX_OUTPUT_CHARACTERS = 5_000
MAX_VIOLATIONS = 100
_MAX_IN_MESSAGE = 10


def read_examples(source: Path | Iterable[Mapping[str, Any]]) -> list[Example]:
    """All rows of a file, or all inline rows, in their order.

    One row that cannot be used refuses the whole source, and the error names every such row.
    """
    if isinstance(source, Path):
        name, rows = source.name, _file_rows(source)
    else:
        name, rows = "examples", (_Row(f"examples[{n}].", row) for n, row in enumerate(source))
    examples: list[Example] = []
    violations: list[Violation] = []
    row_count = bad_count = 0
    for row in rows:
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
            _capped(violations),
        )
    if not examples:
        raise InvalidArgument.of(name, "no examples in it")
    return examples


def check_limits(examples: Sequence[Example]) -> tuple[Violation, ...]:
    """What breaks the limits on the number and length of examples; empty when all is well."""
    if not examples:
        return (Violation("examples", "at least one example is needed"),)
    return _capped(
        [
            Violation(f"examples[{number}].{field}", description)
            for number, example in enumerate(examples)
            for field, description in _too_short_or_long(example)
        ]
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

_OTHER_SPELLINGS = {"textInput": "text_input", "systemInstruction": "system_instruction"}


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


@dataclass(frozen=True, slots=True)
class _Row:
    place: str
    """What stands before a field's name, such as `line 7: ` or `examples[6].`."""
    fields: Any
    problem: str = ""
    """Why not even the fields could be read."""


def _example(row: _Row) -> Example:
    """The example a row stands for, or InvalidArgument with all that is wrong with it."""
    whole_row = row.place.rstrip(":. ")
    if row.problem:
        raise InvalidArgument.of(whole_row, row.problem)
    if not isinstance(row.fields, Mapping):
        raise InvalidArgument.of(whole_row, f"must be an object, not {_kind_of(row.fields)}")
    fields = {_OTHER_SPELLINGS.get(name, name): value for name, value in row.fields.items()}
    shape = next((shape for names, shape in _SHAPES if any(n in fields for n in names)), None)
    if shape is None:
        has = ", ".join(list(map(str, fields))[:5]) or "nothing"
        raise InvalidArgument.of(whole_row, f"has {has}, but no text_input and output")
    try:
        example = msgspec.convert(fields, shape).example()
    except msgspec.ValidationError as error:
        field, description = _explained(str(error))
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


def _capped(violations: Sequence[Violation]) -> tuple[Violation, ...]:
    left_out = len(violations) - MAX_VIOLATIONS
    if left_out <= 0:
        return tuple(violations)
    rest = Violation("examples", f"{_count(left_out, 'more problem')} not listed here")
    return (*violations[:MAX_VIOLATIONS], rest)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# From files to rows.


def _file_rows(path: Path) -> Iterator[_Row]:
    text = _text(path)
    start = text.lstrip()[:1]
    if path.suffix.lower() in (".csv", ".tsv") or start not in ("", "[", "{"):
        return _csv_rows(text, path.name)
    return _array_rows(text, path.name) if start == "[" else _jsonl_rows(text)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text (byte {error.start + 1}); save it as UTF-8"
        raise InvalidArgument.of(path.name, problem) from error


def _jsonl_rows(text: str) -> Iterator[_Row]:
    # Not splitlines(): it also cuts at characters that JSON strings may hold as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield _Row(f"line {number}: ", msgspec.json.decode(line))
        except (msgspec.DecodeError, RecursionError) as error:
            yield _Row(f"line {number}: ", None, f"is not valid JSON: {_short(error)}")


def _array_rows(text: str, name: str) -> Iterator[_Row]:
    try:
        rows = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument.of(
            name, f"is not valid JSON: {_short(error)}{_line_of(error, text)}"
        ) from error
    for number, row in enumerate(rows, start=1):
        yield _Row(f"item {number}: ", row)


def _short(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if "truncated" in str(error):
        return "it ends too early; each line must be one whole object"
    return str(error).removeprefix("JSON is malformed: ")


def _line_of(error: Exception, text: str) -> str:
    at = re.search(r"\(byte (\d+)\)", str(error))
    if not at:
        return ""
    lines_before = text.encode()[: int(at[1])].count(b"\n")
    return f" in line {lines_before + 1}"


def _csv_rows(text: str, name: str) -> Iterator[_Row]:
    header_line = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=header_line.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    while True:
        place = f"line {line}: "
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # What follows a broken quote cannot be told apart, so the reading ends here.
            yield _Row(place, None, f"is not valid CSV: {error}")
            return
        line = reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = _csv_header(cells, name)
        else:
            yield _csv_row(place, header, cells)


def _csv_header(cells: Sequence[str], name: str) -> list[str]:
    header = [_OTHER_SPELLINGS.get(cell.strip(), cell.strip()) for cell in cells]
    pairs = ({"text_input", "output"}, {"input", "output"}, {"prompt", "completion"})
    if not any(pair <= set(header) for pair in (*pairs, {"instruction", "output"})):
        raise InvalidArgument.of(
            name, "the first line must name the columns, such as text_input,output"
        )
    return header


def _csv_row(place: str, header: Sequence[str], cells: Sequence[str]) -> _Row:
    if len(cells) > len(header):
        counts = f"has {len(cells)} cells for {len(header)} columns"
        return _Row(place, None, f"{counts}; put quotes around text with the delimiter in it")
    return _Row(place, dict(zip(header, cells, strict=False)))
