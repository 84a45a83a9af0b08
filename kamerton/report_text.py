"""A report on a dataset, and the estimate of a run, as people read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from kamerton.findings import Finding, Hit, Report, Severity, Spread, Statistics
from kamerton.terminal import duration, histogram, memory, printable
from kamerton.types import Estimate

SHOWN_HITS = 3
"""Rows of a finding that are shown each on a line of its own, if there are no more reasons."""
SHOWN_REASONS = 6
"""Reasons of a finding that are shown, with a row each."""
SHOWN_NUMBERS = 10
"""Rows of a finding that are named after those."""
INDENT = " " * 4
MAX_LINE = 160
"""Characters of a line that repeats something of a row."""
_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_SPREAD = ("total", "least", "median", "mean", "p95", "most")


def print_report(console: Console, report: Report) -> None:
    """What was recognised, the findings, and the statistics."""
    _print(console, _recognised(report))
    for finding in report.findings:
        _print(console, [Text(), *_finding(finding)])
    if report.allowed:
        _print(console, [Text(), Text(f"allowed: {', '.join(report.allowed)}", style="dim")])
    if report.statistics.example_count:
        _print(console, [Text(), *_statistics(report.statistics)])
        _print(console, [Text(), *_lengths(report.statistics, min(console.width, 100))])
        _print(console, _not_sought(report.statistics))
    console.print()


def print_verdict(console: Console, report: Report, *, strict: bool = False) -> None:
    """The last line: what it all means."""
    errors, warnings = report.count("error"), report.count("warning")
    found = _listed(report)
    if errors:
        line = Text(f"{found}: a run would be refused", style=_STYLES["error"])
    elif warnings and strict:
        line = Text(f"{found}: not accepted with --strict", style=_STYLES["warning"])
    elif warnings:
        look = f"look at {'it' if warnings == 1 else 'them'} first"
        line = Text(f"{found}: a run would start; {look}", style=_STYLES["warning"])
    else:
        line = Text(f"{found}: ready to tune", style="bold green")
    if report.findings:
        line.append(
            f" (why: kamerton check --explain {report.findings[0].code})", style="not bold dim"
        )
    _print(console, [line])


def brief(report: Report, severities: Iterable[Severity] = ("error", "warning")) -> Iterator[Text]:
    """A line per finding, with its first rows."""
    for finding in report.findings:
        if finding.severity in severities:
            line = _headline(finding)
            if finding.hits:
                line.append(f" ({_numbers(finding, finding.hits[:SHOWN_HITS])})", style="dim")
            yield line


def print_estimate(
    console: Console, estimate: Estimate, *, price: float | None = None, unmeasured: str = ""
) -> None:
    """What a run would be, a fact a line; `unmeasured` is why there are no time and memory."""
    chosen, reasons = estimate.hyperparameters, dict(estimate.reasons)
    facts = [
        ("examples", _examples(estimate), ""),
        ("epochs", f"{chosen.epoch_count}", reasons.get("epoch_count", "")),
        ("batch size", f"{chosen.batch_size}", reasons.get("batch_size", "")),
        ("learning rate", f"{chosen.learning_rate:g}", reasons.get("learning_rate", "")),
        ("peak rate", f"{chosen.peak_learning_rate:g}", reasons.get("peak_learning_rate", "")),
        ("warm-up steps", f"{chosen.warmup_steps}", reasons.get("warmup_steps", "")),
        ("LoRA rank", f"{chosen.lora_rank}", reasons.get("lora_rank", "")),
        ("steps", f"{estimate.total_steps:,}", ""),
        ("tokens", f"{estimate.tokens:,}", f"{estimate.trained_tokens:,} of them are learned"),
        ("time", _time(estimate) or "not measured", unmeasured or "by training here for a moment"),
        ("memory", _memory(estimate), "of the training process at its peak"),
        ("cost", _cost(estimate), f"at {price:g} per million tokens" if price else ""),
    ]
    lines = []
    for label, value, why in facts:
        if value:
            line = Text(f"{label:<15}{value}")
            lines.append(line.append(f"  {why}" if why else "", style="dim"))
    if estimate.budget_reason:
        lines.append(Text(f"{'budget':<15}{estimate.budget_reason}", style=_STYLES["warning"]))
    _print(console, lines)


def _recognised(report: Report) -> Iterator[Text]:
    rows = count(report.statistics.row_count, "row")
    yield Text(f"{printable(report.name)}: ", style="bold").append(
        f"{report.format}, {rows}" if report.format else rows, style="not bold"
    )
    if report.shapes:
        shapes = "; ".join(f"{printable(shape)} ({rows:,})" for shape, rows in report.shapes)
        yield Text(f"rows with {shapes}", style="dim")


def _finding(finding: Finding) -> Iterator[Text]:
    yield _headline(finding)
    shown, others = _by_reason(finding.hits)
    for hit in shown:
        detail = f": {hit.detail}" if hit.detail else ""
        yield Text(f"{INDENT}{_one_line(_place(finding, hit) + detail)}")
    if others:
        yield Text(f"{INDENT}also {_numbers(finding, others[:SHOWN_NUMBERS], len(shown))}")
    yield Text(f"{INDENT}→ {finding.advice}", style="dim")


def _by_reason(hits: Sequence[Hit]) -> tuple[list[Hit], list[Hit]]:
    """The first row of each reason, and the first rows while there are few; then all others."""
    firsts: dict[str, int] = {}
    for place, hit in enumerate(hits):
        # Numbers differ from row to row: `like line 7` and `like line 9` are one reason.
        firsts.setdefault(re.sub(r"\d+", "0", hit.detail), place)
    shown = set(list(firsts.values())[:SHOWN_REASONS])
    for place in range(min(SHOWN_HITS, len(hits))):
        if len(shown) < SHOWN_HITS:
            shown.add(place)
    others = [hit for place, hit in enumerate(hits) if place not in shown]
    return [hits[place] for place in sorted(shown)], others


def _headline(finding: Finding) -> Text:
    line = Text(
        f"{finding.severity} {finding.code} {finding.name}", style=_STYLES[finding.severity]
    )
    return line.append(f": {printable(finding.message)}", style="default not bold")


def _place(finding: Finding, hit: Hit) -> str:
    return f"{finding.unit} {hit.number}" + (f", {hit.field}" if hit.field else "")


def _numbers(finding: Finding, hits: Sequence[Hit], before: int = 0) -> str:
    """`lines 3, 7, 9 and 20 more`."""
    named = ", ".join(str(hit.number) for hit in hits)
    left = finding.count - before - len(hits)
    more = f" and {left:,} more" if left > 0 else ""
    return f"{finding.unit}{'s' if len(hits) > 1 or more else ''} {named}{more}"


def _one_line(text: str) -> str:
    shown = printable(text).replace("\n", "\\n")
    return shown if len(shown) <= MAX_LINE else shown[: MAX_LINE - 1] + "…"


def _statistics(statistics: Statistics) -> Iterator[Text]:
    """A table of lengths."""
    rows = [
        ("input characters", statistics.input_characters),
        ("output characters", statistics.output_characters),
    ]
    if statistics.tokens:
        tokens = statistics.tokens
        rows += [
            ("prompt tokens", tokens.prompt),
            ("answer tokens", tokens.answer),
            ("row tokens", tokens.row),
        ]
    widths = {name: max(6, *(len(_cell(spread, name)) for _, spread in rows)) for name in _SPREAD}
    yield Text(" " * 17 + "".join(f"  {name:>{widths[name]}}" for name in _SPREAD), style="dim")
    for label, spread in rows:
        cells = "".join(f"  {_cell(spread, name):>{widths[name]}}" for name in _SPREAD)
        yield Text(f"{label:<17}{cells}")
    if statistics.tokens and statistics.tokens.truncated_count:
        cut = count(statistics.tokens.truncated_count, "row")
        yield Text(f"{cut} longer than the context, and cut", style=_STYLES["warning"])


def _cell(spread: Spread, name: str) -> str:
    value = getattr(spread, name)
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _lengths(statistics: Statistics, width: int) -> Iterator[Text]:
    unit = "tokens" if statistics.tokens else "characters"
    yield Text(f"rows by length in {unit}", style="dim")
    bars = [(f"up to {end:,}", rows) for end, rows in statistics.histogram]
    yield histogram(bars, width)


def _not_sought(statistics: Statistics) -> Iterator[Text]:
    from kamerton.dataset.near import MAX_ROWS  # Loads numpy, which few of our commands need.

    if statistics.example_count > MAX_ROWS:
        yield Text(
            f"near-duplicates (K202) were not looked for: more than {MAX_ROWS:,} rows",
            style="dim",
        )


def _examples(estimate: Estimate) -> str:
    held_out = f", {estimate.held_out_count:,} held out" if estimate.held_out_count else ""
    return f"{estimate.example_count:,} to train on{held_out}"


def _time(estimate: Estimate) -> str:
    if estimate.seconds is None:
        return ""
    error = "" if estimate.seconds_error is None else f" ± {duration(estimate.seconds_error)}"
    return duration(estimate.seconds) + error


def _memory(estimate: Estimate) -> str:
    return "" if estimate.memory_bytes is None else memory(estimate.memory_bytes)


def _cost(estimate: Estimate) -> str:
    return "" if estimate.cost is None else f"{estimate.cost:,.4g}"


def _listed(report: Report) -> str:
    """`2 errors, 1 warning`."""
    severities: tuple[Severity, ...] = ("error", "warning", "note")
    found = [(report.count(severity), severity) for severity in severities]
    return ", ".join(count(number, noun) for number, noun in found if number) or "nothing found"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _print(console: Console, lines: Iterable[Text]) -> None:
    """Broken and indented on a terminal; whole where they go to a file or a program."""
    for line in lines:
        if console.is_terminal and line.plain.startswith(INDENT):
            line = line[len(INDENT) :]
            console.print(Padding(line, (0, 0, 0, len(INDENT))))
        else:
            console.print(line, soft_wrap=not console.is_terminal)
