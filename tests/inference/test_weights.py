from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kamerton.errors import FailedPrecondition
from kamerton.inference import weights
from kamerton.inference.catalog import EMBEDDED
from kamerton.inference.weights import LoadedBase
from kamerton.types import BaseModel


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
    with pytest.raises(FailedPrecondition, match="cannot be read"):
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
