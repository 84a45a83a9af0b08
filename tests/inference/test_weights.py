from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3ForCausalLM, Gemma3ForConditionalGeneration

from kamerton.errors import FailedPrecondition
from kamerton.inference import facts, weights
from kamerton.inference.catalog import EMBEDDED
from kamerton.inference.provenance import base_hash, fingerprint
from kamerton.inference.weights import LoadedBase
from kamerton.types import BaseModel
from tests import bases


def test_a_small_base_is_loaded_in_the_type_it_runs_in(loaded: LoadedBase) -> None:
    assert loaded.is_small
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in loaded.model.parameters())
    scale = loaded.model.model.embed_tokens.embed_scale
    assert scale.item() == pytest.approx(loaded.model.config.hidden_size**0.5, rel=1e-6)


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("how", ["cut", "missing"])
def test_a_damaged_base_is_refused_with_its_name(
    tiny: BaseModel, tmp_path: Path, damage: str, how: str
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny.weights, folder)
    file = folder / damage
    if how == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.unlink()
    said = {
        "config.json": "there is no config.json",
        "tokenizer.json": "has no tokenizer.json",
        "model.safetensors": "has no weights",
    }
    with pytest.raises(
        FailedPrecondition, match="cannot be read" if how == "cut" else said[damage]
    ):
        weights.load(replace(tiny, weights=str(folder)), "cpu")


def test_the_embedded_base_is_checked_against_its_sums(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(EMBEDDED.weights, folder)
    config = folder / "config.json"
    config.write_text(config.read_text().replace("192", "193"))
    with pytest.raises(FailedPrecondition, match=r"config.json of the base model .* SHA256SUMS"):
        weights.load(replace(EMBEDDED, weights=str(folder)), "cpu")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_out_of_memory_is_known_by_all_its_names(error: Exception, expected: bool) -> None:
    assert weights.is_out_of_memory(error) is expected


# --- families ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    bases.gemma3_with_pictures(folder)
    return folder


def logits(model: Any, count: int = 40) -> torch.Tensor:
    """[tokens, vocabulary] of the first ids, more than its window sees."""
    ids = torch.arange(count)[None]
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, use_cache=False).logits[0].float()
    return found


def test_a_model_with_pictures_is_loaded_as_its_text_part(pictures: Path) -> None:
    """From two shards, with the names that the hub has, and without the weights of its eyes."""
    stock = Gemma3ForConditionalGeneration.from_pretrained(pictures, dtype=torch.float32).eval()
    loaded = weights.load(BaseModel(name="b", weights=str(pictures)), "cpu")
    assert type(loaded.model) is Gemma3ForCausalLM
    assert not any("vision" in name for name, _ in loaded.model.named_parameters())
    torch.testing.assert_close(logits(loaded.model), logits(stock), rtol=1e-5, atol=1e-5)


def test_facts_of_a_model_with_pictures(pictures: Path) -> None:
    found = facts.read(pictures)
    assert (found.family.name, found.model_type, found.is_part) == ("Gemma 3", "gemma3_text", True)
    assert found.parameters == sum(
        parameter.numel()
        for parameter in weights.load(
            BaseModel(name="b", weights=str(pictures)), "cpu"
        ).model.parameters()
    )
    assert found.dtype == "bfloat16"
    made = facts.base_model("b", pictures, found)
    assert (made.input_token_limit, made.output_token_limit) == (384, 128)
    assert (made.learning_rate, made.lora_rank, made.lora_alpha) == (2e-4, 16, 32)


def test_four_bits_are_close_to_the_whole_and_have_a_gradient_after_an_answer(
    pictures: Path,
) -> None:
    """bitsandbytes would bring weights into a layout without one, on some processors."""
    base = BaseModel(name="b", weights=str(pictures))
    whole = weights.load(base, "cpu").model
    loaded = weights.load(replace(base, quantization="nf4"), "cpu")
    first = loaded.model.model.layers[0].self_attn.q_proj
    assert first.weight.quant_state.quant_type == "nf4" and first.weight.quant_state.nested
    assert type(loaded.model.lm_head) is torch.nn.Linear
    dense = bitsandbytes.functional.dequantize_4bit(first.weight.data, first.weight.quant_state)
    exact = whole.model.layers[0].self_attn.q_proj.weight
    assert 0.01 < (dense - exact).norm() / exact.norm() < 0.15
    logits(loaded.model)
    inputs = torch.randn(1, 3, 64, requires_grad=True)
    first(inputs).sum().backward()
    assert inputs.grad is not None and inputs.grad.abs().min() > 0
    torch.testing.assert_close(inputs.grad[0, 0], dense.sum(0), rtol=1e-4, atol=1e-5)


def test_layers_of_odd_widths_are_not_held_in_four_bits(tmp_path: Path) -> None:
    bases.gemma3n(tmp_path)
    base = BaseModel(name="b", weights=str(tmp_path))
    whole = weights.load(base, "cpu").model
    model = weights.load(replace(base, quantization="nf4"), "cpu").model
    layer, exact = model.model.layers[0], whole.model.layers[0]
    assert type(layer.altup.prediction_coefs) is torch.nn.Linear
    assert torch.equal(layer.altup.prediction_coefs.weight, exact.altup.prediction_coefs.weight)
    assert layer.mlp.up_proj.weight.quant_state.quant_type == "nf4"


def test_four_bits_need_their_library(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = importlib.util.find_spec
    monkeypatch.setattr(
        "kamerton.inference.weights.importlib.util.find_spec",
        lambda name: None if name == "bitsandbytes" else honest(name),
    )
    base = BaseModel(name="b", weights=str(pictures), quantization="nf4")
    with pytest.raises(FailedPrecondition, match=r"pip install 'kamerton\[qlora\]'"):
        weights.load(base, "cpu")


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ({"avx512_f": True}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"bf16": True}, torch.bfloat16),
    ],
)
def test_large_models_are_in_bfloat16_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, units: dict[str, bool], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    assert weights.large_dtype(torch.device("cpu")) is expected


@pytest.mark.parametrize(("has", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_without_bfloat16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, has: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    assert weights.large_dtype(torch.device("cuda")) is expected


def test_weights_that_are_not_whole_are_refused(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(pictures, folder)
    shards = sorted(folder.glob("*.safetensors"))
    base = BaseModel(name="b", weights=str(folder))
    kept = load_file(shards[0])
    save_file({k: v for k, v in kept.items() if "q_proj" not in k}, shards[0])
    with pytest.raises(FailedPrecondition, match=r"layers.0.self_attn.q_proj.weight and 1 more"):
        weights.load(base, "cpu")
    shards[1].unlink()
    with pytest.raises(FailedPrecondition, match=f"{shards[1].name} of 2 weight files is missing"):
        weights.load(base, "cpu")


def test_files_that_are_not_those_that_were_added_are_refused(
    tiny: BaseModel, tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny.weights, folder)
    added = replace(tiny, weights=str(folder), version=fingerprint(base_hash(folder)))
    assert weights.load(added, "cpu").base_model == added
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    with pytest.raises(FailedPrecondition, match="kamerton base check tiny"):
        weights.load(added, "cpu")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "strange", "auto_map": {"AutoModelForCausalLM": "code.Strange"}},
         r"'strange' that brings its own code .*code\.Strange.*never"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"already \(gptq\).*original"),
        ({"model_type": "t5"}, "t5, which transformers does not have"),
    ],
)  # fmt: skip
def test_kinds_that_cannot_be_used_are_refused(
    tiny: BaseModel, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny.weights, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(FailedPrecondition, match=said):
        weights.load(replace(tiny, weights=str(folder)), "cpu")


def test_a_kind_of_transformers_own_needs_no_code_of_the_model(
    tiny: BaseModel, tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny.weights, folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "code.Gemma"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('this must never run')")
    assert type(weights.load(replace(tiny, weights=str(folder))).model) is Gemma3ForCausalLM


def test_pickles_are_never_read(tiny: BaseModel, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny.weights, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FailedPrecondition, match=r"pytorch_model.bin is a pickle"):
        weights.load(replace(tiny, weights=str(folder)), "cpu")
