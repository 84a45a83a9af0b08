"""A report card as people read it in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kamerton.card import Answer, Baseline, Card, Confusion, Judged, Metric, Outcome, Scores
from kamerton.evaluation.scores import row_scores
from kamerton.evaluation.sentences import WORDS
from kamerton.terminal import duration, printable

SHOWN_ANSWERS = 5
SHOWN_LOST = 5
SMALL = 6
"""Labels of a confusion matrix that a terminal has room for."""
MOST_CHARACTERS = 200
"""Of a text in a cell."""
OTHERS = "other"
_STYLES: dict[Outcome, str] = {
    "better": "bold green",
    "no_clear_gain": "bold yellow",
    "worse": "bold red",
    "too_few_rows": "bold yellow",
}
_MEASURES: dict[str, str] = {
    **{str(metric): words for metric, words in WORDS.items()},
    "exact": "the same letter by letter",
    "f1": "F1, mean over the labels",
    "json_valid": "valid JSON",
    "loss": "loss, nats per token",
    "perplexity": "perplexity",
}
"""What the fields of `Scores` are called, in the order in which they are shown."""
_NO_SHARES = ("loss", "perplexity")


def print_card(console: Console, card: Card, answers: int = SHOWN_ANSWERS) -> None:
    """The verdict first, then what it rests on; up to so many answers side by side."""
    _line(console, card.verdict.sentence, _STYLES[card.verdict.outcome])
    console.print()
    candidates = (("base", card.base), ("few-shot", card.few_shot), ("tuned", card.tuned))
    asked = [(name, scores) for name, scores in candidates if scores is not None]
    if asked:
        console.print(_table(asked, card.verdict.metric))
    if card.tuned and card.tuned.confusion and len(card.tuned.confusion.labels) <= SMALL:
        console.print(_matrix(card.tuned.confusion))
    if shown := card.answers[:answers]:
        console.print(_side_by_side(shown, card.verdict.metric))
    for sentence in card.sentences:
        if sentence != card.verdict.sentence:
            _line(console, sentence)
    for line in _lost(card):
        _line(console, line)
    if card.judged is not None:
        _line(console, _judgement(card.judged))
    for sentence in card.left_out:
        _line(console, sentence, "dim")
    rows = f"{card.row_count:,} row{'' if card.row_count == 1 else 's'}"
    _line(console, f"{rows} asked, in {duration(card.seconds)}", "dim")


def print_baseline(console: Console, baseline: Baseline) -> None:
    """A base model by itself."""
    _line(console, baseline.sentence, "bold")
    if baseline.scores is not None:
        console.print()
        console.print(_table([("base", baseline.scores)], baseline.metric))


def _table(asked: Sequence[tuple[str, Scores]], metric: Metric) -> Table:
    """A line per measure that suits the data; the one that the verdict rests on comes first."""
    table = Table()
    table.add_column("measured")
    for name, _ in asked:
        table.add_column(name, justify="right")
    for measure in sorted(_MEASURES, key=lambda name: name != metric):
        cells = [_cell(scores, measure) for _, scores in asked]
        if any(cells):
            table.add_row(_MEASURES[measure], *cells, style="bold" if measure == metric else None)
    if any(scores.errors for _, scores in asked):
        table.add_row("rows without an answer", *(f"{scores.errors:,}" for _, scores in asked))
    return table


def _cell(scores: Scores, measure: str) -> str:
    value = getattr(scores, measure)
    if value is None:
        return ""
    return f"{value:.4g}" if measure in _NO_SHARES else f"{100 * value:.1f} %"


def _matrix(confusion: Confusion) -> Table:
    table = Table(title="The tuned model, by right label", title_justify="left")
    table.add_column("right", overflow="fold")
    names = [_shown(label) for label in confusion.labels]
    for name in (*names, Text(OTHERS)):
        table.add_column(name, justify="right", overflow="fold")
    for place, (name, counts) in enumerate(zip(names, confusion.counts, strict=True)):
        cells = [Text(f"{count:,}", _tint(count, place == at)) for at, count in enumerate(counts)]
        table.add_row(name, *cells)
    return table


def _tint(count: int, is_right: bool) -> str:
    if not count:
        return "dim"
    return "green" if is_right else "red"


def _side_by_side(answers: Sequence[Answer], metric: Metric) -> Table:
    """The first rows, as the card has them; right answers are ticked."""
    table = Table(title="The first rows, whatever came of them", title_justify="left")
    table.add_column("input", overflow="fold")
    table.add_column("right answer", style="dim", overflow="fold")
    given = {
        "base": [answer.base for answer in answers],
        "few-shot": [answer.few_shot for answer in answers],
        "tuned": [answer.tuned for answer in answers],
    }
    asked = {name: column for name, column in given.items() if any(x is not None for x in column)}
    for name in asked:
        table.add_column(name, overflow="fold")
    for place, answer in enumerate(answers):
        cells = (_ticked(answer.right, column[place], metric) for column in asked.values())
        table.add_row(_shown(answer.input), _shown(answer.right), *cells)
    return table


def _ticked(right: str, given: str | None, metric: Metric) -> Text:
    if given is None:
        return Text()
    if row_scores(metric, [right], [given])[0] == 1:
        return Text("✓ ", "bold green").append(_shown(given))
    return Text("  ").append(_shown(given) if given.strip() else Text("(nothing)", "dim"))


def _lost(card: Card) -> Iterator[str]:
    lost = card.forgetting.lost if card.forgetting else ()
    for probe in lost[:SHOWN_LOST]:
        said = _brief(probe.tuned) or "nothing"
        yield f"  forgotten: {probe.input} {probe.right}; the tuned model says: {said}"
    if len(lost) > SHOWN_LOST:
        yield f"  and {len(lost) - SHOWN_LOST} more"


def _judgement(judged: Judged) -> str:
    return (
        f"The judge, asked about {judged.row_count} rows in both orders, preferred the tuned "
        f"model {judged.tuned} times and the base model {judged.base} times; {judged.tie} ties, "
        f"and {judged.disagreed} rows on which it disagreed with itself."
    )


def _shown(text: str) -> Text:
    return Text(_brief(text))


def _brief(text: str) -> str:
    """A text of a model or a dataset: harmless to a terminal, and no longer than a cell."""
    shown = printable(text.strip())
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[: MOST_CHARACTERS - 1]}…"


def _line(console: Console, text: str, style: str = "") -> None:
    """Broken on a terminal; whole where it goes to a file or a program."""
    console.print(Text(printable(text), style), soft_wrap=not console.is_terminal)
