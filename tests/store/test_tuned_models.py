"""What a tuned model was decided to use, to the database and back."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

from kamerton.store import operations, tuned_models
from kamerton.store.database import Database
from kamerton.types import Hyperparameters
from tests.store.test_operations import ANN, operation

OLD = {
    "epoch_count": 5, "batch_size": 4, "learning_rate": 0.001, "peak_learning_rate": 0.001,
    "warmup_steps": 0, "lora_rank": 4, "lora_alpha": 16, "seed": 0,
}  # fmt: skip
"""A row from before adapters could be chosen."""


def opened(folder: Path) -> Database:
    database = Database(f"sqlite:///{folder / 'kamerton.db'}")
    database.migrate()
    return database


def test_a_chosen_adapter_comes_out(tmp_path: Path) -> None:
    database, made = opened(tmp_path), operation()
    chosen = replace(
        made.tuned_model.hyperparameters,
        lora_rank=64,
        lora_dropout=0.25,
        target_modules=("q_proj", "v_proj"),
        rslora=True,
    )
    model = replace(made.tuned_model, hyperparameters=chosen)
    operations.add(database, replace(made, tuned_model=model), ANN.owner, 10)
    assert tuned_models.get(database, "m") == model


def test_rows_from_before_it_could_be_chosen_are_read(tmp_path: Path) -> None:
    database = opened(tmp_path)
    operations.add(database, operation(), ANN.owner, 10)
    with sqlite3.connect(tmp_path / "kamerton.db") as connection:
        connection.execute("UPDATE tuned_models SET hyperparameters = ?", [json.dumps(OLD)])
    connection.close()
    found = tuned_models.get(database, "m")
    assert found and found.hyperparameters == Hyperparameters(5, 4, 0.001, 0.001, lora_rank=4)
