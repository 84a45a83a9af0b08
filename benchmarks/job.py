"""The tutorial's job of fifteen pairs: create to ACTIVE on a warm server, against warm TRL."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.sides import JOB_RATE, JOB_STEPS
from benchmarks.stock import Stock
from benchmarks.stock_settings import DEFAULTS, GOOD, Settings, axes, search
from kamerton.dataset.tutorial import EXAMPLES
from kamerton.inference.catalog import EMBEDDED
from tests.loop.server import Server

ROUNDS = 5


def measure(server: Server, console: Console) -> None:
    """Print median seconds and ratios, and how soon the first loss could be seen."""
    stock = Stock(EMBEDDED, EMBEDDED.lora_rank, EMBEDDED.lora_alpha)

    def run(settings: Settings) -> float:
        return stock.job(settings, EXAMPLES, JOB_STEPS, JOB_RATE)

    def best_of_two(settings: Settings) -> float:
        run(settings)  # Once to warm up.
        return min(run(settings) for _ in range(2))

    console.print("Looking for TRL's fastest settings for this job ...")
    trials = list(search(best_of_two, GOOD, axes(torch.get_num_threads())))
    best = next(settings for settings, _, is_best in reversed(trials) if is_best)
    run(DEFAULTS)
    tune(server)

    sides: dict[str, Callable[[], float]] = {
        "Kamerton, create to ACTIVE over HTTP": lambda: tune(server)[0],
        "TRL SFTTrainer, its defaults": lambda: run(DEFAULTS),
        f"TRL SFTTrainer, best of {len(trials)} settings": lambda: run(best),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            seconds[name].append(side())
    first = [tune(server)[1] for _ in range(ROUNDS)]

    table = Table(title=f"15 pairs, {JOB_STEPS} steps, warm; {ROUNDS} interleaved rounds")
    for heading in ("", "median s", "min", "max", "times Kamerton"):
        table.add_column(heading, justify="left" if not heading else "right")
    ours = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        middle = statistics.median(values)
        table.add_row(
            name,
            f"{middle:.2f}",
            f"{min(values):.2f}",
            f"{max(values):.2f}",
            f"{middle / ours:.1f}",
        )
    console.print(table)
    console.print(f"TRL's best settings here: {best}")
    console.print(f"Mean loss over the run: Kamerton {loss(server):.3f}, TRL {stock.loss:.3f}")
    console.print(
        f"First loss to be seen on the operation: {statistics.median(first):.2f} s after create "
        f"(worst of {ROUNDS}: {max(first):.2f} s)"
    )


def tune(server: Server) -> tuple[float, float]:
    """Seconds from create to done, and to the first snapshot."""
    start = time.perf_counter()
    operation = server.create(list(EXAMPLES))
    first = 0.0
    while True:
        found = server.get(f"/v1/{operation['name']}").json()
        if not first and "snapshots" in found["metadata"]:
            first = time.perf_counter() - start
        if found.get("done"):
            assert found["metadata"]["completedSteps"] == JOB_STEPS, found
            return time.perf_counter() - start, first
        time.sleep(0.01)


def loss(server: Server) -> float:
    """The mean of all steps of one more run."""
    done = server.await_done(server.create(list(EXAMPLES)))
    return statistics.mean(float(s["meanLoss"]) for s in done["metadata"]["snapshots"])
