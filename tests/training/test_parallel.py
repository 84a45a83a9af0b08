"""Two processes of torchrun train what one would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from kamerton.errors import FailedPrecondition, KamertonError, Paused
from kamerton.inference import weights
from kamerton.training.parallel import ALONE, join
from kamerton.training.rows import Row
from kamerton.training.together import Together
from kamerton.training.train import ADAPTER, train
from kamerton.types import BaseModel, Example, Hyperparameters, Snapshot
from tests import bases

EXAMPLES = [Example.pair("a" * (3 + 5 * number), "b" * (1 + number**2)) for number in range(5)]
HYPERPARAMETERS = Hyperparameters(
    # Batches of three: one process has two rows, the other one; the last batch has one row.
    epoch_count=2, batch_size=3, learning_rate=0.01, peak_learning_rate=0.01, lora_rank=4
)  # fmt: skip
PAUSED_AFTER = 2
Results = dict[str, dict[str, Any]]


def run(
    together: Together, directory: Path, after: Callable[[int], bool] = lambda step: True
) -> dict[str, Any]:
    """What a run has told, and where its adapter is; `after` each step says whether to go on."""
    directory.mkdir(exist_ok=True)
    snapshots: list[Snapshot] = []

    def on_snapshot(snapshot: Snapshot) -> bool:
        snapshots.append(snapshot)
        return after(snapshot.step)

    adapter = train(
        together.loaded.base_model,
        EXAMPLES,
        HYPERPARAMETERS,
        directory,
        on_snapshot,
        together=together,
        held_out=EXAMPLES[:2],
    )
    assert (adapter / "adapter_model.safetensors").exists()
    return {
        "adapter": str(adapter),
        "losses": [snapshot.mean_loss for snapshot in snapshots],
        "norms": [snapshot.gradient_norm for snapshot in snapshots],
        "held_out": [snapshot.held_out_loss for snapshot in snapshots],
    }


def loaded(folder: Path) -> Together:
    base = BaseModel(
        name="tiny", weights=str(folder), input_token_limit=384, output_token_limit=128
    )
    return Together(weights.load(base, "cpu"))


def one_process(folder: Path) -> None:
    """What each process of torchrun does: several runs, one after another."""
    together = loaded(folder / "base")
    join(torch.device("cpu"))
    rank = distributed.get_rank()
    results: Results = {
        "shared": run(together, folder / "shared"),
        "own": run(together, folder / f"own-{rank}"),
        "paused": run(together, folder / "paused"),
        "stopped": run(together, folder / "stopped", lambda step: step < 2),
    }
    if rank == 1:

        def fail(*_: Any) -> float:
            raise FailedPrecondition("Nothing doing.").at("SPOILT", step=1)

        vars(together)["gradients"] = fail
    try:
        run(together, folder / "failing")
    except KamertonError as error:
        results["failing"] = {"message": error.message, "reason": error.reason, "step": error.step}
    (folder / f"{rank}.json").write_text(json.dumps(results))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a base model, and a run that was paused."""
    folder = tmp_path_factory.mktemp("parallel")
    bases.make(folder / "base")

    def pause(step: int) -> bool:
        if step == PAUSED_AFTER:
            raise Paused("")
        return True

    with pytest.raises(Paused):
        run(loaded(folder / "base"), folder / "paused", pause)
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Any]:
    return run(loaded(folder / "base"), folder / "alone")


@pytest.fixture(scope="module")
def in_two(folder: Path) -> Sequence[Results]:
    """What each of two processes has found."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", __file__, str(folder)]
    root = str(Path(__file__).parents[2])
    environment = {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, timeout=110
    )
    assert not done.returncode, done.stderr.decode()[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_train_what_one_does(
    alone: dict[str, Any], in_two: Sequence[Results], folder: Path
) -> None:
    first, second = (results["shared"] for results in in_two)
    assert len(alone["losses"]) == 4
    for what in ("losses", "norms"):
        assert first[what] == pytest.approx(alone[what], rel=1e-5), what
    assert first["held_out"][-1] == pytest.approx(alone["held_out"][-1], rel=1e-5)
    assert second["losses"] == [], "only the first process tells"
    assert first["adapter"] == second["adapter"] == str(folder / "shared" / ADAPTER)


def test_with_folders_of_their_own_each_has_the_same_adapter(
    in_two: Sequence[Results], folder: Path
) -> None:
    first, second = (Path(results["own"]["adapter"]) for results in in_two)
    assert (first.parent.name, second.parent.name) == ("own-0", "own-1")
    name = "adapter_model.safetensors"
    assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_run_that_one_process_left_goes_on_in_two(
    alone: dict[str, Any], in_two: Sequence[Results]
) -> None:
    assert in_two[0]["paused"]["losses"] == pytest.approx(alone["losses"], rel=1e-5)


def test_the_first_process_ends_a_run_for_all(in_two: Sequence[Results], folder: Path) -> None:
    assert len(in_two[0]["stopped"]["losses"]) == 2
    assert in_two[1]["stopped"]["adapter"] == str(folder / "stopped" / ADAPTER)


def test_a_failure_of_one_process_is_raised_in_all(in_two: Sequence[Results]) -> None:
    for results in in_two:
        assert results["failing"] == {"message": "Nothing doing.", "reason": "SPOILT", "step": 1}


def test_alone_nothing_is_shared(tmp_path: Path) -> None:
    seen: list[list[Row]] = []

    def compute(rows: list[Row]) -> float:
        seen.append(rows)
        return 1.5

    parameter = torch.nn.Parameter(torch.zeros(1))
    assert ALONE.gradients([], parameter, compute) == 1.5 and seen == [[]]
    assert ALONE.agreed(True) and not ALONE.agreed(False)
    with ALONE.workplace(tmp_path) as place:
        assert place == tmp_path


if __name__ == "__main__":
    one_process(Path(sys.argv[1]))
