"""Adapters beside a model answer as stock PEFT's in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from kamerton import folders
from kamerton.errors import FailedPrecondition
from kamerton.inference import lora
from kamerton.inference.weights import LoadedBase
from kamerton.training.adapter import Adapter
from kamerton.types import Hyperparameters

ONE = Hyperparameters(1, 4, 0.01, 0.01, seed=1)
KINDS = (
    ONE,
    replace(ONE, seed=2, lora_rank=3, lora_alpha=7),
    replace(ONE, seed=3, lora_rank=16, rslora=True, target_modules=("q_proj", "up_proj")),
)


@pytest.fixture(scope="module")
def adapters(loaded: LoadedBase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Of other ranks, scales and layers each."""
    made = []
    for number, hyperparameters in enumerate(KINDS):
        adapter = Adapter(loaded, hyperparameters)
        noise = torch.Generator().manual_seed(number)
        with torch.no_grad():
            adapter.flat.add_(torch.randn(adapter.flat.shape, generator=noise), alpha=0.1)
        folder = tmp_path_factory.mktemp("adapters") / str(number)
        folders.publish(folder, adapter.save)
        made.append(folder)
    yield made


def stock(loaded: LoadedBase, adapter: Path | None, ids: torch.Tensor) -> torch.Tensor:
    model: Any = AutoModelForCausalLM.from_pretrained(
        loaded.base_model.weights, dtype=torch.float32
    )
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids).logits
    return logits


def test_each_row_of_a_batch_has_its_own(loaded: LoadedBase, adapters: list[Path]) -> None:
    lora.open_(loaded.model)
    ids = torch.arange(3, 13)[None].repeat(6, 1)
    asked = [adapters[0], None, adapters[1], adapters[0], adapters[2], adapters[1]]
    held = {path: lora.read(path, loaded.model) for path in adapters}
    with torch.no_grad(), lora.adding(lora.serving([held[a] if a else None for a in asked])):
        found = loaded.model(input_ids=ids).logits
    expected = {path: stock(loaded, path, ids[:1])[0] for path in (None, *adapters)}
    for row, path in enumerate(asked):
        torch.testing.assert_close(found[row], expected[path], rtol=1e-4, atol=1e-4)
    with torch.no_grad():  # And nothing of it is left.
        torch.testing.assert_close(loaded.model(input_ids=ids[:1]).logits[0], expected[None])


def test_what_is_saved_is_what_peft_reads(loaded: LoadedBase, adapters: list[Path]) -> None:
    """Config and names: PEFT warns of what it misses, and warnings are errors."""
    for folder, hyperparameters in zip(adapters, KINDS, strict=True):
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["r"] == hyperparameters.lora_rank
        assert config["use_rslora"] == hyperparameters.rslora
        tensors = load_file(folder / lora.WEIGHTS)
        model = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(loaded.base_model.weights), str(folder)
        )
        theirs = {
            name.replace(".default", ""): parameter
            for name, parameter in model.named_parameters()
            if "lora_" in name
        }
        assert theirs.keys() == tensors.keys()
        assert all(torch.equal(theirs[name], tensor) for name, tensor in tensors.items())


def test_it_begins_with_what_peft_draws(loaded: LoadedBase) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(ONE.seed)
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(loaded.base_model.weights, dtype=torch.float32),
            LoraConfig(r=ONE.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
    drawn = dict(model.named_parameters())
    for name, parameter in Adapter(loaded, ONE).parameters.items():
        assert torch.equal(drawn[name.replace(".weight", ".default.weight")], parameter), name


def test_an_unknown_target_module_is_named(loaded: LoadedBase) -> None:
    with pytest.raises(FailedPrecondition, match=r"no linear layers called c_attn: .*q_proj") as no:
        Adapter(loaded, replace(ONE, target_modules=("q_proj", "c_attn")))
    assert no.value.reason == "TARGET_MODULE_UNKNOWN"


def damaged(folder: Path, into: Path, config: dict[str, Any], names: tuple[str, str]) -> Path:
    def write(made: Path) -> None:
        found = json.loads((folder / "adapter_config.json").read_text())
        (made / "adapter_config.json").write_text(json.dumps(found | config))
        tensors = load_file(folder / lora.WEIGHTS)
        save_file({n.replace(*names): t for n, t in tensors.items()}, made / lora.WEIGHTS)

    folders.publish(into, write)
    return into


@pytest.mark.parametrize(
    ("config", "names", "words"),
    [
        ({"use_dora": True}, ("", ""), "uses use_dora, which is not served"),
        ({"bias": "all"}, ("", ""), "uses bias, which is not served"),
        ({"target_modules": ["q_proj"]}, ("", ""), "do not fit its base model"),
        ({}, ("layers.1", "layers.7"), "do not fit its base model"),
        ({}, ("lora_B", "lora_C"), "do not fit its base model"),
    ],
)
def test_what_cannot_be_served_is_refused(
    loaded: LoadedBase,
    adapters: list[Path],
    tmp_path: Path,
    config: dict[str, Any],
    names: tuple[str, str],
    words: str,
) -> None:
    folder = damaged(adapters[0], tmp_path / "bad", config, names)
    with pytest.raises(FailedPrecondition, match=words):
        lora.read(folder, loaded.model)
