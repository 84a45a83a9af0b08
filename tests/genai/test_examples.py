"""Example scripts against a server whose answers are rare ones."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tests.fake_server import NAME, FakeServer, refusal

EXAMPLES = Path(__file__).parents[2] / "examples" / "gemini"


def test_a_failed_model_of_somebody_else_stays(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, mine = ({"name": name, "state": "FAILED"} for name in (NAME, "tunedModels/mine"))
    server.when("GET /v1beta/tunedModels", {"tunedModels": [theirs, mine]})
    denied = refusal(403, "PERMISSION_DENIED", "not yours")
    server.when(f"DELETE /v1beta/{NAME}", denied, status=403)
    server.when("DELETE /v1beta/tunedModels/mine", {})
    runpy.run_path(str(EXAMPLES / "04_delete_failed.py"))
    out = capsys.readouterr().out
    assert "only its owner may delete it" in out
    assert "Deleted: tunedModels/mine\n" in out
