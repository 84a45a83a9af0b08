"""What a loss curve means: smoothing, and a diagnosis in words. Nothing but arithmetic.

`benchmarks/diagnosis.py` says how often it is right; docs/diagnosis.md shows it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from statistics import fmean, median
from typing import NamedTuple

from kamerton.types import Diagnosis, Evidence, Snapshot

WEIGHT = 0.9
"""Of the past in the smoothed loss: about the last ten steps count."""

ABSURD = 1e6
"""Nats that no run comes back from; infinity is beyond it, too."""
LEAST_POINTS = 5
"""Fewer say nothing."""
LONG_ENOUGH = 12
"""From here on a curve may be spoken of with confidence."""
LEAST_MEASURED = 3
"""Held-out losses that make a curve of their own."""
PARTS = 20
"""A curve of training losses is looked at in so many means."""

WORTHWHILE = 0.05
"""Nats by which a loss must fall for anybody to notice: an answer gets 5 % more probable."""
WORTHWHILE_SHARE = 0.1
"""The same of a loss that is high."""
MORE = 0.03
MORE_SHARE = 0.05
"""Nats, or the part of a loss, that as many steps again as the last third had must bring."""
LEARNING = 0.08
"""Nats by which the training loss fell in that third, or there is nothing more to come."""
REST = 0.04
"""Nats above its lowest, or a tenth, and a loss is at rest."""
FAR_ENOUGH = 0.5
SETTLED_PART = 0.6
"""Of a run, and of what it has done of it, before it is told that it does not converge."""
HOPELESS = 0.75
"""Of what is left of a loss, that the last third of a run brought: more, and it may come down."""
NOISY_STEPS = 24
"""Fewer say nothing of how large a batch should be."""
SAVED_EPOCHS = 2
"""Less is not worth another run."""
RESTED_PART = 0.48
"""Of the run; a loss at rest half an epoch before that, as it is measured once in each, spent the
larger part of its time on nothing."""

LEAST_RISE = 0.1
"""Nats; held-out losses of two dozen rows go up and down by half of it without a reason."""
RISE_SHARE = 0.1
CLIMB = 0.25
"""Of what the loss fell before, or else it is no divergence."""

SLOW_FALL = 0.1
"""Of the loss in a whole run; anything that learns at all falls further in its first epoch."""
SLOW_FALL_KNOWN = 0.25
"""The same where the rate is known to be far below the usual one."""
SLOW_TRAINING = 0.3
"""Of the training loss, which is noisy at both of its ends."""
KNOWN = 0.05
"""A loss with nothing left to learn, at whatever rate."""
FAR = 5.0
"""Times the usual learning rate or more, or a fifth of it or less: that is what to change first."""

POOR_LOSS = 0.7
"""ln 2: the right next token is as likely as all others together. A model of short answers should
do better; how short they are is not known where this is used."""
POOR_ANSWER = 0.5
"""Nats of a label, also where it was trained on: it is right three times in five."""
POOR_PART = 0.2
POOR_WHOLE = 2.0
"""The same of each token of a longer answer, and of all of it: one of its parts, of which a small
base never learns some, may be guessed among seven."""
POOR_SHORT = 0.3
"""The same of short answers, in which most tokens follow from those before them."""
POOR_LABEL = 0.2
"""Of labels: to guess between two costs ln 2 at the first token and nothing at the rest, the end
of the turn among them."""
LABEL = 6
LABEL_REST = 0.1
"""Nats of a whole label above the lowest, and its loss is at rest."""
LABEL_STEPS = 80
"""Labels are not learned bit by bit: the loss stays where guessing leaves it, for up to so many
steps, and then falls at once."""
LABEL_EPOCHS = 2
"""So often a row must have been seen before it is said that its label does not follow."""
LONG_ANSWER = 40
"""Tokens. Longer ones are free text, which has a loss of its own that no training takes away."""

BY_HEART = 0.1
"""A training loss that says that rows are recited; then a held-out loss that is `APART` from it
tells that nothing else was learned."""
APART = 0.3
MANY_TIMES = 5.0
"""Of the training loss: where both learn the same, the held-out one is never that far above it.
Then a training loss that is low need not be gone."""
FEW_EXAMPLES = 20
"""Of fewer none can be spared to be held out."""
APART_OF_FEW = 0.15
"""Of so few examples little else than the rows themselves can be learned."""
ANSWER_APART = 0.3
"""Nats of a whole answer, after so few: one in four that were recited is wrong elsewhere."""
COLLAPSED = 0.05
COLLAPSED_OF_FEW = 0.15
"""What a small base can never recite of a dozen rows, be it shown them ten times and more."""
RECITED = 0.35
"""Seven of ten tokens are certain: from here on it is about single rows."""
RECITED_PART = 0.3
"""Of the run that is spent so."""
MANY_EPOCHS = 10
JUMPING = 0.5
"""Of the level, from one step to the next."""
JUMP_SHARE = 0.15
"""Of the lowest held-out loss before a peak."""
HOLD_OUT = " Hold out a tenth of the examples: then the run is measured with what it has not seen."
MOST_EPOCHS = 1000
MOST_BATCH = 512
"""As requests may ask for."""


class Point(NamedTuple):
    """A loss at a step."""

    step: int
    loss: float


def smooth_next(previous: float | None, step: int, loss: float) -> float:
    """The smoothed loss after `step` (from 1), given the one before it.

    An exponential mean divided by the weights that it has so far (as in Adam), so that the first
    values do not lean towards nothing. Without a value before, or after one that is not finite, it
    begins anew with this loss.
    """
    if previous is None or step <= 1 or not math.isfinite(previous):
        return loss
    before = 1.0 - WEIGHT ** (step - 1)
    return (WEIGHT * before * previous + (1.0 - WEIGHT) * loss) / (1.0 - WEIGHT**step)


def smoothed(losses: Sequence[float]) -> list[float]:
    """The debiased exponential mean after each step."""
    values: list[float] = []
    for step, loss in enumerate(losses, start=1):
        values.append(smooth_next(values[-1] if values else None, step, loss))
    return values


@dataclass(frozen=True)
class Run:
    """What is known of a run beside its curve; 0 and None stand for what is not."""

    example_count: int = 0
    held_out_count: int = 0
    epoch_count: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0
    total_steps: int = 0
    default_learning_rate: float | None = None
    """What would be used if nobody asked for another one."""
    is_over: bool = True


def diagnose(snapshots: Sequence[Snapshot], run: Run) -> Diagnosis:
    """Name the pattern of a curve, of a run that is over or still going on.

    The patterns are tried in an order in which the first that fits explains the ones after it: a
    run that diverges is no run that needs more epochs.
    """
    for number, snapshot in enumerate(snapshots):
        if not abs(snapshot.mean_loss) < ABSURD:  # As NaN is.
            return _not_finite(snapshots[:number], snapshot, run)
    if len(snapshots) < LEAST_POINTS:
        return _too_short(snapshots, run)
    curve = _Curve(snapshots, run)
    for look in (
        _divergence,
        _too_slow,
        _too_fast,
        _jumping,
        _overfitting,
        _by_heart,
        _not_converging,
        _noisy,
        _still_falling,
        _unclear,
        _plateau,
    ):
        if found := look(curve):
            return found if curve.is_long else replace(found, confidence="low")
    return _healthy(curve)


class _Curve:
    """A curve in a few numbers."""

    def __init__(self, snapshots: Sequence[Snapshot], run: Run) -> None:
        losses = [snapshot.mean_loss for snapshot in snapshots]
        self.snapshots = snapshots
        self.run = run
        self.is_long = len(losses) >= LONG_ENOUGH
        self._bounds = _bounds(len(losses))
        self.points = [
            Point(snapshots[last - 1].step, fmean(losses[first:last]))
            for first, last in self._bounds
        ]
        """Mean losses of up to twenty equal parts, each at its last step."""
        self.first = Point(snapshots[0].step, fmean(losses[:3]))
        self.last = Point(snapshots[-1].step, fmean(losses[-max(3, len(losses) // 10) :]))
        self.noise = _noise(losses[len(losses) // 2 :])
        self.held_out = _held_out(snapshots)

    @property
    def measure(self) -> list[Point]:
        """What is judged by: held-out losses where there are enough, else those of training."""
        return self.held_out if len(self.held_out) >= LEAST_MEASURED else self.points

    @property
    def has_held_out(self) -> bool:
        return len(self.held_out) >= LEAST_MEASURED

    @property
    def rate_ratio(self) -> float | None:
        """How many times the usual learning rate was used, where that is known."""
        usual, used = self.run.default_learning_rate, self.run.learning_rate
        return used / usual if usual and used else None

    @property
    def answer_tokens(self) -> float | None:
        """Of an example, where it is known."""
        counts = [s.trained_tokens for s in self.snapshots if s.trained_tokens]
        return fmean(counts) / self.run.batch_size if counts and self.run.batch_size else None

    @property
    def poor_loss(self) -> float:
        """A loss that no run on short answers should end above."""
        tokens = self.answer_tokens
        if tokens is None:
            return POOR_LOSS if self.run.example_count else math.inf
        if tokens > LONG_ANSWER:
            return math.inf
        return POOR_LABEL if tokens <= LABEL else POOR_SHORT

    @property
    def is_poor(self) -> bool:
        """Whether it ends where no run on short answers should: with held-out examples, or even
        with those of training."""
        has_failed = min(self.level, self.last.loss) > self.failed_loss
        return min(point.loss for point in self.measure) > self.poor_loss or has_failed

    @property
    def failed_loss(self) -> float:
        """A loss that tells that whole answers fail, also those that were trained on."""
        tokens = self.answer_tokens
        if tokens is None or tokens > LONG_ANSWER:
            return math.inf
        return POOR_ANSWER / tokens if self.is_label else min(POOR_PART, POOR_WHOLE / tokens)

    @property
    def is_label(self) -> bool:
        tokens = self.answer_tokens
        return tokens is not None and tokens <= LABEL

    @property
    def level(self) -> float:
        """Of the last third. The lowest loss of many is an accident where each goes up and down."""
        count = math.ceil(len(self.measure) / 3)
        return median(point.loss for point in self.measure[-count:])

    def epoch_at(self, step: int) -> int:
        """The epoch in which a step lies."""
        at = bisect_left(self.snapshots, step, key=lambda snapshot: snapshot.step)
        return self.snapshots[min(at, len(self.snapshots) - 1)].epoch

    @property
    def half_epoch(self) -> float:
        """As part of the run."""
        return 0.5 / self.run.epoch_count if self.run.epoch_count else 0.0

    def part(self, step: int) -> float:
        """How far into the run, from 0 to 1, as far as it has come."""
        return step / self.last.step

    def training_at(self, step: int) -> float:
        """The training loss around a step."""
        return next((p.loss for p in self.points if p.step >= step), self.last.loss)

    def recited_from(self) -> Point:
        """The step from which the smoothed training loss is low enough to recite."""
        number = next(n for n, point in enumerate(self.points) if point.loss <= RECITED)
        first, last = self._bounds[max(0, number - 1)][0], self._bounds[number][1]
        some = self.snapshots[first:last]
        course = zip(some, smoothed([s.mean_loss for s in some]), strict=True)
        low = (Point(s.step, loss) for s, loss in course if loss <= RECITED)
        return next(low, self.points[number])

    def is_falling(self) -> bool:
        """Whether as many steps again as the last third had would be worth their time, if the loss
        goes on to slow down as it did from the second third to the last."""
        start, middle, end = self.best_by(1 / 3), self.best_by(2 / 3), self.best_by(1.0)
        gain, gain_before = middle - end, start - middle
        pace = min(1.0, gain / gain_before) if gain_before > 0 else 1.0
        least = max(MORE, MORE_SHARE * end, 2 * self.standard_error)
        is_lowest = self.end.loss <= end + least
        is_learning = self.learned > max(LEARNING, WORTHWHILE_SHARE * self.last.loss)
        is_worth_it = end > WORTHWHILE and is_lowest and is_learning and gain * pace > least
        return is_worth_it and not self.is_hopeless(end, gain, pace)

    @property
    def learned(self) -> float:
        """How much lower the training losses of the last fifth are than those before it."""
        losses = [point.loss for point in self.points]
        count = math.ceil(len(losses) / 5)
        return fmean(losses[-2 * count : -count]) - fmean(losses[-count:])

    def is_hopeless(self, end: float, gain: float, pace: float) -> bool:
        """Whether a fall that slows down like this leads to no good loss, however long it is. Of
        answers that do not follow from their inputs at least what all have in common is learned."""
        least = min(self.poor_loss, self.failed_loss)
        is_little = pace < 1 and gain < HOPELESS * end
        return is_little and end - gain * pace / (1 - pace) > least

    @property
    def is_getting_better(self) -> bool:
        """Whether the last held-out loss is well below the one before, be there only two."""
        return any(
            before.loss - after.loss > max(REST, WORTHWHILE_SHARE * before.loss)
            for before, after in list(pairwise(self.held_out))[-1:]
        )

    @property
    def is_going_down(self) -> bool:
        """Whether the smoothed training loss is well below what it was a third before, by more
        than two standard errors of such a difference."""
        course = smoothed([snapshot.mean_loss for snapshot in self.snapshots])
        before, end = course[len(course) * 2 // 3], course[-1]
        error = self.noise * math.sqrt(2 * (1 - WEIGHT) / (1 + WEIGHT))
        return before - end > max(WORTHWHILE_SHARE * before, 2 * error)

    @property
    def is_flat(self) -> bool:
        """Whether it is where it began, with everything still to learn."""
        end = self.end.loss
        return end > RECITED and end > (1 - SLOW_FALL) * self.first.loss

    def best_by(self, part: float) -> float:
        """The lowest loss so far, at the measurement nearest to that part of the run."""
        step = self.at(part).step
        return min(point.loss for point in self.measure if point.step <= step)

    def at(self, part: float) -> Point:
        """Of what is judged by, nearest to that part of the run."""
        return min(self.measure, key=lambda point: abs(point.step - part * self.last.step))

    @property
    def end(self) -> Point:
        return self.held_out[-1] if self.has_held_out else self.last

    @property
    def standard_error(self) -> float:
        """Of a part's mean training loss; held-out losses have none of that noise."""
        return 0.0 if self.has_held_out else self.noise_of_parts

    @property
    def noise_of_parts(self) -> float:
        return self.noise / math.sqrt(max(1, len(self.snapshots) // len(self.points)))


def _bounds(count: int) -> list[tuple[int, int]]:
    parts = min(PARTS, count)
    return [(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


def _noise(losses: Sequence[float]) -> float:
    """The standard deviation of single losses around their course, from the differences of
    neighbours, which a slow fall hardly changes."""
    steps = [abs(after - before) for before, after in pairwise(losses)]
    return median(steps) / 0.954 if steps else 0.0  # 0.6745 of a normal one's, times root two.


def _held_out(snapshots: Sequence[Snapshot]) -> list[Point]:
    return [
        Point(s.step, s.held_out_loss)
        for s in snapshots
        if s.held_out_loss is not None and abs(s.held_out_loss) < ABSURD
    ]


# --- the patterns ----------------------------------------------------------------------------


def _not_finite(before: Sequence[Snapshot], broken: Snapshot, run: Run) -> Diagnosis:
    seen = f" after {before[-1].mean_loss:.3g} at step {before[-1].step}" if before else ""
    return Diagnosis(
        "divergence",
        "high",
        f"The loss became {broken.mean_loss} at step {broken.step}{seen}.",
        "The steps are too large: each makes good for the last one by more than it should.",
        _rate_advice(run, 0.1),
        (Evidence(broken.step, broken.mean_loss, "first loss beyond all bounds"),),
        _rate_request(run, 0.1),
    )


def _too_short(snapshots: Sequence[Snapshot], run: Run) -> Diagnosis:
    count = f"{len(snapshots)} point{'' if len(snapshots) == 1 else 's'}"
    if run.is_over and not snapshots:
        return Diagnosis(
            "too_short",
            "high",
            "It ended before its first step.",
            "No curve tells why.",
            "Look at how the run ended, then start it again.",
        )
    return Diagnosis(
        "too_short",
        "high",
        f"There are only {count}; a pattern needs at least {LEAST_POINTS}.",
        "The run has only begun." if not run.is_over else "The run has so few steps.",
        "Look again later."
        if not run.is_over
        else "Train for more epochs, or in smaller batches; then look again.",
        tuple(Evidence(s.step, s.mean_loss, "training loss") for s in snapshots[-1:]),
        _more_epochs(run) if run.is_over else (),
    )


def _divergence(curve: _Curve) -> Diagnosis | None:
    """It fell and then climbed for good."""
    low = min(curve.points, key=_loss)
    rise = curve.last.loss - low.loss
    fell = max(curve.first.loss - low.loss, 0.0)
    lasting = all(point.loss - low.loss > rise / 3 for point in curve.points[-2:])
    is_climb = rise > max(LEAST_RISE, CLIMB * fell, 4 * curve.noise_of_parts) and lasting
    if not is_climb and not _both_climb(curve):
        return None
    if curve.has_held_out and curve.end.loss < min(curve.held_out, key=_loss).loss + LEAST_RISE:
        return None  # The last batches were hard ones.
    return Diagnosis(
        "divergence",
        "high" if rise > fell / 2 else "medium",
        f"The training loss was {low.loss:.3g} around step {low.step} and climbed to "
        f"{curve.last.loss:.3g} by step {curve.last.step}.",
        "The steps are too large: the learning rate is too high for this batch size.",
        _rate_advice(curve.run, 0.1),
        (
            Evidence(low.step, low.loss, "lowest training loss"),
            Evidence(curve.last.step, curve.last.loss, "last training loss"),
        ),
        _rate_request(curve.run, 0.1),
    )


def _both_climb(curve: _Curve) -> bool:
    """Whether held-out and training loss end far above where the first was lowest."""
    best = min(curve.measure, key=_loss)
    fell = max(curve.first.loss - best.loss, 0.0)
    climbs = (curve.end.loss - best.loss, curve.last.loss - curve.training_at(best.step))
    return curve.has_held_out and min(climbs) > max(LEAST_RISE, CLIMB * fell)


def _too_slow(curve: _Curve) -> Diagnosis | None:
    """It goes down, but by hardly anything."""
    start, end = curve.measure[0], curve.end
    if not curve.has_held_out:
        start, end = curve.first, curve.last
    fall = curve.first.loss - curve.last.loss
    ratio = curve.rate_ratio
    is_small = ratio is not None and ratio <= 1 / FAR
    steady = curve.has_held_out and all(b.loss < a.loss for a, b in pairwise(curve.held_out))
    is_steady = steady or start.loss - end.loss > 3 * curve.noise / math.sqrt(3)
    share = SLOW_FALL_KNOWN if is_small else SLOW_FALL
    if start.loss - end.loss > share * start.loss or fall > SLOW_TRAINING * curve.first.loss:
        return None
    if end.loss < KNOWN or not (is_small or (is_steady and (ratio is None or ratio < FAR))):
        return None
    return Diagnosis(
        "too_slow",
        "high" if is_small and is_steady else "medium",
        f"From step {start.step} to {end.step} the {_what(curve)} went from {start.loss:.3g} to "
        f"{end.loss:.3g} only.",
        f"The learning rate is too small{_compared(curve)}: the steps hardly change the model.",
        _rate_advice(curve.run, 10.0),
        (
            Evidence(start.step, start.loss, f"first {_what(curve)}"),
            Evidence(end.step, end.loss, f"last {_what(curve)}"),
        ),
        _rate_request(curve.run, 10.0),
    )


def _overfitting(curve: _Curve) -> Diagnosis | None:
    """Held-out examples get worse, or stay bad, while those of training get better."""
    if not curve.has_held_out:
        return None
    best, last = min(curve.held_out, key=_loss), curve.held_out[-1]
    rise = last.loss - best.loss
    is_worse = rise > max(LEAST_RISE, RISE_SHARE * best.loss)
    is_better = curve.last.loss < curve.training_at(best.step)
    is_few = 0 < curve.run.example_count <= FEW_EXAMPLES
    apart = APART_OF_FEW if is_few else APART
    if is_few and curve.answer_tokens:
        apart = min(apart, ANSWER_APART / curve.answer_tokens)
    is_low = curve.last.loss < RECITED and last.loss > MANY_TIMES * curve.last.loss
    is_apart = (
        (curve.last.loss < BY_HEART or is_low)
        and last.loss > max(apart, 3 * curve.last.loss)
        and not curve.is_falling()
    )
    if not (is_worse and is_better) and not is_apart:
        return None
    goal = best.loss + max(WORTHWHILE, WORTHWHILE_SHARE * best.loss)
    soon = best if is_worse else next(p for p in curve.held_out if p.loss <= goal)
    seen = (
        f"The held-out loss was lowest at step {best.step} ({best.loss:.3g}) and rose to "
        f"{last.loss:.3g} by step {last.step}"
        if is_worse
        else f"The held-out loss stays at {last.loss:.3g} and got no better after step {soon.step}"
    )
    return Diagnosis(
        "overfitting",
        "high" if rise > 2 * RISE_SHARE * best.loss or last.loss > 5 * APART else "medium",
        f"{seen}, while the training loss went down to {curve.last.loss:.3g}.",
        "The model learns the rows by heart instead of what they have in common: too many epochs "
        "for so few examples, or answers that do not follow from their inputs.",
        _epochs_advice(curve, soon.step) + " More and more varied examples help most.",
        (
            Evidence(best.step, best.loss, "lowest held-out loss"),
            Evidence(last.step, last.loss, "last held-out loss"),
            Evidence(curve.last.step, curve.last.loss, "last training loss"),
        ),
        _fewer_epochs(curve, soon.step),
    )


def _by_heart(curve: _Curve) -> Diagnosis | None:
    """Without held-out examples: training loss gone, long before the end."""
    run = curve.run
    is_few = 0 < run.example_count <= FEW_EXAMPLES and run.epoch_count >= MANY_EPOCHS
    if curve.held_out or curve.last.loss > (COLLAPSED_OF_FEW if is_few else COLLAPSED):
        return None
    if curve.first.loss < RECITED:  # The base model could do it from the start.
        return None
    reached = curve.recited_from()
    if curve.part(reached.step) > 1 - RECITED_PART:
        return None
    return Diagnosis(
        "overfitting",
        "high" if run.epoch_count >= MANY_EPOCHS else "medium",
        f"The training loss fell to {reached.loss:.3g} by step {reached.step} and went on to "
        f"{curve.last.loss:.2g} by step {curve.last.step}, which is "
        + ("next to nothing." if curve.last.loss <= COLLAPSED else "little."),
        "The rows are known by heart, word for word; what was learned after that helps with no "
        "new question. Nothing was held out, so the curve cannot show the harm itself.",
        _epochs_advice(curve, reached.step) + (HOLD_OUT if _can_hold_out(run) else ""),
        (
            Evidence(reached.step, reached.loss, "from here on mostly recited"),
            Evidence(curve.last.step, curve.last.loss, "last training loss"),
        ),
        _fewer_epochs(curve, reached.step),
    )


def _not_converging(curve: _Curve) -> Diagnosis | None:
    """It comes to rest where no good model would."""
    best = min(curve.measure, key=_loss)
    if not (curve.is_poor or curve.is_flat) or curve.is_falling():
        return None
    if not curve.run.is_over and not _has_settled(curve):
        return None
    if _has_hardly_begun(curve):
        is_guessed = curve.is_label and curve.last.loss < curve.first.loss / 2
        return _too_few_label_steps(curve) if is_guessed else _too_few_steps(curve)
    apart = curve.has_held_out and curve.last.loss < 0.8 * best.loss
    cause = (
        "The answers do not follow from their inputs: rows that contradict one another, shuffled "
        "labels, or too few examples of each kind."
    )
    if curve.is_flat:
        cause = (
            "Nothing was learned. Either the learning rate is far too high or too low, or the "
            "answers do not follow from their inputs; this curve does not tell which."
        )
    elif apart:
        cause += " The training loss falls below it as rows are learned by heart."
    is_clear = not curve.is_flat and not curve.is_going_down
    return Diagnosis(
        "not_converging",
        "medium" if is_clear and (best.loss > 2 * curve.poor_loss or apart) else "low",
        _stuck(curve, best),
        cause,
        "Look at the dataset first: kamerton check names contradictions. If there is nothing "
        "wrong, try a lower learning rate. Of free text such a loss can be normal.",
        _stuck_evidence(curve, best),
    )


def _has_hardly_begun(curve: _Curve) -> bool:
    """Whether it is too early to say that answers cannot be learned."""
    is_short = 0 < curve.run.epoch_count <= LABEL_EPOCHS and curve.last.step < LABEL_STEPS
    is_learning = curve.last.loss < curve.first.loss / 2 or curve.is_going_down
    return (is_short and is_learning) or curve.last.step < LONG_ENOUGH


def _too_few_steps(curve: _Curve) -> Diagnosis:
    end = curve.end
    return Diagnosis(
        "too_short",
        "low",
        f"After {end.step} steps the {_what(curve)} is {end.loss:.3g}.",
        "So few steps do not tell how low it can come.",
        "Train for more epochs. If the loss stays where it is, look at the dataset.",
        (Evidence(end.step, end.loss, f"last {_what(curve)}"),),
        _more_epochs(curve.run) if curve.run.is_over else (),
    )


def _too_few_label_steps(curve: _Curve) -> Diagnosis:
    end = curve.end
    return Diagnosis(
        "too_short",
        "low",
        f"After {curve.last.step} steps the {_what(curve)} is {end.loss:.3g}: about where guessing "
        "between the labels leaves it.",
        "Labels are learned late and then at once; so few steps do not tell whether they will be.",
        "Train for more epochs. If the loss stays where it is, look at the dataset.",
        (Evidence(end.step, end.loss, f"last {_what(curve)}"),),
        _more_epochs(curve.run) if curve.run.is_over else (),
    )


def _too_fast(curve: _Curve) -> Diagnosis | None:
    """It gets nowhere good, at a rate that explains it."""
    best = min(curve.measure, key=_loss)
    ratio = curve.rate_ratio
    if ratio is None or ratio < FAR or not curve.is_poor:
        return None
    return Diagnosis(
        "not_converging",
        "medium" if curve.is_falling() else "high",
        _stuck(curve, best),
        f"The learning rate is too high{_compared(curve)}: steps undo one another.",
        _rate_advice(curve.run, 0.1),
        _stuck_evidence(curve, best),
        _rate_request(curve.run, 0.1),
    )


def _jumping(curve: _Curve) -> Diagnosis | None:
    """The held-out loss goes up by far, and comes back: what one epoch learned, the next undid."""
    peak = max(map(_comes_back, _triples(curve.held_out)), default=0.0)
    is_explained = curve.rate_ratio is not None and curve.rate_ratio >= FAR
    good = KNOWN if is_explained else RECITED
    if not curve.has_held_out or curve.end.loss < good or peak < LEAST_RISE:
        return None
    best = min(curve.held_out, key=_loss)
    return Diagnosis(
        "not_converging",
        "medium",
        f"The held-out loss jumps: it went up by {peak:.2g} and came back. " + _stuck(curve, best),
        "The learning rate is too high for batches of this size: steps undo one another.",
        _rate_advice(curve.run, 0.1),
        _stuck_evidence(curve, best),
        _rate_request(curve.run, 0.1),
    )


def _triples(points: Sequence[Point]) -> Iterator[tuple[float, float, float]]:
    """For every measurement the lowest before it, itself, and the lowest after it."""
    losses = [point.loss for point in points]
    before = list(accumulate(losses, min))
    after = list(accumulate(reversed(losses), min))[::-1]
    return zip(before, losses[1:], after[2:], strict=False)


def _comes_back(triple: tuple[float, float, float]) -> float:
    """The height of a peak, of those that are high beside what is around them."""
    before, peak, after = triple
    height = peak - max(before, after)
    return height if height > JUMP_SHARE * before else 0.0


def _stuck(curve: _Curve, best: Point) -> str:
    jumps = "jumps and " if curve.noise > JUMPING * curve.last.loss else ""
    return (
        f"The {_what(curve)} {jumps}does not get below {best.loss:.3g} (step {best.step}); at "
        f"step {curve.end.step} it is {curve.end.loss:.3g}."
    )


def _stuck_evidence(curve: _Curve, best: Point) -> tuple[Evidence, ...]:
    return (
        Evidence(best.step, best.loss, f"lowest {_what(curve)}"),
        Evidence(curve.last.step, curve.last.loss, "last training loss"),
    )


def _noisy(curve: _Curve) -> Diagnosis | None:
    """So much noise that nothing else can be seen, and no held-out loss to see it by."""
    is_noisy = curve.noise > JUMPING * max(curve.last.loss, COLLAPSED)
    if curve.has_held_out or curve.run.held_out_count or not is_noisy or curve.last.loss < RECITED:
        return None
    if curve.last.step < NOISY_STEPS or curve.is_going_down:
        return None
    size = curve.run.batch_size
    next_size = min(2 * size, MOST_BATCH)
    advice = "Take larger batches."
    if _can_hold_out(curve.run):
        advice = "Take larger batches, and hold out some examples: their loss has no such noise."
    return Diagnosis(
        "noisy",
        "medium",
        f"Around step {curve.last.step} the training loss jumps by about {curve.noise:.2g} either "
        f"way at a level of {curve.last.loss:.3g}.",
        "The batches are too small to tell one step from the next"
        + (f" ({size} examples)." if size else "."),
        advice + (f" Next: batches of {next_size}." if size else ""),
        (
            Evidence(curve.last.step, curve.last.loss, "last training loss"),
            Evidence(curve.last.step, curve.noise, "spread of single steps"),
        ),
        (("batch_size", next_size),) if size else (),
    )


def _still_falling(curve: _Curve) -> Diagnosis | None:
    """It ends in the middle of its fall. Of a run that goes on, that is as it should be."""
    if not curve.run.is_over or not curve.is_falling():
        return None
    end, third = curve.end, curve.at(2 / 3)
    epochs = _more_epochs(curve.run)
    advice = f"Train for {epochs[0][1]:g} epochs." if epochs else "Train about twice as long."
    return Diagnosis(
        "still_falling",
        "high" if third.loss - end.loss > 2 * WORTHWHILE_SHARE * end.loss else "medium",
        f"The {_what(curve)} fell from {third.loss:.3g} at step {third.step} to {end.loss:.3g} at "
        f"step {end.step}, and had not come to rest when the run ended.",
        "Too few epochs.",
        advice,
        (
            Evidence(third.step, third.loss, f"{_what(curve)}, a third before the end"),
            Evidence(end.step, end.loss, f"last {_what(curve)}"),
        ),
        epochs,
    )


def _unclear(curve: _Curve) -> Diagnosis | None:
    """So few steps that an end and an accident look the same."""
    is_few = curve.run.is_over and curve.last.step < LONG_ENOUGH and not curve.has_held_out
    return _too_few_steps(curve) if is_few and curve.last.loss > RECITED else None


def _plateau(curve: _Curve) -> Diagnosis | None:
    """It came to rest long before the end."""
    if curve.is_getting_better or (not curve.run.is_over and not _has_settled(curve)):
        return None
    reached = _at_rest(curve)
    saved = curve.run.epoch_count - curve.epoch_at(reached.step)
    if (
        curve.is_flat
        or curve.part(reached.step) + curve.half_epoch > RESTED_PART
        or (curve.run.epoch_count and saved < SAVED_EPOCHS)
    ):
        return None
    advice = _epochs_advice(curve, reached.step)
    return Diagnosis(
        "plateau",
        "high" if curve.has_held_out and curve.part(reached.step) < RESTED_PART / 2 else "medium",
        f"The {_what(curve)} came to rest at step {reached.step} ({reached.loss:.3g}); the "
        f"{curve.last.step - reached.step:,} steps after it changed little "
        f"({curve.end.loss:.3g} at step {curve.end.step}).",
        "There is no more to be learned from these examples: it took fewer epochs than were given.",
        advice if curve.run.is_over else f"The run can be ended now, or left to end. {advice}",
        (
            Evidence(reached.step, reached.loss, f"{_what(curve)} at rest from here"),
            Evidence(curve.end.step, curve.end.loss, f"last {_what(curve)}"),
        ),
        _fewer_epochs(curve, reached.step),
    )


def _healthy(curve: _Curve) -> Diagnosis:
    end = curve.end
    falling = not curve.run.is_over and curve.is_falling()
    course = "is falling as it should" if falling else "fell and came to rest towards the end"
    if not curve.run.is_over and not falling:
        course = "fell and is coming to rest"
    return Diagnosis(
        "healthy",
        "low" if not curve.is_long else "high" if curve.has_held_out else "medium",
        f"The {_what(curve)} {course}: {curve.measure[0].loss:.3g} at step "
        f"{curve.measure[0].step}, {end.loss:.3g} at step {end.step}.",
        "Nothing is wrong that a curve could show.",
        "Ask the model what is not in its dataset; a curve does not tell whether answers are right."
        if curve.run.is_over
        else "Let it run.",
        (
            Evidence(curve.measure[0].step, curve.measure[0].loss, f"first {_what(curve)}"),
            Evidence(end.step, end.loss, f"last {_what(curve)}"),
        ),
    )


# --- what they share -------------------------------------------------------------------------


def _loss(point: Point) -> float:
    return point.loss


def _can_hold_out(run: Run) -> bool:
    """Whether there are enough examples for that, as far as is known."""
    return not 0 < run.example_count < FEW_EXAMPLES


def _what(curve: _Curve) -> str:
    return "held-out loss" if curve.has_held_out else "training loss"


def _at_rest(curve: _Curve) -> Point:
    """The first point from which there was little left to gain."""
    best = min(curve.measure, key=_loss).loss
    tokens = curve.answer_tokens or 0.0
    least = min(REST, LABEL_REST / tokens) if curve.is_label else REST
    goal = best + max(least, WORTHWHILE_SHARE * best, 2 * curve.standard_error)
    return next(point for point in curve.measure if point.loss <= goal)


def _has_settled(curve: _Curve) -> bool:
    """Of a run that goes on: whether it is far enough, and at rest for long enough, to say that it
    will come no lower."""
    if curve.run.held_out_count and not curve.has_held_out:
        return False  # They will tell better.
    is_far = curve.last.step >= FAR_ENOUGH * curve.run.total_steps
    return is_far and curve.part(_at_rest(curve).step) <= SETTLED_PART


def _compared(curve: _Curve) -> str:
    usual, used = curve.run.default_learning_rate, curve.run.learning_rate
    return f" ({used:g}, where {usual:g} is usual)" if usual and used else ""


def _next_rate(run: Run, factor: float) -> float:
    """The usual rate where the one that was used is far from it on the wrong side."""
    usual, used = run.default_learning_rate, run.learning_rate
    if usual and used and (used / usual if factor < 1 else usual / used) >= FAR:
        return usual
    return min(float(f"{used * factor:.3g}"), 1.0)


def _rate_request(run: Run, factor: float) -> tuple[tuple[str, float], ...]:
    return (("learning_rate", _next_rate(run, factor)),) if run.learning_rate else ()


def _rate_advice(run: Run, factor: float) -> str:
    if run.learning_rate:
        return f"Train with a learning rate of {_next_rate(run, factor):g}."
    return f"Train with {'a tenth' if factor < 1 else 'ten times'} of the learning rate."


def _more_epochs(run: Run) -> tuple[tuple[str, float], ...]:
    return (("epoch_count", min(2 * run.epoch_count, MOST_EPOCHS)),) if run.epoch_count else ()


def _fewer_epochs(curve: _Curve, step: int) -> tuple[tuple[str, float], ...]:
    """The epoch that a step lies in, if the run has more."""
    epoch = curve.epoch_at(step)
    return (("epoch_count", epoch),) if epoch < curve.run.epoch_count else ()


def _epochs_advice(curve: _Curve, step: int) -> str:
    for _, epochs in _fewer_epochs(curve, step):
        return f"Train for {epochs:g} epoch{'' if epochs == 1 else 's'}."
    return f"Train for about {step:,} steps."
