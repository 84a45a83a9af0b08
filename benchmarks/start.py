"""How long after its command a server listens, and how long the command line takes to start."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.loop.server import KAMERTON, Server

ROUNDS = 5


def measure(console: Console) -> None:
    listening, helping = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            server = Server(Path(folder) / "data")
            listening.append(time.perf_counter() - start)
            server.stop()
        start = time.perf_counter()
        subprocess.run([*KAMERTON, "--help"], check=True, capture_output=True)
        helping.append(time.perf_counter() - start)
    for what, values in (("kamerton serve listens", listening), ("kamerton --help", helping)):
        middle = statistics.median(values)
        console.print(f"{what} after {middle:.2f} s (worst of {ROUNDS}: {max(values):.2f} s)")
