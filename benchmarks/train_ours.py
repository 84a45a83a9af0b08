"""Our rounds: bare steps, and whole jobs one after another or at once."""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks.sides import (
    ALPHA,
    JOB_BATCH,
    JOB_EPOCHS,
    JOB_RATE,
    JOB_STEPS,
    LONG_RUN,
    RANK,
    RATE,
    SEED,
    Round,
    Spec,
)
from benchmarks.train_side import Pace, peak_bytes
from kamerton.dataset.tutorial import EXAMPLES
from kamerton.inference import weights
from kamerton.training.adapter import Adapter
from kamerton.training.steps import update
from kamerton.training.switches import Switches
from kamerton.training.together import Together
from kamerton.training.train import train
from kamerton.types import Hyperparameters, Snapshot


def steps(spec: Spec, pace: Pace) -> None:
    loaded = weights.load(spec.base, spec.device)
    pace.config = loaded.model.config
    pace.dtype = loaded.model.dtype
    together = Together(loaded, Switches(**spec.switches))
    adapter = Adapter(loaded, _hyperparameters(RATE, SEED, RANK, ALPHA, 1, spec.batch))
    optimizer = torch.optim.AdamW([adapter.flat], lr=RATE, weight_decay=0.0, fused=True)
    with together.running(LONG_RUN):
        for step, rows in enumerate(pace.batches()):
            pace.dtype = adapter.dtype = together.dtype(sum(len(row.ids) for row in rows))
            if not pace.begins(step):
                return
            loss = together.gradients(adapter, rows, step + 1)
            update(adapter.flat, optimizer, step + 1)
            pace.ends(step, loss)


def jobs(spec: Spec, pace: Pace) -> None:
    """Each with a seed of its own: other weights to begin with, and another order of rows."""
    loaded = weights.load(spec.base, spec.device)
    together = Together(loaded, Switches(**spec.switches))

    def job(seed: int) -> float:
        """Rows of text to a saved adapter; the mean loss of its steps."""
        base = spec.base
        chosen = _hyperparameters(
            JOB_RATE, seed, base.lora_rank, base.lora_alpha, JOB_EPOCHS, JOB_BATCH
        )
        losses: list[float] = []

        def on_snapshot(snapshot: Snapshot) -> bool:
            losses.append(snapshot.mean_loss)
            return True

        with tempfile.TemporaryDirectory() as folder:
            train(base, EXAMPLES, chosen, Path(folder), on_snapshot, together=together)
        assert len(losses) == JOB_STEPS
        return statistics.mean(losses)

    with ThreadPoolExecutor(spec.jobs if spec.at_once else 1) as threads:
        while pace.wait():
            start = time.perf_counter()
            losses = list(threads.map(job, range(SEED, SEED + spec.jobs)))
            pace.tell(
                Round(
                    time.perf_counter() - start,
                    steps=JOB_STEPS * spec.jobs,
                    loss=losses[0],
                    peak_bytes=peak_bytes(pace.device),
                )
            )


def _hyperparameters(
    rate: float, seed: int, rank: int, alpha: int, epochs: int, batch: int
) -> Hyperparameters:
    return Hyperparameters(
        epoch_count=epochs,
        batch_size=batch,
        learning_rate=rate,
        peak_learning_rate=rate,
        lora_rank=rank,
        lora_alpha=alpha,
        seed=seed,
    )
