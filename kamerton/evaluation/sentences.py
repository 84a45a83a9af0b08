"""What a card's numbers mean, in sentences; "" where there is nothing to say."""

from __future__ import annotations

from collections.abc import Mapping

from kamerton.card import Forgetting, Metric, Scores, Who

FEWEST_ROWS = 8
"""Fewer rows say nothing about the others."""
WORDS: dict[Metric, str] = {
    "normalised": "right answers",
    "json_equal": "right JSON",
    "numeric": "numbers within 1 %",
    "chrf": "likeness to the right answers (chrF)",
}
"""What each metric measures."""


def share(value: float) -> str:
    return f"{100 * value:.0f} %"


def of_baseline(base: Scores | None, metric: Metric, enough: bool) -> str:
    if base is None:
        return ""
    told = f"{WORDS[metric]} {share(base.by(metric))} on {base.row_count} held-out rows"
    if not enough:
        return f"The base model untuned: {told}."
    return (
        f"The base model does most of it untuned ({told}): tuning may not be needed. Try a better "
        "prompt first."
    )


def of_few_shot(few_shot: Scores | None, tuned: Scores | None, metric: Metric, shots: int) -> str:
    if few_shot is None or tuned is None or tuned.row_count < FEWEST_ROWS:
        return ""
    told = f"with {shots} examples in its prompt: {WORDS[metric]} {share(few_shot.by(metric))}"
    if few_shot.by(metric) < tuned.by(metric):
        return f"The base model {told}."
    return f"The base model does no worse than the tuned one {told}. Examples may be enough."


def of_losses(losses: Mapping[Who, float]) -> str:
    if "base" not in losses or "tuned" not in losses:
        return ""
    return f"Loss of the right answers: {losses['base']:.3f} before, {losses['tuned']:.3f} after."


def of_forgetting(forgetting: Forgetting | None) -> str:
    if forgetting is None:
        return ""
    if not forgetting.base_right:
        return (
            f"The base model answers none of {forgetting.probe_count} general questions: what was "
            "forgotten cannot be told."
        )
    return (
        f"Of {forgetting.base_right} general questions that the base model answers, the tuned one "
        f"still answers {forgetting.still_right}."
    )


def of_left_out(
    rows: int, asked: int, shots: int, forgetting: Forgetting | None, seconds: float
) -> tuple[str, ...]:
    """What is missing on a card, and why."""
    found = []
    if not rows:
        found.append("There are no held-out rows to ask: bring validation data, or more examples.")
    elif not shots:
        found.append("The base model was not asked with examples: none fit into its prompt.")
    if asked < rows:
        found.append(f"{rows - asked} of {rows} held-out rows were not asked: {_spent(seconds)}.")
    if forgetting is None:
        found.append(f"What was forgotten was not looked for: {_spent(seconds)}.")
    return tuple(found)


def _spent(seconds: float) -> str:
    return f"the {seconds:.0f} s allowed for the card were spent"
