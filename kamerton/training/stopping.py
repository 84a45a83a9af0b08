"""When a run ends before its last step, because it gets no better."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.types import EarlyStopping, Snapshot

TENTHS = 10
"""Without held-out examples a run is looked at so often."""


def ends_after(
    snapshots: Sequence[Snapshot], early: EarlyStopping, total_steps: int, has_held_out: bool
) -> str:
    """Why the run should end after the last of the snapshots; "" when it should go on.

    A function of what was told alone, so that a run that died and was resumed ends where it would
    have ended. By held-out losses where there are any (Prechelt, 1998, "Early Stopping - But
    When?", his third class of criteria: so many measurements in a row without an improvement),
    else by the smoothed training loss at each tenth of the run.
    """
    last = snapshots[-1].step
    if early.mode == "off" or (early.mode == "auto" and not has_held_out) or last == total_steps:
        return ""
    if has_held_out:
        if snapshots[-1].held_out_loss is None:
            return ""
        losses = [(s.step, s.held_out_loss) for s in snapshots if s.held_out_loss is not None]
        what = "the held-out loss has not fallen"
    else:
        tenths = {total_steps * part // TENTHS for part in range(1, TENTHS)}
        if last not in tenths:
            return ""
        losses = [
            (s.step, s.smoothed_loss)
            for s in snapshots
            if s.step in tenths and s.smoothed_loss is not None
        ]
        what = "the smoothed loss has not fallen"
    since = _without_improvement([loss for _, loss in losses], early.min_change)
    if since < early.patience:
        return ""
    return f"{what} by {early.min_change:g} since step {losses[-1 - since][0]}"


def _without_improvement(losses: Sequence[float], min_change: float) -> int:
    """How many of the last ones are no better than the best before them."""
    best, since = losses[0], 0
    for loss in losses[1:]:
        if loss <= best - min_change:
            best, since = loss, 0
        else:
            since += 1
    return since
