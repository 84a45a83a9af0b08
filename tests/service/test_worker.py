"""What a worker asks of its trainer."""

from __future__ import annotations

import itertools
from pathlib import Path

from kamerton.inference.catalog import Catalog
from kamerton.service.app import tuned_model_folder
from kamerton.service.plans import Options
from kamerton.service.worker import Worker
from kamerton.store import operations
from kamerton.types import Budget
from tests.service.conftest import FakeApp
from tests.service.test_datasets import created


def test_a_run_has_the_budget_of_its_model(app: FakeApp) -> None:
    budget = Budget(max_tokens=5000, max_seconds=60.0)
    model = created(app, options=Options(budget))
    claim = operations.claim(app.database, "w", 60)
    assert claim is not None
    worker = Worker.__new__(Worker)  # Without a trainer.
    worker._catalog = Catalog.of("", "")
    worker._numbers = itertools.count(1)
    worker._settings = app.settings
    folder = tuned_model_folder(app.settings, model.uid)
    run = worker._run(claim, folder)
    assert run.budget == budget
    assert (run.hyperparameters, Path(run.directory)) == (model.hyperparameters, folder)
