"""Chooses what the caller left open, and refuses what cannot work."""

from __future__ import annotations

import math

from kamerton.errors import InvalidArgument, Violation
from kamerton.types import BaseModel, Hyperparameters

FEW_EXAMPLES, MOST_EPOCHS = 500, 5
"""Up to so many examples: what the retired API did with any number, and scripts count on."""
LARGE, LARGE_EPOCHS = 10_000, 2
"""In between, and beyond, the epochs fall evenly with the logarithm of the examples."""

MANY_EXAMPLES = 1000
"""From here on the defaults are batches of 16 and a fifth of the base model's learning rate."""

MAX_SCALE = 4.0
"""Beyond four times the reference batch the rule was not measured."""

GIVEN = "given"
WARM_UP = "of the base model: the rate rises to its peak in so many steps, and stays there"
NO_WARM_UP = "no warm-up: the rate is at its peak from the first step to the last"
PARTS = 5
"""A run is measured at least so often, if it has as many steps."""

LIMITS = {
    "epoch_count": (1, 1000),
    "batch_size": (1, 512),
    "learning_rate": (0.0, 1.0),
    "learning_rate_multiplier": (0.0, 100.0),
}


def choose(
    example_count: int,
    base_model: BaseModel,
    *,
    epoch_count: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    learning_rate_multiplier: float | None = None,
    seed: int = 0,
) -> Hyperparameters:
    """The hyperparameters of a run. Raises InvalidArgument naming every value out of range.

    For a base model with a `reference_batch_size` the peak learning rate grows with the batch
    (the linear scaling rule of Goyal et al., 2017, arXiv:1706.02677), up to MAX_SCALE: the dose
    per example is the same then, and the tutorial's 0.001 fits both of its batch sizes.
    """
    given = {
        "epoch_count": epoch_count,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "learning_rate_multiplier": learning_rate_multiplier,
    }
    _check(given)
    many = example_count >= MANY_EXAMPLES
    batch = batch_size or (16 if many else 4)
    default_rate = base_model.learning_rate / (5 if many else 1)
    rate = learning_rate or default_rate * (learning_rate_multiplier or 1.0)
    return Hyperparameters(
        epoch_count=epoch_count or _epochs(example_count),
        batch_size=batch,
        learning_rate=rate,
        peak_learning_rate=rate * _scale(batch, base_model.reference_batch_size),
        warmup_steps=base_model.warmup_steps,
        lora_rank=base_model.lora_rank,
        lora_alpha=base_model.lora_alpha,
        seed=seed,
    )


def _epochs(example_count: int) -> int:
    fall = math.log(max(example_count, FEW_EXAMPLES) / FEW_EXAMPLES)
    slope = (MOST_EPOCHS - LARGE_EPOCHS) / math.log(LARGE / FEW_EXAMPLES)
    return max(1, round(MOST_EPOCHS - slope * fall))


def _scale(batch_size: int, reference: int | None) -> float:
    return 1.0 if reference is None else min(MAX_SCALE, batch_size / reference)


def reasons(
    example_count: int,
    base_model: BaseModel,
    *,
    epoch_count: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    learning_rate_multiplier: float | None = None,
) -> tuple[tuple[str, str], ...]:
    """By field of what `choose` makes of the same arguments, why it is what it is."""
    many = example_count >= MANY_EXAMPLES
    amount = f"{'at least' if many else 'fewer than'} {MANY_EXAMPLES:,} examples"
    batch = batch_size or (16 if many else 4)
    rate = f"{base_model.learning_rate:g} of the base model"
    if many:
        rate = f"a fifth of the {rate} for {amount}"
    if learning_rate_multiplier is not None:
        rate = f"{learning_rate_multiplier:g} times {rate}"
    return (
        ("epoch_count", GIVEN if epoch_count else _epochs_reason(example_count)),
        ("batch_size", GIVEN if batch_size else f"batches of {batch} for {amount}"),
        ("learning_rate", rate if learning_rate is None else GIVEN),
        ("peak_learning_rate", _peak_reason(batch, base_model.reference_batch_size)),
        ("warmup_steps", WARM_UP if base_model.warmup_steps else NO_WARM_UP),
        ("lora_rank", "of the base model"),
        ("lora_alpha", "of the base model"),
    )


def _epochs_reason(example_count: int) -> str:
    if example_count <= FEW_EXAMPLES:
        return f"{MOST_EPOCHS} for at most {FEW_EXAMPLES} examples"
    return (
        f"{_epochs(example_count)} for {example_count:,} examples: {MOST_EPOCHS} up to "
        f"{FEW_EXAMPLES}, fewer the more there are, {LARGE_EPOCHS} at {LARGE:,}, at least 1"
    )


def _peak_reason(batch_size: int, reference: int | None) -> str:
    if reference is None or batch_size == reference:
        return "the learning rate itself"
    scale = _scale(batch_size, reference)
    most = ", the most there is" if batch_size / reference > MAX_SCALE else ""
    return (
        f"{scale:g} times the learning rate{most}: the base model's rate is for batches of "
        f"{reference}, and these are of {batch_size}"
    )


def total_steps(example_count: int, hyperparameters: Hyperparameters) -> int:
    """Batches run across the borders of epochs, so only the very last one may be short."""
    return math.ceil(example_count * hyperparameters.epoch_count / hyperparameters.batch_size)


def epoch_of(step: int, example_count: int, hyperparameters: Hyperparameters) -> int:
    """The epoch, from 1, in which the last example of `step` (from 1) lies."""
    seen = step * hyperparameters.batch_size
    return min(hyperparameters.epoch_count, math.ceil(seen / example_count))


def epoch_ends(example_count: int, hyperparameters: Hyperparameters, most: int) -> dict[int, int]:
    """By the step in which it ends, each epoch; of more than `most`, so many at even distances."""
    epochs, batch = hyperparameters.epoch_count, hyperparameters.batch_size
    every = math.ceil(epochs / most)
    chosen = [*range(epochs, 0, -every)]
    # Where two end in one step, the later one stands.
    return {math.ceil(epoch * example_count / batch): epoch for epoch in reversed(chosen)}


def measured_steps(
    example_count: int, hyperparameters: Hyperparameters, last_step: int | None = None
) -> frozenset[int]:
    """After which steps the held-out examples are measured: at the end of each epoch, in a short
    run at each fifth of it as well. `last_step` is where a budget is known to end the run."""
    epochs, batch = hyperparameters.epoch_count, hyperparameters.batch_size
    total = total_steps(example_count, hyperparameters)
    last = total if last_step is None else last_step
    steps = {math.ceil(epoch * example_count / batch) for epoch in range(1, epochs + 1)}
    if epochs < PARTS or last < total:
        steps |= {math.ceil(last * part / PARTS) for part in range(1, PARTS + 1)}
    return frozenset(steps)


def _check(given: dict[str, float | int | None]) -> None:
    violations = [
        Violation(name, _range(name))
        for name, value in given.items()
        if value is not None and not _within(name, value)
    ]
    if given["learning_rate"] is not None and given["learning_rate_multiplier"] is not None:
        violations.append(
            Violation("learning_rate_multiplier", "give it or learning_rate, not both")
        )
    if violations:
        raise InvalidArgument.all_of(violations)


def _within(name: str, value: float) -> bool:
    low, high = LIMITS[name]
    above = value >= low if isinstance(low, int) else value > low
    return above and value <= high  # False for NaN


def _range(name: str) -> str:
    low, high = LIMITS[name]
    if isinstance(low, int):
        return f"must be from {low} to {high}"
    return f"must be above {low:g} and at most {high:g}"
