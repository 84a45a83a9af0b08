"""The table of methods: every one has a right, and a server without one does not start."""

from __future__ import annotations

import pytest

from kamerton.service import access
from kamerton.service.access import RIGHTS
from kamerton.surfaces import server
from kamerton.surfaces.gemini.routes import ROUTES
from kamerton.surfaces.gemini.rpcs import RPCS
from tests.surfaces.gemini import fake_service


@pytest.mark.parametrize("verb", sorted({rpc.verb for rpc in RPCS.values()}))
def test_a_server_whose_table_of_rights_lacks_a_verb_does_not_start(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: right for name, right in RIGHTS.items() if name != verb}
    monkeypatch.setattr(access, "RIGHTS", known)
    with pytest.raises(KeyError, match=verb):
        server.build(fake_service.app())


def test_every_method_has_a_path() -> None:
    assert {route.rpc.name for route in ROUTES} == RPCS.keys()
