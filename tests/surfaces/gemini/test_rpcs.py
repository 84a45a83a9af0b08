"""The table of methods: every one has a right, and a server without one does not start."""

from __future__ import annotations

import pytest

from kamerton.service import access
from kamerton.service.access import RIGHTS
from kamerton.surfaces import server
from kamerton.surfaces.gemini import grpc_methods
from kamerton.surfaces.gemini.routes import ROUTES
from kamerton.surfaces.gemini.rpcs import RPCS
from kamerton.surfaces.gemini.streams import AnswerThreads
from kamerton.surfaces.kamerton.routes import METHODS
from tests.surfaces.gemini import fake_service

PUBLISHED = {rpc.verb for rpc in RPCS.values()}
BESIDE = {"files.upload", "files.download"}
OURS = {method.verb for method in METHODS}


@pytest.mark.parametrize("verb", sorted(PUBLISHED | BESIDE | OURS))
def test_a_server_whose_table_of_rights_lacks_a_verb_does_not_start(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: right for name, right in RIGHTS.items() if name != verb}
    monkeypatch.setattr(access, "RIGHTS", known)
    app = fake_service.app()
    with pytest.raises(KeyError, match=verb):
        server.build(app)
    if verb in PUBLISHED:
        with pytest.raises(KeyError, match=verb):
            grpc_methods.handlers(app, AnswerThreads(1), "")


def test_no_right_is_for_nothing() -> None:
    on_tuned_models = {"generate", "count_tokens"}  # The same methods, by the model's name.
    inside = {f"tuned_models.{verb}" for verb in (*on_tuned_models, "continue")}
    assert PUBLISHED | BESIDE | inside | OURS == RIGHTS.keys()


def test_every_method_has_a_path() -> None:
    assert {route.rpc.name for route in ROUTES} == RPCS.keys()
