"""An adapter is published only if it answers as it did in training."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kamerton.dataset.tutorial import EXAMPLES
from kamerton.errors import Internal, KamertonError
from kamerton.inference import attention, weights
from kamerton.inference.catalog import EMBEDDED
from kamerton.inference.lora import WEIGHTS
from kamerton.inference.weights import LoadedBase
from kamerton.training import proof
from kamerton.training.adapter import Adapter
from kamerton.training.train import train
from kamerton.training.trainer_process import failure_of
from kamerton.types import Content, Example, Hyperparameters

TWO_STEPS = Hyperparameters(1, 8, 0.01, 0.01, seed=1)


@pytest.fixture(scope="module")
def embedded() -> LoadedBase:
    return weights.load(EMBEDDED, "cpu")


@pytest.fixture(params=["tiny", "embedded"])
def base(request: pytest.FixtureRequest) -> LoadedBase:
    found: LoadedBase = request.getfixturevalue("loaded" if request.param == "tiny" else "embedded")
    return found


def tune(
    base: LoadedBase,
    folder: Path,
    hyperparameters: Hyperparameters = TWO_STEPS,
    examples: tuple[Example, ...] = EXAMPLES,
    on_snapshot: Callable[[object], bool] = lambda snapshot: True,
) -> Path:
    return train(base.base_model, examples, hyperparameters, folder, on_snapshot, loaded=base)


def refused(base: LoadedBase, folder: Path, hyperparameters: Hyperparameters = TWO_STEPS) -> str:
    """The reason why nothing was published; the base model is as it was."""
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    with pytest.raises(KamertonError) as failed:
        tune(base, folder, hyperparameters)
    assert isinstance(failed.value, Internal)
    assert not (folder / "adapter").exists()
    after = base.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert base.model.config._attn_implementation == attention.NAME
    failure = failure_of(failed.value)
    assert failure.kind == "Internal" and failure.message
    return failure.reason


def written_wrong(monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Path], None]) -> None:
    """Adapters are saved well, and then changed before the manifest is made."""
    honest = Adapter.save

    def save(adapter: Adapter, folder: Path, flat: torch.Tensor | None = None) -> None:
        honest(adapter, folder, flat)
        wrong(folder)

    monkeypatch.setattr(Adapter, "save", save)


def change(folder: Path, how: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file({name: how(name, tensor) for name, tensor in tensors.items()}, folder / WEIGHTS)


def half_of_one(folder: Path) -> None:
    last = max(name for name in load_file(folder / WEIGHTS) if "lora_B" in name)
    change(folder, lambda name, tensor: tensor * 0.5 if name == last else tensor)


def not_a_number(folder: Path) -> None:
    change(folder, lambda name, tensor: torch.full_like(tensor, math.nan))


def nothing(folder: Path) -> None:
    change(folder, lambda name, tensor: torch.zeros_like(tensor))


def other_names(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file({name.replace("layers.", "strata."): t for name, t in tensors.items()},
              folder / WEIGHTS)  # fmt: skip


def another_scale(folder: Path) -> None:
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"lora_alpha": 4 * config["lora_alpha"]}))


def fewer_modules(folder: Path) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"target_modules": ["q_proj"]}))


def test_an_honest_adapter_passes(base: LoadedBase, tmp_path: Path) -> None:
    adapter = tune(base, tmp_path)
    assert {file.name for file in adapter.iterdir()} >= {WEIGHTS, "provenance.json"}
    assert not (tmp_path / "candidate").exists()


@pytest.mark.parametrize(
    "wrong",
    [half_of_one, not_a_number, nothing, other_names, another_scale, fewer_modules],
)
def test_an_adapter_that_answers_otherwise_is_not_published(
    base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Path], None]
) -> None:
    written_wrong(monkeypatch, wrong)
    assert refused(base, tmp_path) == "ADAPTER_DIFFERS"


def test_an_adapter_that_changes_nothing_is_not_published(base: LoadedBase, tmp_path: Path) -> None:
    unmoved = Hyperparameters(1, 8, 1e-30, 1e-30, seed=1)
    assert refused(base, tmp_path, unmoved) == "ADAPTER_CHANGES_NOTHING"


def test_a_run_that_was_refused_can_go_on(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was refused is not in the way of the next attempt."""
    with monkeypatch.context() as patched:
        written_wrong(patched, nothing)
        refused(loaded, tmp_path)
    assert (tune(loaded, tmp_path) / WEIGHTS).exists()


@pytest.mark.parametrize(
    "first",
    [
        Example.pair("x" * 300, "y"),
        Example.pair("x", "y" * 300),
        Example((Content("user", "a"), Content("model", "b"), Content("user", "c")), "d"),
    ],
    ids=["long prompt", "long answer", "two answers"],
)
def test_whatever_the_first_row_is(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Example
) -> None:
    folders = [tmp_path / "honest", tmp_path / "wrong"]
    for folder in folders:
        folder.mkdir()
    tune(loaded, folders[0], examples=(first, *EXAMPLES))
    written_wrong(monkeypatch, half_of_one)
    with pytest.raises(Internal, match="does not answer as it did in training"):
        tune(loaded, folders[1], examples=(first, *EXAMPLES))


def test_the_tolerance_is_far_from_both_sides(
    embedded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An honest adapter passes at a tenth of it as well."""
    monkeypatch.setattr(proof, "TOLERANCE", {torch.float32: proof.TOLERANCE[torch.float32] / 10})
    assert tune(embedded, tmp_path).exists()
