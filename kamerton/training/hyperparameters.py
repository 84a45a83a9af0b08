"""Chooses what the caller left open, and refuses what cannot work."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from kamerton.errors import InvalidArgument, Violation
from kamerton.types import GIVEN, BaseModel, Given, Hyperparameters

FEW_EXAMPLES, MOST_EPOCHS = 500, 5
"""Up to so many examples: what the retired API did with any number, and scripts count on."""
LARGE, LARGE_EPOCHS = 10_000, 2
"""In between, and beyond, the epochs fall evenly with the logarithm of the examples."""

MANY_EXAMPLES = 1000
"""From here on the defaults are batches of 16 and a fifth of the base model's learning rate."""

MAX_SCALE = 4.0
"""Beyond four times the reference batch the rule was not measured."""

OF_BASE = "of the base model"
OF_SOURCE = "of the tuned model that it goes on from"
WARM_UP = "of the base model: the rate rises to its peak in so many steps, and stays there"
NO_WARM_UP = "no warm-up: the rate is at its peak from the first step to the last"
PARTS = 5
"""A run is measured at least so often, if it has as many steps."""

LIMITS = {
    "epoch_count": (1, 1000),
    "batch_size": (1, 512),
    "learning_rate": (0.0, 1.0),
    "learning_rate_multiplier": (0.0, 100.0),
    "adapter_size": (1, 256),
    "lora_alpha": (1, 1024),
}
MODULE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
"""The end of a layer's name, such as `q_proj` or `self_attn.q_proj`."""
MAX_MODULES, MAX_MODULE_CHARACTERS = 64, 200
ALPHA_PER_RANK = 2
"""Alpha of a rank that was asked for: the scale of the adapter stays when its rank changes."""


def choose(
    example_count: int,
    base_model: BaseModel,
    *,
    source: Hyperparameters | None = None,
    seed: int = 0,
    **given: Unpack[Given],
) -> Hyperparameters:
    """The hyperparameters of a run. Raises InvalidArgument naming every value out of range.

    `source` are those of the tuned model that it goes on from: its adapter stays what it is, and
    is only trained further.

    For a base model with a `reference_batch_size` the peak learning rate grows with the batch
    (the linear scaling rule of Goyal et al., 2017, arXiv:1706.02677), up to MAX_SCALE: the dose
    per example is the same then, and the tutorial's 0.001 fits both of its batch sizes.
    """
    _check(given, source)
    many = example_count >= MANY_EXAMPLES
    batch = given.get("batch_size") or (16 if many else 4)
    default_rate = base_model.learning_rate / (5 if many else 1)
    rate = given.get("learning_rate") or default_rate * (
        given.get("learning_rate_multiplier") or 1.0
    )
    return Hyperparameters(
        epoch_count=given.get("epoch_count") or _epochs(example_count),
        batch_size=batch,
        learning_rate=rate,
        peak_learning_rate=rate * _scale(batch, base_model.reference_batch_size),
        warmup_steps=base_model.warmup_steps,
        lora_dropout=given.get("lora_dropout") or 0.0,
        seed=seed,
        **_adapter(base_model, source, given),
    )


class _Adapter(TypedDict):
    """What an adapter keeps for good, by field of the hyperparameters."""

    lora_rank: int
    lora_alpha: int
    target_modules: tuple[str, ...]
    rslora: bool


def _adapter(base_model: BaseModel, source: Hyperparameters | None, given: Given) -> _Adapter:
    if source is not None:
        return {
            "lora_rank": source.lora_rank,
            "lora_alpha": source.lora_alpha,
            "target_modules": source.target_modules,
            "rslora": source.rslora,
        }
    rank = given.get("adapter_size")
    usual = base_model.lora_alpha if rank is None else ALPHA_PER_RANK * rank
    wanted = given.get("target_modules") or base_model.target_modules
    return {
        "lora_rank": rank or base_model.lora_rank,
        "lora_alpha": given.get("lora_alpha") or usual,
        "target_modules": tuple(dict.fromkeys(wanted)),
        "rslora": bool(given.get("rslora")),
    }


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
    source: Hyperparameters | None = None,
    **given: Unpack[Given],
) -> tuple[tuple[str, str], ...]:
    """By field of what `choose` makes of the same arguments, why it is what it is."""
    many = example_count >= MANY_EXAMPLES
    amount = f"{'at least' if many else 'fewer than'} {MANY_EXAMPLES:,} examples"
    batch = given.get("batch_size") or (16 if many else 4)
    rate = f"{base_model.learning_rate:g} of the base model"
    if many:
        rate = f"a fifth of the {rate} for {amount}"
    if (multiplier := given.get("learning_rate_multiplier")) is not None:
        rate = f"{multiplier:g} times {rate}"
    usual = {
        "epoch_count": _epochs_reason(example_count),
        "batch_size": f"batches of {batch} for {amount}",
        "learning_rate": rate,
        "peak_learning_rate": _peak_reason(batch, base_model.reference_batch_size),
        "warmup_steps": WARM_UP if base_model.warmup_steps else NO_WARM_UP,
        **_adapter_reasons(source, given, bool(base_model.target_modules)),
    }
    asked: Mapping[str, Any] = given
    return tuple(
        (name, why if asked.get(_ASKED_AS.get(name, name)) is None else GIVEN)
        for name, why in usual.items()
    )


_ASKED_AS = {"lora_rank": "adapter_size"}
"""Fields of the hyperparameters whose arguments have other names."""


def _adapter_reasons(source: Hyperparameters | None, given: Given, of_base: bool) -> dict[str, str]:
    dropout = {"lora_dropout": "none unless it is asked for"}
    if source is not None:
        return dict.fromkeys(_Adapter.__annotations__, OF_SOURCE) | dropout
    sized = given.get("adapter_size") is not None
    return {
        "lora_rank": OF_BASE,
        "lora_alpha": f"{ALPHA_PER_RANK} times the rank" if sized else OF_BASE,
        "target_modules": OF_BASE if of_base else "every linear layer but the head",
        "rslora": "the usual scale, alpha / rank",
        **dropout,
    }


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


def _check(given: Given, source: Hyperparameters | None) -> None:
    if violations := [*_violations(given, source)]:
        raise InvalidArgument.all_of(violations)


def _violations(given: Given, source: Hyperparameters | None) -> Iterator[Violation]:
    asked: Mapping[str, Any] = given
    for name in LIMITS:
        value = asked.get(name)
        if value is not None and not _within(name, value):
            yield Violation(name, _range(name))
    rates = (given.get("learning_rate"), given.get("learning_rate_multiplier"))
    if None not in rates:
        yield Violation("learning_rate_multiplier", "give it or learning_rate, not both")
    dropout = given.get("lora_dropout")
    if dropout is not None and not 0 <= dropout < 1:
        yield Violation("lora_dropout", "must be at least 0 and below 1")
    modules = given.get("target_modules")
    if modules is not None and (wrong := _wrong_modules(modules)):
        yield Violation("target_modules", wrong)
    elif source is not None:
        yield from _other_adapter(asked, source)


def _wrong_modules(modules: Any) -> str:
    """What is wrong with names of layers, "" for nothing; which there are, only the base knows."""
    is_list = isinstance(modules, Sequence) and not isinstance(modules, str)
    if not is_list or not all(isinstance(name, str) for name in modules):
        return 'must be a list of names, such as ["q_proj", "v_proj"]'
    if len(modules) > MAX_MODULES:
        return f"{len(modules)} names, at most {MAX_MODULES}"
    for name in modules:
        if len(name) > MAX_MODULE_CHARACTERS or not MODULE.fullmatch(name):
            return f"{name[:100]!r} is no end of a layer's name, such as q_proj or mlp.up_proj"
    return ""


def _other_adapter(asked: Mapping[str, Any], source: Hyperparameters) -> Iterator[Violation]:
    """What cannot be had when an adapter that is there is trained further."""
    for field in _Adapter.__annotations__:
        name, kept = _ASKED_AS.get(field, field), getattr(source, field)
        wanted = asked.get(name)
        if wanted is None or wanted == kept:
            continue
        if field != "target_modules" or set(wanted) != set(kept):
            yield Violation(
                name, "must be that of the tuned model that it goes on from: leave it out"
            )


def _within(name: str, value: float) -> bool:
    low, high = LIMITS[name]
    above = value >= low if isinstance(low, int) else value > low
    return above and value <= high  # False for NaN


def _range(name: str) -> str:
    low, high = LIMITS[name]
    if isinstance(low, int):
        return f"must be from {low} to {high}"
    return f"must be above {low:g} and at most {high:g}"
