"""`make bench`: a tuning job against TRL, and what a client sees of a server at work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks import api, job, start
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


if __name__ == "__main__":
    main()
