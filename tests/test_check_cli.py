"""`kamerton check` and `kamerton estimate`: what they print, and the status they end with."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kamerton.check_cli import allowed
from kamerton.errors import FailedPrecondition, InvalidArgument
from kamerton.options import STDIN
from kamerton.training.estimate import Probe
from kamerton.types import BaseModel
from tests.conftest import Run

Write = Callable[..., str]
EXAMPLES = Path(__file__).parents[1] / "examples" / "gemini"
TOWNS = (
    "Halle, Ulm, Berlin, Torgau, Erfurt, Nauen, Aachen, Rostock, Jena, Mainz, Dresden, Gera, "
    "Weimar, Cottbus, Kassel, Passau, Freiburg, Quedlinburg, Leipzig, Ohrdruf, Ilmenau, Stralsund"
)
CLEAN = [
    {"text_input": f"How far is {town} from the sea?", "output": f"{town} lies {km} km from it."}
    for km, town in enumerate(TOWNS.split(", "), start=3)
]
ECHO = {"text_input": "What is the weather like?", "output": "What is the weather like?"}
BAD = {"text_input": "What is the weather like?", "output": ""}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def rows(*more: object, name: str = "train.jsonl", clean: bool = True) -> str:
        lines = [json.dumps(row, ensure_ascii=False) for row in (*(CLEAN if clean else ()), *more)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return str(tmp_path / name)

    return rows


def codes(report: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in report["findings"]}


def test_a_clean_file_is_status_0(run: Run, write: Write) -> None:
    status, out, err = run("check", write(), "--strict")
    assert (status, err) == (0, "")
    assert out.startswith("train.jsonl: JSON lines, 22 rows\n")
    assert "up to" in out
    assert out.splitlines()[-1].endswith("ready to tune")


def test_warnings_are_status_1_with_strict_only(run: Run, write: Write) -> None:
    file = write(ECHO)
    status, out, _ = run("check", file)
    assert status == 0
    assert "warning K204 echo" in out
    assert "line 23" in out
    assert "would start" in out.splitlines()[-1]
    assert run("check", file, "--strict")[0] == 1
    assert run("check", file, "--strict", "--allow", "K204")[0] == 0


def test_errors_are_status_2(run: Run, write: Write) -> None:
    status, out, _ = run("check", write(BAD))
    assert status == 2
    assert "error K101 empty-output" in out
    assert out.splitlines()[-1].startswith("1 error: a run would be refused")


def test_json_is_the_report(run: Run, write: Write) -> None:
    status, out, err = run("check", write(BAD, ECHO), "--json")
    report = json.loads(out)
    assert (status, err) == (2, "")
    assert {"K101", "K204"} <= codes(report)
    assert report["summary"]["errors"] == 1
    assert report["findings"][0]["rows"][0]["line"] == 23
    assert report["statistics"]["rowCount"] == 24


def test_sarif_goes_to_stdout(run: Run, write: Write) -> None:
    status, out, _ = run("check", write(BAD), "--sarif")
    (result,) = [r for r in json.loads(out)["runs"][0]["results"] if r["ruleId"] == "K101"]
    place = result["locations"][0]["physicalLocation"]
    assert status == 2
    assert place == {"artifactLocation": {"uri": "train.jsonl"}, "region": {"startLine": 23}}


def test_explaining_a_code_needs_no_file(run: Run) -> None:
    status, out, _ = run("check", "--explain", "k101")
    assert status == 0
    assert "K101" in out and "empty-output" in out
    status, _, err = run("check", "--explain", "K999")
    assert status == 2
    assert "K999" in err


def test_standard_input(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(Path(write(BAD)).read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
    status, out, _ = run("check", "-", "--json")
    report = json.loads(out)
    assert (status, report["name"]) == (2, "standard input")
    assert report["statistics"]["rowCount"] == 23


def test_validation_data_are_compared(run: Run, write: Write) -> None:
    beside = write(*CLEAN[:3], name="valid.jsonl", clean=False)
    report = json.loads(run("check", write(), "--validation", beside, "--json")[1])
    assert "K205" in codes(report)


def test_findings_of_the_validation_file_are_marked(run: Run, write: Write) -> None:
    train, beside = write(BAD), write(*CLEAN[:3], BAD, name="valid.jsonl", clean=False)
    both = ("check", train, "--validation", beside)
    findings = json.loads(run(*both, "--json")[1])["findings"]
    marks = [finding.get("dataset") for finding in findings if finding["code"] == "K101"]
    assert sorted(marks, key=str) == [None, "validation"]
    (made,) = json.loads(run(*both, "--sarif")[1])["runs"]
    places = [
        result["locations"][0]["physicalLocation"]
        for result in made["results"]
        if result["ruleId"] == "K101"
    ]
    found = {(p["artifactLocation"]["uri"], p["region"]["startLine"]) for p in places}
    assert found == {("train.jsonl", 23), ("valid.jsonl", 4)}


def test_programs_are_told_of_more_rows(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(*[BAD] * 150)
    (found,) = [f for f in json.loads(run("check", file, "--json")[1])["findings"] if f["count"]]
    assert (found["count"], len(found["rows"]), found.get("rowsLeftOut")) == (150, 150, None)
    monkeypatch.setattr("kamerton.check_cli.MOST_HITS", 120)
    (found,) = [f for f in json.loads(run("check", file, "--json")[1])["findings"] if f["count"]]
    assert (found["count"], len(found["rows"]), found["rowsLeftOut"]) == (150, 120, 30)


def test_the_only_row_is_called_so(run: Run, write: Write) -> None:
    assert "the only row has an empty output" in run("check", write(BAD, clean=False))[1]


@pytest.mark.parametrize(
    ("train", "status"), [([], 0), ([BAD], 0), (None, 1)], ids=["clean", "errors", "no file"]
)
def test_the_workflow_uploads_findings_but_nothing_empty(
    write: Write, tmp_path: Path, train: list[object] | None, status: int
) -> None:
    workflow = (EXAMPLES.parent / "ci" / "dataset.yml").read_text()
    step = re.findall(r"run: \|\n((?: {10}.*\n)+)", workflow)[0]
    (tmp_path / "data").mkdir()
    write(*CLEAN[:3], BAD, name="data/valid.jsonl", clean=False)
    if train is not None:
        write(*train, name="data/train.jsonl")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    found = subprocess.run(["bash", "-ec", step], env={**os.environ, "PATH": path})
    assert found.returncode == status
    if not status:
        (run,) = json.loads((tmp_path / "dataset.sarif").read_text())["runs"]
        uris = {
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
            for result in run["results"]
        }
        assert "data/valid.jsonl" in uris


def test_one_row_of_many_is_told_as_one(run: Run, write: Write) -> None:
    out = run("check", write({"text_input": "What is <b>bold</b>?", "output": "Thick."}))[1]
    assert "1 of 23 rows has HTML in a text" in out


def test_named_columns(run: Run, tmp_path: Path) -> None:
    lines = [f"{row['text_input']}\tx\t{row['output']}" for row in CLEAN]
    (tmp_path / "t.tsv").write_text("\n".join(["question\tid\treply", *lines]))
    status, out, _ = run("check", "t.tsv", "--input-key", "question", "--output-key", "reply")
    assert status == 0
    status, out, err = run("check", "t.tsv", "--input-key", "question", "--output-key", "answer")
    assert status == 2
    assert "answer" in out + err and "reply" in out + err


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["check", "f", "--json", "--sarif"],
        ["estimate", "f", "--max-cost", "1"],
        ["estimate", "f", "--rate", "1", "--rate-multiplier", "1"],
        ["estimate", "f", "--held-out", "0.9"],
        ["check", "f", "--allow"],
    ],
)
def test_wrong_usage_is_status_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments)[0] == 2


@pytest.mark.parametrize("command", ["check", "estimate"])
def test_what_cannot_be_read_is_status_2(
    run: Run, write: Write, tmp_path: Path, command: str
) -> None:
    for arguments, wanted in [
        (["missing.jsonl"], "No such file"),
        ([str(tmp_path)], "is a folder; give one file"),
        ([write(), "--base", "gemini-9"], "gemini-9 is no base model"),
        ([write(), "--allow", "K101"], "K101"),
        ([write(), "--allow", "K999"], "K999"),
        ([write(), "--config", "missing.toml"], "missing.toml: No such file"),
        ([write(), "--validation", "missing.jsonl"], "missing.jsonl"),
    ]:
        status, out, err = run(command, *arguments)
        assert status == 2, arguments
        assert wanted in out + err, (arguments, out, err)
        assert "Traceback" not in err


def test_a_config_silences_codes(run: Run, write: Write, tmp_path: Path) -> None:
    file = write(ECHO)
    (tmp_path / "ci.yaml").write_text("train: x\n# kamerton: allow K204, K305 echo is the task\n")
    assert run("check", file, "--strict", "--config", "ci.yaml")[0] == 0
    (tmp_path / "kamerton.toml").write_text('x = 1  # kamerton: allow K204\nname = "y"\n')
    assert run("check", file, "--strict")[0] == 0
    assert json.loads(run("check", file, "--json")[1])["allowed"] == ["K204"]


def test_a_config_may_have_blanks_between_codes(tmp_path: Path) -> None:
    (tmp_path / "kamerton.toml").write_text("# kamerton: allow K201 k202, K204 as is the task K301")
    assert allowed(tmp_path / "x.jsonl", None, None) == ("K201", "K202", "K204")


@pytest.mark.parametrize("code", ["K101", "K999"])
def test_a_code_that_cannot_be_allowed_is_told_where(tmp_path: Path, code: str) -> None:
    (tmp_path / "kamerton.toml").write_text(f"x = 1\n# kamerton: allow K204 {code}\n")
    with pytest.raises(InvalidArgument, match=rf"kamerton\.toml, line 2: .*{code}"):
        allowed(tmp_path / "x.jsonl", None, None)


def test_configs_are_found_beside_the_data_and_then_here(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "kamerton.yaml").write_text("# kamerton: allow K305")
    assert allowed(data / "x.jsonl", None, None) == ("K305",)
    (data / "kamerton.toml").write_text("# kamerton: allow K203,K204\n#kamerton:allow K205")
    assert allowed(data / "x.jsonl", None, None) == ("K203", "K204", "K205")
    assert allowed(STDIN, ["k301, K302"], None) == ("K301", "K302", "K305")
    assert allowed(data / "x.jsonl", ["K204"], tmp_path / "kamerton.yaml") == ("K204", "K305")


@pytest.mark.parametrize(
    "line",
    ["allow", "allow all", "allow K2O4", "allow K204, K3O5", "allow K204 K3O5", "allow K204,"],
)
def test_a_config_that_names_no_code_is_told_where(tmp_path: Path, line: str) -> None:
    (tmp_path / "kamerton.toml").write_text(f"x = 1\n# kamerton: {line}\n")
    with pytest.raises(InvalidArgument, match=r"kamerton\.toml, line 2: .*names no code"):
        allowed(tmp_path / "x.jsonl", None, None)


PROBE = Probe(0.01, 0.0001, 0.2, 500_000_000, 1000.0)


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[BaseModel]:
    """The base models that were measured, not really."""
    asked: list[BaseModel] = []

    def probe(base: BaseModel) -> Probe:
        asked.append(base)
        return PROBE

    monkeypatch.setattr("kamerton.training.probe.probe", probe)
    return asked


def test_an_estimate_says_what_a_run_would_be(
    run: Run, write: Write, probed: list[BaseModel]
) -> None:
    status, out, _ = run("estimate", write(), "--epochs", "2", "--price", "3")
    assert status == 0
    assert "18 to train on, 4 held out" in out
    assert "epochs         2" in out
    assert "steps          9" in out
    for fact in ("tokens", "time", "memory", "cost"):
        assert f"\n{fact} " in out
    assert "rows by length in tokens" in out
    assert [base.name for base in probed] == ["kamerton-nano-001"]


def test_an_estimate_as_json(run: Run, write: Write, probed: list[BaseModel]) -> None:
    status, out, _ = run("estimate", write(), "--json", "--held-out", "0", "--batch", "1")
    answer = json.loads(out)
    made = answer["estimate"]
    assert status == 0
    assert made["exampleCount"] == 22 and made["totalSteps"] == 22 * 5
    assert made["seconds"] > 0 and made["memoryBytes"] >= PROBE.memory_bytes
    assert made["tokens"] == 5 * answer["statistics"]["tokens"]["row"]["total"]
    assert made["trainedTokens"] == 5 * answer["statistics"]["tokens"]["answer"]["total"]
    assert set(made["reasons"]) >= {"epochCount", "batchSize", "learningRate"}


def test_a_budget_in_money_needs_a_price_and_ends_the_run(
    run: Run, write: Write, probed: list[BaseModel]
) -> None:
    arguments = ["estimate", write(), "--json", "--held-out", "0", "--price", "1"]
    whole = json.loads(run(*arguments)[1])["estimate"]
    half = str(whole["cost"] / 2)
    made = json.loads(run(*arguments, "--max-cost", half)[1])["estimate"]
    assert 0 < made["budgetSteps"] < whole["totalSteps"]
    assert made["budgetReason"]
    assert (
        made["budgetSteps"]
        > json.loads(run(*arguments, "--max-cost", half, "--max-tokens", "2000")[1])["estimate"][
            "budgetSteps"
        ]
    )


@pytest.mark.parametrize(
    ("cost", "price", "complaint"),
    [
        ("1e30", "1", "budget.max_cost: must pay for at most"),
        ("inf", "1", "and pays for inf"),
        ("inf", "inf", "and pays for nan"),
        ("1", "1e-320", "and pays for inf"),
        ("1", "0", "--max-cost needs --price"),
    ],
)
def test_a_cost_that_is_no_budget_is_one_line(
    run: Run, write: Write, cost: str, price: str, complaint: str
) -> None:
    status, out, err = run("estimate", write(), "--max-cost", cost, "--price", price)
    assert (status, out) == (2, "")
    assert complaint in err


def test_validation_data_are_what_is_held_out(
    run: Run, write: Write, probed: list[BaseModel]
) -> None:
    beside = write({"text_input": "Is Zwickau far?", "output": "Yes."}, name="v", clean=False)
    made = json.loads(run("estimate", write(), "--validation", beside, "--json")[1])["estimate"]
    assert (made["exampleCount"], made["heldOutCount"]) == (22, 1)


def test_no_estimate_of_what_would_be_refused(
    run: Run, write: Write, probed: list[BaseModel]
) -> None:
    status, out, _ = run("estimate", write(BAD), "--json")
    assert status == 2
    assert "estimate" not in json.loads(out)
    status, _, err = run("estimate", write(), "--epochs", "0")
    assert (status, err) == (2, "error: epoch_count: must be from 1 to 1000\n")
    assert not probed


def test_an_estimate_without_torch_says_so(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(base: BaseModel) -> Probe:
        raise FailedPrecondition("torch is not installed: pip install kamerton[train]")

    monkeypatch.setattr("kamerton.training.probe.probe", probe)
    status, out, _ = run("estimate", write())
    assert status == 0
    assert "time           not measured  torch is not installed" in out


WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(["torch", "transformers", "peft", "safetensors"]))
from kamerton.cli import main
sys.argv = ["kamerton", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", "FILE"], ["estimate", "FILE"], ["convert", "FILE", "t.csv"]]
)
def test_nothing_of_it_needs_torch(write: Write, tmp_path: Path, arguments: list[str]) -> None:
    file = write()
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *(file if a == "FILE" else a for a in arguments)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("name", ["numbers.csv", "support_tickets.jsonl", "transactions.jsonl"])
def test_the_examples_pass(run: Run, name: str) -> None:
    status, out, _ = run("check", str(EXAMPLES / name), "--json")
    assert status == 0
    assert json.loads(out)["summary"]["errors"] == 0


def test_every_shape_in_the_documentation_is_read(run: Run, tmp_path: Path) -> None:
    page = (EXAMPLES.parents[1] / "docs" / "datasets.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| `(\{.+?\})`", page, re.MULTILINE)
    (tmp_path / "shapes.jsonl").write_text("\n".join(rows))
    report = json.loads(run("check", "shapes.jsonl", "--json")[1])
    assert report["summary"]["errors"] == 0
    assert len(rows) == len(report["shapes"]) == 7
