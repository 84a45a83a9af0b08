"""The report card: base, base with examples and tuned model on the same held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType

from kamerton.card import Answer, Baseline, Card, Forgetting, Metric, Scores, Verdict, Who
from kamerton.evaluation import few_shot, sentences
from kamerton.evaluation.asking import Clock, Generate, in_time
from kamerton.evaluation.forgetting import forgetting
from kamerton.evaluation.scores import Task, row_scores, scores, task_of
from kamerton.evaluation.texts import cut
from kamerton.evaluation.verdict import verdict
from kamerton.types import Example

ENOUGH = 0.8
"""A base model that does so much of the task may not need to be tuned."""
SHOWN_ANSWERS = 20
ROWS_SHARE = 0.8
"""Of the time allowed; the rest is left to find what was forgotten."""
_SEED = 0
_NO_LOSSES: Mapping[Who, float] = MappingProxyType({})
Answers = dict[int, str]
"""Of one candidate, by row."""


def baseline(
    rows: Sequence[Example],
    trained: Sequence[Example],
    generate: Generate,
    loss: float | None,
    clock: Clock,
    seconds: float,
    enough: float = ENOUGH,
) -> Baseline:
    """How the base model does on as many held-out rows as there is time for."""
    started = clock()
    task = _task(rows, trained)
    answers: Answers = {}
    for batch in in_time(_order(len(rows)), clock, started + seconds):
        _ask("base", rows, batch, (), generate, answers)
    found = _scores(task, rows, answers, loss)
    does = _does_enough(found, task.metric, enough)
    return Baseline(
        scores=found,
        metric=task.metric,
        rows=tuple(answers),
        answers=tuple(answers.values()),
        enough=does,
        sentence=sentences.of_baseline(found, task.metric, does),
        seconds=clock() - started,
    )


def card(
    rows: Sequence[Example],
    trained: Sequence[Example],
    generate: Generate,
    losses: Mapping[Who, float],
    clock: Clock,
    seconds: float,
    *,
    shots: Sequence[Example] = (),
    before: Baseline | None = None,
    probe_losses: Mapping[Who, float] = _NO_LOSSES,
    enough: float = ENOUGH,
) -> Card:
    """All three candidates on the same held-out rows, as many as there is time for.

    `losses` are those of all held-out rows. `shots` are what `few_shot.choose` chose; without any,
    the base model is not asked with examples. Answers that it gave `before` the run are not asked
    for again.
    """
    started = clock()
    task = _task(rows, trained)
    until = started + ROWS_SHARE * seconds
    given = _answers(rows, shots, before, generate, clock, until)
    found = {who: _scores(task, rows, given[who], losses.get(who)) for who in given}
    base, few, tuned = found["base"], found.get("few_shot"), found["tuned"]
    forgotten = _forgotten(generate, clock, started + seconds, probe_losses)
    judgement = _verdict(task, rows, given)
    does = _does_enough(base, task.metric, enough)
    said = (
        judgement.sentence,
        sentences.of_baseline(base, task.metric, does),
        sentences.of_few_shot(few, tuned, task.metric, len(shots)),
        sentences.of_losses(losses),
        sentences.of_forgetting(forgotten),
    )
    asked = len(given["base"])
    return Card(
        base=base,
        few_shot=few,
        tuned=tuned,
        answers=_side_by_side(rows, given),
        forgetting=forgotten,
        verdict=judgement,
        baseline_enough=does,
        sentences=tuple(sentence for sentence in said if sentence),
        row_count=asked,
        seconds=clock() - started,
        left_out=sentences.of_left_out(len(rows), asked, len(shots), forgotten, seconds),
    )


def _task(rows: Sequence[Example], trained: Sequence[Example]) -> Task:
    return task_of([example.output for example in (*trained, *rows)])


def _order(count: int) -> list[int]:
    """In which rows are asked: mixed, because time may end before sorted rows do."""
    return Random(_SEED).sample(range(count), count)


def _answers(
    rows: Sequence[Example],
    shots: Sequence[Example],
    before: Baseline | None,
    generate: Generate,
    clock: Clock,
    until: float,
) -> dict[Who, Answers]:
    """Of each candidate to the same rows, in their order."""
    given: dict[Who, Answers] = {"base": {}, "tuned": {}, **({"few_shot": {}} if shots else {})}
    if before is not None:
        given["base"] = dict(zip(before.rows, before.answers, strict=True))
    asked: list[int] = []
    for batch in in_time(_order(len(rows)), clock, until):
        for who, answers in given.items():
            _ask(who, rows, batch, shots, generate, answers)
        asked += batch
    return {who: {row: answers[row] for row in sorted(asked)} for who, answers in given.items()}


def _ask(
    who: Who,
    rows: Sequence[Example],
    batch: Sequence[int],
    shots: Sequence[Example],
    generate: Generate,
    answers: Answers,
) -> None:
    """Add the answers to a batch that are not there yet."""
    missing = [row for row in batch if row not in answers]
    if missing:
        before = shots if who == "few_shot" else ()
        prompts = [few_shot.prompt(before, rows[row]) for row in missing]
        answers.update(zip(missing, generate(who, prompts), strict=True))


def _scores(
    task: Task, rows: Sequence[Example], answers: Answers, loss: float | None
) -> Scores | None:
    if not answers:
        return None
    return scores(task, [rows[row].output for row in answers], list(answers.values()), loss)


def _verdict(task: Task, rows: Sequence[Example], given: Mapping[Who, Answers]) -> Verdict:
    base, tuned = given["base"], given["tuned"]
    rights = [rows[row].output for row in base]
    return verdict(
        task.metric,
        row_scores(task.metric, rights, list(base.values())),
        row_scores(task.metric, rights, list(tuned.values())),
    )


def _forgotten(
    generate: Generate, clock: Clock, until: float, losses: Mapping[Who, float]
) -> Forgetting | None:
    return forgetting(generate, losses) if clock() < until else None


def _does_enough(base: Scores | None, metric: Metric, enough: float) -> bool:
    """Never with too few rows to say."""
    if base is None or base.row_count < sentences.FEWEST_ROWS:
        return False
    return base.by(metric) >= enough


def _side_by_side(rows: Sequence[Example], given: Mapping[Who, Answers]) -> tuple[Answer, ...]:
    """The first rows, whatever came of them: chosen ones would flatter somebody."""
    few = given.get("few_shot", {})
    return tuple(
        Answer(
            row=row,
            input=cut(rows[row].contents[-1].text),
            right=cut(rows[row].output),
            base=cut(base),
            few_shot=cut(few[row]) if few else None,
            tuned=cut(given["tuned"][row]),
        )
        for row, base in list(given["base"].items())[:SHOWN_ANSWERS]
    )
