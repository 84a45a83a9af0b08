from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import CONFIG_MAPPING

from kamerton.errors import FailedPrecondition
from kamerton.inference import facts, families
from kamerton.inference.families import FAMILIES, OTHER


def test_every_family_is_one_that_transformers_knows() -> None:
    assert set(FAMILIES) <= set(CONFIG_MAPPING)


def test_an_unknown_kind_has_its_own_template_and_the_usual_rate() -> None:
    assert families.of("starcoder2") == OTHER
    assert OTHER.chat == "template"
    assert families.of("llama", int(8e9)).learning_rate == 2e-4
    assert families.of("llama", int(70e9)).learning_rate == 1e-4


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "gemma3_text", "gemma3n_text"])
def test_gemmas_are_rendered_by_turns_and_have_their_own_terms(kind: str) -> None:
    family = families.of(kind)
    assert (family.chat, family.terms) == ("gemma", families.GEMMA_TERMS)
    assert any("float16" in quirk for quirk in family.quirks)


@pytest.mark.parametrize(
    ("count", "text"), [(268_098_176, "268M"), (3_880_099_328, "3.88B"), (40_032, "40K"), (7, "7")]
)
def test_parameters_are_told_as_people_do(count: int, text: str) -> None:
    assert facts.parameters_text(count) == text


@pytest.mark.parametrize(
    ("header", "said"),
    [(b"", "no safetensors header"), (b"\xff" * 99, "no safetensors header"),
     (b"\x02\0\0\0\0\0\0\0[]", "attribute"), (b"\x02\0\0\0\0\0\0\0{x", "Expecting")],
)  # fmt: skip
def test_weights_that_are_none_are_refused_in_words(
    tmp_path: Path, header: bytes, said: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(header)
    with pytest.raises(FailedPrecondition, match=f"model.safetensors .*cannot be read.*{said}"):
        facts.read(tmp_path)


def test_how_its_makers_sample_is_how_it_is_served(tmp_path: Path) -> None:
    found = facts.Facts(
        OTHER, "llama", False, 10, "float16", 131_072, {"temperature": 0.6, "top_k": "many"}
    )
    made = facts.base_model("x", tmp_path, found)
    assert (made.temperature, made.top_p, made.top_k) == (0.6, 0.95, 64)
    assert made.context_tokens == facts.MOST_CONTEXT
