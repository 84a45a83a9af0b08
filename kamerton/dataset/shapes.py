"""Every shape of a row that people keep examples in, and the `Example` it stands for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from kamerton.dataset.unsupported import CONVERSATIONS, check_supported, half_character
from kamerton.errors import InvalidArgument
from kamerton.types import Content, Example, Role

OTHER_SPELLINGS = {"textInput": "text_input", "systemInstruction": "system_instruction"}
MAX_ECHO = 100
"""Characters of a row that a complaint about it repeats."""
Columns = tuple[str, str]
"""Names of the fields that hold input and output."""
PAIRS: tuple[Columns, ...] = (
    ("prompt", "completion"),
    ("text_input", "output"),
    ("input", "output"),
)
"""The flat shapes; where a row has the keys of several, it is the first of them."""
_LEARNED = "the row has no answer to learn: the weight of each is 0"


class Unlearned(Exception):
    """The row is in order, but every answer in it has the weight 0."""

    def __init__(self) -> None:
        super().__init__(_LEARNED)


def read_row(fields: Any, columns: Columns | None = None) -> tuple[str, Example]:
    """The name of a row's shape, and the example. With `columns` only those two are looked at.

    Raises InvalidArgument with the field that is wrong ("" for the row), or Unlearned.
    """
    if not isinstance(fields, Mapping):
        raise InvalidArgument.of("", f"must be an object, not {_kind_of(fields)}")
    try:
        shape, example = _named(fields, columns) if columns else _told(fields)
        "".join([example.output, *(turn.text for turn in example.contents)]).encode()
    except UnicodeEncodeError:
        named = {name: fields[name] for name in columns} if columns else fields
        raise half_character(named) from None
    return shape, example


def _told(fields: Mapping[str, Any]) -> tuple[str, Example]:
    """A row whose shape its keys tell."""
    fields = _usual(fields)
    check_supported(fields)
    shape = next((shape for key, shape in _SHAPES.items() if key in fields), None)
    if shape is None or _is_preference(fields):
        raise InvalidArgument.of("", f"has {_some(fields)}{_no_shape(fields)}")
    try:
        row = msgspec.convert(fields, shape)
        beside = msgspec.convert({key: fields[key] for key in _BESIDE if fields.get(key)}, _Beside)
    except msgspec.ValidationError as error:
        field, description = (text[:MAX_ECHO] for text in _explained(str(error)))
        raise InvalidArgument.of(field, description) from None
    return row.shape, beside.added_to(row.example())


def columns_of(names: Iterable[str]) -> Columns | None:
    """The fields that hold input and output, where rows with these fields are plain pairs."""
    usual = {OTHER_SPELLINGS.get(name, name): name for name in names}
    key = next((key for key in _SHAPES if key in usual), None)
    pair = next((pair for pair in PAIRS if key in pair and set(pair) <= usual.keys()), None)
    return (usual[pair[0]], usual[pair[1]]) if pair else None


def shape_name(columns: Columns) -> str:
    """What rows with these columns are reported as."""
    return ", ".join(OTHER_SPELLINGS.get(name, name) for name in columns)


def check_header(names: Sequence[str], columns: Columns | None, name: str) -> None:
    """InvalidArgument unless rows with these fields can be examples; `name` is the file's."""
    has = f"has the columns {', '.join(column[:MAX_ECHO] for column in names[:20])}"
    if columns and (missing := [column for column in columns if column not in names]):
        raise InvalidArgument.of(name, f"{has}, but no {' and no '.join(missing)}")
    usual = {OTHER_SPELLINGS.get(column, column) for column in names}
    whole = usual & CONVERSATIONS.keys() or "output" in usual & {"instruction", "output"}
    if not columns and not whole and not columns_of(names):
        raise InvalidArgument.of(name, has + _no_shape(usual))


def _usual(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields under the names that we use."""
    for other, name in OTHER_SPELLINGS.items():
        if other in fields and name in fields:
            raise InvalidArgument.of(other, f"is there beside {name}; keep one of them")
    return {OTHER_SPELLINGS.get(name, name): value for name, value in fields.items()}


def _is_preference(names: Iterable[str]) -> bool:
    return set(names) >= {"chosen", "rejected"} and not set(names) & {"completion", "output"}


def _no_shape(names: Collection[str]) -> str:
    """Why rows with these fields are no examples, and what to do."""
    if _is_preference(names):
        return ": preference pairs are not supported; keep the chosen answer as the completion"
    advice = "; rename them, or name the two columns (input key, output key)" if names else ""
    return f", but no text_input and output{advice}"


# Each knows the example it stands for; msgspec checks names and types.


class _Pair(msgspec.Struct):
    shape: ClassVar[str] = "text_input, output"
    text_input: str
    output: str

    def example(self) -> Example:
        return Example.pair(self.text_input, self.output)


class _InputOutput(msgspec.Struct):
    shape: ClassVar[str] = "input, output"
    input: str
    output: str

    def example(self) -> Example:
        return Example.pair(self.input, self.output)


class _PromptCompletion(msgspec.Struct):
    shape: ClassVar[str] = "prompt, completion"
    prompt: str
    completion: str

    def example(self) -> Example:
        return Example.pair(self.prompt, self.completion)


class _Instruction(msgspec.Struct):
    shape: ClassVar[str] = "instruction, input, output"
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
    weight: float | None = None

    def content(self) -> Content:
        return Content(self.role, _joined(self.parts))


class _System(msgspec.Struct):
    parts: list[_TextPart]


_SystemText = str | list[_TextPart] | _System


class _Beside(msgspec.Struct):
    """What a row of any shape may have beside what decides its shape."""

    system: _SystemText | None = None
    system_instruction: _SystemText | None = None
    history: list[tuple[str, str]] | None = None
    """Questions and answers before those of the row, as Alpaca keeps them."""

    def added_to(self, example: Example) -> Example:
        turns = list(example.contents)
        if self.history and (len(turns) > 1 or turns[0].role != "user"):
            raise InvalidArgument.of("history", "is there beside a conversation; keep one of them")
        for question, answer in reversed(self.history or ()):
            turns[:0] = [Content("user", question), Content("model", answer)]
        if self.system and self.system_instruction:
            raise InvalidArgument.of("system", "is there beside system_instruction; keep one")
        for field in ("system", "system_instruction"):
            if text := _system_text(getattr(self, field)):
                if turns[0].role == "system":
                    problem = "is there beside a system turn; keep one of them"
                    raise InvalidArgument.of(field, problem)
                turns[:0] = text
        return Example(tuple(turns), example.output)


_BESIDE = _Beside.__struct_fields__


def _system_text(system: _SystemText | None) -> list[Content]:
    if isinstance(system, _System):
        system = system.parts
    if not system:
        return []
    return [Content("system", system if isinstance(system, str) else _joined(system))]


class _Contents(msgspec.Struct):
    """A row as Gemini keeps conversations."""

    shape: ClassVar[str] = "contents"
    contents: list[_Turn]

    def example(self) -> Example:
        turns = [turn.content() for turn in self.contents]
        weights = [turn.weight for turn in self.contents]
        return _conversation("contents", _weighed("contents", turns, weights), "model")


_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "model",
    "gpt": "model",
    "chatgpt": "model",
    "model": "model",
}


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_TextPart]
    weight: float | None = None

    def content_(self) -> Content:
        text = self.content if isinstance(self.content, str) else _joined(self.content)
        return Content(_ROLES[self.role], text)


class _Messages(msgspec.Struct):
    """A row as OpenAI keeps conversations."""

    shape: ClassVar[str] = "messages"
    messages: list[_Message]

    def example(self) -> Example:
        turns = [message.content_() for message in self.messages]
        weights = [message.weight for message in self.messages]
        return _conversation("messages", _weighed("messages", turns, weights), "assistant")


class _Said(msgspec.Struct, rename={"from_": "from"}):
    from_: Literal["system", "human", "user", "gpt", "chatgpt", "assistant", "model"]
    value: str
    weight: float | None = None


class _Conversations(msgspec.Struct):
    """A row as ShareGPT keeps conversations."""

    shape: ClassVar[str] = "conversations"
    conversations: list[_Said]

    def example(self) -> Example:
        turns = [Content(_ROLES[said.from_], said.value) for said in self.conversations]
        weights = [said.weight for said in self.conversations]
        return _conversation("conversations", _weighed("conversations", turns, weights), "gpt")


_Shape = (
    _Pair | _InputOutput | _PromptCompletion | _Instruction | _Contents | _Messages | _Conversations
)

_SHAPES: dict[str, type[_Shape]] = {
    "contents": _Contents,
    "messages": _Messages,
    "conversations": _Conversations,
    "instruction": _Instruction,
    "prompt": _PromptCompletion,
    "completion": _PromptCompletion,
    "text_input": _Pair,
    "input": _InputOutput,
    "output": _Pair,
}
"""The first of these keys that a row has decides what the row has to look like."""
KEYS = frozenset({*_SHAPES, *_BESIDE, *OTHER_SPELLINGS, "context", "weight"})
"""All keys that mean something; the others of a row are its own affair."""


def _named(fields: Mapping[str, Any], columns: Columns) -> tuple[str, Example]:
    if missing := [name for name in columns if name not in fields]:
        raise InvalidArgument.of("", f"has {_some(fields)}, but no {' and no '.join(missing)}")
    for name in columns:
        try:
            msgspec.convert(fields[name], str)
        except msgspec.ValidationError as error:
            raise InvalidArgument.of(name, _explained(str(error))[1]) from None
    return shape_name(columns), Example.pair(fields[columns[0]], fields[columns[1]])


def _some(fields: Mapping[str, Any]) -> str:
    return ", ".join(str(name)[:MAX_ECHO] for name in list(fields)[:5]) or "nothing"


def _joined(parts: Iterable[_TextPart]) -> str:
    return "".join(part.text for part in parts)


def _weighed(
    field: str, turns: Sequence[Content], weights: Sequence[float | None]
) -> list[Content]:
    """Turns of the model with the weight 0 are only read; the weight of others says nothing."""
    for number, weight in enumerate(weights):
        if weight not in (None, 0, 1):
            raise InvalidArgument.of(f"{field}[{number}].weight", f"must be 0 or 1, not {weight:g}")
    return [
        Content(turn.role, turn.text, turn.role != "model" or weight != 0)
        for turn, weight in zip(turns, weights, strict=True)
    ]


def _conversation(field: str, turns: Sequence[Content], answer_role: str) -> Example:
    """The last turn to learn is the answer; what follows it could teach nothing."""
    if not turns or turns[-1].role != "model":
        raise InvalidArgument.of(field, f"must end with a turn of role {answer_role}")
    if any(turn.role == "system" for turn in turns[1:]):
        raise InvalidArgument.of(field, "must have its system turn first, and only one")
    learned = [n for n, turn in enumerate(turns) if turn.role == "model" and turn.learn]
    for number in learned:
        if number == 0 or turns[number - 1].role != "user":
            which = "the answer" if number == len(turns) - 1 else f"turn {number + 1}"
            raise InvalidArgument.of(field, f"must have a user turn right before {which}")
    if not learned:
        raise Unlearned
    return Example(tuple(turns[: learned[-1]]), turns[learned[-1]].text)


# What msgspec complains of, in our words.

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
    "bytes": "bytes",
}


def _explained(complaint: str) -> tuple[str, str]:
    """msgspec's complaint as field path and description."""
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
    return path, complaint


def _kind_of(value: object) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, Sequence):
        return "a list"
    return "null" if value is None else "a plain value"
