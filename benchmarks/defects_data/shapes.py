"""Rows in the shapes that people keep, and rows that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.defects_data.sets import Kind, Row


def written(kind: Kind, row: Row) -> dict[str, object]:
    """A row in the shape of its set."""
    weight = {} if row.learned else {"weight": 0}
    turns = [(role, text) for pair in row.before for role, text in zip("um", pair, strict=True)]
    turns += [("u", row.input), ("m", row.output)]
    if kind.shape == "messages":
        said = [
            {"role": "user", "content": text}
            if role == "u"
            else {"role": "assistant", "content": text, **weight}
            for role, text in turns
        ]
        system = [{"role": "system", "content": row.system}] if row.system else []
        return {"messages": [*system, *said]}
    if kind.shape == "sharegpt":
        names = {"u": "human", "m": "gpt"}
        return {
            "conversations": [
                {"from": names[role], "value": text, **(weight if role == "m" else {})}
                for role, text in turns
            ]
        }
    if kind.shape == "contents":
        names = {"u": "user", "m": "model"}
        return {
            "contents": [{"role": names[role], "parts": [{"text": text}]} for role, text in turns]
        }
    if kind.shape == "instruction":
        return {"instruction": "JSON", "input": row.input, "output": row.output}
    if kind.shape == "prompt":
        return {"prompt": row.input, "completion": row.output}
    return {"text_input": row.input, "output": row.output}


def broken(kind: Kind, row: Row) -> Iterator[str | dict[str, object]]:
    """Ways for a row of this shape to be none: objects, or lines as they would stand in a file."""
    fields = written(kind, row)
    whole = json.dumps(fields, ensure_ascii=False)
    last = list(fields)[-1]
    yield {name: value for name, value in fields.items() if name != last}
    yield fields | {last: 5}
    yield fields | {last: None}
    yield {"question": row.input, "answer": row.output}
    if kind.shape in ("messages", "sharegpt", "contents"):
        yield fields | {last: []}
        turns = fields[last]
        assert isinstance(turns, list)
        yield fields | {last: turns[:-1]}
    if kind.shape != "inline":
        yield whole[: -len(whole) // 3]
        yield whole.replace('"', "'")
        yield whole[:-1] + ",}"
        yield f"{row.input[:30]} -> {row.output[:30]}".replace("\n", " ")
        yield "[1, 2, 3]"
        yield '"text"'
