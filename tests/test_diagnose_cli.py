"""`kamerton diagnose`: curves of a server's models and of other tools' files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from kamerton.diagnose_cli import curve_of_file, diagnose
from kamerton.errors import InvalidArgument, NotFound
from tests.fake_server import NAME, FakeServer

STEPS = 60


@pytest.fixture
def server() -> Iterator[FakeServer]:
    server = FakeServer()
    yield server
    server.close()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def text(name: str, *lines: str) -> Path:
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Path(name)

    return text


def run(*arguments: str) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(diagnose)
    return CliRunner().invoke(app, arguments)


def loss(step: int) -> float:
    """Falls, and is next to nothing in the end."""
    return float(3 * 0.85**step)


def held_out(epoch: int) -> float:
    return 1.0 + 0.1 * (epoch - 2) ** 2


def as_read(path: Path) -> list[tuple[int, int, float, float | None]]:
    snapshots, _ = curve_of_file(path)
    return [(s.step, s.epoch, s.mean_loss, s.held_out_loss) for s in snapshots]


def test_a_csv_says_what_to_do(write: Any) -> None:
    lines = (
        f"{step},{(step - 1) // 10 + 1},{loss(step)},{'' if step % 10 else held_out(step // 10)}"
        for step in range(1, STEPS + 1)
    )
    path = write("run.csv", "Step,Epoch,Train Loss,val-loss", *lines)
    done = run(str(path))
    assert done.exit_code == 0
    assert done.stdout.startswith("overfitting (confidence: ")
    assert "lowest held-out loss" in done.stdout
    assert "Next run: kamerton tune FILE --epochs 2" in done.stdout
    told = json.loads(run(str(path), "--json").stdout)
    assert told["pattern"] == "overfitting"
    assert told["hyperparameters"] == {"epochCount": 2}
    assert told["evidence"][0] == {"step": 20, "value": 1.0, "what": "lowest held-out loss"}


@pytest.mark.parametrize(
    ("name", "lines", "wanted"),
    [
        (
            "tensorboard.csv",
            ["Wall time,Step,Value", "1700000000.5,0,3.0", "1700000001.5,10,2.0"],
            [(1, 1, 3.0, None), (11, 1, 2.0, None)],
        ),
        (
            "keras.csv",
            ["epoch,accuracy,loss,val_accuracy,val_loss", "0,0.1,3.0,0.1,3.5", "1,0.2,2.0,0.2,3"],
            [(1, 1, 3.0, 3.5), (2, 2, 2.0, 3.0)],
        ),
        (
            "excel.csv",
            [
                "\ufeffstep;epoch;loss;eval_loss",
                "1;0.5;3.0;",
                "2;1.0;2.0;",
                "2;;;2.5",
                "3;1.5;nan;",
            ],
            [(1, 1, 3.0, None), (2, 1, 2.0, 2.5)],
        ),
        (
            "trainer_state.json",
            [
                '{"log_history": [{"epoch": 0.5, "step": 5, "loss": 3.0, "learning_rate": 1e-4},',
                '{"epoch": 1.0, "step": 10, "loss": 2.0},',
                '{"epoch": 1.0, "step": 10, "eval_loss": 2.5},',
                '{"epoch": 1.0, "step": 10, "train_loss": 2.9, "train_runtime": 7.5}]}',
            ],
            [(5, 1, 3.0, None), (10, 1, 2.0, 2.5)],
        ),
    ],
)
def test_files_of_other_tools(
    write: Any, name: str, lines: list[str], wanted: list[tuple[int, int, float, float | None]]
) -> None:
    read = as_read(write(name, *lines))
    assert read[: len(wanted)] == wanted
    assert len(read) == len(wanted) + ("nan" in lines[-1])


def test_a_file_tells_what_it_can_of_the_run(write: Any) -> None:
    lines = ["step,epoch,loss,lr", *(f"{n},{n},{loss(n)},0.0{n}" for n in range(1, 6))]
    _, known = curve_of_file(write("run.csv", *lines))
    assert (known.epoch_count, known.learning_rate, known.total_steps) == (5, 0.05, 5)
    _, known = curve_of_file(write("run.csv", "step,loss", "1,3", "2,2"))
    assert (known.epoch_count, known.learning_rate, known.example_count) == (0, 0.0, 0)


@pytest.mark.parametrize(
    ("name", "lines", "wanted"),
    [
        ("run.csv", ["step,accuracy", "1,0.5"], "Columns with numbers: step, accuracy"),
        ("run.csv", [""], "Columns with numbers: none"),
        ("run.json", ["{", "nothing"], "run.json, line 2"),
        ("run.json", ["{}"], "no log_history"),
        ("run.json", ["[1, 2]"], "no log_history"),
    ],
)
def test_a_file_without_a_curve(write: Any, name: str, lines: list[str], wanted: str) -> None:
    path = write(name, *lines)
    with pytest.raises(InvalidArgument, match=name) as refused:
        curve_of_file(path)
    assert wanted in refused.value.message
    done = run(str(path))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_file_that_is_not_there_is_no_model(write: Any) -> None:
    done = run("missing.csv")
    assert (done.exit_code, done.stderr) == (2, "error: missing.csv: No such file or directory\n")


TOLD = {
    "pattern": "divergence",
    "confidence": "high",
    "summary": "The loss became nan at step 31.",
    "cause": "The steps are too large.",
    "advice": "Train with a learning rate of 0.0001.",
    "evidence": [{"step": 31, "what": "first loss beyond all bounds"}],
    "hyperparameters": {"learningRate": 0.0001},
}


def test_a_model_of_the_server(server: FakeServer) -> None:
    server.when(f"GET /kamerton/v1/{NAME}/diagnosis", TOLD)
    done = run(NAME.removeprefix("tunedModels/"), "--server", server.endpoint)
    assert done.stdout.splitlines() == [
        "divergence (confidence: high)",
        "The loss became nan at step 31.",
        "  step     31       nan  first loss beyond all bounds",
        "Likely cause: The steps are too large.",
        "Do next: Train with a learning rate of 0.0001.",
        "Next run: kamerton tune FILE --rate 0.0001",
    ]
    assert json.loads(run(NAME, "--json", "--server", server.endpoint).stdout) == TOLD


def test_a_model_that_is_not_there(server: FakeServer) -> None:
    done = run("nobody", "--server", server.endpoint)
    assert isinstance(done.exception, NotFound)
