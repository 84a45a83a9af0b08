"""What time and crashes leave of files and uploads, removed."""

from __future__ import annotations

import logging
import threading

from kamerton.service.arrivals import Arrivals
from kamerton.store import files
from kamerton.store.database import Database

SWEEP_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Housekeeping:
    """Repairs what a crash left, and then removes what expires, until it is closed."""

    def __init__(self, database: Database, arrivals: Arrivals) -> None:
        repair(database, arrivals)
        self._closing = threading.Event()
        arguments = (database, arrivals)
        self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self, database: Database, arrivals: Arrivals) -> None:
        while not self._closing.wait(SWEEP_SECONDS):
            try:
                sweep(database, arrivals)
            except Exception as error:  # A busy database or a full disk: the next time will do.
                _log.warning("files were not swept: %s", type(error).__name__)


def repair(database: Database, arrivals: Arrivals) -> None:
    """Rows and bytes agree afterwards, before anybody asks: a file is whole or absent, and an
    upload goes on from the bytes that are there."""
    files.remove_hopeless(database)
    known, uploads = files.uids(database)
    for uid in uploads - known.keys():
        arrivals.take_back(uid)
    for uid, size in known.items():
        if arrivals.size(uid) != size:
            files.delete_(database, uid)
    sweep(database, arrivals)


def sweep(database: Database, arrivals: Arrivals) -> None:
    """Remove what has expired, and bytes that belong to nothing."""
    files.remove_expired(database)
    # In this order: bytes are never there before their row.
    there = arrivals.uids()
    known, uploads = files.uids(database)
    for uid in there - known.keys() - uploads:
        arrivals.forget(uid)
