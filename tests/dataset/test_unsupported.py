"""What stands beside the turns of a row: it is read, or the row is refused by its field."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from kamerton.dataset.sources import inline_source, source_of
from kamerton.findings import Hit
from kamerton.types import Content, Example

TURNS: dict[str, list[dict[str, Any]]] = {
    "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
    "contents": [{"parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}],
    "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
}
ROWS: list[dict[str, Any]] = [
    {"messages": TURNS["messages"]},
    {"contents": TURNS["contents"]},
    {"conversations": TURNS["conversations"]},
    {"text_input": "a", "output": "b"},
    {"input": "a", "output": "b"},
    {"prompt": "a", "completion": "b"},
    {"instruction": "a", "output": "b"},
]
ASKED = (Content("user", "a"),)


def read(row: dict[str, Any]) -> Example | Hit:
    (chunk,) = inline_source([row]).chunks
    return chunk.examples[0] if chunk.examples else chunk.unreadable[0]


def refused(row: dict[str, Any]) -> tuple[str, str]:
    hit = read(row)
    assert isinstance(hit, Hit)
    return hit.field, hit.detail


def with_turn(key: str, number: int, **fields: Any) -> dict[str, Any]:
    turns = [dict(turn) for turn in TURNS[key]]
    turns[number] |= fields
    return {key: turns}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: next(iter(row)))
@pytest.mark.parametrize("key", ["system", "systemInstruction", "system_instruction"])
@pytest.mark.parametrize(
    "text", ["Be brief.", {"parts": [{"text": "Be "}, {"text": "brief."}]}, [{"text": "Be brief."}]]
)
def test_system_text_of_every_shape(row: dict[str, Any], key: str, text: Any) -> None:
    wanted = Example((Content("system", "Be brief."), *ASKED), "b")
    assert read({key: text} | row) == wanted
    # As a line, where the quick way must not miss it.
    (chunk,) = source_of(io.BytesIO(json.dumps(row | {key: text}).encode())).chunks
    assert chunk.examples == [wanted]
    assert read({key: ""} | row) == read({key: None} | row) == Example(ASKED, "b")


def test_system_text_is_there_once() -> None:
    system = {"role": "system", "content": "s"}
    both = {"messages": [system, *TURNS["messages"]], "system": "t"}
    assert refused(both) == ("system", "is there beside a system turn; keep one of them")
    twice = {"input": "a", "output": "b", "system": "s", "systemInstruction": "t"}
    assert refused(twice) == ("system", "is there beside system_instruction; keep one")
    assert refused(ROWS[3] | {"system": 7}) == (
        "system",
        "must be text or an object or a list, not a number",
    )


def test_earlier_turns_of_alpaca() -> None:
    row = {"instruction": "a", "output": "b", "system": "s", "history": [["1", "2"], ["3", "4"]]}
    turns = [("system", "s"), ("user", "1"), ("model", "2"), ("user", "3"), ("model", "4")]
    wanted = tuple(Content(role, text) for role, text in turns)  # type: ignore[arg-type]
    assert read(row) == Example((*wanted, *ASKED), "b")
    assert read(row | {"history": [], "system": ""}) == Example(ASKED, "b")
    assert refused(row | {"history": [["1"]]})[0] == "history[0]"
    talk = {"messages": TURNS["messages"] * 2, "history": [["1", "2"]]}
    assert refused(talk)[0] == "history"


@pytest.mark.parametrize("row", ROWS[3:], ids=lambda row: next(iter(row)))
def test_context_beside_a_pair(row: dict[str, Any]) -> None:
    assert refused(row | {"context": "c"})[0] == "context"
    assert read(row | {"context": "", "id": 7, "source": "x"}) == Example(ASKED, "b")


@pytest.mark.parametrize(
    ("row", "field", "says"),
    [
        (with_turn("messages", 1, content=None, tool_calls=[{}]), "[1].tool_calls", "tool calls"),
        (with_turn("messages", 1, function_call={"name": "f"}), "[1].function_call", "tool calls"),
        (with_turn("messages", 0, role="tool"), "[0].role", "is tool: tool calls"),
        (with_turn("messages", 0, role="function"), "[0].role", "is function: tool calls"),
        (with_turn("conversations", 0, **{"from": "observation"}), "[0].from", "is observation"),
        (
            with_turn("messages", 0, content=[{"type": "image_url", "image_url": {"url": "u"}}]),
            "[0].content[0].image_url",
            "images and other files are not supported; keep text only",
        ),
        (
            with_turn("messages", 0, content=[{"type": "video", "text": "a"}]),
            "[0].content[0].type",
            "is 'video': images",
        ),
        *(
            (
                with_turn("contents", 1, parts=[{"text": "b"}, {"text": "", key: {"x": 1}}]),
                f"[1].parts[1].{key}",
                says,
            )
            for key, says in {
                "functionCall": "tool calls",
                "functionResponse": "tool calls",
                "inlineData": "images",
                "fileData": "images",
                "thought": "thoughts are not supported",
            }.items()
        ),
        (with_turn("contents", 1, weight=0.5), "[1].weight", "must be 0 or 1, not 0.5"),
    ],
)
def test_parts_of_turns_that_no_example_holds(row: dict[str, Any], field: str, says: str) -> None:
    found = refused(row)
    assert found[0] == next(iter(row)) + field
    assert found[1].startswith(says)


def test_keys_with_nothing_in_them_are_no_parts() -> None:
    empty = {"tool_calls": None, "function_call": None, "audio": None}
    assert read(with_turn("messages", 1, **empty)) == Example(ASKED, "b")
    parts = [{"text": "b", "thought": False, "inlineData": None}]
    assert read(with_turn("contents", 1, parts=parts)) == Example(ASKED, "b")


def test_weights_of_contents_and_of_rows() -> None:
    turns = [TURNS["contents"][0], TURNS["contents"][1] | {"weight": 0}, *TURNS["contents"]]
    read_only = (*ASKED, Content("model", "b", learn=False), *ASKED)
    assert read({"contents": turns}) == Example(read_only, "b")
    assert refused(ROWS[3] | {"weight": 0.5})[0] == "weight"
    assert read(ROWS[3] | {"weight": 1}) == Example(ASKED, "b")


@pytest.mark.parametrize("extra", [{"context": "c"}, {"weight": 2}, {"history": [["1"]]}])
def test_the_quick_way_misses_nothing(extra: dict[str, Any]) -> None:
    lines = "\n".join(map(json.dumps, [ROWS[3], ROWS[3] | extra, ROWS[3]]))
    chunks = list(source_of(io.BytesIO(lines.encode())).chunks)
    assert [hit.number for chunk in chunks for hit in chunk.unreadable] == [2]


def test_pairs_of_preferences() -> None:
    says = "preference pairs are not supported; keep the chosen answer as the completion"
    for row in (
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"chosen": "b", "rejected": "c"},
    ):
        assert says in refused(row)[1]


def test_two_spellings_of_one_field() -> None:
    row = {"text_input": "a", "textInput": "c", "output": "b"}
    assert refused(row) == ("textInput", "is there beside text_input; keep one of them")


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"input": "a\ud800", "output": "b"}, "input"),
        ({"input": "a", "output": "b", "system": "\udfff"}, "system"),
        (with_turn("messages", 1, content=[{"text": "\ud800"}]), "messages[1].content[0].text"),
    ],
)
def test_half_a_character(row: dict[str, Any], field: str) -> None:
    found = refused(row)
    assert found[0] == field
    assert found[1].startswith("has half a character in it")


def test_half_a_character_in_the_name_of_a_field() -> None:
    for row in ({"\ud800": 1}, {"messages": [{"role": "\ud800", "content": "a"}]}):
        "".join(refused(row)).encode()
