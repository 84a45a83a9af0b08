"""The weekly job of docs/ci.md: its script, its line of cron, and what its workflow pushes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loop.server import Server

pytestmark = pytest.mark.xdist_group("ci")

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "ci"
DOCS = (ROOT / "docs" / "ci.md").read_text()
THINGS = ("phone", "lamp", "kettle", "book", "chair", "radio", "coat", "bag", "clock", "pen")
WORDS = {"great": "positive", "lovely": "positive", "superb": "positive",
         "awful": "negative", "broken": "negative", "horrible": "negative"}  # fmt: skip
ROWS = [
    {"text_input": f"The {thing} is {word}", "output": label}
    for thing in THINGS
    for word, label in WORDS.items()
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the job finds it."""
    folder = tmp_path_factory.mktemp("sentiment")
    shutil.copy(EXAMPLES / "retrain.sh", folder)
    (folder / "data").mkdir()
    for name, rows in (("train", ROWS[:48]), ("valid", ROWS[48:])):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "data" / f"{name}.jsonl").write_text(lines)
    return folder


@pytest.fixture(scope="module")
def promoted(server: Server, project: Path) -> str:
    """The model that the job of the first week has promoted."""
    (line,) = re.findall(r"^17 3 \* \* 1 +(.+)$", DOCS, re.MULTILINE)
    done = job(server, line.replace("/srv/sentiment", str(project)), project)
    assert done.returncode == 0, (project / "retrain.log").read_text() + server.logs()
    return in_use(project)


def job(server: Server, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "KAMERTON_ENDPOINT": server.address,
            "KAMERTON_API_KEY": server.key,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


def tuned(server: Server) -> set[str]:
    models = server.get("/v1beta/tunedModels?pageSize=1000").json().get("tunedModels", [])
    return {model["name"] for model in models if model["name"].startswith("tunedModels/sentiment-")}


def in_use(project: Path) -> str:
    return (project / "current-model").read_text().strip()


def test_a_good_model_is_promoted(server: Server, project: Path, promoted: str) -> None:
    log = (project / "retrain.log").read_text()
    assert "ok    right answers: 1.000 measured, at least 0.900 asked" in log
    assert f"{promoted} passes" in log
    assert promoted in tuned(server)
    assert server.ask(promoted, "The chair is superb").strip() == "positive"


def test_a_model_that_fails_at_the_gate_is_not(
    server: Server, project: Path, promoted: str
) -> None:
    before = tuned(server)
    done = job(server, "./retrain.sh --min-gain 2 --max-forgetting 1", project)
    assert done.returncode == 1, done.stdout + done.stderr
    (refused,) = tuned(server) - before
    assert re.search(r"^FAIL  gain: \S+ measured .* at least 2.000 asked$", done.stdout, re.M)
    assert f"at least the 1.000 of {promoted} asked" in done.stdout
    assert f"{refused} does not pass" in done.stdout
    assert in_use(project) == promoted


def test_data_that_cannot_be_trained_on_tune_nothing(
    server: Server, project: Path, promoted: str, tmp_path: Path
) -> None:
    shutil.copytree(project, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "data" / "train.jsonl").open("a") as file:
        file.write('{"text_input": "The pen is great", "output": ""}\n')
    before = tuned(server)
    done = job(server, "./retrain.sh", tmp_path)
    assert done.returncode == 2 and "K101" in done.stdout, done.stdout + done.stderr
    assert tuned(server) == before and in_use(tmp_path) == promoted


def test_a_model_is_evaluated_on_any_rows(server: Server, project: Path, promoted: str) -> None:
    done = job(server, f"kamerton evaluate {promoted} data/valid.jsonl --json", project)
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)
    assert (card["tuned"]["normalised"], card["verdict"]["outcome"]) == (1.0, "better")
    assert len(card["answers"]) == card["rowCount"] == len(ROWS) - 48
    base = job(server, "kamerton evaluate kamerton-nano-001 data/valid.jsonl --rows 8", project)
    assert base.stdout.startswith("The base model untuned: right answers 0 % on 8"), base.stderr


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_workflow_pushes_the_name(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "origin")
    git(tmp_path, "clone", "--quiet", "origin", "checkout")
    (tmp_path / "checkout" / "current-model").write_text("tunedModels/sentiment-new\n")
    workflow = (EXAMPLES / "retrain.yml").read_text()
    (step,) = re.findall(r"run: \|\n((?: {10}.*\n)+)", workflow)
    done = subprocess.run(["bash", "-ec", step], cwd=tmp_path / "checkout", capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert git(tmp_path / "origin", "show", "HEAD:current-model") == "tunedModels/sentiment-new\n"
    assert git(tmp_path / "origin", "log", "-1", "--format=%s") == "Use tunedModels/sentiment-new\n"


@pytest.mark.parametrize("name", ["retrain.sh", "retrain.yml"])
def test_the_page_shows_what_is_run(name: str) -> None:
    assert f"\n{(EXAMPLES / name).read_text()}```" in DOCS


def test_the_workflow_runs_the_script() -> None:
    workflow = (EXAMPLES / "retrain.yml").read_text()
    assert "run: ./retrain.sh --min-score 0.9 --max-forgetting 1\n" in workflow
    assert os.access(EXAMPLES / "retrain.sh", os.X_OK)
