"""The demo: the Gemini tuning tutorial, over HTTP, against a real server of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table

from kamerton.client import Client, Operation, answer_text, failure_of
from kamerton.dataset.tutorial import EXAMPLES, PAIRS, UNSEEN
from kamerton.errors import FailedPrecondition, Internal, KamertonError, Unavailable
from kamerton.terminal import answers_table, duration, loss_curve
from kamerton.types import GenerationConfig
from kamerton.watch import follow

BASE_MODEL = "models/gemini-1.0-pro-001"
"""What the tutorial asks for; the server answers with the base model it has under that alias."""
EPOCHS, BATCH, RATE = 5, 4, 0.001
_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
_LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class DemoServer:
    """A server that the demo started, and how to reach and end it."""

    process: subprocess.Popen[bytes]
    endpoint: str
    key: str
    data: Path

    @property
    def log(self) -> Path:
        return self.data / "demo-server.log"


def run(keep: bool = False, record: Path | None = None) -> None:
    """Everything from an empty folder to answers; leaves nothing behind unless `keep`."""
    if find_spec("torch") is None:
        raise FailedPrecondition("the demo trains a model: pip install 'kamerton[train]' first")
    began = time.monotonic()
    console = Console(record=record is not None, highlight=False, width=96 if record else None)
    with _interruptible(), _server(console, keep) as server:
        client = Client(server.endpoint, server.key)
        try:
            _tutorial(client, console)
        finally:
            client.close()
        console.print(f"\n[bold]Done in {duration(time.monotonic() - began)}.[/]")
        # Not on the picture: this is to be copied, and may hold a key.
        _goodbye(Console(highlight=False), server, keep)
    if record is not None:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(_picture(console), encoding="utf-8")


def _picture(console: Console) -> str:
    """What was shown, as SVG that looks the same with whatever fonts a reader has."""
    picture = console.export_svg(title="make demo")
    # Rich would have the reader's browser fetch its fonts from elsewhere.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.S)
    # Braille is seldom as wide as a space: the curve's rows must be all braille to fit.
    return re.sub(
        r">[^<>]*[\u2801-\u28ff][^<>]*<", lambda row: row[0].replace("&#160;", "\u2800"), picture
    )


def _tutorial(client: Client, console: Console) -> None:
    """The tutorial's calls in the tutorial's order."""
    _step(console, "List tuned models", "GET /v1beta/tunedModels")
    console.print(f"  {len(client.list_tuned_models())} so far")

    _step(console, "Create a tuned model", "POST /v1beta/tunedModels")
    operation = client.create_tuned_model(
        EXAMPLES,
        base_model=BASE_MODEL,
        display_name="number generator",
        epoch_count=EPOCHS,
        batch_size=BATCH,
        learning_rate=RATE,
    )
    name = operation["metadata"]["tunedModel"]
    pairs = ", ".join(f"{asked} → {answer}" for asked, answer in PAIRS[2:4])
    console.print(f"  {len(EXAMPLES)} examples ({pairs}, …), {EPOCHS} epochs, batch {BATCH}")
    console.print(f"  {name}", style="bold")

    _step(console, "Get its state", f"GET /v1beta/{name}")
    console.print(f"  {client.get_tuned_model(name)['state']}")

    _step(console, "Poll the operation", f"GET /v1/{operation['name']}")
    _print_run(console, *_timed_run(client, operation, console))

    _step(console, "Ask both models", f"POST /v1beta/{name}:generateContent")
    console.print(answers_table(_answers(client, name)))


def _step(console: Console, what: str, call: str) -> None:
    console.print(f"\n[bold cyan]{what}[/]  [dim]{call}[/]", overflow="ellipsis", no_wrap=True)


def _timed_run(client: Client, operation: Operation, console: Console) -> tuple[Operation, float]:
    began = time.monotonic()
    # Not the console that is recorded: a picture would hold every state of the bar.
    live = Console(highlight=False, width=console.width)
    operation = follow(client, operation, live, pause=0.05)
    failure = failure_of(operation)
    if failure:
        raise type(failure)(f"the tuning run failed: {failure.message}")
    return operation, time.monotonic() - began


def _print_run(console: Console, operation: Operation, seconds: float) -> None:
    snapshots = operation["metadata"].get("snapshots", [])
    percent = operation["metadata"].get("completedPercent", 0.0)
    last = snapshots[-1]
    line = Table.grid(padding=(0, 1))
    line.add_row(
        " ",
        ProgressBar(total=100, completed=percent, width=30),
        f"{percent:.0f}%",
        f"step {last['step']}/{operation['metadata']['totalSteps']}",
        f"[cyan]loss {last.get('meanLoss', 0.0):.4f}[/]",
        f"[dim]in {duration(seconds)}[/]",
    )
    console.print(line)
    points = [(snapshot["step"], snapshot.get("meanLoss", 0.0)) for snapshot in snapshots]
    console.print()
    console.print(loss_curve(points, min(console.width, 80)))


def _answers(client: Client, tuned_model: str) -> Iterator[tuple[str, str, str, str]]:
    greedy = GenerationConfig(temperature=0)
    for asked, right in UNSEEN:
        base, tuned = (
            answer_text(client.generate(model, asked, greedy))
            for model in (BASE_MODEL, tuned_model)
        )
        yield asked, right, base, tuned


def _goodbye(console: Console, server: DemoServer, keep: bool) -> None:
    console.print("The same with curl:\n")
    endpoint, key = (server.endpoint, server.key) if keep else ("http://127.0.0.1:8080", "kam-...")
    if not keep:
        console.print("# first, in another terminal: make serve (it prints your key)", style="dim")
    for line in curl_commands(endpoint, key).splitlines():
        console.print(line, markup=False, soft_wrap=True)
    if keep:
        console.print(
            f"\nThe server is still running: {server.endpoint}\n"
            f"  key   {server.key}\n"
            f"  data  {server.data}\n"
            f"  stop  kill {server.process.pid} && rm -r {server.data}",
            markup=False,
            soft_wrap=True,
        )


def curl_commands(endpoint: str, key: str) -> str:
    """The tutorial's calls, ready to paste into a shell."""
    pairs = [
        json.dumps({"text_input": asked, "output": answer}, ensure_ascii=False)
        for asked, answer in PAIRS
    ]
    rows = ",\n    ".join(", ".join(pairs[at : at + 2]) for at in range(0, len(pairs), 2))
    return f"""\
export base_url={endpoint} key={key}

curl $base_url/v1beta/tunedModels \\
  -H 'Content-Type: application/json' -H "x-goog-api-key: $key" -d '{{
  "display_name": "number generator", "base_model": "{BASE_MODEL}",
  "tuning_task": {{
    "hyperparameters": {{"batch_size": {BATCH}, "learning_rate": {RATE}, "epoch_count": {EPOCHS}}},
    "training_data": {{"examples": {{"examples": [
    {rows}
  ]}}}}}}}}' | tee tunemodel.json

modelname=$(grep -o 'tunedModels/[a-z0-9-]*' tunemodel.json | head -1)

curl -s $base_url/v1beta/$modelname -H "x-goog-api-key: $key" | grep state

curl $base_url/v1beta/$modelname:generateContent \\
  -H 'Content-Type: application/json' -H "x-goog-api-key: $key" -d '{{
  "contents": [{{"parts": [{{"text": "LXIII"}}]}}], "generationConfig": {{"temperature": 0}}}}'
"""


@contextmanager
def _server(console: Console, keep: bool) -> Iterator[DemoServer]:
    """A server with an empty data folder; both are gone afterwards unless `keep`."""
    data = Path(tempfile.mkdtemp(prefix="kamerton-demo-"))
    server: DemoServer | None = None
    kept = False
    try:
        with _uninterrupted():  # A child whose start is interrupted would be forgotten.
            server = _start(data)
        _wait_until_ready(server, console)
        yield server
        kept = keep
    except KamertonError:
        if server is not None:
            _print_logs(server)
        raise
    finally:
        if not kept:
            # An impatient second Ctrl-C must not leave the server behind.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if server is not None:
                _stop(server.process)
            _remove(data)
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _remove(data: Path) -> None:
    """With what the server's children still write while they end."""
    for _ in range(50):
        shutil.rmtree(data, ignore_errors=True)
        if not data.exists():
            return
        time.sleep(0.1)


def _start(data: Path) -> DemoServer:
    """Start `kamerton serve` the way a person would, with a key made beforehand."""
    port = _free_port()
    # The settings of somebody's own server are not for this one.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KAMERTON_")}
    if "KAMERTON_DEVICE" in os.environ:
        environment["KAMERTON_DEVICE"] = os.environ["KAMERTON_DEVICE"]
    environment["TMPDIR"] = str(data)  # PyTorch's caches, too, go when the demo goes.
    key = _make_key(data)
    command = [*_KAMERTON, "serve", "--data", str(data), "--port", str(port)]
    with (data / "demo-server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            # Ctrl-C is for the demo, which then ends its server in order; a kept one lives on.
            start_new_session=True,
        )
    return DemoServer(process, f"http://127.0.0.1:{port}", key, data)


_KAMERTON = (sys.executable, "-m", "kamerton")


def _make_key(data: Path) -> str:
    from kamerton.service import credentials
    from kamerton.settings import Settings

    _, secret = credentials.create(
        Settings(data=data), "key", owner="demo@localhost", scopes=frozenset({"tuning"})
    )
    return secret


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_ready(server: DemoServer, console: Console) -> None:
    """Until it listens and nothing is warming any more."""
    client = Client(server.endpoint)
    give_up = time.monotonic() + _START_SECONDS
    live = Console(highlight=False)
    shown = ""
    with live.status("starting the server") as status:
        while (waiting_for := _warming(client, server)) is not None:
            if time.monotonic() > give_up:
                raise Unavailable(f"not ready after {_START_SECONDS:.0f} s: {waiting_for}")
            status.update(waiting_for)
            if waiting_for != shown and not live.is_terminal:
                live.print(waiting_for)
            shown = waiting_for
            time.sleep(0.1)
    client.close()
    console.print(f"A Kamerton server of its own at [bold]{server.endpoint}[/] is ready.")


def _warming(client: Client, server: DemoServer) -> str | None:
    """What is still to come, in words; None when the server is ready."""
    if server.process.poll() is not None:
        raise Internal(f"the server ended with status {server.process.returncode}")
    try:
        warming = client.health().get("warming", {})
    except Unavailable:
        return "starting the server"
    return f"warming up: {', '.join(warming.values())}" if warming else None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server, and if it does not listen, everything it started."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _print_logs(server: DemoServer) -> None:
    """The end of what the server and its child processes had to say."""
    for log in (server.log, *sorted((server.data / "logs").glob("*.log"))):
        lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        if lines:
            print(f"\nThe end of {log.name}:", *lines, sep="\n  ", file=sys.stderr)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ends by signal clean up like Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A signal that would end the demo waits until the block is over."""
    noted: list[int] = []
    numbers = (signal.SIGINT, *_ENDINGS)
    before = {n: signal.signal(n, lambda number, frame: noted.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if noted:
        raise KeyboardInterrupt


_ENDINGS = (signal.SIGTERM, signal.SIGHUP)
