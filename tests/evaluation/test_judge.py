from __future__ import annotations

from collections.abc import Sequence

import pytest

from kamerton.card import Answer, Judged
from kamerton.evaluation.judge import judge

ROWS = [
    Answer(0, "2+2", "4", base="five {x}", tuned="4"),
    Answer(1, "3+3", "6", base="6", tuned="9"),
    Answer(2, "1+1", "2", base="2", tuned="2"),
    Answer(3, "not asked", "x", tuned="y"),
]


def of_prompt(prompt: str, name: str) -> str:
    return prompt.split(f"<{name}>\n")[1].split(f"\n</{name}>")[0]


def by_right_answer(prompt: str) -> str:
    right = of_prompt(prompt, "reference")
    first, second = (of_prompt(prompt, f"answer {name}") == right for name in "AB")
    return "TIE" if first == second else "A" if first else "B"


def test_a_fair_judge_is_counted() -> None:
    found = judge(ROWS, lambda prompts: [by_right_answer(prompt) for prompt in prompts])
    assert found == Judged(3, tuned=1, base=1, tie=1, disagreed=0)


def test_a_judge_that_favours_a_place_counts_for_nobody() -> None:
    assert judge(ROWS, lambda prompts: ["A"] * len(prompts)) == Judged(3, 0, 0, 0, disagreed=3)


@pytest.mark.parametrize("form", ["{}", "**{}**", "Answer: {}.", "A is long. B is not.\n\n{}\n"])
def test_judgements_are_found_in_usual_forms(form: str) -> None:
    found = judge(ROWS, lambda prompts: [form.format(by_right_answer(p)) for p in prompts])
    assert found == Judged(3, tuned=1, base=1, tie=1, disagreed=0)


@pytest.mark.parametrize(
    "reply", ["", "A better answer cannot be.", "Neither", "I prefer B, not A"]
)
def test_what_is_no_judgement_is_none(reply: str) -> None:
    assert judge(ROWS, lambda prompts: [reply] * len(prompts)).disagreed == 3


def test_a_judge_that_answers_too_little_is_refused() -> None:
    def short(prompts: Sequence[str]) -> list[str]:
        return ["A"]

    with pytest.raises(ValueError, match="1 replies of the judge to 6 prompts"):
        judge(ROWS, short)
