"""Where workers run: a warm local process."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from pathlib import Path

from kamerton.processes import Child, report
from kamerton.settings import Settings
from kamerton.store import operations
from kamerton.store.database import Database

WORKER = "kamerton.service.worker"
STOP = b"stop"
STOP_SECONDS = 15.0
"""How long a worker may take to write down where its run is."""


class LocalRunner:
    """One worker process beside the server; one that dies is started again."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._settings = settings
        self._log = log
        self._database = Database(settings.database_address())
        self._ready = threading.Event()
        self._closed = False
        self._worker = ""
        self._child = self._spawn()
        threading.Thread(target=self._follow, name="worker", daemon=True).start()

    def ensure_possible(self) -> None:
        pass  # This one exists only where the training stack does.

    def wake(self) -> None:
        try:
            self._child.channel.send(b"wake")
        except OSError:
            pass  # It died; its successor looks at the queue first.

    def warming(self) -> str | None:
        return None if self._ready.is_set() else "worker: loading the training stack"

    def close(self) -> None:
        """A run in progress is written down first, to go on from there."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._child.channel.send(STOP)
        self._child.wait(STOP_SECONDS)
        self._child.close()
        self._release(counts=False)
        self._database.close()

    def _spawn(self) -> Child:
        self._ready.clear()
        self._worker = uuid.uuid4().hex
        child = Child(WORKER, self._log)
        child.channel.send(self._worker.encode())
        child.channel.send(self._settings.to_json())
        child.watch()
        return child

    def _follow(self) -> None:
        while True:
            for _ in self._child.channel.lines():  # It says one thing: that it is ready.
                self._ready.set()
            self._ready.clear()
            if self._closed:
                return
            self._child.kill()
            self._release()
            while True:
                time.sleep(0.5)  # One that dies at once must not keep a core busy.
                if self._closed:
                    return
                try:
                    self._child = self._spawn()
                    break
                except OSError:  # No memory or no process to be had: try again.
                    report()

    def _release(self, *, counts: bool = True) -> None:
        """It is certainly dead, so nobody need wait for its lease to run out."""
        try:
            operations.release(self._database, self._worker, counts=counts)
        except Exception:  # The database is busy, say: then the lease runs out.
            report()
