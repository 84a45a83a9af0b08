"""How many times a second a client can ask for an operation while its run trains."""

from __future__ import annotations

import http.client
import json
import os
import time

from rich.console import Console

from kamerton.dataset.tutorial import EXAMPLES
from tests.loop.server import Server

SECONDS = 8.0


def measure(server: Server, console: Console) -> None:
    """One client, one connection, one core for client and server together where that can be had."""
    cores = sorted(os.sched_getaffinity(0))
    children = server.descendants()
    server.create(list(EXAMPLES))
    operation = server.create(list(EXAMPLES), epochs=1000)
    while "snapshots" not in server.get(f"/v1/{operation['name']}").json()["metadata"]:
        time.sleep(0.02)
    if len(cores) > 1:  # The server and this client share a core, the trainer has the other.
        for thread in os.listdir(f"/proc/{server.process.pid}/task"):
            os.sched_setaffinity(int(thread), {cores[0]})
        os.sched_setaffinity(0, {cores[0]})
        for child in children.values():
            os.sched_setaffinity(child.pid, set(cores[1:]))
    try:
        # The standard library's client: requests would take as much of the core as the server.
        connection = http.client.HTTPConnection(server.address.removeprefix("http://"))

        def get() -> bytes:
            headers = {"x-goog-api-key": server.key}
            connection.request("GET", f"/v1/{operation['name']}", headers=headers)
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.read()

        first = json.loads(get())["metadata"]["completedSteps"]
        count, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < SECONDS:
            content = get()
            count += 1
        last = json.loads(content)["metadata"]["completedSteps"]
        connection.close()
    finally:
        os.sched_setaffinity(0, cores)
    console.print(
        f"Operation GET while its run trains: {count / passed:.0f} per second "
        f"(answers of {len(content) / 1024:.0f} KiB, client and server on one core); "
        f"meanwhile {(last - first) / passed:.0f} steps per second were trained"
    )
    server.post(f"/v1beta/{operation['name']}:cancel", {})
    server.await_done(operation)
