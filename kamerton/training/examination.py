"""Makes the report card of a run, in the process that trained it and beside the same base model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from kamerton.card import Baseline, Card, Who
from kamerton.errors import Cancelled, Paused
from kamerton.evaluation import few_shot
from kamerton.evaluation.asking import most_tokens
from kamerton.evaluation.evaluate import baseline, card
from kamerton.inference.torch_engine import TorchEngine
from kamerton.inference.weights import LoadedBase
from kamerton.processes import report
from kamerton.training.checkpoints import read_snapshots
from kamerton.training.outcome import read_outcome
from kamerton.types import Content, Example, GenerationConfig

BASELINE_SECONDS = 1.0
"""Before the run, whose length nobody knows yet."""
LEAST_SECONDS = 1.0
"""For the card of a run of a few seconds, of which a share would be too little."""
BEGUN = "examining"
NO_ROWS = (
    "No report card: with fewer than 20 examples and no validation data, nothing was held out "
    "to measure with."
)
NOT_MADE = "The report card could not be made; the trainer's log has the reason."
DIED = "No report card: the trainer died while it was made."
TURNED_OFF = "No report card: the operator of this server has turned them off."


class Examination:
    """Asks base and tuned model the held-out rows."""

    def __init__(
        self,
        loaded: LoadedBase,
        trained: Sequence[Example],
        held_out: Sequence[Example],
        directory: Path,
        share: float,
        go_on: Callable[[], None] = lambda: None,
    ) -> None:
        """`share` of the run's time may be spent after it; 0 for no card at all. `go_on` is called
        before each question, and raises Cancelled or Paused when there shall be no more."""
        self._loaded = loaded
        self._trained = trained
        self._held_out = held_out
        self._directory = directory
        self._share = share
        self._go_on = go_on
        self._started = time.monotonic()
        self._before: Baseline | None = None

    def before(self) -> Baseline | None:
        """How the base model does untuned; None when that is not asked, or was at an earlier
        attempt."""
        if not self._held_out or not self._share or (self._directory / "checkpoints").exists():
            return None
        try:
            self._before = self._baseline()
        except (Cancelled, Paused):
            raise
        except Exception:  # No reason not to train.
            report()
        self._started = time.monotonic()
        return self._before

    def after(self, adapter: Path) -> tuple[Card | None, str]:
        """The card, and what it says in a sentence; why there is none, if there is none."""
        if not self._share:
            return None, TURNED_OFF
        if not self._held_out:
            return None, NO_ROWS
        begun = self._directory / BEGUN
        if begun.exists():
            return None, DIED
        try:
            begun.touch()
            made = self._card(adapter)
            begun.unlink()
        except (Cancelled, Paused):
            begun.unlink(missing_ok=True)
            raise
        except Exception:  # The model is as good as it was.
            report()
            return None, NOT_MADE
        return made, made.verdict.sentence

    def _baseline(self) -> Baseline:
        with closing(_Candidates(self._loaded, None, self._held_out, self._go_on)) as candidates:
            return baseline(
                self._held_out, self._trained, candidates.answers, None, time.monotonic,
                BASELINE_SECONDS,
            )  # fmt: skip

    def _card(self, adapter: Path) -> Card:
        seconds = max(LEAST_SECONDS, self._share * (time.monotonic() - self._started))
        room = self._loaded.base_model.input_token_limit // 2
        renderer = self._loaded.renderer
        shots = few_shot.choose(self._trained, lambda turns: len(renderer.prompt(turns)), room)
        with closing(_Candidates(self._loaded, adapter, self._held_out, self._go_on)) as candidates:
            return card(
                self._held_out, self._trained, candidates.answers, _losses(adapter),
                time.monotonic, seconds, shots=shots, before=self._before,
            )  # fmt: skip


class _Candidates:
    """Answers prompts as a server would, greedily."""

    def __init__(
        self,
        loaded: LoadedBase,
        adapter: Path | None,
        rows: Sequence[Example],
        go_on: Callable[[], None],
    ) -> None:
        self._base = loaded.base_model
        self._renderer = loaded.renderer
        self._adapter = adapter
        self._go_on = go_on
        self._engine = TorchEngine(loaded=loaded)
        longest = max(len(loaded.renderer.answer(row.output)) for row in rows)
        self._most = min(self._base.output_token_limit, most_tokens(longest))

    def answers(self, who: Who, prompts: Sequence[Sequence[Content]]) -> list[str]:
        adapter = self._adapter if who == "tuned" else None
        config = GenerationConfig(temperature=0.0, max_output_tokens=self._most)
        self._go_on()
        asked = []
        for contents in prompts:
            prompt = self._renderer.prompt(contents)
            fits = len(prompt) + self._most <= self._base.context_tokens
            asked.append(self._engine.generate(self._base, adapter, prompt, config) if fits else ())
        answers = []
        for chunks in asked:
            self._go_on()
            answers.append("".join(chunk.text for chunk in chunks))
        return answers

    def close(self) -> None:
        if self._adapter is not None:
            self._engine.forget(self._adapter)
        self._engine.close()


def _losses(adapter: Path) -> dict[Who, float]:
    """Of the held-out rows, as the run measured them."""
    snapshots = read_snapshots(adapter)
    kept = read_outcome(adapter).kept_step
    losses: dict[Who, float] = {}
    for snapshot in snapshots:
        if snapshot.start_loss is not None:
            losses["base"] = snapshot.start_loss
        if snapshot.step == kept and snapshot.held_out_loss is not None:
            losses["tuned"] = snapshot.held_out_loss
    return losses
