"""A sweep: the same run at several learning rates, as ordinary runs compared by held-out loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kamerton.training.hyperparameters import LIMITS

GRID = (1 / 3, 1, 3)
HALVING = (1 / 4, 1 / 2, 1, 2, 4, 8)
"""Times the learning rate that an ordinary run would have."""
FIRST_SHARE = 4
"""Halving begins with a quarter of an ordinary run's epochs, and doubles them twice."""


@dataclass(frozen=True, slots=True)
class Round:
    """So many trials, with so many epochs each."""

    trials: int
    epoch_count: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep is going to try."""

    rates: tuple[float, ...]
    rounds: tuple[Round, ...]

    @property
    def trials(self) -> int:
        return sum(found.trials for found in self.rounds)

    def tokens(self, of_an_epoch: float, most: int | None = None) -> int:
        """What all runs train on at most; `most` is each one's budget."""
        each = ((found.trials, of_an_epoch * found.epoch_count) for found in self.rounds)
        return round(sum(n * (run if most is None else min(run, most)) for n, run in each))


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a sweep; numbers start at 1."""

    number: int
    learning_rate: float
    epoch_count: int


@dataclass(frozen=True, slots=True)
class Result:
    """How a trial ended."""

    trial: Trial
    name: str
    """Of the tuned model."""
    state: str
    loss: float | None = None
    """The lowest held-out loss; None when it was never measured."""
    step: int | None = None
    """At which it was measured."""
    verdict: str = ""
    """The report card in a sentence, or why the run failed."""

    @property
    def is_comparable(self) -> bool:
        return self.state == "ACTIVE" and self.loss is not None


def grid(rate: float, epoch_count: int) -> Plan:
    """The chosen rate, and both its neighbours."""
    rates = _rates(rate, GRID)
    return Plan(rates, (Round(len(rates), epoch_count),))


def halving(rate: float, epoch_count: int) -> Plan:
    """Successive halving (Jamieson and Talwalkar, 2016, arXiv:1502.07943): each round keeps the
    better half of the rates, and trains twice as long."""
    rates = _rates(rate, HALVING)
    rounds = []
    left, epochs = len(rates), max(1, epoch_count // FIRST_SHARE)
    while left > 1:
        rounds.append(Round(left, epochs))
        left, epochs = math.ceil(left / 2), 2 * epochs
    return Plan(rates, tuple(rounds))


def _rates(rate: float, factors: Iterable[float]) -> tuple[float, ...]:
    """With three figures, and none that a server would refuse."""
    rates = (float(f"{rate * factor:.3g}") for factor in factors)
    return tuple(found for found in rates if found <= LIMITS["learning_rate"][1])


def run(plan: Plan, tune: Callable[[Trial], Result]) -> Iterator[Result]:
    """The results one by one. What has failed goes no further, and stops nothing."""
    rates: Sequence[float] = plan.rates
    number = 0
    for planned in plan.rounds:
        results = []
        for rate in rates[: planned.trials]:
            number += 1
            results.append(tune(Trial(number, rate, planned.epoch_count)))
            yield results[-1]
        rates = [result.trial.learning_rate for result in ranked(results)]


def ranked(results: Iterable[Result]) -> list[Result]:
    """Those that became a model, the lowest held-out loss first."""
    return sorted(
        (result for result in results if result.is_comparable),
        key=lambda result: (result.loss, result.trial.number),
    )


def result_of(trial: Trial, model: Mapping[str, Any]) -> Result:
    """What a server tells of the tuned model that a trial has become."""
    own = model.get("kamerton", {})
    losses = own.get("heldOut", {}).get("losses", [])
    lowest = min(losses, key=lambda loss: loss["meanLoss"], default=None)
    failure = own.get("failure", {})
    why = ": ".join(filter(None, (failure.get("reason"), failure.get("message"))))
    return Result(
        trial,
        model["name"],
        model["state"],
        loss=None if lowest is None else lowest["meanLoss"],
        step=None if lowest is None else lowest["step"],
        verdict=own.get("verdict") or why,
    )
