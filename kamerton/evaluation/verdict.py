"""Whether tuning helped, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kamerton.card import Metric, Outcome, Verdict
from kamerton.evaluation.sentences import FEWEST_ROWS, WORDS, share

CONFIDENCE = 0.95
RESAMPLES = 4000
AT_ONCE = 100
"""Resamples that are in memory together."""
_SEED = 0


def verdict(metric: Metric, base: Sequence[float], tuned: Sequence[float]) -> Verdict:
    """From both models' scores of the same rows."""
    gains = np.asarray(tuned, np.float64) - np.asarray(base, np.float64)
    gain = float(gains.mean()) if len(gains) else None
    if gain is None or len(gains) < FEWEST_ROWS:
        return Verdict("too_few_rows", metric, gain, None, None, _too_few(len(gains)))
    low, high = interval(gains)
    outcome: Outcome = "better" if low > 0 else "worse" if high < 0 else "no_clear_gain"
    told = (
        f"{WORDS[metric]} went from {share(float(np.mean(base)))} to "
        f"{share(float(np.mean(tuned)))} on {len(gains)} held-out rows"
    )
    return Verdict(outcome, metric, gain, low, high, _sentence(outcome, told, gain, low, high))


def interval(gains: NDArray[np.float64]) -> tuple[float, float]:
    """In which the mean gain over all rows like these lies.

    The paired bootstrap of P. Koehn, "Statistical significance tests for machine translation
    evaluation", EMNLP 2004: rows are drawn again, each with both answers. Two rows are added, a
    gain and a loss as large as any seen, after the idea of A. Agresti and Y. Min, "Simple improved
    confidence intervals for comparing matched proportions", Statistics in Medicine 2005: a handful
    of rows that went one way by chance has no spread of its own to tell so.
    """
    largest = float(np.abs(gains).max()) or 1.0
    widened = np.append(gains, (largest, -largest))
    draws = np.random.default_rng(_SEED)
    means = [
        draws.choice(widened, (AT_ONCE, len(widened))).mean(axis=1)
        for _ in range(RESAMPLES // AT_ONCE)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), (tail, 1 - tail))
    gain = float(gains.mean())  # The two rows draw the interval towards 0.
    return min(float(low), gain), max(float(high), gain)


def _points(value: float) -> str:
    return str(round(100 * value))


def _too_few(rows: int) -> str:
    return (
        f"Too few rows to say: {rows} were asked, at least {FEWEST_ROWS} are needed. Hold out "
        "more, or bring validation data."
    )


def _sentence(outcome: Outcome, told: str, gain: float, low: float, high: float) -> str:
    sure = f"95 % interval: {_points(low)} to {_points(high)}"
    if outcome == "better":
        return f"Better: {told}, a gain of {_points(gain)} points ({sure})."
    if outcome == "worse":
        return (
            f"Worse: {told}, a loss of {_points(-gain)} points ({sure}). Compare the answers "
            "before you serve it."
        )
    return (
        f"No clear gain: {told}; a change of {_points(gain)} points may be chance ({sure}). "
        "More held-out rows would tell more."
    )
