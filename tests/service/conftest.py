"""An assembled app with an engine and a runner of a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kamerton.card import Answer, Card, Verdict
from kamerton.inference.catalog import Catalog
from kamerton.service.app import App
from kamerton.settings import Settings
from kamerton.store import operations
from kamerton.store.database import Database
from kamerton.types import BaseModel, Caller, Chunk, GenerationConfig

CARD = Card(
    base=None,
    few_shot=None,
    tuned=None,
    answers=(Answer(0, "five", "six", few_shot="seven"),),
    forgetting=None,
    verdict=Verdict("better", "normalised", 0.5, 0.25, 0.75, "Better."),
    baseline_enough=False,
    sentences=("Better.",),
    row_count=12,
    seconds=1.5,
)


class FakeEngine:
    """Remembers what it was asked and says one word."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Path | None, list[int], GenerationConfig]] = []
        self.forgotten: list[Path] = []

    def generate(
        self,
        base_model: BaseModel,
        adapter: Path | None,
        prompt: Sequence[int],
        config: GenerationConfig,
    ) -> Iterator[Chunk]:
        self.asked.append((base_model.name, adapter, list(prompt), config))
        return iter([Chunk("word", finish_reason="STOP")])

    def forget(self, adapter: Path) -> None:
        self.forgotten.append(adapter)

    def warming(self) -> str | None:
        return None

    def close(self) -> None:
        pass


class FakeRunner:
    """Counts how often it was woken; `finish_all` does the work."""

    def __init__(self, database: Database) -> None:
        self.woken = 0
        self._database = database

    def ensure_possible(self) -> None:
        pass

    def wake(self) -> None:
        self.woken += 1

    def finish_all(self) -> None:
        while claim := operations.claim(self._database, "w", 60):
            operations.finish(self._database, claim, card=CARD)

    def warming(self) -> str | None:
        return None

    def close(self) -> None:
        pass


class FakeApp(App):
    engine: FakeEngine
    runner: FakeRunner


ANN = Caller("ann@x.org", frozenset({"infer", "tuning"}))
BOB = Caller("bob@x.org", frozenset({"infer", "tuning"}))
ADMIN = Caller("root@x.org", frozenset({"infer", "tuning", "admin"}))


@pytest.fixture
def app(tmp_path: Path) -> FakeApp:
    settings = Settings(data=tmp_path, max_pending_runs=5)
    (tmp_path / "tuned_models").mkdir()
    database = Database(settings.database_address())
    database.migrate()
    catalog = Catalog.of("", settings.aliases)
    return FakeApp(settings, database, catalog, FakeEngine(), FakeRunner(database))
