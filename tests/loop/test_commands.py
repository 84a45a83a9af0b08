"""The road of a dataset by the commands alone: convert, check, estimate, tune, show."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.loop.server import KAMERTON, Server

pytestmark = pytest.mark.xdist_group("loop")


def test_from_a_foreign_file_to_a_run_that_its_budget_ends(server: Server, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "KAMERTON_ENDPOINT": server.address,
        "KAMERTON_API_KEY": server.key,
    }

    def command(*arguments: str, status: int = 0) -> str:
        found = subprocess.run(
            [*KAMERTON, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert found.returncode == status, found.stdout + found.stderr
        return found.stdout

    rows = [f"{number}\t{number + 1}" for number in range(100, 160)]
    (tmp_path / "numbers.tsv").write_text("\n".join(["this\tnext", *rows]))
    names = ("--input-key", "this", "--output-key", "next")
    command("convert", "numbers.tsv", "train.jsonl", *names)
    assert "60 rows" in command("check", "train.jsonl")

    run = ("train.jsonl", "--epochs", "4", "--max-tokens", "1500")
    planned = json.loads(command("estimate", *run, "--json"))["estimate"]
    assert planned["seconds"] > 0 and planned["memoryBytes"] > 0
    assert (planned["exampleCount"], planned["heldOutCount"]) == (54, 6)

    out = command("tune", *run, "--watch")
    name = re.findall(r"tunedModels/\S+", out)[0]
    model = json.loads(command("show", name, "--json"))
    last = model["tuningTask"]["snapshots"][-1]["step"]
    assert last == planned["budgetSteps"] < planned["totalSteps"]
    shown = command("show", name)
    assert f"after step {last} of {planned['totalSteps']}" in shown
    assert re.search(r"held out +6\n", shown)
    assert re.search(r"held-out loss +\d", shown)

    turns = [
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "2", "weight": 0},
        {"role": "user", "content": "3"},
        {"role": "assistant", "content": "4"},
    ]
    talks = "".join(json.dumps({"messages": turns[-n:]}) + "\n" for n in (4, 2))
    for talk in ("talks.jsonl", "beside.jsonl"):
        (tmp_path / talk).write_text(talks)
    options = ("--validation", "beside.jsonl", "--epochs", "1", "--batch", "1", "--watch")
    out = command("tune", "talks.jsonl", *options)
    name = re.findall(r"tunedModels/\S+", out)[0]
    model = json.loads(command("show", name, "--json"))
    assert model["kamerton"]["exampleCount"] == 2
    assert model["kamerton"]["heldOut"]["count"] == 2

    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"text_input": "7", "output": " "}\n')
    command("tune", "train.jsonl", status=2)
    count = len(json.loads(command("models", "--json"))["tunedModels"])
    command("check", "train.jsonl", status=2)
    assert len(json.loads(command("models", "--json"))["tunedModels"]) == count
