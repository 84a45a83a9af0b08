"""`kamerton evaluate`: a report card made anew, of any model and any rows, over HTTP."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kamerton.check_cli import File, data_errors, opened_file
from kamerton.errors import InvalidArgument, NotFound, PermissionDenied
from kamerton.options import (
    LOCAL,
    ApiKey,
    AsJson,
    InputKey,
    OutputKey,
    Server,
    open_client,
    print_json,
)
from kamerton.tune_cli import tuned_name

if TYPE_CHECKING:
    from kamerton.card import Baseline, Card, Judged, Who
    from kamerton.client import Client
    from kamerton.types import Content, Example

AT_ONCE = 8
"""Prompts that wait for their answers together."""
_SEED = 0


def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="tunedModels/ID, models/NAME, or the bare name."),
    ],
    file: File,
    examples: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Training examples: the base model is asked with some as well."
        ),
    ] = None,
    input_key: InputKey = "",
    output_key: OutputKey = "",
    rows: Annotated[
        int | None, typer.Option(min=1, help="Ask so many rows instead of all, mixed.")
    ] = None,
    judge: Annotated[
        str, typer.Option(metavar="MODEL", help="Have a model of the server compare the answers.")
    ] = "",
    as_json: AsJson = False,
    server: Server = LOCAL,
    key: ApiKey = "",
) -> None:
    """Ask a tuned model and its base the rows of a file, and make a report card of the answers.

    Of a base model: how it does by itself.
    """
    with data_errors():
        found = _read(file, input_key, output_key)
        trained = _read(examples, input_key, output_key) if examples else []
    with open_client(server, key) as client:
        names = _candidates(client, model)
        asked = _some(found, rows)
        with _Asking(client, names, _most_tokens(client, names["base"], asked)) as asking:
            if "tuned" not in names:
                if trained or judge:
                    raise InvalidArgument(
                        f"{names['base']} is a base model; --examples and --judge need a tuned "
                        "one to compare it with"
                    )
                _show_baseline(_baseline(asked, asking), as_json)
                return
            made = _card(asked, trained, asking)
            if judge:
                made = replace(made, judged=_judged(made, client, judge))
    left_out = (*_not_asked(len(found), len(asked)), *made.left_out)
    _show_card(replace(made, left_out=left_out), as_json)


def _read(file: Path, input_key: str, output_key: str) -> Sequence[Example]:
    """The examples of a file. Raises InvalidArgument when one of them cannot be used."""
    from rich.console import Console

    from kamerton.report_text import brief, count
    from kamerton.training.reading import read

    with opened_file(file, None, input_key, output_key) as sources:
        reading = read(**sources, measuring=None)
    if errors := reading.report.count("error"):
        console = Console(stderr=True)
        for line in brief(reading.report, ("error",)):
            console.print(line, soft_wrap=True)
        raise InvalidArgument(
            f"{count(errors, 'error')} in {reading.report.name}, nobody was asked"
        )
    return reading.examples


def _some(rows: Sequence[Example], most: int | None) -> Sequence[Example]:
    """So many of the rows in their order, the same every time."""
    if most is None or most >= len(rows):
        return rows
    return [rows[place] for place in sorted(Random(_SEED).sample(range(len(rows)), most))]


def _not_asked(rows: int, asked: int) -> Iterator[str]:
    if asked < rows:
        yield f"{rows - asked:,} of {rows:,} rows were not asked: --rows {asked}."


def _candidates(client: Client, model: str) -> dict[Who, str]:
    """Names of who is asked as whom: a tuned model and its base, or a base model alone."""
    if not model.startswith("models/"):
        try:
            name = tuned_name(model)
            found = client.get_tuned_model(name.partition("@")[0])
        except (NotFound, PermissionDenied):
            if "/" in model:
                raise
        else:
            base = found.get("baseModel") or found["tunedModelSource"]["baseModel"]
            return {"base": base, "few_shot": base, "tuned": name}
    return {"base": model if "/" in model else f"models/{model}"}


def _most_tokens(client: Client, base: str, rows: Sequence[Example]) -> int:
    """How long answers may get."""
    from kamerton.evaluation.asking import most_tokens

    longest = max((row.output for row in rows), key=len)
    return most_tokens(client.count_tokens(base, longest))


class _Asking:
    """Asks models of a server over HTTP, several prompts at once, greedily."""

    def __init__(self, client: Client, names: Mapping[Who, str], most_tokens: int) -> None:
        from rich.console import Console

        from kamerton.terminal import ReadingProgress

        self._client = client
        self._names = names
        self._most_tokens = most_tokens
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._progress = ReadingProgress(Console(stderr=True))
        self._count = 0

    def __enter__(self) -> _Asking:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)
        self._pool.shutdown(cancel_futures=True)

    def answers(self, who: Who, prompts: Sequence[Sequence[Content]]) -> list[str]:
        given = []
        for answer in self._pool.map(lambda turns: self._answer(who, turns), prompts):
            given.append(answer)
            self._count += 1
            self._progress.note(f"{self._count:,} answers")
        return given

    def _answer(self, who: Who, turns: Sequence[Content]) -> str:
        return ask(self._client, self._names[who], turns, self._most_tokens)

    def shots(self, trained: Sequence[Example]) -> tuple[Example, ...]:
        """The examples that fit into half of the base model's prompt, as the trainer takes them."""
        from kamerton.evaluation import few_shot

        if not trained:
            return ()
        base = self._names["base"]
        room = self._client.json("GET", f"/v1beta/{base}")["inputTokenLimit"] // 2
        return few_shot.choose(trained, self._tokens, room)

    def _tokens(self, turns: Sequence[Content]) -> int:
        path = f"/v1beta/{self._names['base']}:countTokens"
        return int(self._client.json("POST", path, _body(turns))["totalTokens"])


def ask(client: Client, model: str, turns: Sequence[Content], most_tokens: int) -> str:
    """The greedy answer to a conversation; "" to one that is too long for the model."""
    from kamerton.client import answer_text
    from kamerton.client.connection import GENERATION_SECONDS

    body = _body(turns)
    body["generationConfig"] = {"temperature": 0, "maxOutputTokens": most_tokens}
    path = f"/v1beta/{model}:generateContent"
    try:
        answer: Any = client.json("POST", path, body, seconds=GENERATION_SECONDS)
    except InvalidArgument as error:
        if any(violation.field.endswith("contents") for violation in error.violations):
            return ""
        raise
    return answer_text(answer)


def _body(turns: Sequence[Content]) -> dict[str, Any]:
    parts = [(turn.role, {"parts": [{"text": turn.text}]}) for turn in turns]
    body: dict[str, Any] = {
        "contents": [{"role": role, **part} for role, part in parts if role != "system"]
    }
    for role, part in parts:
        if role == "system":
            body["systemInstruction"] = part
    return body


def _card(rows: Sequence[Example], trained: Sequence[Example], asking: _Asking) -> Card:
    """Over HTTP nobody tells the loss of an answer that is not theirs."""
    from kamerton.evaluation.evaluate import card

    made = card(
        rows, trained, asking.answers, {}, time.monotonic, math.inf, shots=asking.shots(trained)
    )
    if trained:
        return made
    return replace(
        made, left_out=("The base model was not asked with examples; --examples FILE gives some.",)
    )


def _baseline(rows: Sequence[Example], asking: _Asking) -> Baseline:
    from kamerton.evaluation.evaluate import baseline

    return baseline(rows, (), asking.answers, None, time.monotonic, math.inf)


def _judged(card: Card, client: Client, name: str) -> Judged:
    """Of the answers that the card shows."""
    from kamerton.evaluation.asking import MOST_TOKENS
    from kamerton.evaluation.judge import judge

    found = _candidates(client, name)
    judging: dict[Who, str] = {"base": found.get("tuned", found["base"])}
    with _Asking(client, judging, MOST_TOKENS) as asking:
        return judge(card.answers, lambda prompts: asking.answers("base", _turns(prompts)))


def _turns(prompts: Sequence[str]) -> list[list[Content]]:
    from kamerton.types import Content

    return [[Content("user", prompt)] for prompt in prompts]


def _show_card(card: Card, as_json: bool) -> None:
    if as_json:
        _print_fields(card)
        return
    from rich.console import Console

    from kamerton.card_text import print_card

    print_card(Console(highlight=False), card)


def _show_baseline(baseline: Baseline, as_json: bool) -> None:
    if as_json:
        _print_fields(baseline)
        return
    from rich.console import Console

    from kamerton.card_text import print_baseline

    print_baseline(Console(highlight=False), baseline)


def _print_fields(made: Card | Baseline) -> None:
    """Named as in the server's own answer."""
    from kamerton.surfaces.reports import card

    print_json(card(made))
