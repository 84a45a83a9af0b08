"""`make bench`: a tuning job against TRL, what a client sees of a server at work, and the dataset
check against bare parsing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks import api, dataset, estimate, job, start
from tests.loop.server import Server


def main() -> None:
    console = Console()
    start.measure(console)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "data")
        try:
            server.await_warm()
            job.measure(server, console)
        finally:
            server.stop()
    api.measure(console)
    dataset.measure(console)
    estimate.measure(console)


if __name__ == "__main__":
    main()
