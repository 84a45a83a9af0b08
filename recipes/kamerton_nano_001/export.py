"""Writes a trained model as a folder that stock transformers loads."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import Gemma3TextConfig

from recipes.kamerton_nano_001.model import Nano, Shape
from recipes.kamerton_nano_001.tokenizer import BOS, END_OF_TURN, EOS, PAD, SPECIAL

CHAT_TEMPLATE = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set prefix = messages[0]['content'] | trim + '\\n\\n' -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set prefix = '' -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for message in turns -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/...') }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (prefix if loop.first else '') }}
    {{- message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
"""


def export(model: Nano, tokenizer: Tokenizer, directory: Path) -> None:
    """The whole folder but its card: weights in bf16, configuration, tokenizer, digests."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.to("cpu", torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
    }
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "model.safetensors").chmod(0o644)  # save_file leaves it to the owner alone
    _write(directory / "config.json", configuration(model.shape))
    _write(
        directory / "generation_config.json",
        {
            "bos_token_id": BOS,
            "eos_token_id": [EOS, END_OF_TURN],
            "pad_token_id": PAD,
            "do_sample": False,
        },
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    _write(directory / "tokenizer_config.json", _tokenizer_configuration(model.shape))
    write_digests(directory)


def configuration(shape: Shape) -> dict[str, object]:
    """The model's `config.json`."""
    config = Gemma3TextConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head,
        query_pre_attn_scalar=shape.head,
        max_position_embeddings=shape.positions,
        sliding_window=shape.window,
        layer_types=["sliding_attention"] * (shape.layers - 1) + ["full_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": shape.local_theta},
            "full_attention": {"rope_type": "default", "rope_theta": shape.global_theta},
        },
        rms_norm_eps=shape.epsilon,
        pad_token_id=PAD,
        eos_token_id=[EOS, END_OF_TURN],
        bos_token_id=BOS,
        tie_word_embeddings=True,
        dtype="bfloat16",
        architectures=["Gemma3ForCausalLM"],
    )
    settings: dict[str, object] = config.to_dict()
    return settings


def _tokenizer_configuration(shape: Shape) -> dict[str, object]:
    pad, eos, bos, unk, start, end = SPECIAL
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": shape.positions,
        "pad_token": pad,
        "eos_token": eos,
        "bos_token": bos,
        "unk_token": unk,
        "additional_special_tokens": [start, end],
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def write_digests(directory: Path) -> None:
    """`SHA256SUMS` of every file that is loaded, as `sha256sum --check` reads it."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(directory.iterdir())
        if path.is_file() and path.suffix in (".json", ".safetensors")
    ]
    (directory / "SHA256SUMS").write_text("".join(lines))


def _write(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
