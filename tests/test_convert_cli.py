"""`kamerton convert`: a file in, another out, or one line that says why not."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.conftest import Run

PAIRS = '{"question": "один", "reply": "два"}\n{"question": "3", "reply": "4"}\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.jsonl").write_text(PAIRS)


def test_columns_become_messages(run: Run, tmp_path: Path) -> None:
    names = ("--input-key", "question", "--output-key", "reply")
    status, out, err = run("convert", "train.jsonl", "new.jsonl", "--to", "messages", *names)
    assert (status, out, err) == (0, "wrote 2 rows to new.jsonl\n", "")
    first = json.loads((tmp_path / "new.jsonl").read_text().splitlines()[0])
    assert [turn["content"] for turn in first["messages"]] == ["один", "два"]
    status, out, _ = run("convert", "new.jsonl", "back.csv")
    lines = (tmp_path / "back.csv").read_text(encoding="utf-8-sig").splitlines()
    cells = list(csv.reader(lines))
    assert cells == [["text_input", "output"], ["один", "два"], ["3", "4"]]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["missing.jsonl", "new.csv"], "No such file"),
        (["train.jsonl", "new.csv"], "line 1"),
        (["train.jsonl", "train.jsonl"], "train.jsonl"),
        (["train.jsonl", "new.docx"], ".parquet"),
        (["train.jsonl", "new.csv", "--to", "poems"], "text_input"),
    ],
)
def test_what_cannot_be_is_one_line(
    run: Run, tmp_path: Path, arguments: list[str], wanted: str
) -> None:
    status, out, err = run("convert", *arguments)
    assert (status, out) == (1, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert wanted in err
    assert (tmp_path / "train.jsonl").read_text() == PAIRS
    assert not list(tmp_path.glob("new.*"))
