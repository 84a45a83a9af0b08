"""Tables that can be read in a terminal and stand in docs/benchmarks.md as they are."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.sides import Measured


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, all others to the right."""
    widths = [max(len(row[at]) for row in [headings, *rows]) for at in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        parts = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return "| " + " | ".join(parts) + " |"

    rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(headings), line(rules), *map(line, rows)])


STEP_HEADINGS = (
    "side",
    "tokens/s",
    "ms a step",
    "spread",
    "peak GB",
    "share of matrix rate",
    "loss",
)


def step_row(name: str, measured: Measured, others: Sequence[Measured]) -> list[str]:
    """One side's figures, and how many times faster it is than each of `others`."""
    if measured.failure:
        cells = [f"{name}: {last_line(measured)}", *[""] * (len(STEP_HEADINGS) - 1)]
        return cells + ["" for _ in others]
    last = measured.rounds[-1]
    return [
        name,
        f"{measured.tokens_per_second:,.0f}",
        f"{1000 * measured.seconds / last.steps:,.0f}",
        f"{measured.spread:.0%}",
        f"{measured.peak_bytes / 1e9:.2f}",
        f"{measured.share_of_peak:.0%} of {last.matrix_rate / 1e9:,.0f} GFLOP/s",
        f"{measured.loss:.4f}",
        *("" if other.failure else f"{measured.times(other):.2f}" for other in others),
    ]


def steps(sides: dict[str, Measured], against: dict[str, str]) -> str:
    """`against` are the sides to divide by, with what heads their column."""
    others = [sides[name] for name in against]
    headings = [*STEP_HEADINGS, *against.values()]
    return table(headings, [step_row(name, found, others) for name, found in sides.items()])


def last_line(measured: Measured) -> str:
    return measured.failure.splitlines()[-1][:160]
