"""How fast base models train here: measured once, when somebody first asks, and remembered."""

from __future__ import annotations

import logging
import os
import threading
import time
from hashlib import sha256
from pathlib import Path

import msgspec

from kamerton import __version__
from kamerton.errors import KamertonError
from kamerton.training import probe as probing
from kamerton.training.estimate import Probe
from kamerton.types import BaseModel

RETRY_SECONDS = 300.0
"""After this long what could not be measured is tried again: there may be memory by now."""
_log = logging.getLogger(__name__)


class Probes:
    """The measurements of one server, kept in a folder."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder = folder
        self._device = device
        self._known: dict[str, Probe] = {}
        self._failed: dict[str, float] = {}
        """When nothing could be measured, by a monotonic clock."""
        self._running: set[str] = set()
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()

    def find(self, base_model: BaseModel) -> Probe | None:
        """What was measured; None at first, while a thread measures it, and where it cannot be."""
        key = self._key(base_model)
        with self._lock:
            if key not in self._known and (kept := self._kept(key)):
                self._known[key] = kept
            if key not in self._known and key not in self._running and self._may_try(key):
                self._running.add(key)
                threading.Thread(
                    target=self._measure, args=(base_model, key), name="probe", daemon=True
                ).start()
            return self._known.get(key)

    def measuring(self, base_model: BaseModel) -> bool:
        """Whether an answer is on its way."""
        with self._lock:
            return self._key(base_model) in self._running

    def _may_try(self, key: str) -> bool:
        failed = self._failed.get(key)
        return failed is None or time.monotonic() - failed >= RETRY_SECONDS

    def _measure(self, base_model: BaseModel, key: str) -> None:
        found: Probe | None = None
        try:
            with self._one_at_a_time:  # Two at once would measure each other.
                found = probing.probe(base_model, self._device)
            self._keep(key, found)
        except (KamertonError, OSError) as error:  # No torch, say; an estimate can do without.
            _log.warning("%s cannot be measured: %s", base_model.name, error)
        finally:
            with self._lock:
                if found is None:
                    self._failed[key] = time.monotonic()
                else:
                    self._known[key] = found
                self._running.discard(key)

    def _key(self, base_model: BaseModel) -> str:
        """Differs where another measurement is needed."""
        parts = (__version__, base_model.name, base_model.weights, self._device)
        return sha256("\n".join(parts).encode()).hexdigest()[:16]

    def _kept(self, key: str) -> Probe | None:
        try:
            return msgspec.json.decode((self._folder / f"{key}.json").read_bytes(), type=Probe)
        except (OSError, msgspec.DecodeError):
            return None

    def _keep(self, key: str, found: Probe) -> None:
        self._folder.mkdir(exist_ok=True)
        new = self._folder / f"{key}.new"
        new.write_bytes(msgspec.json.encode(found))
        os.replace(new, self._folder / f"{key}.json")
