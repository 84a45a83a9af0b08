from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.card import Baseline, Card
from kamerton.evaluation.evaluate import baseline, card
from kamerton.evaluation.forgetting import probes
from kamerton.types import Content, Example
from tests.evaluation.candidates import Candidates, Rule, knows_spam, labelled

PROBES = {probe.input: probe.answers[0] for probe in probes()}
ROWS = labelled(40)
TRAINED = labelled(60)


def or_probe(rule: Rule) -> Rule:
    return lambda text: PROBES[text] if text in PROBES else rule(text)


def candidates(pace: float = 0.0) -> Candidates:
    return Candidates(
        {
            "base": or_probe(lambda text: "I do not know"),
            "few_shot": lambda text: "ham",
            "tuned": knows_spam_and_nothing_else,
        },
        pace,
    )


def knows_spam_and_nothing_else(text: str) -> str:
    return "spam" if text in PROBES else knows_spam(text)


def made(asked: Candidates, seconds: float = 60.0, rows: list[Example] = ROWS) -> Card:
    return card(
        rows,
        TRAINED,
        asked.generate,
        {"base": 3.0, "few_shot": 1.0, "tuned": 0.25},
        asked.clock,
        seconds,
        shots=TRAINED[:2],
    )


def test_all_three_on_the_same_rows() -> None:
    asked = candidates()
    found = made(asked)
    assert found.base and found.few_shot and found.tuned
    assert (found.base.normalised, found.tuned.normalised) == (0.0, 1.0)
    assert found.few_shot.normalised == pytest.approx(26 / 40)
    assert (found.base.loss, found.few_shot.loss, found.tuned.loss) == (3.0, 1.0, 0.25)
    assert found.row_count == 40 and found.left_out == ()
    assert found.verdict.outcome == "better" and not found.baseline_enough
    assert found.forgetting and found.forgetting.still_right == 0
    turns = next(prompt for who, prompt in asked.asked if who == "few_shot")
    assert [turn.role for turn in turns] == ["user", "model"] * 2 + ["user"]
    assert found.sentences[1:] == (
        "The base model untuned: right answers 0 % on 40 held-out rows.",
        "The base model with 2 examples in its prompt: right answers 65 %.",
        "Loss of the right answers: 3.000 before, 0.250 after.",
        f"Of {len(PROBES)} general questions that the base model answers, the tuned one still "
        "answers 0.",
    )


def test_the_first_twenty_answers_are_shown_and_cut() -> None:
    long = [Example.pair(f"{number} " + "x" * 3000, "y" * 2001) for number in range(30)]
    asked = Candidates({"base": str.upper, "tuned": str.strip})
    found = card(long, [], asked.generate, {}, asked.clock, 60)
    assert [answer.row for answer in found.answers] == list(range(20))
    assert {len(answer.input) for answer in found.answers} == {2000}
    assert found.answers[0].right == "y" * 1999 + "…"
    assert found.answers[7].base == ("7 " + "X" * 3000)[:1999] + "…"
    assert found.answers[0].few_shot is None and found.few_shot is None
    assert "not asked with examples" in found.left_out[0]


@pytest.mark.parametrize("seconds", [60.0, 30.0, 15.0])
def test_it_ends_in_time_and_says_what_is_missing(seconds: float) -> None:
    asked = candidates(pace=0.5)
    found = made(asked, seconds)
    probes = 2 * len(PROBES) * 0.5  # All of them, to two candidates.
    assert found.seconds == asked.now - 100 <= seconds + probes
    assert 8 <= found.row_count < 40
    assert all(asked.count(who) >= found.row_count for who in ("base", "few_shot", "tuned"))
    assert found.left_out[0].startswith(f"{40 - found.row_count} of 40 held-out rows")
    assert found.forgetting and found.forgetting.probe_count == len(PROBES)


def test_without_time_it_asks_eight_rows_and_no_probes() -> None:
    found = made(candidates(pace=0.5), seconds=0)
    assert found.row_count == 8 and found.forgetting is None
    assert found.verdict.low is not None and not found.baseline_enough
    assert found.left_out[-1].startswith("What was forgotten was not looked for")


def test_sorted_rows_are_not_asked_in_their_order() -> None:
    rows = sorted(ROWS, key=lambda row: row.output)
    found = made(candidates(pace=1.0), seconds=45, rows=rows)
    assert found.row_count < 26, "the first 26 are all ham"
    assert {answer.right for answer in found.answers} == {"ham", "spam"}
    assert [answer.row for answer in found.answers] != list(range(found.row_count))


def test_answers_from_before_the_run_are_used_again() -> None:
    asked = candidates(pace=0.5)
    before = baseline(ROWS, TRAINED, asked.generate, 3.0, asked.clock, 5)
    assert 0 < len(before.rows) == asked.count("base") <= 10 and before.seconds <= 5
    asked.asked.clear()
    found = card(ROWS, TRAINED, asked.generate, {}, asked.clock, 999, before=before)
    on_rows = [prompt for who, prompt in asked.asked if prompt[-1].text not in PROBES]
    assert len(on_rows) == 40 + 40 - len(before.rows)
    assert found.row_count == 40


def test_a_base_model_that_does_most_of_it_may_be_enough() -> None:
    asked = Candidates({"base": or_probe(knows_spam), "tuned": or_probe(knows_spam)})
    before = baseline(ROWS, TRAINED, asked.generate, None, asked.clock, 60)
    assert before.enough and "tuning may not be needed" in before.sentence
    found = card(ROWS, TRAINED, asked.generate, {}, asked.clock, 60, before=before)
    assert found.baseline_enough and before.sentence in found.sentences
    assert found.verdict.outcome == "no_clear_gain"
    assert not baseline(ROWS[:7], TRAINED, asked.generate, None, asked.clock, 60).enough
    assert not baseline(ROWS, TRAINED, asked.generate, None, asked.clock, 60, enough=1.1).enough


def test_examples_in_the_prompt_may_be_enough() -> None:
    asked = Candidates({"base": or_probe(str), "few_shot": knows_spam, "tuned": or_probe(str)})
    assert any("Examples may be enough" in sentence for sentence in made(asked).sentences)


def test_without_held_out_rows_only_forgetting_is_told() -> None:
    asked = candidates()
    found = made(asked, rows=[])
    assert found.base is found.few_shot is found.tuned is None
    assert found.verdict.outcome == "too_few_rows" and found.verdict.gain is None
    assert found.forgetting and "no held-out rows" in found.left_out[0]
    before = baseline([], TRAINED, asked.generate, None, asked.clock, 60)
    assert before.scores is None and not before.enough and before.rows == ()


def test_a_candidate_that_answers_too_little_is_refused() -> None:
    asked = candidates()
    with pytest.raises(ValueError):
        card(ROWS, [], lambda who, prompts: ["one"], {}, asked.clock, 60)


def test_cards_go_through_json() -> None:
    asked = candidates()
    found = made(asked)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Card) == found
    before = baseline(ROWS, TRAINED, asked.generate, 3.0, asked.clock, 5)
    assert msgspec.json.decode(msgspec.json.encode(before), type=Baseline) == before


texts = st.one_of(st.text(max_size=20), st.sampled_from(["{}", "1.5", "ham", "[" * 3000, "٣"]))


@given(st.lists(st.tuples(texts, texts, texts), max_size=12), st.floats(0, 20))
def test_no_answer_is_too_odd(rows: list[tuple[str, str, str]], seconds: float) -> None:
    given = [Example((Content("user", "x"), Content("user", a)), b) for a, b, _ in rows]
    odd = {a: c for a, _, c in rows}
    asked = Candidates(
        {"base": lambda text: odd.get(text, ""), "tuned": lambda text: text[::-1]}, pace=0.3
    )
    found = card(given, [], asked.generate, {}, asked.clock, seconds)
    assert found.row_count == len(given) or found.row_count >= 4
