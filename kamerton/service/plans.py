"""The plan of a run: what is trained on, what is held out, how, and what it will take."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args, get_type_hints

from kamerton.errors import InvalidArgument, Violation
from kamerton.service.app import App
from kamerton.service.readings import Data
from kamerton.training import estimate as estimating
from kamerton.training import hyperparameters as rules
from kamerton.training.estimate import MAX_TOKENS, affordable_tokens
from kamerton.training.reading import Reading
from kamerton.types import (
    EARLY_STOPPING,
    NO_BUDGET,
    BaseModel,
    Budget,
    EarlyStopping,
    Estimate,
    Example,
    Holdout,
    Hyperparameters,
)


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller may ask of a run beside its data and hyperparameters."""

    budget: Budget = NO_BUDGET
    max_cost: float | None = None
    """In the currency of the operator's price."""
    holdout: Holdout | None = None
    """None: the usual one, where there are no validation data. A share of 0 holds nothing out."""
    allow: Collection[str] = ()
    """Codes of warnings and notes that are silenced."""
    early_stopping: EarlyStopping = EARLY_STOPPING

    @property
    def counts_tokens(self) -> bool:
        """Whether they need the tokens of every row."""
        return self.budget.max_tokens is not None or self.max_cost is not None


NO_OPTIONS = Options()
MODES = get_args(get_type_hints(EarlyStopping)["mode"])
MAX_PATIENCE = 1000
MAX_MIN_CHANGE = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The run that would be made of a dataset without errors."""

    base_model: BaseModel
    reading: Reading
    hyperparameters: Hyperparameters
    reasons: tuple[tuple[str, str], ...]
    budget: Budget
    holdout: Holdout | None
    """None when nothing is held out by it."""
    places: tuple[int, ...] = ()
    """Of the held-out examples, among all."""
    early_stopping: EarlyStopping = EARLY_STOPPING

    @property
    def trained(self) -> Sequence[Example]:
        held_out = set(self.places)
        return [e for at, e in enumerate(self.reading.examples) if at not in held_out]

    @property
    def held_out(self) -> Sequence[Example]:
        """What the run is measured with: validation data, or examples that it does not train on."""
        if self.reading.validation is not None:
            return self.reading.validation
        return [self.reading.examples[at] for at in self.places]

    @property
    def total_steps(self) -> int:
        trained_count = len(self.reading.examples) - len(self.places)
        return rules.total_steps(trained_count, self.hyperparameters)


def violations(
    app: App,
    base_model: BaseModel,
    options: Options,
    validation: Data | None,
    **hyperparameters: Any,
) -> Iterator[Violation]:
    """What is wrong with what was asked, whatever the data are."""
    try:
        rules.choose(1, base_model, **hyperparameters)
    except InvalidArgument as error:
        yield from error.violations
    limits = {
        "max_tokens": options.budget.max_tokens,
        "max_seconds": options.budget.max_seconds,
        "max_cost": options.max_cost,
    }
    for name, limit in limits.items():
        if limit is not None and not 0 < limit < math.inf:
            yield Violation(f"budget.{name}", "must be above 0")
    if (options.budget.max_tokens or 0) > MAX_TOKENS:
        yield Violation("budget.max_tokens", f"must be at most {MAX_TOKENS}")
    if options.max_cost is not None:
        yield from _cost_violations(options.max_cost, app.settings.price_per_million_tokens)
    yield from _early_stopping_violations(options.early_stopping)
    if options.holdout is not None:
        if validation is not None:
            yield Violation("holdout", "cannot be given together with validation data")
        yield from _holdout_violations(options.holdout)


def _cost_violations(cost: float, price: float) -> Iterator[Violation]:
    if not price:
        yield Violation(
            "budget.max_cost",
            "needs a price, and this server has none: its operator sets it with "
            "KAMERTON_PRICE_PER_MILLION_TOKENS; give max_tokens instead",
        )
    elif 0 < cost < math.inf:
        try:
            affordable_tokens(cost, price)
        except InvalidArgument as error:
            yield from error.violations


def _early_stopping_violations(early: EarlyStopping) -> Iterator[Violation]:
    if early.mode not in MODES:
        yield Violation("early_stopping.mode", f"must be one of {', '.join(MODES)}")
    if not 1 <= early.patience <= MAX_PATIENCE:
        yield Violation("early_stopping.patience", f"must be from 1 to {MAX_PATIENCE}")
    if not 0 <= early.min_change <= MAX_MIN_CHANGE:
        yield Violation("early_stopping.min_change", f"must be from 0 to {MAX_MIN_CHANGE:g}")


def _holdout_violations(holdout: Holdout) -> Iterator[Violation]:
    try:
        _held_out((), holdout)
    except InvalidArgument as error:
        yield from error.violations


def make(
    app: App, base_model: BaseModel, reading: Reading, options: Options, **hyperparameters: Any
) -> Plan:
    """Decides what the caller left open, by how many examples there are. Raises InvalidArgument."""
    count = len(reading.examples)
    holdout = None if reading.validation is not None else options.holdout or Holdout()
    places = _held_out(reading.examples, holdout)
    return Plan(
        base_model,
        reading,
        rules.choose(count, base_model, **hyperparameters),
        rules.reasons(count, base_model, **hyperparameters),
        _budget(app, options),
        holdout if places else None,
        places,
        options.early_stopping,
    )


def refuse_small_budget(app: App, plan: Plan, options: Options) -> None:
    """Raises InvalidArgument for a budget in tokens that does not allow a single step."""
    if plan.budget.max_tokens is not None and estimate(app, plan).budget_steps == 0:
        name = "max_cost" if options.budget.max_tokens != plan.budget.max_tokens else "max_tokens"
        text = "does not allow a single step; give more, or train in smaller batches"
        raise InvalidArgument.of(f"budget.{name}", text)


def estimate(app: App, plan: Plan, *, measured: bool = False) -> Estimate:
    """What the run takes; `measured`: time and memory as well, as far as they are known."""
    reading = plan.reading
    return estimating.estimate(
        reading.measure(reading.examples),
        plan.places,
        plan.base_model,
        plan.hyperparameters,
        budget=plan.budget,
        price=app.settings.price_per_million_tokens or None,
        probe=app.probes.find(plan.base_model) if measured else None,
        reasons=plan.reasons,
        validation=reading.measure(reading.validation or ()),
    )


def _held_out(examples: Sequence[Example], holdout: Holdout | None) -> tuple[int, ...]:
    from kamerton.dataset.split import hold_out  # It needs NumPy.

    return hold_out(examples, holdout) if holdout is not None and holdout.share else ()


def _budget(app: App, options: Options) -> Budget:
    """With a limit on the cost as one on tokens."""
    if options.max_cost is None:
        return options.budget
    paid = affordable_tokens(options.max_cost, app.settings.price_per_million_tokens)
    given = options.budget.max_tokens
    return replace(options.budget, max_tokens=paid if given is None else min(paid, given))
