"""`kamerton gate`: whether a tuned model is good enough, by its report card, for CI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from kamerton.check_cli import data_errors
from kamerton.errors import FailedPrecondition
from kamerton.options import LOCAL, ApiKey, Server, open_client
from kamerton.tune_cli import Name, tuned_name

if TYPE_CHECKING:
    from kamerton.card import Card, Forgetting
    from kamerton.client import Client

EXIT_CODES = (
    "Exit status: 0 all of it holds; 1 something does not, and its line says what; 2 there is no "
    "report card, no such model or no server, or wrong usage."
)


def gate(
    name: Name,
    min_gain: Annotated[
        float,
        typer.Option(
            help="By how much it must be better than its base, as a share; above 0 the gain must "
            "also be beyond chance."
        ),
    ] = 0.05,
    max_forgetting: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Share of what its base knew that may be gone; 1 for any."
        ),
    ] = 0.2,
    min_score: Annotated[
        float | None, typer.Option(help="What the measure of the verdict must reach.")
    ] = None,
    against: Annotated[
        str, typer.Option(metavar="NAME", help="A tuned model that it must not score below.")
    ] = "",
    server: Server = LOCAL,
    key: ApiKey = "",
) -> None:
    """Say whether a tuned model is good enough, by the report card of its run."""
    # What cannot be asked is no answer: 1 is for models that were measured.
    with data_errors(), open_client(server, key) as client:
        model = tuned_name(name)
        card = stored_card(client, model)
        other = stored_card(client, tuned_name(against)) if against else None
    found = [gain(card, min_gain), forgetting(card.forgetting, max_forgetting)]
    if min_score is not None:
        found.append(score(card, min_score))
    if other is not None:
        found.append(no_worse(card, other, tuned_name(against)))
    for condition in found:
        print(f"{'ok  ' if condition.holds else 'FAIL'}  {condition.what}: {condition.told}")
    failed = sum(not condition.holds for condition in found)
    print(f"{model} {f'does not pass: {failed} of {len(found)} failed' if failed else 'passes'}")
    raise typer.Exit(1 if failed else 0)


def stored_card(client: Client, model: str) -> Card:
    """The report card of a run. Raises NotFound with the reason when there is none."""
    import msgspec

    from kamerton.surfaces.reports import card_of

    try:
        return card_of(client.json("GET", f"/kamerton/v1/{model}/card"))
    except msgspec.ValidationError as error:
        raise FailedPrecondition(
            f"the report card of {model} is of another version of Kamerton ({error}); use the "
            "command of the server's version"
        ) from None


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that a gate asks for."""

    what: str
    holds: bool
    told: str
    """What was measured, and what was asked."""


def gain(card: Card, least: float) -> Condition:
    """The gain itself must reach what was asked; see docs/report-card.md for why not its interval's
    lower end. Whoever asks for a gain gets none that may be chance."""
    from kamerton.evaluation.sentences import FEWEST_ROWS

    verdict = card.verdict
    if verdict.gain is None or verdict.low is None or verdict.high is None:
        told = f"cannot be told from {card.row_count} rows, at least {FEWEST_ROWS} are needed"
        return Condition("gain", False, told)
    wanted = "better" if least > 0 else "no_clear_gain"
    is_clear = verdict.outcome in ("better", wanted)
    told = (
        f"{verdict.gain:.3f} measured (95 % interval {verdict.low:.3f} to {verdict.high:.3f}), "
        f"at least {least:.3f} asked"
    )
    if not is_clear:
        told += f"; the interval must {'lie above' if least > 0 else 'reach'} 0"
    return Condition("gain", is_clear and verdict.gain >= least, told)


def forgetting(found: Forgetting | None, most: float) -> Condition:
    """What was not measured may be anything."""
    from kamerton.evaluation.sentences import FEWEST_ROWS

    asked = f"at most {most:.3f} asked"
    if found is None:
        return Condition("forgetting", most >= 1, f"not measured, {asked}")
    if found.share is None or found.base_right < FEWEST_ROWS:
        told = (
            f"cannot be told: the base model answers {found.base_right} of {found.probe_count} "
            f"general questions, {asked}"
        )
        return Condition("forgetting", most >= 1, told)
    told = f"{found.share:.3f} measured ({found.still_right} of {found.base_right} still right)"
    return Condition("forgetting", found.share <= most, f"{told}, {asked}")


def score(card: Card, least: float) -> Condition:
    measured = _score(card)
    return Condition(
        _measure(card), measured >= least, f"{measured:.3f} measured, at least {least:.3f} asked"
    )


def no_worse(card: Card, other: Card, name: str) -> Condition:
    """Whether a card's score is at least that of another."""
    if card.verdict.metric != other.verdict.metric:
        told = f"it was measured by {_measure(other)}, which cannot be compared"
        return Condition(_measure(card), False, f"{name}: {told}")
    measured, wanted = _score(card), _score(other)
    told = f"{measured:.3f} measured, at least the {wanted:.3f} of {name} asked"
    return Condition(_measure(card), measured >= wanted, told)


def _score(card: Card) -> float:
    return card.tuned.by(card.verdict.metric) if card.tuned else 0.0


def _measure(card: Card) -> str:
    from kamerton.evaluation.sentences import WORDS

    return WORDS[card.verdict.metric]
