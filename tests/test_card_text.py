"""What people read of a report card: the verdict first, every measure, and nothing harmful."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console

from kamerton.card import Answer, Card, Judged, Lost
from kamerton.card_text import print_baseline, print_card
from kamerton.evaluation.evaluate import baseline, card
from kamerton.evaluation.forgetting import probes
from kamerton.types import Example
from tests.evaluation.candidates import Candidates, knows_spam, labelled

PROBES = {probe.input: probe.answers[0] for probe in probes()}
ASKED = Candidates(
    {
        "base": lambda text: PROBES.get(text, ""),
        "few_shot": lambda text: "ham",
        "tuned": lambda text: "spam" if text in PROBES else knows_spam(text),
    }
)
CARD = card(
    labelled(40),
    labelled(60),
    ASKED.generate,
    {"base": 2.5, "tuned": 0.125},
    ASKED.clock,
    60,
    shots=labelled(2),
)


def shown(card: Card, width: int = 100, answers: int = 5) -> str:
    out = StringIO()
    print_card(Console(file=out, width=width), card, answers)
    return out.getvalue()


def line(text: str, beginning: str) -> list[str]:
    """The cells of the row that begins so."""
    rows = [[cell.strip() for cell in row.strip("│┃ ").split("│")] for row in text.splitlines()]
    (found,) = (row for row in rows if row[0] == beginning)
    return found


def test_the_verdict_comes_first_and_every_sentence_once() -> None:
    text = shown(CARD)
    assert text.startswith(f"{CARD.verdict.sentence}\n\n")
    assert all(text.count(sentence) == 1 for sentence in CARD.sentences)
    assert text.endswith("40 rows asked, in 0.0 s\n")


def test_measures_stand_side_by_side() -> None:
    text = shown(CARD)
    assert line(text, "right answers") == ["right answers", "0.0 %", "65.0 %", "100.0 %"]
    assert line(text, "loss, nats per token")[1:] == ["2.5", "", "0.125"]
    assert line(text, "rows without an answer")[1:] == ["40", "0", "0"]
    assert "valid JSON" not in text and "within 1 %" not in text


def test_the_measure_of_the_verdict_is_the_first() -> None:
    def first(card: Card) -> str:
        rows = [row.strip("│ ") for row in shown(card).splitlines() if row.startswith("│")]
        return rows[0].partition("  ")[0].partition(" │")[0]

    assert first(CARD) == "right answers"
    alike = replace(CARD, verdict=replace(CARD.verdict, metric="chrf"))
    assert first(alike) == "likeness to the right answers (chrF)"


def test_a_small_confusion_matrix_is_shown() -> None:
    text = shown(CARD)
    assert line(text, "ham") == ["ham", "26", "0", "0"]
    assert line(text, "spam") == ["spam", "0", "14", "0"]
    many = [Example.pair(f"{n}", f"label {n % 7}") for n in range(40)]
    labels = Candidates(dict.fromkeys(("base", "tuned"), lambda text: "label 1"))
    large = card(many, many, labels.generate, {}, labels.clock, 60)
    assert large.tuned and large.tuned.confusion
    assert "by right label" not in shown(large)


def test_answers_stand_side_by_side_and_right_ones_are_ticked() -> None:
    text = shown(CARD, answers=2)
    assert line(text, "message 0") == ["message 0", "spam", "(nothing)", "ham", "✓ Spam."]
    assert line(text, "message 1") == ["message 1", "ham", "(nothing)", "✓ ham", "✓ ham"]
    assert "message 2" not in text
    without = replace(CARD, few_shot=None, answers=(Answer(0, "a", "b", base="c", tuned="d"),))
    assert line(shown(without), "a") == ["a", "b", "c", "d"]
    assert "few-shot" not in shown(without)


def test_what_was_forgotten_is_named() -> None:
    assert CARD.forgetting and len(CARD.forgetting.lost) > 5
    text = shown(CARD, width=200)
    assert text.count("  forgotten: ") == 5
    assert f"  and {len(CARD.forgetting.lost) - 5} more\n" in text
    few = replace(CARD.forgetting, lost=(Lost("2 + 2?", "4", "4", ""),))
    text = shown(replace(CARD, forgetting=few))
    assert "  forgotten: 2 + 2? 4; the tuned model says: nothing\n" in text
    assert " more\n" not in text


def test_what_a_judge_said_and_what_is_missing() -> None:
    judged = replace(CARD, judged=Judged(20, 12, 3, 4, 1), left_out=("No examples were given.",))
    text = shown(judged)
    assert "the tuned model 12 times and the base model 3 times; 4 ties" in text
    assert "No examples were given.\n" in text


def test_texts_of_models_cannot_take_over_a_terminal() -> None:
    evil = Answer(0, "\x1b[2J", "\x1b]0;right\x07", base="\x1b[31m", tuned="[bold]x[/]\x00")
    lost = Lost("\x1b[1m", "a", "a", "\x1b[2J")
    assert CARD.forgetting
    hostile = replace(CARD, answers=(evil,), forgetting=replace(CARD.forgetting, lost=(lost,)))
    text = shown(hostile)
    assert "\x1b" not in text and "\x00" not in text
    assert "[bold]x[/]" in text


def test_long_texts_are_cut() -> None:
    long = Answer(0, "in " * 400, "right", base="b" * 4000, tuned="t")
    assert len(shown(replace(CARD, answers=(long,)))) < 6000


def test_a_card_without_rows() -> None:
    nobody = card([], labelled(3), ASKED.generate, {}, ASKED.clock, 60)
    text = shown(nobody)
    assert text.startswith("Too few rows to say: 0 were asked")
    assert "0 rows asked" in text and "right answer" not in text


def test_a_base_model_by_itself() -> None:
    out = StringIO()
    found = baseline(labelled(40), (), ASKED.generate, None, ASKED.clock, 60)
    print_baseline(Console(file=out, width=100), found)
    text = out.getvalue()
    assert text.startswith("The base model untuned: right answers 0 % on 40 held-out rows.\n\n")
    assert line(text, "right answers") == ["right answers", "0.0 %"]
