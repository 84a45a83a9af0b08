"""Puts the parts together as the settings say."""

from __future__ import annotations

import fcntl
import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kamerton.errors import FailedPrecondition
from kamerton.inference import catalog
from kamerton.inference.catalog import EMBEDDED, Catalog
from kamerton.inference.engine_process import EngineProcess
from kamerton.inference.prompts import Renderer
from kamerton.interfaces import InferenceEngine, Runner
from kamerton.service import emails
from kamerton.service.arrivals import Arrivals
from kamerton.service.housekeeping import Housekeeping
from kamerton.service.probes import Probes
from kamerton.service.runners import LocalRunner
from kamerton.settings import Settings
from kamerton.store import tuned_models
from kamerton.store.database import Database
from kamerton.types import BaseModel, Chunk, GenerationConfig

if TYPE_CHECKING:
    from kamerton.service.oidc import Issuer

DELETED = "DELETED"
"""Marks a folder whose tuned model somebody deleted."""


@dataclass
class App:
    """What every verb is given first."""

    settings: Settings
    database: Database
    catalog: Catalog
    engine: InferenceEngine
    runner: Runner
    lock: IO[bytes] | None = None
    """Open as long as this process may write to the data folder."""
    issuer: Issuer | None = None
    """Whose bearer tokens are accepted besides our own."""
    housekeeping: Housekeeping | None = None
    closing: bool = False
    """Nothing may be begun any more."""

    def renderer(self, base_model: BaseModel) -> Renderer:
        """The renderer of a base model, kept after its first use."""
        # Not by its name: another one of that name may have been added.
        if base_model not in self._renderers:
            self._renderers[base_model] = Renderer.load(catalog.tokenizer_folder(base_model))
        return self._renderers[base_model]

    def folder(self, uid: str) -> Path:
        """Where everything of one tuned model lies: examples, checkpoints, adapter."""
        return tuned_model_folder(self.settings, uid)

    @cached_property
    def arrivals(self) -> Arrivals:
        """The bytes of uploaded files."""
        return Arrivals(self.settings.data)

    @cached_property
    def probes(self) -> Probes:
        """How fast base models train here."""
        return Probes(self.settings.data / "probes", self.settings.device)

    def close(self) -> None:
        self.closing = True
        if self.housekeeping:
            self.housekeeping.close()
        self.runner.close()
        self.engine.close()
        self.database.close()
        if self.lock:
            self.lock.close()

    @cached_property
    def _renderers(self) -> dict[BaseModel, Renderer]:
        return {}


class NoTrainingStack:
    """Stands in for engine and runner where the `train` extra is not installed."""

    REASON = (
        "This server has no PyTorch and can neither tune nor answer. "
        "Install it with: pip install 'kamerton[train]'"
    )

    def generate(
        self,
        base_model: BaseModel,
        adapter: Path | None,
        prompt: Sequence[int],
        config: GenerationConfig,
    ) -> Iterator[Chunk]:
        raise FailedPrecondition(self.REASON)

    def forget(self, adapter: Path) -> None:
        pass

    def ensure_possible(self) -> None:
        raise FailedPrecondition(self.REASON)

    def wake(self) -> None:
        pass

    def warming(self) -> str | None:
        return self.REASON

    def close(self) -> None:
        pass


def build(settings: Settings) -> App:
    """Open the database, and start engine and worker; both warm up while the server listens.

    Raises InvalidArgument for settings that would refuse every caller.
    """
    emails.checked("KAMERTON_OWNER", settings.owner)
    emails.groups(settings.groups)
    issuer = _issuer(settings)
    settings.data.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(settings.data)
    models = Catalog.read(settings)
    database = Database(settings.database_address())
    database.migrate()
    remove_orphans(settings, database)
    app = App(settings, database, models, *_engine_and_runner(settings), lock, issuer)
    app.housekeeping = Housekeeping(database, app.arrivals)
    return app


def _engine_and_runner(settings: Settings) -> tuple[InferenceEngine, Runner]:
    if importlib.util.find_spec("torch") is None:
        missing = NoTrainingStack()
        return missing, missing
    logs = settings.data / "logs"
    engine = EngineProcess(
        (EMBEDDED,), settings.device, logs / "engine.log", settings.max_pending_answers
    )
    return engine, LocalRunner(settings, logs / "worker.log")


def _issuer(settings: Settings) -> Issuer | None:
    if not (settings.oidc_issuer or settings.oidc_audience):
        return None
    from kamerton.service.oidc import Issuer  # Slow to import, and most servers have none.

    return Issuer(settings)


def lock_folder(data: Path) -> IO[bytes]:
    """Keep other servers out of the folder until this file is closed or the process dies."""
    lock = (data / "lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise FailedPrecondition(
            f"Another server is using {data}. Stop it, or choose another folder with --data."
        ) from error
    return lock


def tuned_model_folder(settings: Settings, uid: str) -> Path:
    return settings.data / "tuned_models" / uid


def remove_orphans(settings: Settings, database: Database) -> None:
    """Delete folders whose tuned model is gone; a crash may have left them.

    A finished adapter goes only when it is marked as deleted: with a database that was moved away
    or is older than the folder, nobody's models may be lost.
    """
    parent = settings.data / "tuned_models"
    parent.mkdir(exist_ok=True)
    known = tuned_models.uids(database)
    for folder in parent.iterdir():
        wanted = (folder / "adapter").exists() and not (folder / DELETED).exists()
        if folder.name not in known and not wanted:
            shutil.rmtree(folder, ignore_errors=True)
