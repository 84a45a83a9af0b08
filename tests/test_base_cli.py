"""`kamerton base`: from folders and a hub to base models that are tuned, served and checked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from kamerton import library
from kamerton.inference import records
from kamerton.inference.records import Record
from kamerton.settings import Settings
from tests import bases
from tests.conftest import Run
from tests.fake_hub import COMMIT, MODEL, FakeHub


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: tmp_path_factory.mktemp(name) for name in bases.FAMILIES}
    for name, folder in made.items():
        bases.FAMILIES[name](folder)
    card = "---\nlicense: other\nlicense_name: some-licence\nlicense_link: LICENSE.txt\n---\n# Card"
    (made["llama"] / "README.md").write_text(card)
    (made["gemma3"] / "README.md").write_text("---\nlicense: gemma\n---\n")
    return made


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of the commands."""
    folder = tmp_path / "data"
    monkeypatch.setenv("KAMERTON_DATA", str(folder))
    return folder


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def found(data: Path, name: str) -> Record:
    record = records.find(data, name)
    assert record is not None
    return record


# --- folders -------------------------------------------------------------------------------------


def test_a_folder_is_added_listed_and_removed(
    run: Run, folders: dict[str, Path], data: Path
) -> None:
    status, out, _ = run("base", "add", "mine", "--from", str(folders["gemma3"]))
    assert status == 0
    for told in (
        "Gemma 3 (gemma3_text)",
        "licence     gemma\n",
        "https://ai.google.dev/gemma/terms",
        "float16",
        "kamerton tune FILE --base mine",
        "kamerton base check mine",
    ):
        assert told in out
    record = found(data, "mine")
    assert record.base_model.weights == str(folders["gemma3"])
    assert set(record.files) == {file.name for file in folders["gemma3"].iterdir()}
    status, out, _ = run("base", "list", "--json")
    embedded, mine = json.loads(out)
    assert embedded["name"] == "kamerton-nano-001"
    assert (mine["licence"], mine["where"]) == ("gemma", str(folders["gemma3"]))
    assert "kamerton-nano-001\n" in run("base", "list")[1]
    status, out, _ = run("base", "remove", "mine")
    assert (status, out) == (0, f"removed mine; its files stay in {folders['gemma3']}\n")
    assert folders["gemma3"].is_dir() and len(json.loads(run("base", "list", "--json")[1])) == 1


def test_a_licence_of_its_own_is_told_by_its_name(
    run: Run, folders: dict[str, Path], data: Path
) -> None:
    _, out, _ = run("base", "add", "mine", "--from", str(folders["llama"]), "--json")
    assert json.loads(out)["licence"] == "some-licence"
    assert json.loads(out)["terms"] == "LICENSE.txt"
    _, out, _ = run("base", "add", "other", "--from", str(folders["qwen3"]), "--json")
    assert json.loads(out)["licence"] == "not named by its files"


def test_what_is_added_is_known_to_every_command(
    run: Run, folders: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    run("base", "add", "mine", "--from", str(folders["qwen2"]))
    rows = tmp_path / "train.jsonl"
    rows.write_text('{"text_input": "1", "output": "2"}\n{"text_input": "3", "output": "four"}\n')
    status, out, _ = run("check", str(rows), "--base", "mine", "--json")
    assert status == 0 and json.loads(out)
    assert run("check", str(rows), "--base", "yours")[0] == 2
    made = library.tune(rows, "mine", epoch_count=1, card_share=0.0)
    assert made.base_model == found(data, "mine").base_model
    assert made.hyperparameters.lora_rank == 16


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["kamerton-nano-001", "--from", "."], 1, "called kamerton-nano-001 already"),
        (["a/b", "--from", "."], 2, "is no name for a base model"),
        (["x.json", "--from", "."], 2, "is no name for a base model"),
        (["x", "--from", ".", "--revision", "main"], 2, "a folder has none"),
        (["x", "--from", ".", "--quantization", "int8"], 2, "give nf4, or none"),
        (["x", "--from", "."], 1, "there is no config.json"),
        (["x", "--from", "not a name"], 1, "neither a folder here nor a name such as"),
        (["x"], 2, "--from"),
    ],
)
def test_what_cannot_be_added_is_said(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], status: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    ended, _, err = run("base", "add", *arguments)
    assert ended == status
    assert said in " ".join(err.replace("│", " ").split())
    assert not list(data.glob("bases/*.json"))


def test_a_name_is_taken_once(run: Run, folders: dict[str, Path], data: Path) -> None:
    assert run("base", "add", "mine", "--from", str(folders["qwen2"]))[0] == 0
    status, _, err = run("base", "add", "mine", "--from", str(folders["llama"]))
    assert status == 1 and "kamerton base remove mine" in err


def test_a_base_that_nobody_added_cannot_be_removed_or_checked(run: Run, data: Path) -> None:
    for command in ("remove", "check"):
        status, _, err = run("base", command, "mine")
        assert status == 1 and "mine" in err
    assert run("base", "remove", "..")[0] == 1


def test_a_folder_that_went_away_is_said(
    run: Run, folders: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    folder = copied(folders["qwen2"], tmp_path / "base")
    run("base", "add", "mine", "--from", str(folder))
    shutil.rmtree(folder)
    assert "the folder is gone" in run("base", "list")[1]
    status, out, _ = run("base", "check", "mine")
    assert status == 1 and "there is no folder" in out


def test_adding_listing_and_removing_do_without_torch(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    script = """
import sys
from kamerton import cli
for words in (["add", "x", "--from", sys.argv[1]], ["list"], ["remove", "x"]):
    sys.argv = ["kamerton", "base", *words, "--data", sys.argv[-1]]
    try:
        cli.main()
    except SystemExit as ended:
        assert not ended.code, ended.code
print({"torch", "transformers"} & set(sys.modules))
"""
    command = [sys.executable, "-c", script, str(folders["gemma3"]), str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.endswith("\nset()\n"), done.stderr


# --- the self-test -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", bases.FAMILIES)
def test_every_family_passes_its_self_test(
    run: Run, folders: dict[str, Path], data: Path, name: str
) -> None:
    run("base", "add", name, "--from", str(folders[name]))
    status, out, _ = run("base", "check", name, "--device", "cpu", "--json")
    checks = json.loads(out)["checks"]
    assert (status, [c["name"] for c in checks if not c["good"]]) == (0, []), checks
    names = [check["name"] for check in checks]
    assert names == ["files", "renders", "loads", "answers", "packs", "tunes"]


@pytest.mark.parametrize("name", ["gemma3", "qwen3"])
def test_a_base_in_four_bits_passes_its_self_test(
    run: Run, folders: dict[str, Path], data: Path, name: str
) -> None:
    run("base", "add", name, "--from", str(folders[name]), "--quantization", "nf4")
    status, out, _ = run("base", "check", name, "--device", "cpu")
    assert status == 0, out
    assert "nf4 on cpu" in out and out.count("good") == 6


def test_a_byte_that_changed_is_found(
    run: Run, folders: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    folder = copied(folders["qwen2"], tmp_path / "base")
    run("base", "add", "mine", "--from", str(folder))
    file = folder / "tokenizer_config.json"
    file.write_text(file.read_text().replace("<|im_end|>", "<|im_eND|>"))
    (folder / "generation_config.json").unlink()
    status, out, _ = run("base", "check", "mine")
    assert status == 1
    assert "BAD   files" in out
    assert "tokenizer_config.json has another SHA-256" in out
    assert "generation_config.json is missing" in out


def test_a_base_whose_loss_cannot_fall_does_not_pass(
    run: Run, folders: dict[str, Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("base", "add", "mine", "--from", str(folders["llama"]))
    monkeypatch.setattr("kamerton.training.self_test.STEPS", 1)
    status, out, _ = run("base", "check", "mine")
    assert status == 1
    assert "BAD   tunes" in out and "the loss did not fall" in out


# --- the hub -------------------------------------------------------------------------------------


@pytest.fixture
def hub(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeHub]:
    folder = copied(folders["gemma3"], tmp_path / "hub")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "consolidated.safetensors").write_bytes(b"the same once more")
    fake = FakeHub(folder)
    constants: Any = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", fake.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE",
        fake.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )  # fmt: skip
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield fake
    fake.close()


def test_a_model_of_the_hub_is_fetched_pinned_and_removed(
    run: Run, data: Path, hub: FakeHub
) -> None:
    status, out, err = run("base", "add", "mine", "--from", MODEL)
    assert status == 0, err
    assert f"{MODEL}@{COMMIT}" in out
    record = found(data, "mine")
    assert record.revision == COMMIT
    assert record.base_model.weights == str(data / "bases" / "mine")
    assert "pytorch_model.bin" not in hub.fetched
    assert "consolidated.safetensors" not in hub.fetched
    assert set(record.files) == set(hub.fetched)
    assert run("base", "check", "mine", "--device", "cpu")[0] == 0
    assert run("base", "remove", "mine")[:2] == (0, "removed mine and its files\n")
    assert list((data / "bases").iterdir()) == []


def test_a_gated_model_is_explained(
    run: Run, data: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated = True
    status, _, err = run("base", "add", "mine", "--from", MODEL)
    assert status == 1
    assert f"Open {hub.endpoint}/{MODEL}" in err and "HF_TOKEN" in err
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert run("base", "add", "mine", "--from", MODEL)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "someone/else"], "neither a folder here nor a model on the Hugging Face hub"),
        (["--from", MODEL, "--revision", "v9"], "has no revision 'v9'"),
    ],
)
def test_what_the_hub_does_not_have_is_said(
    run: Run, data: Path, hub: FakeHub, arguments: list[str], said: str
) -> None:
    status, _, err = run("base", "add", "mine", *arguments)
    assert status == 1 and said in err


def test_what_cannot_be_used_is_refused_before_gigabytes_are_fetched(
    run: Run, data: Path, hub: FakeHub
) -> None:
    config = hub.folder / "config.json"
    facts = json.loads(config.read_text()) | {"quantization_config": {"quant_method": "awq"}}
    config.write_text(json.dumps(facts))
    status, _, err = run("base", "add", "mine", "--from", MODEL)
    assert status == 1 and "quantised already (awq)" in err
    assert not [name for name in hub.fetched if name.endswith(".safetensors")]


def test_a_model_of_pickles_alone_is_refused(run: Run, data: Path, hub: FakeHub) -> None:
    for file in hub.folder.glob("*.safetensors"):
        file.unlink()
    status, _, err = run("base", "add", "mine", "--from", MODEL)
    assert status == 1 and "pickles, which can run code" in err
    assert hub.fetched == []


def test_a_file_that_is_not_the_hubs_is_not_kept(
    run: Run, data: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = hub._info
    bad = "0" * 64

    def info() -> dict[str, Any]:
        told: dict[str, Any] = honest()
        for sibling in told["siblings"]:
            if "lfs" in sibling and "model-00002" in sibling["rfilename"]:
                sibling["lfs"]["sha256"] = bad
        return told

    monkeypatch.setattr(hub, "_info", info)
    status, _, err = run("base", "add", "mine", "--from", MODEL)
    assert status == 1 and "is not the file that the hub has" in err
    assert records.find(data, "mine") is None
    assert not list((data / "bases" / "mine").glob("model-00002*"))


def test_a_hub_that_is_away_is_said(run: Run, data: Path, hub: FakeHub) -> None:
    hub.close()
    status, _, err = run("base", "add", "mine", "--from", MODEL)
    assert status == 1 and "cannot be reached" in err


def test_no_hub_is_asked_where_that_is_forbidden(run: Run, data: Path) -> None:
    status, _, err = run("base", "add", "mine", "--from", MODEL)
    assert status == 1 and "HF_HUB_OFFLINE forbids it" in err
    assert Settings(data=data).data == data
