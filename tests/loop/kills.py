"""Kills a real server and its children at random moments, and looks at what became of the runs.

    python -m tests.loop.kills --kills 100 --runs 20 --seed 0

No run may be lost, doubled, reopened or FAILED, what was shown may never change, and each adapter
must be, byte for byte, that of the same request when nobody disturbs it. The moments are chosen by
the seed; what happens between them is the machine's, so the same seed is not the same story twice.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from kamerton import folders
from kamerton.dataset.tutorial import EXAMPLES
from kamerton.types import Example
from tests.loop.server import Server, await_ended

Json = dict[str, Any]
CHILDREN = {"worker": "worker", "trainer": "trainer_process", "engine": "engine_process"}
"""Their modules, by the words of `KINDS`."""
WEIGHTS = "adapter_model.safetensors"
KINDS = (
    "kill server",
    "kill worker",
    "kill trainer",
    "kill trainer",
    "kill engine",
    "stop worker",
    "stop engine",
)
NOTICED_SECONDS = 15.0
"""A child that hangs must be ended by then."""
THERE_SECONDS = 6.0
"""So old, a child has said that it is there, and it is noticed when it no longer does."""
GAP_SECONDS = 6.0
"""Between one kill and the next at most; a trainer needs about half of it to be there again."""


@dataclass(frozen=True)
class Request:
    """One kind of run."""

    epochs: int
    batch: int
    examples: Sequence[Example] = EXAMPLES
    held_out: Sequence[Example] = ()

    def body(self) -> Json:
        task: Json = {
            "hyperparameters": {
                "epoch_count": self.epochs, "batch_size": self.batch, "learning_rate": 0.001,
            },
            "training_data": _data(self.examples),
        }  # fmt: skip
        if self.held_out:
            task["validation_data"] = _data(self.held_out)
        return {"base_model": "models/kamerton-nano-001", "tuning_task": task}


def _data(examples: Sequence[Example]) -> Json:
    pairs = [{"text_input": e.contents[0].text, "output": e.output} for e in examples]
    return {"examples": {"examples": pairs}}


REQUESTS = (
    Request(100, 4),
    Request(120, 16),
    Request(80, 4, EXAMPLES[:9]),
    # Measured, and ended early when that gets no better.
    Request(100, 2, EXAMPLES[:11], EXAMPLES[11:]),
    Request(60, 3, EXAMPLES[:12], EXAMPLES[12:]),
)


@dataclass
class Run:
    """One operation, and the most that was ever shown of it."""

    request: Request
    name: str
    model: str
    shown: Json = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        return bool(self.shown.get("done"))

    @property
    def snapshots(self) -> list[Json]:
        found: list[Json] = self.shown.get("metadata", {}).get("snapshots", [])
        return found


@dataclass
class Tally:
    """What was done, and how it went."""

    kills: Counter[str] = field(default_factory=Counter)
    noticed: list[float] = field(default_factory=list)
    """Seconds until a child that hung was ended."""
    runs: int = 0
    steps: int = 0
    attempts: int = 0
    seconds: float = 0.0

    def table(self) -> str:
        lines = [f"{count:6} × {kind}" for kind, count in sorted(self.kills.items())]
        lines += [
            f"{self.runs:6} runs, none lost, doubled, reopened or FAILED; all bytes as undisturbed",
            f"{self.steps:6} steps shown, each once, none changed",
            f"{self.attempts:6} attempts",
        ]
        if self.noticed:
            lines.append(f"{max(self.noticed):6.1f} s at most until a hung child was ended")
        return "\n".join([*lines, f"{self.seconds:6.0f} s in all"])


class Soak:
    """A server, the runs that were given to it, and whoever kills it."""

    def __init__(self, data: Path, seed: int, seconds: float, gap: float = GAP_SECONDS) -> None:
        self._began = time.monotonic()
        self._deadline = self._began + seconds
        self._random = random.Random(seed)
        self._gap = gap
        # That a run is FAILED when it dies often without a step of progress is right where it is
        # the run that kills; here it is us.
        # One after another: beside others a run has the same losses, but not the same bytes.
        self._server = Server(data, KAMERTON_MAX_ATTEMPTS="1000000", KAMERTON_RUNS_TOGETHER="1")
        self._runs: list[Run] = []
        self._undisturbed: dict[Request, Run] = {}
        self._stopped: list[psutil.Process] = []
        self._tally = Tally()

    def go(self, kills: int, runs: int, requests: Sequence[Request]) -> Tally:
        try:
            self._server.await_warm()
            self._undisturbed = {request: self._queue(request) for request in requests}
            self._await(list(self._undisturbed.values()))
            for number in range(runs):
                self._runs.append(self._queue(requests[number % len(requests)]))
            while self._tally.kills.total() < kills:
                self._rest()
                if all(run.is_done for run in self._runs):
                    self._runs.append(self._queue(self._random.choice(requests)))
                self._strike()
            self._await(self._runs)
            self._check()
            self._server.await_warm()
            self._server.ask(self._runs[-1].model, "seven")
            self._server.stop()
        finally:
            self._end()
        self._tally.seconds = time.monotonic() - self._began
        return self._tally

    def _queue(self, request: Request) -> Run:
        answer = self._server.post("/v1beta/tunedModels", request.body())
        assert answer.status_code == 200, answer.text
        operation: Json = answer.json()
        return Run(request, operation["name"], operation["metadata"]["tunedModel"])

    def _rest(self) -> None:
        """Look at the runs for as long as the next kill takes to come."""
        until = time.monotonic() + self._random.uniform(0.0, self._gap)
        self._look(self._runs)
        while time.monotonic() < until:
            time.sleep(0.05)
        self._look(self._runs)

    def _look(self, runs: Sequence[Run]) -> None:
        """What was shown before is still so."""
        assert time.monotonic() < self._deadline, f"not done in time\n{self._server.logs()}"
        for run in runs:
            if not run.is_done:
                self._look_at(run)

    def _look_at(self, run: Run) -> None:
        answer = self._server.get(f"/v1/{run.name}")
        assert answer.status_code == 200, f"{run.name} was lost: {answer.text}"
        before, shown = run.snapshots, answer.json()
        if run.is_done:
            assert shown == run.shown, f"{run.name} was over, and has changed"
        run.shown = shown
        assert run.snapshots[: len(before)] == before, f"{run.name}: what was shown has changed"

    def _await(self, runs: Sequence[Run]) -> None:
        while not all(run.is_done for run in runs):
            self._look(runs)
            time.sleep(0.2)

    def _strike(self) -> None:
        kind = self._random.choice(KINDS)
        how, what = kind.split()
        if what == "server":
            self._kill_server()
        else:
            child = self._server.descendants().get(CHILDREN[what])
            if child is None:
                return  # It is just being started again.
            try:
                if how == "stop" and time.time() - child.create_time() < THERE_SECONDS:
                    return
                self._kill(child) if how == "kill" else self._stop(child, kind)
            except psutil.NoSuchProcess:
                return
        self._tally.kills[kind] += 1
        print(f"{time.monotonic() - self._began:6.1f} s  {kind}", file=sys.stderr)

    def _kill_server(self) -> None:
        orphans = [
            child
            for child in self._server.descendants().values()
            if child.is_running() and child.status() != psutil.STATUS_STOPPED
        ]
        self._server.kill()
        self._server.start()
        await_ended(orphans)

    def _kill(self, child: psutil.Process) -> None:
        child.kill()

    def _stop(self, child: psutil.Process, kind: str) -> None:
        """Let it hang, and wait for the server to see it."""
        child.suspend()
        self._stopped.append(child)
        since = time.monotonic()
        await_ended([child], NOTICED_SECONDS)
        self._tally.noticed.append(time.monotonic() - since)

    def _check(self) -> None:
        with closing(sqlite3.connect(self._server.data / "kamerton.db")) as database:
            uids: Mapping[str, str] = dict(database.execute("SELECT id, uid FROM tuned_models"))
            all_runs = [*self._undisturbed.values(), *self._runs]
            ((operations,),) = database.execute("SELECT count(*) FROM operations")
            assert operations == len(all_runs) == len(uids)
            for run in self._runs:
                self._look_at(run)  # Once more: nothing that was over has changed.
                uid = uids[run.model.removeprefix("tunedModels/")]
                self._check_run(run, uids)
                query = "SELECT kind FROM events WHERE uid = ? ORDER BY number"
                story = [kind for (kind,) in database.execute(query, [uid])]
                assert (story[0], story[-1]) == ("queued", "active"), story
                assert story.count("active") == story.count("queued") == 1, story
                query = "SELECT attempt FROM operations WHERE uid = ?"
                ((attempt,),) = database.execute(query, [uid])
                assert story.count("started") == 1
                assert story.count("taken_again") == attempt - 1
                self._tally.attempts += attempt
        self._tally.runs = len(self._runs)

    def _check_run(self, run: Run, uids: Mapping[str, str]) -> None:
        expected = self._undisturbed[run.request]
        assert run.shown["response"]["state"] == "ACTIVE", run.shown.get("error")
        steps = [snapshot["step"] for snapshot in run.snapshots]
        assert steps == list(range(1, len(steps) + 1))
        losses = [snapshot["meanLoss"] for snapshot in run.snapshots]
        assert losses == [snapshot["meanLoss"] for snapshot in expected.snapshots]
        made, undisturbed = self._adapter(run, uids), self._adapter(expected, uids)
        assert folders.is_whole(made) and folders.is_whole(undisturbed)
        assert (made / "outcome.json").read_bytes() == (undisturbed / "outcome.json").read_bytes()
        epochs = [folder.name for folder in undisturbed.with_name("epochs").iterdir()]
        for name in ("adapter", *(f"epochs/{epoch}" for epoch in epochs)):
            one, other = (place.parent / name / WEIGHTS for place in (made, undisturbed))
            assert one.read_bytes() == other.read_bytes(), one
        self._tally.steps += len(steps)

    def _adapter(self, run: Run, uids: Mapping[str, str]) -> Path:
        uid = uids[run.model.removeprefix("tunedModels/")]
        return self._server.data / "tuned_models" / uid / "adapter"

    def _end(self) -> None:
        """Of whatever is left after a failure, also of what hangs."""
        children = list(self._server.descendants().values()) if self._is_up() else []
        if self._is_up():
            self._server.kill()
        for child in [*children, *self._stopped]:
            if child.is_running():  # The very same process, not its number's next owner.
                child.kill()

    def _is_up(self) -> bool:
        return self._server.process.poll() is None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--runs", type=int, default=20, help="at least; more while kills are left")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3600, help="after which it has failed")
    asked = parser.parse_args()
    data = Path(tempfile.mkdtemp(prefix="kamerton-kills-")) / "data"
    print(f"The server's data are in {data}.", file=sys.stderr)
    print(Soak(data, asked.seed, asked.seconds).go(asked.kills, asked.runs, REQUESTS).table())


if __name__ == "__main__":
    main()
