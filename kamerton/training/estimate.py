"""What a run would be and take, before it begins; without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kamerton.errors import InvalidArgument
from kamerton.training.hyperparameters import PARTS, measured_steps, total_steps
from kamerton.training.rows import grouped, order_of_epoch, rows_of_step, steps_within
from kamerton.types import NO_BUDGET, BaseModel, Budget, Estimate, Hyperparameters

if TYPE_CHECKING:
    from kamerton.dataset.check import RowTokens

MAX_TOKENS = 10**15
"""Of a budget: more than any run has, and exact everywhere, in JSON and as a float too."""
FORESEEN_ROWS = 1_000_000
"""Of the run's stream of rows; the steps after those are taken to be like them."""
EXAMPLE_BYTES = 1000
TOKEN_BYTES = 16
"""Of memory for an example and for each of its tokens, as text and as ids."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What training was measured to take on one device: linear in what a step consists of.

    A pair is a place in the table of attention: rows × the longest row's tokens squared.
    """

    seconds_per_step: float
    """Whatever its size."""
    seconds_per_token: float
    """Of a step's rows, prompts included."""
    relative_error: float
    """Half the width of the measurements, as a share."""
    memory_bytes: int
    """The process with the base model and no step."""
    memory_per_token: float
    """Bytes more for each token of the largest step."""
    seconds_per_learned_token: float = 0.0
    """More than for one that is only read."""
    seconds_per_pair: float = 0.0
    memory_per_learned_token: float = 0.0
    memory_per_pair: float = 0.0
    measuring_share: float = 0.4
    """Of a step's time, to measure the same rows without learning from them."""


def estimate(
    rows: Sequence[RowTokens],
    held_out: Sequence[int],
    base_model: BaseModel,
    hyperparameters: Hyperparameters,
    *,
    budget: Budget = NO_BUDGET,
    price: float | None = None,
    probe: Probe | None = None,
    reasons: Sequence[tuple[str, str]] = (),
    validation: Sequence[RowTokens] = (),
) -> Estimate:
    """Exact in steps and tokens: the same rows in the same steps as the run will take.

    `price` is per million tokens. `held_out` are places in `rows` that are not trained on;
    `reasons` come from `hyperparameters.reasons`. `validation` are rows held out that the caller
    brought. Tokens, cost and time are of the whole run; `budget_tokens` and `budget_cost` of what
    the budget allows of it.
    """
    away = frozenset(held_out)
    trained = [row for place, row in enumerate(rows) if place not in away]
    measured = [*(rows[place] for place in held_out), *validation]
    tokens = sum(row.prompt + row.answer for row in trained) * hyperparameters.epoch_count
    made = Estimate(
        hyperparameters=hyperparameters,
        reasons=tuple(reasons),
        example_count=len(trained),
        held_out_count=len(measured),
        total_steps=total_steps(len(trained), hyperparameters),
        tokens=tokens,
        trained_tokens=sum(row.answer for row in trained) * hyperparameters.epoch_count,
        cost=None if price is None else tokens * price / 1e6,
    )
    if not trained:
        return made
    course = None if probe is None else _Course(trained, measured, hyperparameters, probe)
    if course is not None:
        made = replace(
            made,
            seconds=course.seconds,
            seconds_error=course.seconds * course.probe.relative_error,
            memory_bytes=course.memory_bytes,
        )
    steps, reason = _limit(trained, hyperparameters, made.total_steps, budget, course)
    if steps is None:
        return made
    spent = _tokens_until(steps, [row.prompt + row.answer for row in trained], hyperparameters)
    return replace(
        made,
        budget_steps=steps,
        budget_reason=reason,
        budget_tokens=spent,
        budget_cost=None if price is None else spent * price / 1e6,
    )


def affordable_tokens(cost: float, price: float) -> int:
    """What a cost pays for; `price` is per million tokens, and above 0.

    Raises InvalidArgument for more than `MAX_TOKENS`, which may be too many for a number.
    """
    paid = cost / price * 1e6
    if not paid <= MAX_TOKENS:  # Not `>`: neither is true where the cost is no number.
        raise InvalidArgument.of(
            "budget.max_cost",
            f"must pay for at most {MAX_TOKENS} tokens, and pays for {paid:g}; give less",
        )
    return int(paid)


def _tokens_until(step: int, lengths: Sequence[int], hyperparameters: Hyperparameters) -> int:
    """What the steps up to this one train on; it is not the last."""
    epoch, rest = divmod(step * hyperparameters.batch_size, len(lengths))
    order = order_of_epoch(hyperparameters.seed, epoch, len(lengths))
    return epoch * sum(lengths) + sum(lengths[place] for place in order[:rest])


def _limit(
    trained: Sequence[RowTokens],
    hyperparameters: Hyperparameters,
    total: int,
    budget: Budget,
    course: _Course | None,
) -> tuple[int | None, str]:
    """Where the budget would end the run, and which part of it."""
    lengths = [row.prompt + row.answer for row in trained]
    limits = []
    if budget.max_tokens is not None:
        steps = steps_within(budget.max_tokens, lengths, hyperparameters)
        limits.append((steps, f"The budget of {budget.max_tokens} tokens"))
    if budget.max_seconds is not None and course is not None:
        steps = course.steps_within(budget.max_seconds)
        limits.append((steps, f"The budget of {budget.max_seconds:g} seconds"))
    steps, limit = min(limits, default=(total, ""))
    if steps >= total:
        return None, ""
    if steps:
        about = "" if limit.endswith("tokens") else "about "
        return steps, f"{limit} ends the run after {about}step {steps} of {total}."
    first = sum(lengths[place] for place in rows_of_step(1, len(lengths), hyperparameters))
    return 0, f"{limit} does not allow one step of training: the first one has {first} tokens."


class _Course:
    """The steps of a run, and what each is foreseen to take."""

    def __init__(
        self,
        trained: Sequence[RowTokens],
        measured: Sequence[RowTokens],
        hyperparameters: Hyperparameters,
        probe: Probe,
    ) -> None:
        self.probe = probe
        self._total = total_steps(len(trained), hyperparameters)
        sizes = _step_sizes(trained, hyperparameters)
        held_out = _group_sizes(measured)
        self._steps = _seconds(sizes, probe)
        self._measurement = float(_seconds(held_out, probe).sum()) * probe.measuring_share
        due = len(measured_steps(len(trained), hyperparameters)) if measured else 0
        self._measurements_per_step = due / self._total
        self.seconds = self._until(self._total)
        """Of training, measuring included."""
        largest = max(_memory(sizes, probe), _memory(held_out, probe))
        kept = [*trained, *measured]
        texts = EXAMPLE_BYTES * len(kept) + TOKEN_BYTES * sum(r.prompt + r.answer for r in kept)
        self.memory_bytes = probe.memory_bytes + int(largest) + texts
        """The trainer's peak."""

    def steps_within(self, seconds: float) -> int:
        """The last step that is done and measured by then: each fifth of the time is as well."""
        low, high = 0, self._total
        while low < high:
            middle = (low + high + 1) // 2
            if self._until(middle) + PARTS * self._measurement <= seconds:
                low = middle
            else:
                high = middle - 1
        return low

    def _until(self, step: int) -> float:
        """Seconds from the start to the end of a step, with the measurements on the way."""
        known = min(step, len(self._steps))
        seconds = float(self._steps[:known].sum()) + float(self._steps.mean()) * (step - known)
        return seconds + step * self._measurements_per_step * self._measurement


def _step_sizes(trained: Sequence[RowTokens], hyperparameters: Hyperparameters) -> Any:
    """[steps, 3]: tokens, learned tokens and pairs of each step that is foreseen one by one."""
    import numpy as np

    count, batch = len(trained), hyperparameters.batch_size
    epochs = min(hyperparameters.epoch_count, max(1, FORESEEN_ROWS // count))
    stream = np.concatenate(
        [order_of_epoch(hyperparameters.seed, epoch, count) for epoch in range(epochs)]
    )
    if epochs < hyperparameters.epoch_count and len(stream) > batch:
        stream = stream[: len(stream) // batch * batch]
    lengths = np.array([row.prompt + row.answer for row in trained])[stream]
    learned = np.array([row.answer for row in trained])[stream]
    starts = np.arange(0, len(stream), batch)
    rows = np.diff(starts, append=len(stream))
    pairs = rows * np.maximum.reduceat(lengths, starts) ** 2
    return np.stack(
        [np.add.reduceat(lengths, starts), np.add.reduceat(learned, starts), pairs], axis=1
    )


def _group_sizes(measured: Sequence[RowTokens]) -> Any:
    """[groups, 3], as `_step_sizes` has them, of what is measured together."""
    import numpy as np

    sizes = []
    lengths = [row.prompt + row.answer for row in measured]
    for group in grouped(lengths):
        tokens = [lengths[place] for place in group]
        learned = sum(measured[place].answer for place in group)
        sizes.append((sum(tokens), learned, len(group) * max(tokens) ** 2))
    return np.array(sizes, dtype=np.int64).reshape(-1, 3)


def _seconds(sizes: Any, probe: Probe) -> Any:
    """[steps]"""
    rates = (probe.seconds_per_token, probe.seconds_per_learned_token, probe.seconds_per_pair)
    return probe.seconds_per_step + sizes @ rates


def _memory(sizes: Any, probe: Probe) -> float:
    """Bytes of the largest."""
    rates = (probe.memory_per_token, probe.memory_per_learned_token, probe.memory_per_pair)
    return float((sizes @ rates).max(initial=0.0))
