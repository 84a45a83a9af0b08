"""After which step the budget of a run ends it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from kamerton.errors import FailedPrecondition
from kamerton.training.hyperparameters import PARTS, total_steps
from kamerton.training.rows import rows_of_step, steps_within
from kamerton.types import Budget, Hyperparameters

BUDGET_TOO_SMALL = "BUDGET_TOO_SMALL"
RECENT = 16
"""Steps by which the time of the next one is foreseen."""
MARGIN = 1.25
"""What is foreseen is taken to be so much more: steps of the same length differ."""
PUBLISH_SECONDS = 0.2
"""At least so long to write the adapter."""


class Meter:
    """Tokens are known before the run; seconds are measured while it goes on.

    A run ends before the step that would be over the budget, with time left to measure and
    publish what it has.
    """

    def __init__(
        self,
        budget: Budget,
        lengths: Sequence[int],
        held_out_tokens: int,
        hyperparameters: Hyperparameters,
        began: float,
    ) -> None:
        """`lengths` are the tokens of each row to train on, `began` a monotonic time."""
        self._budget = budget
        self._lengths = lengths
        self._held_out_tokens = held_out_tokens
        self._hyperparameters = hyperparameters
        self._began = began
        self._total = total_steps(len(lengths), hyperparameters)
        self.affordable = self._total
        """Steps that the budget of tokens allows."""
        if budget.max_tokens is not None:
            self.affordable = steps_within(budget.max_tokens, lengths, hyperparameters)
        self._steps: deque[tuple[int, float]] = deque(maxlen=RECENT)
        """Tokens and seconds of the last ones."""
        self._measurement: float | None = None
        self._before = 0.0
        self._told = 0
        self._part = 0
        """Fifths of the seconds that are over and measured."""

    def go_on(self, seconds: float, told: int) -> None:
        """Attempts before this one took so long, and told of their steps up to `told`: those are
        taken again, whatever the time, for what was told is never taken back."""
        self._before = seconds
        self._told = told
        self._part = self._parts_over()

    def is_due(self) -> bool:
        """Whether another fifth of the seconds is over, and the run is to be measured again."""
        before, self._part = self._part, self._parts_over()
        return self._part > before

    def _parts_over(self) -> int:
        most = self._budget.max_seconds
        return 0 if most is None else int(min(1.0, self.seconds() / most) * PARTS)

    def seconds(self) -> float:
        """Of training so far, in all attempts."""
        return self._before + time.monotonic() - self._began

    def stepped(self, step: int, seconds: float) -> None:
        self._steps.append((self._tokens(step), seconds))

    def measured(self, seconds: float) -> None:
        self._measurement = seconds

    def ends_after(self, step: int, publishing: float) -> str:
        """The budget that allows no step after this one; "" when none is left, or it does.

        `publishing` is how long a checkpoint takes. Raises FailedPrecondition when not even the
        first step is allowed.
        """
        if step == self._total:
            return ""
        if step >= self.affordable:
            limit = f"The budget of {self._budget.max_tokens} tokens"
            if step == 0:
                raise FailedPrecondition(
                    f"{limit} does not allow one step of training: the first one has "
                    f"{self._tokens(1)} tokens. Give a larger budget, or use a smaller batch."
                ).at(BUDGET_TOO_SMALL)
            return limit
        most = self._budget.max_seconds
        if most is None or step < self._told:
            return ""
        if self.seconds() + self._foreseen(step + 1, publishing) <= most:
            return ""
        limit = f"The budget of {most:g} seconds"
        if step == 0:
            raise FailedPrecondition(
                f"{limit} was over before the first step of training. Give a larger one."
            ).at(BUDGET_TOO_SMALL)
        return limit

    def _foreseen(self, step: int, publishing: float) -> float:
        """Seconds to take one more step, and then to measure and publish."""
        if not self._steps:
            return 0.0  # Nobody knows before the first one.
        pace = max(seconds / tokens for tokens, seconds in self._steps)
        least = min(seconds for _, seconds in self._steps)
        measurement = self._measurement
        if measurement is None:
            measurement = pace * self._held_out_tokens
        ahead = max(least, pace * self._tokens(step)) + measurement
        return MARGIN * ahead + max(PUBLISH_SECONDS, 2 * publishing)

    def _tokens(self, step: int) -> int:
        chosen = rows_of_step(step, len(self._lengths), self._hyperparameters)
        return sum(self._lengths[index] for index in chosen)
