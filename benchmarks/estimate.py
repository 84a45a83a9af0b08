"""Time and memory as announced by the probe, against those of real runs on the embedded base."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kamerton.inference import catalog
from kamerton.inference.catalog import EMBEDDED
from kamerton.inference.prompts import Renderer
from kamerton.training.estimate import estimate
from kamerton.training.hyperparameters import choose
from kamerton.training.probe import probe
from kamerton.training.rows import measuring
from kamerton.types import Example

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
SHAPES: dict[str, tuple[int, tuple[int, int], tuple[int, int], int | None]] = {
    "short pairs": (300, (1, 8), (1, 4), None),
    "short pairs, batches of 32": (1500, (1, 8), (1, 4), 32),
    "long prompts, labels": (120, (60, 160), (1, 1), None),
    "short prompts, long answers": (120, (5, 15), (50, 120), None),
    "mixed lengths": (150, (2, 250), (2, 60), None),
}
"""Examples, words of inputs and of outputs from and to, batch size."""


def examples(shape: str) -> list[Example]:
    count, inputs, outputs, _ = SHAPES[shape]
    chance = random.Random(shape)

    def text(least: int, most: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(least, most)))

    return [Example.pair(text(*inputs), text(*outputs)) for _ in range(count)]


def run(shape: str) -> None:
    """In a process of its own: print seconds of training and the peak memory in bytes."""
    import torch

    from kamerton.inference import weights
    from kamerton.training.train import train

    data = examples(shape)
    chosen = choose(len(data), EMBEDDED, epoch_count=2, batch_size=SHAPES[shape][3])
    loaded = weights.load(EMBEDDED, "cpu")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train(
            EMBEDDED, data[8:], chosen, Path(folder), lambda snapshot: True,
            loaded=loaded, held_out=data[:8],
        )  # fmt: skip
        seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps([seconds, peak]))


def measure(console: Console) -> None:
    """Print announced and real time and memory, and their ratios."""
    start = time.perf_counter()
    found = probe(EMBEDDED, "cpu")
    console.print(
        f"The probe took {time.perf_counter() - start:.1f} s and says ± {found.relative_error:.0%}"
    )
    count = measuring(Renderer.load(catalog.folder(EMBEDDED)), EMBEDDED.context_tokens).measure
    table = Table(title="Two epochs on the embedded base model, 8 examples held out")
    for heading in ("", "steps", "s said", "s real", "ratio", "MB said", "MB real", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    for shape, (_, _, _, batch_size) in SHAPES.items():
        data = examples(shape)
        chosen = choose(len(data), EMBEDDED, epoch_count=2, batch_size=batch_size)
        said = estimate(count(data), range(8), EMBEDDED, chosen, probe=found)
        command = [sys.executable, "-m", "benchmarks.estimate", shape]
        output = subprocess.run(command, check=True, capture_output=True).stdout
        seconds, peak = json.loads(output.splitlines()[-1])
        assert said.seconds is not None and said.memory_bytes is not None
        table.add_row(
            shape,
            str(said.total_steps),
            f"{said.seconds:.1f}",
            f"{seconds:.1f}",
            f"{said.seconds / seconds:.2f}",
            f"{said.memory_bytes / 1e6:.0f}",
            f"{peak / 1e6:.0f}",
            f"{said.memory_bytes / peak:.2f}",
        )
    console.print(table)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(sys.argv[1])
    else:
        measure(Console(width=100))
