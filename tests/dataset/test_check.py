from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from kamerton.dataset.check import Measuring, RowTokens, check
from kamerton.dataset.checks.registry import WHOLE_CHECKS, Check, all_checks
from kamerton.dataset.chunks import Chunk, Source
from kamerton.dataset.sources import example_source, inline_source, source_of
from kamerton.errors import InvalidArgument
from kamerton.findings import Finding, Hit, Report
from kamerton.types import Content, Example

CITIES = ["Псков", "Казань", "Тула", "Омск", "Орёл", "Тверь", "Уфа", "Пермь", "Брянск", "Вологда"]


def good_rows(count: int) -> list[tuple[str, str]]:
    """Rows that no check has anything to say about."""
    return [
        (
            f"Когда отходит поезд номер {3 * at} до города {CITIES[at % 10]}?",
            f"Поезд до города {CITIES[at % 10]} отходит в {at % 23} часов с пути {at % 7}.",
        )
        for at in range(count)
    ]


def lines(rows: Sequence[tuple[str, str]], ascii_only: bool = False) -> bytes:
    dumped = (json.dumps({"text_input": a, "output": b}, ensure_ascii=ascii_only) for a, b in rows)
    return "\n".join(dumped).encode()


def report_on(rows: Sequence[tuple[str, str]], **options: Any) -> Report:
    return check(source_of(io.BytesIO(lines(rows)), "data.jsonl"), **options)


def found(report: Report, code: str) -> Finding:
    [finding] = [finding for finding in report.findings if finding.code == code]
    return finding


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


def test_good_rows_are_not_complained_about() -> None:
    report = report_on(good_rows(60))
    assert report.findings == ()
    assert (report.name, report.format) == ("data.jsonl", "JSON lines")
    assert report.shapes == (("text_input, output", 60),)
    assert report.statistics.row_count == report.statistics.example_count == 60


def test_a_finding_names_rows_and_says_how_many() -> None:
    rows = good_rows(60)
    rows[6] = (rows[6][0], "")
    rows[9] = (rows[9][0], " \n")
    finding = found(report_on(rows), "K101")
    assert finding.message == "2 of 60 rows have an empty output"
    assert finding.severity == "error" and finding.unit == "line" and finding.count == 2
    assert finding.hits == (
        Hit(7, "output", "is empty"),
        Hit(10, "output", "has only white space"),
    )
    rows[9] = good_rows(60)[9]
    assert found(report_on(rows), "K101").message == "1 of 60 rows has an empty output"


@pytest.mark.parametrize("ascii_only", [True, False])
def test_escaped_text_is_seen_like_any_other(ascii_only: bool) -> None:
    rows = good_rows(60)
    rows[3] = (rows[3][0] + "\u200b", rows[3][1])
    rows[5] = (rows[5][0], "Ответ готов.<br>Звоните.")
    data = io.BytesIO(lines(rows, ascii_only))
    report = check(source_of(data, "data.jsonl"))
    assert found(report, "K405").hits[0].number == 4
    assert found(report, "K402").hits[0] == Hit(6, "output", "<br>")


def test_rows_are_counted_exactly_and_a_hundred_are_named() -> None:
    rows = [(a, b if at % 2 else "") for at, (a, b) in enumerate(good_rows(5_000))]
    finding = found(report_on(rows), "K101")
    assert finding.count == 2_500 and len(finding.hits) == 100
    assert [hit.number for hit in finding.hits] == list(range(1, 200, 2))


def test_findings_come_errors_first_then_by_code() -> None:
    rows = good_rows(60)
    rows[1] = (rows[1][0], "**Важно**: " + rows[1][1])
    rows[2] = (rows[2][0], "Пишите на anna@mail.ru за билетом.")
    rows[3] = (rows[3][0], "Это <br> ответ на вопрос.")
    rows[4] = ("", rows[4][1])
    rows[5] = (rows[5][0], "")
    report = report_on(rows)
    wanted = ["K101", "K102", "K402", "K501", "K403"]
    assert [code for code in codes(report) if code in wanted] == wanted


def test_what_most_rows_have_is_the_task_and_no_left_over() -> None:
    rows = [(f"<p>{a}</p>", b) for a, b in good_rows(60)]
    assert "K402" not in codes(report_on(rows))
    rows[7] = (rows[7][0], rows[7][1] + "<br>")
    finding = found(report_on(rows), "K402")
    assert finding.count == 1 and finding.hits[0].field == "output"
    personal = [(a, f"{b} Пишите на user{at}@mail.ru.") for at, (a, b) in enumerate(rows)]
    assert found(report_on(personal), "K501").count == 60


def test_what_a_quarter_of_the_rows_have_is_a_task_too() -> None:
    rows = good_rows(80)
    for at in range(0, 80, 4):
        rows[at] = (rows[at][0], f"<p>{rows[at][1]}</p>")
    assert "K402" not in codes(report_on(rows))
    rows[0:60] = good_rows(60)
    assert found(report_on(rows), "K402").count == 5


def test_a_row_is_counted_once() -> None:
    rows = good_rows(60)
    rows[7] = ("<p>" + rows[7][0], rows[7][1] + "<br>")
    assert found(report_on(rows), "K402").count == 1


def test_a_check_of_all_rows_may_speak_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    all_checks()
    hits = [Hit(-1, "", "Most rows are about trains."), Hit(4, "output", "a train")]
    about = Check("K398", "trains", "warning", "are about trains", "Fly.", "So.", lambda _: hits)
    monkeypatch.setitem(WHOLE_CHECKS, "K398", about)
    finding = found(report_on(good_rows(60)), "K398")
    assert finding.message == "Most rows are about trains." and finding.severity == "warning"
    assert finding.count == 1 and finding.hits == (hits[1],)


def test_codes_are_silenced_and_told() -> None:
    rows = good_rows(60)
    rows[7] = (rows[7][0], rows[7][1] + "<br>")
    report = report_on(rows, allow=["K402", "K501"])
    assert "K402" not in codes(report)
    assert report.allowed == ("K402",)


@pytest.mark.parametrize(
    ("code", "complaint"), [("K101", "is an error and cannot be allowed"), ("K999", "no check")]
)
def test_errors_and_unknown_codes_cannot_be_allowed(code: str, complaint: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{code}.*{complaint}|{complaint}.*{code}"):
        report_on(good_rows(1), allow=[code])


def test_what_ends_the_reading_is_a_finding_beside_those_before_it() -> None:
    data = lines([("Вопрос", ""), *good_rows(40)]) + b'\n{"text_input": "\xff", "output": "b"}\n'
    report = check(source_of(io.BytesIO(data), "data.jsonl"))
    ended = found(report, "K108")
    assert "line 42" in ended.message and "0xff" in ended.message.lower()
    assert ended.message.startswith("data.jsonl: ") and ended.count == 0
    assert ended.message.endswith("(reading ended after 41 rows)")
    assert found(report, "K101").hits[0].number == 1


@pytest.mark.parametrize("data", [b"", b"\n\n", b"[]"])
def test_no_rows_at_all(data: bytes) -> None:
    report = check(source_of(io.BytesIO(data), "data"))
    assert "K109" in codes(report) and report.count("error") == 1
    assert report.statistics.row_count == 0


def test_unreadable_and_unlearned_rows_are_found_and_counted() -> None:
    weightless = {"role": "assistant", "content": "4", "weight": 0}
    rows: list[dict[str, Any]] = [
        {"text_input": "a question", "output": 4},
        {"messages": [{"role": "user", "content": "2 + 2?"}, weightless]},
        {"text_input": "a question", "output": "an answer"},
    ]
    report = check(inline_source(rows))
    assert found(report, "K103").hits == (Hit(0, "output", "must be text, not a number"),)
    assert found(report, "K107").hits[0].number == 1
    assert found(report, "K103").unit == "example"
    assert (report.statistics.row_count, report.statistics.example_count) == (3, 1)


def test_only_rows_without_errors_are_kept() -> None:
    kept: list[Example] = []
    counted: list[int] = []
    rows = good_rows(4_500)
    rows[7] = ("", "")
    report_on(rows, keep=kept.extend, on_rows=counted.append)
    assert len(kept) == 4_499 and rows[6][1] == kept[6].output and rows[8][1] == kept[7].output
    assert counted[-1] == 4_500 and counted == sorted(counted) and len(counted) > 1


def test_validation_data_are_looked_through_for_errors() -> None:
    validation = lines([*good_rows(60)[50:], ("Вопрос?", ""), ("Вопрос?", "да <br>")])
    report = report_on(
        good_rows(50),
        validation=source_of(io.BytesIO(validation + b"\n{}"), "held.jsonl"),
    )
    assert found(report, "K101").message == "held.jsonl: 1 of 13 rows has an empty output"
    assert found(report, "K103").message == "held.jsonl: 1 of 13 rows cannot be read"
    assert "K402" not in codes(report)
    assert report.statistics.row_count == 50


def test_rows_shared_with_validation_data_are_a_leak() -> None:
    shared = source_of(io.BytesIO(lines(good_rows(60)[10:14])), "held.jsonl")
    assert "K205" in codes(report_on(good_rows(60), validation=shared))


# Tokens.


def measuring(context: int, asked: list[Example]) -> Measuring:
    """A token for each character, and as few for the marks as there can be."""

    def measure(examples: Sequence[Example]) -> list[RowTokens]:
        asked.extend(examples)
        counts = [
            (sum(len(turn.text) for turn in example.contents), len(example.output))
            for example in examples
        ]
        return [
            RowTokens(prompt, answer, cut_prompt=max(0, prompt + answer - context))
            for prompt, answer in counts
        ]

    return Measuring(context, measure, frozenset({"<mark>"}))


def test_tokens_are_counted_only_where_a_row_could_be_too_long() -> None:
    asked: list[Example] = []
    rows = good_rows(60)
    rows[7] = ("Вопрос " * 100, rows[7][1])
    report = report_on(rows, measuring=measuring(400, asked))
    assert [example.contents[0].text for example in asked] == [rows[7][0]]
    finding = found(report, "K106")
    assert finding.hits == (
        Hit(8, "", f"{700 + len(rows[7][1]) - 400} prompt tokens would be cut"),
    )
    assert report.statistics.tokens is None


def test_no_row_that_could_be_too_long_goes_uncounted() -> None:
    """However many tokens a tokenizer makes of a character's bytes."""
    asked: list[Example] = []
    context = 100
    rows = [("日" * 12, "語" * 11), ("日" * 11, "ok"), ("👍" * 10, "👍" * 8)]
    report_on(rows, measuring=measuring(context, asked))
    bytes_of = [len((a + b).encode()) for a, b in rows]
    asked_for = {example.output for example in asked}
    for (_, output), size in zip(rows, bytes_of, strict=True):
        assert output in asked_for or size + 32 <= context


def test_all_tokens_are_counted_when_asked() -> None:
    asked: list[Example] = []
    rows = good_rows(60)
    rows[3] = (rows[3][0], "")
    report = report_on(rows, measuring=measuring(4_000, asked), count_all=True)
    tokens = report.statistics.tokens
    assert tokens is not None
    kept = [row for at, row in enumerate(rows) if at != 3]
    assert tokens.prompt.total == sum(len(a) for a, _ in kept)
    assert tokens.answer.total == sum(len(b) for _, b in kept)
    assert tokens.row.most == max(len(a) + len(b) for a, b in kept)
    assert tokens.truncated_count == 0


def test_the_tokenizers_marks_are_looked_for() -> None:
    rows = good_rows(60)
    rows[3] = (rows[3][0], "Вот <mark> ответ.")
    assert "K406" in codes(report_on(rows, measuring=measuring(4_000, [])))
    assert "K406" not in codes(report_on(rows))


def test_a_row_of_which_no_answer_fits_trains_on_nothing() -> None:
    nothing = Measuring(9, lambda examples: [RowTokens(9, 0, cut_answer=3) for _ in examples])
    report = check(example_source([Example.pair("a" * 50, "b")]), measuring=nothing)
    assert found(report, "K107").severity == "error"
    assert "K106" not in codes(report)


def test_conversations_are_measured_as_a_whole() -> None:
    asked: list[Example] = []
    turns = (Content("user", "a" * 30), Content("model", "b" * 30), Content("user", "c" * 30))
    check(example_source([Example(turns, "d")]), measuring=measuring(100, asked))
    assert len(asked) == 1


# What surrounds it.


def test_rows_are_let_go_of_as_they_are_read() -> None:
    """What is kept of a row does not grow with its text."""
    import tracemalloc

    def chunks() -> Iterator[Chunk]:
        for first in range(0, 40_000, 1_000):
            inputs = [f"{at} вопрос " + "я" * 500 for at in range(first, first + 1_000)]
            yield Chunk(range(first, first + 1_000), inputs, ["ответ " + i[:20] for i in inputs])

    tracemalloc.start()
    check(Source("many", "line", "made up", chunks()), allow=["K202"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 1024**2  # The texts alone take 40 MB.


def test_asking_for_the_check_loads_no_numpy() -> None:
    script = "import kamerton.dataset.check, sys; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
