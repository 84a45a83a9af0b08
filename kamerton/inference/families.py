"""What Kamerton knows of families of base models that their files do not say.

A base model of a family that is not here is taken as well, by its own chat template and by the
numbers of OTHER.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

GEMMA_TERMS = "https://ai.google.dev/gemma/terms"


@dataclass(frozen=True, slots=True)
class Family:
    """Base models that are rendered and tuned in the same way."""

    name: str
    chat: Literal["template", "gemma"] = "template"
    """How a conversation becomes a prompt: by the chat template in the folder, or by Gemma's turns
    whatever the folder says."""
    stops: tuple[str, ...] = ()
    """Tokens that end an answer besides the turn's own end and those that the files name."""
    learning_rate: float = 2e-4
    """The peak for LoRA of QLoRA's table 9 (Dettmers et al., 2023, arXiv:2305.14314), about ten
    times what full tuning takes (Schulman et al., 2025, `LoRA Without Regret`)."""
    lora_rank: int = 16
    lora_alpha: int = 32
    target_modules: tuple[str, ...] = ()
    """Layers with an adapter; none means all linear ones but the head."""
    context: int = 8192
    """Tokens, where the configuration does not say how many."""
    terms: str = ""
    """Address of the licence, where the family has one of its own."""
    quirks: tuple[str, ...] = ()
    """What is special, told when one is added."""


OTHER = Family("other")
LARGE, LARGE_RATE = 20e9, 1e-4
"""From so many parameters on QLoRA's table has half the rate."""

_GEMMA = Family(
    "Gemma",
    chat="gemma",
    stops=("<end_of_turn>", "<eos>"),
    terms=GEMMA_TERMS,
    quirks=(
        "Its activations go beyond what float16 holds: bfloat16 or float32 only.",
        "No system role: system text stands in front of the first turn.",
        "The head has 256,000 tokens and more and is tied to the embeddings; neither is adapted.",
    ),
)
_QWEN = Family(
    "Qwen",
    stops=("<|im_end|>", "<|endoftext|>"),
    quirks=("No BOS.", "Templates that can think are rendered with enable_thinking=false."),
)
_LLAMA = Family("Llama", stops=("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"))

FAMILIES = {
    "gemma": _GEMMA,
    "gemma2": replace(
        _GEMMA,
        name="Gemma 2",
        quirks=(*_GEMMA.quirks, "Scores and logits are soft-capped; every other layer slides."),
    ),
    "gemma3_text": replace(
        _GEMMA,
        name="Gemma 3",
        context=131_072,
        quirks=(
            *_GEMMA.quirks,
            "Five of six layers look back over a sliding window only.",
            "With pictures, `token_type_ids` tell what is one; the text part alone needs none.",
        ),
    ),
    "gemma3n_text": replace(
        _GEMMA,
        name="Gemma 3n",
        context=32_768,
        target_modules=(
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ),
        quirks=(*_GEMMA.quirks, "Embeddings of each layer; the last layers share keys and values."),
    ),
    "llama": _LLAMA,
    "mistral": Family(
        "Mistral",
        stops=("</s>",),
        quirks=(
            "Turns of user and model must alternate: neighbours of one role are joined.",
            "A prompt ends where the model's turn begins, so an answer begins with a blank.",
        ),
    ),
    "qwen2": _QWEN,
    "qwen3": replace(
        _QWEN,
        name="Qwen 3",
        quirks=(*_QWEN.quirks, "Of a conversation only the last answer is learned."),
    ),
}
"""By the `model_type` of the text part's configuration."""


def of(model_type: str, parameters: int = 0) -> Family:
    """The family of a `model_type`, with the learning rate for so many parameters."""
    family = FAMILIES.get(model_type, OTHER)
    return replace(family, learning_rate=LARGE_RATE) if parameters >= LARGE else family
