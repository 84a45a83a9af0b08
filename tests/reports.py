"""Reports for tests of what shows them."""

from __future__ import annotations

from kamerton.findings import Finding, Hit, Report, Spread, Statistics, Tokens

EMPTY = Finding(
    code="K101",
    name="empty-output",
    severity="error",
    message="24 of 203 rows have an empty output",
    advice="Write the answers, or take the rows out.",
    count=24,
    hits=tuple(Hit(number, "output", "is empty") for number in range(2, 22)),
)
ECHO = Finding(
    code="K204",
    name="echo",
    severity="warning",
    message="1 of 203 rows has an output equal to its input",
    advice="Write what the model should answer.",
    count=1,
    hits=(Hit(9, "output", "Привет\x1b[31m"),),
)
SORTED = Finding(
    code="K308",
    name="sorted-order",
    severity="note",
    message="the rows are sorted by output",
    advice="Shuffle them for other trainers.",
)
STATISTICS = Statistics(
    row_count=203,
    example_count=179,
    input_characters=Spread(12345, 3, 40, 60.8, 120, 999),
    output_characters=Spread(2345, 1, 8, 11.55, 20, 99),
    histogram=((50, 100), (100, 70), (1000, 9)),
)
TOKENS = Tokens(
    Spread(900, 1, 4, 4.4, 9, 30), Spread(300, 1, 1, 1.5, 3, 9), Spread(1200, 2, 5, 6.0, 12, 39), 2
)


def report(*findings: Finding, statistics: Statistics = STATISTICS) -> Report:
    return Report(
        name="train.jsonl",
        format="JSON lines",
        shapes=(("text_input, output", 200), ("messages", 3)),
        findings=findings,
        statistics=statistics,
        allowed=("K305",),
    )
