"""A child for test_processes: says again what it is told."""

from __future__ import annotations

import time

from kamerton.processes import follow_parent, parent_channel

if __name__ == "__main__":
    channel = parent_channel()

    def echo(line: bytes) -> None:
        if line == b"print":
            print("printed", flush=True)
        channel.send(line)

    follow_parent(channel, echo)
    time.sleep(60)
