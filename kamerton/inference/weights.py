"""Loads a base model, and puts LoRA adapters on it and off again."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, BitsAndBytesConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils import logging

from kamerton.errors import FailedPrecondition
from kamerton.inference import attention, catalog, facts
from kamerton.inference.chat import read_json
from kamerton.inference.prompts import Renderer
from kamerton.inference.provenance import Provenance, base_hash, fingerprint, renderer_hash
from kamerton.inference.records import FINGERPRINT
from kamerton.types import BaseModel

SMALL = 200_000_000
"""Below this many bytes of weights a CPU is fastest in float32, and on one thread."""

BLOCK = 64
"""Weights that share a scale in 4 bits."""
TEXT_PART = {
    r"^(model\.)?language_model\.lm_head\.": "lm_head.",
    r"^(model\.language_model|language_model\.model)\.": "model.",
}
"""Names of the text part's weights in a model with more senses, as checkpoints from before and
after transformers 4.52 have them, to those of the text part alone."""


@dataclass(frozen=True, slots=True)
class LoadedBase:
    """A base model in memory, frozen, with the renderer that belongs to it."""

    base_model: BaseModel
    model: Any
    """A transformers causal language model in evaluation mode."""
    renderer: Renderer
    device: torch.device
    is_small: bool
    """On a CPU it is fastest in float32 and on one thread."""
    provenance: Provenance
    """Of adapters that are made with it."""


def load(base_model: BaseModel, device: str = "auto") -> LoadedBase:
    """Raises NotFound without weights; FailedPrecondition when they were changed on disk, are of a
    kind that cannot be used, or when what they need is not installed."""
    folder = catalog.folder(base_model)
    check_hashes(folder)
    facts.read(folder)
    base = base_hash(folder)
    check_fingerprint(base_model, base)
    where = torch.device(_device(device))
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    small = where.type == "cpu" and size < SMALL
    dtype = torch.float32 if small else large_dtype(where)
    try:
        model = _model(base_model, folder, where, dtype)
    except KeyError as error:
        raise FailedPrecondition(
            f"{base_model.name} is a {read_kind(folder)} model, which computes attention in a way "
            "of its own: it cannot be tuned here."
        ) from error
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise FailedPrecondition(
            f"The weights of the base model {base_model.name} cannot be read: {error}"
        ) from error
    model.requires_grad_(False)
    model.eval()
    renderer = Renderer.load(folder)
    provenance = Provenance(renderer_hash(renderer), base)
    return LoadedBase(base_model, model, renderer, where, small, provenance)


def read_kind(folder: Path) -> str:
    return str(read_json(folder / "config.json").get("model_type", "nameless"))


def large_dtype(device: torch.device) -> torch.dtype:
    """In which a model that is not small is held and computed: bfloat16 where the device has units
    for it. Never float16, beyond whose range Gemma's activations go."""
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        known = torch.cpu.get_capabilities()
        has = any(known.get(unit) for unit in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
    return torch.bfloat16 if has else torch.float32


def _model(base_model: BaseModel, folder: Path, where: torch.device, dtype: torch.dtype) -> Any:
    """A transformers model on its device; of one with more senses than text, the text part."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    text = getattr(config, "text_config", None) or config
    if type(text) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise FailedPrecondition(
            f"{base_model.name} is a model of the kind {text.model_type}, which transformers does "
            "not have as a causal language model: it cannot be tuned here."
        )
    _check_attention(base_model, kind := MODEL_FOR_CAUSAL_LM_MAPPING[type(text)], text)
    # Not loaded in one type and turned into another: constants would keep the first one's rounding.
    options: dict[str, Any] = {
        "config": text,
        "dtype": dtype,
        "attn_implementation": attention.NAME,
        "local_files_only": True,
        "output_loading_info": True,
    }
    if text is not config:
        options["key_mapping"] = TEXT_PART
    if base_model.quantization:
        options["quantization_config"] = _quantization(base_model, dtype, _kept_whole(kind, text))
        options["device_map"] = {"": where}
    with _quiet():
        model, told = kind.from_pretrained(folder, **options)
    if missing := sorted(told["missing_keys"]):
        raise FailedPrecondition(
            f"The weights of the base model {base_model.name} are not whole: {missing[0]} and "
            f"{len(missing) - 1} more are missing. Fetch them again."
        )
    for module in model.modules():
        # On some processors it would bring weights into a layout that has no gradient, at the
        # first answer and for good.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    if not base_model.quantization:
        model.to(where)
    return model


SEEN = {"full_attention", "sliding_attention"}
"""Kinds of layers that see nothing of other rows on one token axis."""


def _check_attention(base_model: BaseModel, kind: Any, config: Any) -> None:
    """Layers with a state or a convolution would see from one row into the next."""
    others = sorted({str(layer) for layer in getattr(config, "layer_types", None) or ()} - SEEN)
    if others or getattr(kind, "_is_stateful", False):
        raise FailedPrecondition(
            f"{base_model.name} is a {config.model_type} model, which has other layers than "
            f"attention over all tokens or a window ({', '.join(others) or 'recurrent ones'}): "
            "such models cannot be tuned here so far."
        )


def _kept_whole(kind: Any, config: Any) -> list[str]:
    """The layers that are not held in 4 bits: the head, and those with fewer inputs than a block
    of weights that share a scale, or with parts of one: bitsandbytes 0.50 reads these wrong on a
    CPU, and says nothing."""
    with torch.device("meta"):
        model = kind(config)
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and (module is head or module.in_features % BLOCK)
    ]


def _quantization(
    base_model: BaseModel, dtype: torch.dtype, whole: list[str]
) -> BitsAndBytesConfig:
    """QLoRA's (Dettmers et al., 2023, arXiv:2305.14314): NF4 with double quantisation."""
    if base_model.quantization != "nf4":
        raise FailedPrecondition(
            f"{base_model.name} asks for the quantization {base_model.quantization!r}; there is "
            "only nf4."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise FailedPrecondition(
            f"{base_model.name} is held in 4 bits, which needs bitsandbytes: "
            "pip install 'kamerton[qlora]'"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=whole,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and its list of what it leaves alone."""
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def is_out_of_memory(error: Exception) -> bool:
    """On a CPU, torch says it with a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def check_hashes(folder: Path) -> None:
    """Compare the files with SHA256SUMS, where the folder has one."""
    sums = folder / "SHA256SUMS"
    if not sums.exists():
        return
    for line in sums.read_text().splitlines():
        expected, name = line.split()
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            found = "nothing"
        if found != expected:
            raise FailedPrecondition(
                f"{name} of the base model {folder.name} is missing, or not the file that "
                "SHA256SUMS beside it names: install the package again."
            )


def check_fingerprint(base_model: BaseModel, base: str) -> None:
    """Compare the files, as `base_hash` sees them, with what they were when the base model was
    added. All of gigabytes is for `kamerton base check`."""
    was = base_model.version
    if was.startswith(FINGERPRINT) and was != fingerprint(base):
        raise FailedPrecondition(
            f"The files of the base model {base_model.name} in {base_model.weights} are not those "
            f"that were added. See which ones with: kamerton base check {base_model.name}"
        ).at("BASE_CHANGED")


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    if not torch.cuda.is_available():
        return "cpu"
    # Each process that torchrun starts has a device of its own.
    return f"cuda:{torch.distributed.get_node_local_rank(0)}"
