"""Sweeps on the real server: ordinary runs, of which the best stays."""

from __future__ import annotations

import json

import pytest

from kamerton.client import Client
from kamerton.errors import InvalidArgument
from kamerton.sweep_cli import sweep
from kamerton.types import Example
from tests.loop.server import Server

pytestmark = pytest.mark.xdist_group("loop")

EXAMPLES = [Example.pair(str(number), str(number + 1)) for number in range(100, 160)]


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server.address, server.key)


def test_a_grid_keeps_the_run_with_the_lowest_held_out_loss(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"base_model": "models/kamerton-nano-001", "display_name": "grid", "epoch_count": 2}
    sweep(client, EXAMPLES, asked, as_json=True)
    out, err = capsys.readouterr()
    told = json.loads(out)
    runs = told["runs"]
    assert [run["state"] for run in runs] == ["ACTIVE"] * 3
    assert [run["learningRate"] for run in runs] == [0.000333, 0.001, 0.003]
    best = min(runs, key=lambda run: run["heldOutLoss"])
    assert told["best"] == best["name"]
    assert len({run["heldOutLoss"] for run in runs}) == 3
    model = client.get_tuned_model(best["name"])
    assert model["description"].startswith("The best of a sweep of 3 runs: learning rate ")
    assert model["kamerton"]["keptStep"] == best["step"]
    assert model["kamerton"]["heldOut"]["count"] == 6
    left = [found["name"] for found in client.list_tuned_models()]
    assert best["name"] in left
    assert not {run["name"] for run in runs if run is not best} & {*left}
    assert "of 2 epochs" in err
    client.delete_tuned_model(best["name"])


def test_halving_goes_on_with_the_better_half(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {
        "base_model": "models/kamerton-nano-001",
        "display_name": "halving",
        "tuned_model_id": "half",
        "learning_rate": 0.5,  # Of the six rates around it four are possible.
        "epoch_count": 4,
    }
    sweep(client, EXAMPLES, asked, halving=True, keep_all=True, as_json=True)
    told = json.loads(capsys.readouterr().out)
    runs = told["runs"]
    assert [run["epochCount"] for run in runs] == [1] * 4 + [2] * 2
    measured = [run for run in runs[:4] if run["state"] == "ACTIVE"]
    better = sorted(measured, key=lambda run: run["heldOutLoss"])[:2]
    assert [run["learningRate"] for run in runs[4:]] == [run["learningRate"] for run in better]
    assert told["best"] in {run["name"] for run in runs}
    names = {f"tunedModels/half-sweep-{number}" for number in range(1, 7)}
    assert {run["name"] for run in runs} == names
    assert names <= {found["name"] for found in client.list_tuned_models()}
    with pytest.raises(InvalidArgument, match="half-sweep-1 already"):
        sweep(client, EXAMPLES, asked, halving=True)
    for name in names:
        client.delete_tuned_model(name)


def test_fifteen_examples_are_too_few(client: Client) -> None:
    asked = {"base_model": "models/kamerton-nano-001", "display_name": "few"}
    with pytest.raises(InvalidArgument, match="give at least 20"):
        sweep(client, EXAMPLES[:15], asked)
    assert not [m for m in client.list_tuned_models() if m.get("displayName", "").startswith("few")]
