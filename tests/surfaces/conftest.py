"""A server on a free port, with verbs of a few lines behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kamerton.service import (
    access,
    datasets,
    generation,
    operations,
    permissions,
    runs,
    tuned_models,
)
from tests.surfaces.gemini.fake_service import Http, Serving, Verbs


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> Verbs:
    made = Verbs()
    for name in ("authenticate", "require"):
        monkeypatch.setattr(access, name, getattr(made, name))
    for name in ("create", "preview", "get", "list_", "patch", "delete", "cancel"):
        monkeypatch.setattr(tuned_models, name, getattr(made, name))
    monkeypatch.setattr(datasets, "check", made.check_dataset)
    for name in ("events", "diagnose", "card", "epochs", "download"):
        monkeypatch.setattr(runs, name, getattr(made, name))
    monkeypatch.setattr(runs, "snapshots", made.run_snapshots)
    monkeypatch.setattr(operations, "get", made.get_operation)
    monkeypatch.setattr(operations, "list_", made.list_operations)
    monkeypatch.setattr(operations, "cancel", made.cancel_operation)
    monkeypatch.setattr(operations, "wait", made.wait_operation)
    for name in ("create", "get", "patch", "delete"):
        monkeypatch.setattr(permissions, name, getattr(made, f"{name}_permission"))
    monkeypatch.setattr(permissions, "list_", made.list_permissions)
    monkeypatch.setattr(permissions, "transfer_ownership", made.transfer_ownership)
    for name in ("generate", "count_tokens"):
        monkeypatch.setattr(generation, name, getattr(made, name))
    return made


@pytest.fixture(scope="session")
def serving() -> Iterator[Serving]:
    made = Serving()
    yield made
    made.close()


@pytest.fixture
def http(serving: Serving, verbs: Verbs) -> Iterator[Http]:
    made = Http(serving.url, serving.port)
    yield made
    made.close()
