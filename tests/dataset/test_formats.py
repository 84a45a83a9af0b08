"""Every row shape and file format, and how rows that cannot be used are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kamerton.dataset.sentences import refusal
from kamerton.dataset.sources import inline_source, source_of
from kamerton.dataset.tutorial import EXAMPLES, PAIRS, UNSEEN
from kamerton.errors import InvalidArgument, Violation
from kamerton.types import Content, Example

ONE = Example.pair("one", "two")


def read_examples(data: Path | list[dict[str, Any]]) -> list[Example]:
    source = source_of(data) if isinstance(data, Path) else inline_source(data)
    chunks = list(source.chunks)
    wrong = [hit for chunk in chunks for hit in chunk.unreadable]
    if wrong:
        rows = sum(len(chunk.numbers) + len(chunk.unreadable) for chunk in chunks)
        raise refusal(source, wrong, rows)
    return [example for chunk in chunks for example in chunk.examples]


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"text_input": "one", "output": "two"},
        {"textInput": "one", "output": "two", "id": 7},
        {"input": "one", "output": "two"},
        {"prompt": "one", "completion": "two"},
        {"instruction": "one", "output": "two"},
        {"instruction": "one", "input": "", "output": "two"},
        {"instruction": "one", "input": None, "output": "two"},
        {"contents": [{"parts": [{"text": "one"}]}, {"role": "model", "parts": [{"text": "two"}]}]},
        {"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "one"}]},
                {"role": "assistant", "content": "two"},
            ]
        },
    ],
)
def test_every_row_shape_is_the_same_example(row: dict[str, Any], tmp_path: Path) -> None:
    assert read_examples([row]) == [ONE]
    assert read_examples(written(tmp_path, "a.jsonl", json.dumps(row))) == [ONE]
    assert read_examples(written(tmp_path, "a.json", json.dumps([row, row], indent=2))) == [ONE] * 2


def test_input_is_appended_to_the_instruction() -> None:
    row = {"instruction": "Translate.", "input": "one", "output": "один"}
    assert read_examples([row]) == [Example.pair("Translate.\n\none", "один")]


def test_conversations_keep_all_turns_before_the_last() -> None:
    gemini = {
        "systemInstruction": {"role": "system", "parts": [{"text": "Be "}, {"text": "brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "a"}]},
            {"role": "model", "parts": [{"text": "b"}]},
            {"role": "user", "parts": [{"text": "c"}]},
            {"role": "model", "parts": [{"text": "d"}]},
        ],
    }
    openai = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "d"},
        ]
    }
    turns = (
        Content("system", "Be brief."),
        Content("user", "a"),
        Content("model", "b"),
        Content("user", "c"),
    )
    assert read_examples([gemini, openai]) == [Example(turns, "d")] * 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "text_input,output\none,two\n"),
        ("a.csv", "\ufefftext_input,output\r\none,two"),
        ("a.csv", 'id, output ,textInput\r\n7,two,"one"\r\n\r\n'),
        ("a.csv", "prompt;completion\none;two\n"),
        ("a.csv", "\ufeffsep=;\r\nprompt;completion\r\none;two\r\n"),
        ("a.csv", '"sep=,"\nprompt,completion\none,two\n'),
        ("a.json", '{"examples": [{"prompt": "one", "completion": "two"}]}\n'),
        ("a.json", '{"examples":{"examples":[\n{"prompt": "one", "completion": "two"}\n]\n}}'),
        ("a.tsv", "input\toutput\none\ttwo\n"),
        ("a.txt", "instruction,input,output\none,,two\n"),
        ("a.jsonl", '\ufeff{"text_input": "one", "output": "two"}\r\n\r\n'),
        ("a", '{"text_input": "one", "output": "two"}'),
    ],
)
def test_file_formats(name: str, text: str, tmp_path: Path) -> None:
    assert read_examples(written(tmp_path, name, text)) == [ONE]


def test_text_is_kept_to_the_character(tmp_path: Path) -> None:
    text = ' "a", b\r\nв\u2028六\t'
    row = json.dumps({"text_input": text, "output": text}, ensure_ascii=False)
    quoted = '"' + text.replace('"', '""') + '"'
    assert read_examples(written(tmp_path, "a.jsonl", row)) == [Example.pair(text, text)]
    csv = written(tmp_path, "a.csv", f"text_input,output\n{quoted},{quoted}\n")
    assert read_examples(csv) == [Example.pair(text, text)]


def test_every_bad_row_is_named_at_once(tmp_path: Path) -> None:
    lines = [
        '{"text_input": "one", "output": "two"}',
        '{"text_input": "one"}',
        "",
        '{"text_input": 1, "output": null}',
        '{"contents": [{"parts": [{"text": "a"}]}, {"role": "bot", "parts": []}]}',
        '{"messages": [{"role": "user", "content": "a"}]}',
        '{"question": "one", "answer": "two"}',
        '["one", "two"]',
        '{"text_input": "one", "output": "two"',
        '{"text_input": "", "output": ""}',
        '{"messages": [{"role": "assistant", "content": "a"}]}',
    ]
    with pytest.raises(InvalidArgument) as caught:
        read_examples(written(tmp_path, "train.jsonl", "\n".join(lines)))
    assert caught.value.violations == (
        Violation("line 2: output", "is missing"),
        Violation("line 4: text_input", "must be text, not a number"),
        Violation("line 5: contents[1].role", "cannot be 'bot' here"),
        Violation("line 6: messages", "must end with a turn of role assistant"),
        Violation(
            "line 7",
            "has question, answer, but no text_input and output; rename them, or name the two "
            "columns (input key, output key)",
        ),
        Violation("line 8", "must be an object, not a list"),
        Violation(
            "line 9",
            "is not valid JSON: it ends too early; each line must be one whole object",
        ),
        Violation("line 11: messages", "must have a user turn right before the answer"),
    )
    assert caught.value.message.startswith(
        "train.jsonl: 8 of 10 rows cannot be used; line 2: output is missing; "
        "line 4: text_input must be text, not a number; "
    )


def test_bad_csv_rows_are_named_by_the_line_they_begin_in(tmp_path: Path) -> None:
    text = 'text_input,output\n"a\nb",c\none\none,two,three\n,x\n'
    with pytest.raises(InvalidArgument) as caught:
        read_examples(written(tmp_path, "a.csv", text))
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["line 4: output", "line 5"]
    assert "has 3 cells for 2 columns" in caught.value.message


def test_inline_rows_are_named_by_their_index() -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_examples([{"text_input": "a", "output": "b"}, {"text_input": "a"}])
    assert caught.value.violations == (Violation("examples[1].output", "is missing"),)


def test_ten_are_in_the_message_and_the_rest_counted() -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_examples([{"text_input": "a"}] * 130)
    assert len(caught.value.violations) == 130
    assert caught.value.message.endswith("; and 120 more problems")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"one,two\nthree,four\n", "must name the columns"),
        ("a.txt", b"just some prose\n", "must name the columns"),
        ("a.jsonl", "{}".encode("utf-16-le"), "looks like UTF-16"),
        ("a.json", b'[\n{"text_input": "a"},\n]', "in line 3"),
    ],
)
def test_files_that_are_wrong_as_a_whole(
    name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgument, match=says):
        read_examples(written(tmp_path, name, content))


@pytest.mark.parametrize("content", [b"", b"\n \n", b"[]", b"text_input,output\n"])
def test_files_without_a_row(content: bytes, tmp_path: Path) -> None:
    assert read_examples(written(tmp_path, "a", content)) == []


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"absent\.jsonl: No such file"):
        read_examples(tmp_path / "absent.jsonl")


def test_the_tutorial_has_its_fifteen_pairs() -> None:
    assert len(EXAMPLES) == 15
    assert EXAMPLES[0] == Example.pair("1", "2")
    shown = {text for pair in PAIRS for text in pair}
    assert not shown & {text for pair in UNSEEN for text in pair}
