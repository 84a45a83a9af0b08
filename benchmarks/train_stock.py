"""TRL's rounds, and the search for its settings."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import torch

from benchmarks import train_data
from benchmarks.sides import ALPHA, JOB_RATE, JOB_STEPS, RANK, RATE, Round, Spec
from benchmarks.stock import Stock
from benchmarks.stock_settings import DEFAULTS, GOOD, Settings, axes, search
from benchmarks.train_side import Pace, peak_bytes
from kamerton.dataset.tutorial import EXAMPLES
from kamerton.inference.catalog import EMBEDDED

WARM = train_data.Lengths((20, 20), (5, 5))
"""Rows of a step before each trial of a search, for whatever is done once."""


def steps(spec: Spec, pace: Pace) -> None:
    stock, settings = Stock(spec.base, RANK, ALPHA, spec.device), settings_of(spec)
    pace.dtype = torch.float32 if settings.precision == "fp32" else torch.bfloat16
    pace.config = stock.config
    stock.steps(settings, pace.batches(), rate=RATE, begins=pace.begins, ends=pace.ends)


def jobs(spec: Spec, pace: Pace) -> None:
    stock, settings = Stock(EMBEDDED, EMBEDDED.lora_rank, EMBEDDED.lora_alpha), settings_of(spec)
    while pace.wait():
        seconds = stock.job(settings, EXAMPLES, JOB_STEPS, JOB_RATE)
        pace.tell(
            Round(seconds, steps=JOB_STEPS, loss=stock.loss, peak_bytes=peak_bytes(pace.device))
        )


def trials(spec: Spec, pace: Pace) -> None:
    """One step of the first batch for each setting, after one of short rows."""
    stock = Stock(spec.base, RANK, ALPHA, spec.device)
    rows = train_data.rows(spec.steps * spec.batch, spec.lengths, stock.config.vocab_size)
    warm = train_data.rows(spec.batch, WARM, stock.config.vocab_size)
    batches = [rows[at : at + spec.batch] for at in range(0, len(rows), spec.batch)]

    def seconds(settings: Settings) -> float:
        times: list[float] = []

        def begins(step: int) -> bool:
            times.append(time.perf_counter())
            return True

        def ends(step: int, loss: torch.Tensor) -> None:
            loss.item()  # Until the device has done it.
            times.append(time.perf_counter())

        stock.steps(settings, [warm, *batches], rate=RATE, begins=begins, ends=ends)
        return times[-1] - times[2]

    _search(seconds, pace)


def job_trials(spec: Spec, pace: Pace) -> None:
    """The better of two jobs for each setting, after one that is not counted."""
    stock = Stock(EMBEDDED, EMBEDDED.lora_rank, EMBEDDED.lora_alpha)

    def seconds(settings: Settings) -> float:
        return sorted(stock.job(settings, EXAMPLES, JOB_STEPS, JOB_RATE) for _ in range(3))[0]

    _search(seconds, pace)


def _search(seconds: Callable[[Settings], float], pace: Pace) -> None:
    for settings, found, is_best in search(seconds, GOOD, axes(torch.get_num_threads())):
        if not pace.wait():
            return
        pace.tell(Round(found, settings=msgspec.json.encode(settings).decode(), is_best=is_best))
    if pace.wait():
        pace.tell(Round(0.0))


def settings_of(spec: Spec) -> Settings:
    return msgspec.json.decode(spec.settings, type=Settings) if spec.settings else DEFAULTS
