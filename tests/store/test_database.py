"""The tables and the way to them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text

from kamerton.errors import FailedPrecondition
from kamerton.store import credentials, operations, permissions, tuned_models
from kamerton.store.database import Database
from kamerton.types import NO_BUDGET, Caller


def test_tables_are_what_the_migrations_make(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'kamerton.db'}")
    database.migrate()
    database.check()
    database.migrate()  # Again changes nothing.


def test_what_the_first_release_kept_is_all_there_afterwards(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'kamerton.db'}")
    with database._alembic() as config:
        command.upgrade(config, "0001")
    with database.write() as session:
        for table, row in OLD_ROWS:
            names = ", ".join(row)
            marks = ", ".join(f":{name}" for name in row)
            session.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), row)
    database.migrate()
    model = tuned_models.get(database, "numbers")
    assert model is not None and [snapshot.mean_loss for snapshot in model.snapshots] == [7.5]
    assert operations.get(database, "numbers", "op") is not None
    assert permissions.role(database, "u1", Caller("ann@x.org")) == "OWNER"
    assert permissions.role(database, "u1", Caller("bob@x.org")) is None
    found = credentials.find(database, "k1")
    assert found is not None
    assert (found[0].kind, found[0].owner, found[1]) == ("key", "ann@x.org", "abc")
    assert found[0].scopes == {"infer", "tuning"} and found[0].expire_time is None


def test_what_the_second_release_kept_reads_as_unchecked(tmp_path: Path) -> None:
    """Without a budget, a report or held-out examples, and nothing is lost."""
    database = Database(f"sqlite:///{tmp_path / 'kamerton.db'}")
    with database._alembic() as config:
        command.upgrade(config, "0002")
    with database.write() as session:
        for table, row in OLD_ROWS[:3]:
            row = {name: value for name, value in row.items() if name != "owner"}
            names = ", ".join(row)
            marks = ", ".join(f":{name}" for name in row)
            session.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), row)
    database.migrate()
    model = tuned_models.get(database, "numbers")
    assert model is not None
    assert (model.budget, model.holdout, model.report) == (NO_BUDGET, None, None)
    assert (model.held_out_count, model.held_out_rows, model.stop_reason) == (0, (), "")
    assert [(s.mean_loss, s.held_out_loss) for s in model.snapshots] == [(7.5, None)]
    assert operations.get(database, "numbers", "op") is not None


def test_a_copy_is_kept_before_tables_change(tmp_path: Path) -> None:
    path = tmp_path / "kamerton.db"
    database = Database(f"sqlite:///{path}")
    with database._alembic() as config:
        command.upgrade(config, "0001")
    database.migrate()
    (copy,) = tmp_path.glob("*.before-*")
    with closing(sqlite3.connect(copy)) as old:
        assert old.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    copy.unlink()
    database.migrate()
    assert not copy.exists()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'kamerton.db'}")
    database.migrate()
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(FailedPrecondition, match="newer version"):
        database.migrate()


TIME = "2026-11-21 08:16:11.000000"
OLD_ROWS: list[tuple[str, dict[str, object]]] = [
    (
        "tuned_models",
        {
            "uid": "u1",
            "id": "numbers",
            "owner": "Ann@x.org",
            "base_model": "kamerton-nano-001",
            "asked_base_model": "models/gemini-1.0-pro-001",
            "display_name": "numbers",
            "description": "",
            "state": "ACTIVE",
            "hyperparameters": '{"epoch_count": 5, "batch_size": 4, "learning_rate": 0.001, '
            '"peak_learning_rate": 0.001}',
            "example_count": 15,
            "total_steps": 19,
            "truncated_example_count": 0,
            "temperature": 1.0,
            "top_p": 0.95,
            "top_k": 64,
            "reader_project_numbers": "[]",
            "create_time": TIME,
            "update_time": TIME,
        },
    ),
    (
        "operations",
        {
            "id": "op",
            "uid": "u1",
            "create_time": TIME,
            "done": True,
            "cancelled": False,
            "attempt": 1,
            "attempts_without_progress": 0,
        },
    ),
    (
        "snapshots",
        {"uid": "u1", "step": 1, "epoch": 1, "mean_loss": 7.5, "compute_time": TIME},
    ),
    (
        "keys",
        {
            "id": "k1",
            "secret_hash": "abc",
            "owner": "Ann@x.org",
            "scopes": '["infer", "tuning"]',
            "create_time": TIME,
        },
    ),
]
