"""Any shape and format as any other, without loss or not at all."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamerton.dataset.convert import SHAPES, convert
from kamerton.dataset.sources import example_source, inline_source, source_of
from kamerton.errors import InvalidArgument, Violation
from kamerton.types import Content, Example

FLAT = ("text_input", "input", "prompt", "instruction")
TARGETS = [
    (shape, ending)
    for shape, ending in itertools.product(
        SHAPES, ("jsonl", "json", "csv", "tsv", "parquet", "jsonl.gz", "csv.gz")
    )
    if shape in FLAT or "sv" not in ending
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', "a\r\nb", "\r", "\n", "\u2028", "\0", ",;\t", "[", "{", "=1", "\ufeff", " "]
)
PAIR = st.builds(Example.pair, TEXT, TEXT).filter(lambda made: made != Example.pair("", ""))


@st.composite
def conversations(draw: st.DrawFn) -> Example:
    turns = [Content("system", draw(TEXT))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 2))):
        turns += [Content("user", draw(TEXT))] * draw(st.integers(1, 2))
        turns.append(Content("model", draw(TEXT), learn=draw(st.booleans())))
    return Example((*turns, Content("user", draw(TEXT))), draw(TEXT))


def read(path: Path) -> list[Example]:
    source = source_of(path)
    chunks = list(source.chunks)
    assert not any(chunk.unreadable or chunk.unlearned for chunk in chunks)
    return [example for chunk in chunks for example in chunk.examples]


@settings(max_examples=150, deadline=None)
@given(
    examples=st.lists(PAIR, min_size=1, max_size=5),
    first=st.sampled_from(TARGETS),
    second=st.sampled_from(TARGETS),
)
def test_pairs_survive_every_way(
    examples: list[Example],
    first: tuple[str, str],
    second: tuple[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    once, twice = folder / f"once.{first[1]}", folder / f"twice.{second[1]}"
    assert convert(example_source(examples), once, first[0]) == len(examples)
    assert read(once) == examples
    assert convert(source_of(once), twice, second[0]) == len(examples)
    assert read(twice) == examples


@settings(max_examples=100, deadline=None)
@given(
    examples=st.lists(conversations(), min_size=1, max_size=4),
    first=st.sampled_from([t for t in TARGETS if t[0] in ("messages", "conversations")]),
    second=st.sampled_from([t for t in TARGETS if t[0] in ("messages", "conversations")]),
    third=st.sampled_from([t for t in TARGETS if t[0] == "contents"]),
)
def test_conversations_survive_every_way(
    examples: list[Example],
    first: tuple[str, str],
    second: tuple[str, str],
    third: tuple[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("conversations")
    once, twice, last = (
        folder / f"{name}.{target[1]}"
        for name, target in (("once", first), ("twice", second), ("last", third))
    )
    convert(example_source(examples), once, first[0])
    assert read(once) == examples
    convert(source_of(once), twice, second[0])
    assert read(twice) == examples
    weighed = [n for n, made in enumerate(examples) if not all(t.learn for t in made.contents)]
    if weighed:
        with pytest.raises(InvalidArgument, match="weight 0, which contents cannot hold") as caught:
            convert(example_source(examples), last, "contents")
        assert [wrong.field for wrong in caught.value.violations] == [
            f"examples[{number}]" for number in weighed
        ]
        assert not last.exists()
    else:
        convert(source_of(twice), last, "contents")
        assert read(last) == examples


def test_many_rows_and_how_many_were_read(tmp_path: Path) -> None:
    heard: list[int] = []
    examples = [Example.pair(str(n), "б") for n in range(5000)]
    for ending in ("json.gz", "parquet"):
        target = tmp_path / f"a.{ending}"
        assert convert(example_source(examples), target, "messages", heard.append) == 5000
        assert read(target) == examples
    assert heard == [2000, 4000, 5000] * 2


def test_a_json_array_is_plain_json(tmp_path: Path) -> None:
    convert(example_source([Example.pair("а", "b")] * 2), tmp_path / "a.json.gz", "prompt")
    text = gzip.decompress((tmp_path / "a.json.gz").read_bytes()).decode()
    assert json.loads(text) == [{"prompt": "а", "completion": "b"}] * 2
    assert "а" in text


LONG = (Content("system", "s"), Content("user", "a"))
MULTI = (Content("user", "a"), Content("model", "b"), Content("user", "c"))


@pytest.mark.parametrize(
    ("example", "name", "shape", "says"),
    [
        (Example(LONG, "x"), "a.csv", "prompt", "has system text, which prompt cannot hold; take"),
        (Example(MULTI, "x"), "a.jsonl", "text_input", "has several turns, which text_input"),
        (Example.pair("", ""), "a.tsv", "input", "is empty, and a table would lose it"),
        (Example.pair("a" * 200_000, "b"), "a.csv", "input", "has more than 131072 characters"),
        (Example.pair("a\ud800", "b"), "a.jsonl", "input", "has half a character in it"),
    ],
)
def test_what_a_target_cannot_hold(
    example: Example, name: str, shape: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        convert(example_source([Example.pair("a", "b"), example]), tmp_path / name, shape)
    assert [wrong.field for wrong in caught.value.violations] == ["examples[1]"]
    assert caught.value.violations[0].description.startswith(says)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", ["messages", "conversations"])
def test_turns_after_the_last_answer_to_learn_are_not_lost(shape: str, tmp_path: Path) -> None:
    role, text, user, model = (
        ("role", "content", "user", "assistant")
        if shape == "messages"
        else ("from", "value", "human", "gpt")
    )
    turns = [{role: user, text: "1"}, {role: model, text: "2"}]
    longer = [*turns, {role: user, text: "3"}, {role: model, text: "4", "weight": 0}]
    rows: list[dict[str, Any]] = [{shape: turns}, {shape: longer}]
    with pytest.raises(InvalidArgument, match="1 of 2 rows cannot be used") as caught:
        convert(inline_source(rows), tmp_path / "a.jsonl", "messages")
    assert [wrong.field for wrong in caught.value.violations] == ["examples[1]"]
    assert "after the last answer to learn" in caught.value.message


def test_rows_that_cannot_be_read_are_not_left_out(tmp_path: Path) -> None:
    unlearned = {
        "messages": [
            {"role": "user", "content": "1"},
            {"role": "assistant", "content": "2", "weight": 0},
        ]
    }
    rows: list[dict[str, Any]] = [{"input": "a", "output": "b"}, unlearned, {"input": "a"}]
    with pytest.raises(InvalidArgument, match="2 of 3 rows cannot be used") as caught:
        convert(inline_source(rows), tmp_path / "a.jsonl", "messages")
    assert caught.value.violations == (
        Violation("examples[1]", "the row has no answer to learn: the weight of each is 0"),
        Violation("examples[2].output", "is missing"),
    )
    with pytest.raises(InvalidArgument, match="2000 of 2000 rows"):
        convert(inline_source([{}] * 9000), tmp_path / "a.jsonl")
    with pytest.raises(InvalidArgument, match="no examples in it"):
        convert(inline_source([]), tmp_path / "a.jsonl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("a.xlsx", "input", r"a\.xlsx: must end with one of \.jsonl, \.json, \.csv"),
        ("a", "input", r"a: must end with one of"),
        ("a.parquet.gz", "input", "Parquet is packed already; leave out .gz"),
        ("a.jsonl", "alpaca", "shape: alpaca is none of text_input, input, prompt"),
        ("a.csv", "messages", "a table cannot hold messages; take one of text_input, input"),
        ("absent/a.csv", "input", "a.csv: No such file or directory"),
    ],
)
def test_targets_that_cannot_be(name: str, shape: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=says):
        convert(example_source([Example.pair("a", "b")]), tmp_path / name, shape)


def test_nothing_is_overwritten_not_even_the_source(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"input": "a", "output": "b"}')
    with pytest.raises(InvalidArgument, match="exists already; remove it or take another name"):
        convert(source_of(path), path)
    assert path.read_text() == '{"input": "a", "output": "b"}'


def test_a_source_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"input": "a", "output": "b"}\n' * 9000 + b"\xff")
    for name in ("b.csv.gz", "b.parquet", "b.json"):
        with pytest.raises(InvalidArgument, match=r"not UTF-8 text \(line 9001\)"):
            convert(source_of(path), tmp_path / name)
    assert list(tmp_path.iterdir()) == [path]
