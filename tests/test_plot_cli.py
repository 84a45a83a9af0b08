"""`kamerton plot` against a small fake server, and on files of other tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from kamerton.errors import FailedPrecondition, NotFound
from kamerton.plot_cli import plot
from tests.fake_server import NAME, FakeServer, snapshots

STEPS = f"GET /kamerton/v1/{NAME}/snapshots"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


def drawn(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(plot)
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_tuned_model_as_svg(server: FakeServer, tmp_path: Path) -> None:
    told = [{**step, "heldOutLoss": 1.5, "smoothedLoss": 2.0} for step in snapshots(5)]
    server.when(STEPS, {"snapshots": told})
    picture = tmp_path / "curve.svg"
    result = drawn(NAME, "-o", picture, "--server", server.endpoint)
    assert (result.exit_code, result.output) == (0, f"wrote {picture}, steps 1 to 5\n")
    text = picture.read_text()
    assert text.startswith("<?xml")
    assert NAME in text and "smoothed" in text and "held-out loss" in text


def test_a_server_that_tells_less_of_a_run(server: FakeServer, tmp_path: Path) -> None:
    server.when(f"GET /v1beta/{NAME}", {"name": NAME, "tuningTask": {"snapshots": snapshots(5)}})
    picture = tmp_path / "curve.PNG"
    result = drawn(NAME.split("/")[1], "-o", picture, "--server", server.endpoint)
    assert result.exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_file_of_another_tool(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("step,loss,val_loss\n1,3.5,\n2,2.5,3.0\n3,2.0,\n")
    result = drawn(file, "-o", tmp_path / "curve.svg")
    assert result.exit_code == 0
    assert "held-out loss" in (tmp_path / "curve.svg").read_text()


def test_what_cannot_be_drawn_is_said(server: FakeServer, tmp_path: Path) -> None:
    result = drawn(NAME, "-o", tmp_path / "curve.pdf")
    assert result.exit_code == 2
    assert "no picture" in result.output
    picture = tmp_path / "curve.svg"
    assert isinstance(drawn(NAME, "-o", picture, "--server", server.endpoint).exception, NotFound)
    server.when(STEPS, {"snapshots": []})
    error = drawn(NAME, "-o", picture, "--server", server.endpoint).exception
    assert isinstance(error, FailedPrecondition)
    assert f"kamerton watch {NAME}" in error.message
    assert not picture.exists()
