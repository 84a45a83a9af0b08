"""What rows hold and examples cannot: named with its place, so that none of it is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kamerton.errors import InvalidArgument

CONVERSATIONS = {"messages": "content", "contents": "parts", "conversations": "value"}
"""Keys that hold turns, and what a turn holds its text in."""
_TOOLS = "tool calls are not supported; keep text only"
_MEDIA = "images and other files are not supported; keep text only"
_UNSUPPORTED = {
    **dict.fromkeys(("tool_calls", "function_call", "functionCall"), _TOOLS),
    **dict.fromkeys(("functionResponse", "function_response"), _TOOLS),
    **dict.fromkeys(("executableCode", "codeExecutionResult"), _TOOLS),
    **dict.fromkeys(("inlineData", "inline_data", "fileData", "file_data"), _MEDIA),
    **dict.fromkeys(("image_url", "input_audio", "audio"), _MEDIA),
    "thought": "thoughts are not supported; keep the text of the answer only",
}
"""Keys of a turn or a part of one."""
_TOOL_ROLES = ("tool", "function", "function_call", "function_response", "observation")
_TEXT_TYPES = ("text", "input_text", "output_text")
_HALF = "has half a character in it (a lone surrogate), which no file can hold; take it out"


def check_supported(fields: Mapping[str, Any]) -> None:
    """InvalidArgument with the first field that no example could hold."""
    if fields.get("weight") not in (None, "", 1, "1"):
        problem = "weighs the whole row, which is not supported; leave it out, or repeat the row"
        raise InvalidArgument.of("weight", problem)
    if fields.get("context") and not fields.keys() & CONVERSATIONS.keys():
        problem = "is not read beside a pair; put it into the input, or name the two columns"
        raise InvalidArgument.of("context", f"{problem} (input key, output key)")
    for key, text_key in CONVERSATIONS.items():
        for path, turn in _objects(key, fields.get(key)):
            _check_turn(path, turn, text_key)


def half_character(fields: Mapping[str, Any]) -> InvalidArgument:
    """What is wrong with a row of which a text cannot be encoded."""
    return InvalidArgument.of(next(_halves("", fields), ""), _HALF)


def _halves(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, str) and encodable(value) != value:
        yield path
    elif isinstance(value, Mapping):
        for key, inside in value.items():
            yield from _halves(f"{path}.{key}".lstrip("."), inside)
    elif isinstance(value, list | tuple):
        for number, inside in enumerate(value):
            yield from _halves(f"{path}[{number}]", inside)


def encodable(text: str) -> str:
    """With a question mark for each half of a character."""
    return text.encode(errors="replace").decode()


def _objects(path: str, items: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(items, list | tuple):
        for number, item in enumerate(items):
            if isinstance(item, Mapping):
                yield f"{path}[{number}]", item


def _check_turn(path: str, turn: Mapping[str, Any], text_key: str) -> None:
    for key in ("role", "from"):
        if turn.get(key) in _TOOL_ROLES:
            raise InvalidArgument.of(f"{path}.{key}", f"is {turn[key]}: {_TOOLS}")
    _check_keys(path, turn)
    for part_path, part in _objects(f"{path}.{text_key}", turn.get(text_key)):
        _check_keys(part_path, part)
        if part.get("type") not in (None, *_TEXT_TYPES):
            raise InvalidArgument.of(f"{part_path}.type", f"is {part['type']!r:.100}: {_MEDIA}")


def _check_keys(path: str, fields: Mapping[str, Any]) -> None:
    for key in fields.keys() & _UNSUPPORTED.keys():
        if fields[key]:
            raise InvalidArgument.of(f"{path}.{key}", _UNSUPPORTED[key])
