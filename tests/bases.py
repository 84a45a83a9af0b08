"""Small random base models for tests, of the shapes of known families, each made in a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from kamerton.types import BaseModel

MARKS = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
CORPUS = [
    "What comes after seven? It is eight, and after it nine comes.",
    "Be brief. Answer in French. Good day! Bonjour ! One two three four five six seven.",
    "Кто ты? Привет, мир! Двадцать два. The colour of snow is white; user, assistant and system.",
]


def make(folder: Path, seed: int = 0) -> BaseModel:
    """Write a model with a byte tokenizer to `folder`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*MARKS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("\n"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(MARKS)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = Gemma3TextConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        initializer_range=0.1,
    )
    Gemma3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return BaseModel(
        name="tiny",
        weights=str(folder),
        input_token_limit=384,
        output_token_limit=128,
        learning_rate=0.01,
    )


# --- families ------------------------------------------------------------------------------------

LLAMA_TEMPLATE = """{{- bos_token }}
{%- if strftime_now is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- else %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""
QWEN2_TEMPLATE = """{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
{%- else %}
    {{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first)
        or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""
QWEN3_TEMPLATE = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(last_query_index=messages|length - 1) %}
{%- for message in messages %}
    {%- if message.role == "user" %}{% set ns.last_query_index = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "user" %}
        {{- '<|im_start|>user\n' + message.content + '<|im_end|>\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\n' }}
        {%- generation %}
        {%- if loop.index0 > ns.last_query_index %}
            {{- '<think>\n\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
        {%- endgeneration %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
"""
MISTRAL_TEMPLATE = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, roles must alternate') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {%- if loop.first and system_message is defined %}
            {{- '[INST] ' + system_message + '\n\n' + message['content'] + '[/INST]' }}
        {%- else %}
            {{- '[INST] ' + message['content'] + '[/INST]' }}
        {%- endif %}
    {%- else %}
        {{- ' ' + message['content'] + eos_token }}
    {%- endif %}
{%- endfor %}
"""
GEMMA_TEMPLATE = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {{ raise_exception('System role not supported') }}
{%- endif -%}
{%- for message in messages -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
"""


def byte_level(marks: list[str], plain: tuple[str, ...] = (), bos: str = "") -> Tokenizer:
    """As of Llama 3 and Qwen: `plain` are added tokens that are not special; `bos` is put in
    front of every text."""
    tokenizer = Tokenizer(models.BPE())
    words = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens(marks)
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in plain])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return tokenizer


def sentence_piece(marks: list[str], bos: str) -> Tokenizer:
    """As of Mistral: a blank in front of the first text, and a BOS in front of every one."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=[*marks, *bytes_], show_progress=False
    )
    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    words.train_from_iterator(CORPUS, trainer)
    model: Any = words.model
    model.byte_fallback = True
    tokenizer.model = model
    tokenizer.add_special_tokens(marks)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return tokenizer


def save_tokenizer(
    folder: Path, tokenizer: Tokenizer, template: str, bos: str | None, eos: str
) -> None:
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, chat_template=template
    ).save_pretrained(folder)


def llama_tokenizer(folder: Path) -> Tokenizer:
    marks = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = byte_level(marks, bos=marks[0])
    save_tokenizer(folder, tokenizer, LLAMA_TEMPLATE, marks[0], "<|eot_id|>")
    return tokenizer


def qwen2_tokenizer(folder: Path) -> Tokenizer:
    tokenizer = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    save_tokenizer(folder, tokenizer, QWEN2_TEMPLATE, None, "<|im_end|>")
    return tokenizer


def qwen3_tokenizer(folder: Path) -> Tokenizer:
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = byte_level(marks, plain=("<think>", "</think>"))
    save_tokenizer(folder, tokenizer, QWEN3_TEMPLATE, None, "<|im_end|>")
    return tokenizer


def mistral_tokenizer(folder: Path) -> Tokenizer:
    tokenizer = sentence_piece(["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], "<s>")
    save_tokenizer(folder, tokenizer, MISTRAL_TEMPLATE, "<s>", "</s>")
    return tokenizer


def gemma_tokenizer(folder: Path) -> Tokenizer:
    tokenizer = byte_level(MARKS, bos="<bos>")
    save_tokenizer(folder, tokenizer, GEMMA_TEMPLATE, "<bos>", "<eos>")
    return tokenizer


SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
}
GEMMA: dict[str, Any] = {
    **SMALL,
    "query_pre_attn_scalar": 32,
    "sliding_window": 16,
    "layer_types": ["sliding_attention", "full_attention"],
    "pad_token_id": None,
}


def llama(folder: Path) -> None:
    size = llama_tokenizer(folder).get_vocab_size()
    _save(LlamaForCausalLM, LlamaConfig(vocab_size=size, **SMALL), folder)


def qwen2(folder: Path) -> None:
    size = qwen2_tokenizer(folder).get_vocab_size()
    _save(Qwen2ForCausalLM, Qwen2Config(vocab_size=size, tie_word_embeddings=True, **SMALL), folder)


def qwen3(folder: Path) -> None:
    size = qwen3_tokenizer(folder).get_vocab_size()
    _save(Qwen3ForCausalLM, Qwen3Config(vocab_size=size, **SMALL), folder)


def mistral(folder: Path) -> None:
    size = mistral_tokenizer(folder).get_vocab_size()
    _save(MistralForCausalLM, MistralConfig(vocab_size=size, sliding_window=16, **SMALL), folder)


def gemma2(folder: Path) -> None:
    size = gemma_tokenizer(folder).get_vocab_size()
    _save(Gemma2ForCausalLM, Gemma2Config(vocab_size=size, **GEMMA), folder)


def gemma3n(folder: Path) -> None:
    """Four layers of which the last two share the keys and values of the others; in the layout of
    the hub, with names as they stand beside eyes and ears."""
    size = gemma_tokenizer(folder).get_vocab_size()
    config = Gemma3nTextConfig(
        vocab_size=size,
        vocab_size_per_layer_input=size,
        hidden_size_per_layer_input=8,
        num_kv_shared_layers=2,
        altup_num_inputs=2,
        laurel_rank=4,
        activation_sparsity_pattern=[0.0] * 4,
        **{
            **GEMMA,
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "intermediate_size": [64] * 4,
        },
    )
    _save(Gemma3nForCausalLM, config, folder)
    weights = load_file(folder / "model.safetensors")
    named = {f"model.language_{name}": tensor for name, tensor in weights.items()}
    named["model.vision_tower.patches.weight"] = torch.zeros(2, 2)
    named["model.embed_audio.embedding.weight"] = torch.zeros(2, 2)
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    text = json.loads((folder / "config.json").read_text())
    whole = {"model_type": "gemma3n", "architectures": ["Gemma3nForConditionalGeneration"]}
    (folder / "config.json").write_text(json.dumps(whole | {"text_config": text}))


def gemma3_with_pictures(folder: Path) -> None:
    """In the layout of the hub: two shards and their index, names as they were before
    transformers 4.52, a configuration with a text and a vision part."""
    size = gemma_tokenizer(folder).get_vocab_size()
    text = {key: value for key, value in GEMMA.items() if key != "max_position_embeddings"}
    config = Gemma3Config(
        text_config=Gemma3TextConfig(vocab_size=size, max_position_embeddings=512, **text),
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        image_token_index=size - 1,
        boi_token_index=size - 2,
        eoi_token_index=size - 3,
    )
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="150KB")


FAMILIES: dict[str, Callable[[Path], None]] = {
    "gemma2": gemma2,
    "gemma3": gemma3_with_pictures,
    "gemma3n": gemma3n,
    "llama": llama,
    "mistral": mistral,
    "qwen2": qwen2,
    "qwen3": qwen3,
}


def _save(kind: Any, config: Any, folder: Path) -> None:
    torch.manual_seed(0)
    kind(config).to(torch.bfloat16).save_pretrained(folder)
