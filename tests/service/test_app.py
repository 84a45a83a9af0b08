from __future__ import annotations

from pathlib import Path

import pytest

from kamerton.errors import FailedPrecondition
from kamerton.service import tuned_models
from kamerton.service.app import DELETED, NoTrainingStack, lock_folder, remove_orphans
from kamerton.service.readings import Data
from kamerton.types import Example, GenerationConfig
from tests.service.conftest import ANN, FakeApp


def test_one_server_a_folder(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(FailedPrecondition, match="Another server"):
        lock_folder(tmp_path)
    lock_folder(tmp_path).close()


def test_what_a_crash_left_behind_is_removed(app: FakeApp) -> None:
    kept = tuned_models.create(
        app, ANN, base_model="kamerton-nano-001", data=Data(examples=[Example.pair("1", "2")])
    ).tuned_model
    parent = app.settings.data / "tuned_models"
    (parent / "never finished").mkdir()
    (parent / "deleted" / "adapter").mkdir(parents=True)
    (parent / "deleted" / DELETED).touch()
    remove_orphans(app.settings, app.database)
    assert [folder.name for folder in parent.iterdir()] == [kept.uid]


def test_a_lost_database_loses_no_finished_model(app: FakeApp) -> None:
    adapter = app.settings.data / "tuned_models" / "of another database" / "adapter"
    adapter.mkdir(parents=True)
    remove_orphans(app.settings, app.database)
    assert adapter.exists()


def test_without_torch_the_server_says_what_to_install(app: FakeApp) -> None:
    missing = NoTrainingStack()
    assert "pip install 'kamerton[train]'" in str(missing.warming())
    with pytest.raises(FailedPrecondition, match=r"kamerton\[train\]"):
        missing.ensure_possible()
    with pytest.raises(FailedPrecondition, match=r"kamerton\[train\]"):
        missing.generate(app.catalog.find("kamerton-nano-001"), None, [], GenerationConfig())
