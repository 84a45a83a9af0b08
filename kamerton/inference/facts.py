"""What the files in a base model's folder say of it, read without torch."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kamerton.errors import FailedPrecondition
from kamerton.inference import families
from kamerton.inference.chat import read_json
from kamerton.inference.families import Family
from kamerton.types import BaseModel

MOST_CONTEXT = 32_768
"""Tokens that a prompt and its answer may have together, however many more a model could read."""
MOST_ANSWER = 8192
INDEX = "model.safetensors.index.json"
_OTHER_SENSES = re.compile(r"(^|[._])(vision|audio|multi_modal|visual|mm_projector)")
"""In the names of weights that the text part does without."""
_MOST_HEADER = 100_000_000


@dataclass(frozen=True, slots=True)
class Facts:
    family: Family
    model_type: str
    """Of the text part."""
    is_part: bool
    """There are parts besides the text part, which are left alone."""
    parameters: int
    """Of the text part."""
    dtype: str
    """In which most of them are stored, such as `bfloat16`."""
    context: int
    """Tokens that the model was made to read."""
    generation: dict[str, Any]
    """How its makers would sample."""


def check(folder: Path) -> dict[str, Any]:
    """The configuration in the folder, whose weights need not be there yet.

    Raises FailedPrecondition when it is of no base model that can be used, saying what is wrong
    and what to do.
    """
    config = read_json(folder / "config.json")
    if not config:
        raise FailedPrecondition(
            f"{folder} holds no base model: there is no config.json in it. Give the folder with "
            "config.json, tokenizer.json and the *.safetensors files, or a hub id."
        )
    _check_code(folder, config)
    _check_quantization(folder, config)
    if not (folder / "tokenizer.json").is_file():
        raise FailedPrecondition(
            f"{folder} has no tokenizer.json. Make it once from the tokenizer that is there, with "
            "transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    return config


def read(folder: Path) -> Facts:
    """Raises FailedPrecondition as `check` does, and when the weights are not whole."""
    config = check(folder)
    text = config.get("text_config", config)
    model_type = text.get("model_type") or config.get("model_type") or ""
    counts: Counter[str] = Counter()
    for name, dtype, size in _tensors(folder):
        if not _OTHER_SENSES.search(name):
            counts[dtype] += size
    parameters = counts.total()
    family = families.of(model_type, parameters)
    dtype = max(counts, key=counts.__getitem__, default="")
    return Facts(
        family=family,
        model_type=model_type,
        is_part=text is not config,
        parameters=parameters,
        dtype=_DTYPES.get(dtype, dtype.lower()),
        context=text.get("max_position_embeddings") or family.context,
        generation=read_json(folder / "generation_config.json"),
    )


def base_model(name: str, folder: Path, facts: Facts) -> BaseModel:
    """How it is served and tuned as long as nobody asks for something else."""
    family = facts.family
    context = min(facts.context, MOST_CONTEXT)
    answer = min(context // 4, MOST_ANSWER)
    usual = BaseModel(name="", weights="")
    return BaseModel(
        name=name,
        weights=str(folder),
        display_name=name,
        description=f"{_of(family)} of {parameters_text(facts.parameters)} parameters.",
        input_token_limit=context - answer,
        output_token_limit=answer,
        temperature=_number(facts.generation, "temperature", usual.temperature, 0.0, 2.0),
        top_p=_number(facts.generation, "top_p", usual.top_p, 0.0, 1.0),
        top_k=int(_number(facts.generation, "top_k", usual.top_k, 0, 10_000)),
        learning_rate=family.learning_rate,
        lora_rank=family.lora_rank,
        lora_alpha=family.lora_alpha,
        target_modules=family.target_modules,
    )


def weight_files(folder: Path) -> list[Path]:
    """Those that hold the model. Raises FailedPrecondition when there is none, or one is missing
    that the index names."""
    index = read_json(folder / INDEX)
    named = sorted({str(file) for file in index.get("weight_map", {}).values()})
    found = [folder / file for file in named] or sorted(folder.glob("*.safetensors"))
    if missing := [file.name for file in found if not file.is_file()]:
        raise FailedPrecondition(
            f"{folder} is not whole: {', '.join(missing[:5])} of {len(named)} weight files "
            f"{'is' if len(missing) == 1 else 'are'} missing. Fetch the folder again."
        )
    if not found:
        pickles = [file.name for pattern in PICKLES for file in folder.glob(pattern)]
        also = f" {pickles[0]} is a pickle, which can run code when it is read." if pickles else ""
        raise FailedPrecondition(
            f"{folder} has no weights as *.safetensors, and no other kind is read.{also} Take a "
            "revision of the model with safetensors, or convert it yourself."
        )
    return found


PICKLES = ("*.bin", "*.pt", "*.pth")
_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def parameters_text(count: int) -> str:
    """`270M`, `4.3B`."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return str(count)


def _of(family: Family) -> str:
    return "A base model" if family.name == families.OTHER.name else f"A {family.name} base model"


def _check_code(folder: Path, config: dict[str, Any]) -> None:
    """A model may bring code of its own, which is never run: only what transformers knows is."""
    codes = config.get("auto_map") or {}
    kind = str(config.get("model_type", ""))
    if codes and not _is_known(kind):
        raise FailedPrecondition(
            f"{folder} is a model of the kind {kind!r} that brings its own code (auto_map in its "
            "config.json: "
            f"{', '.join(map(str, list(codes.values())[:2]))}), and code from a model is never "
            "run here. Take a model of a kind that transformers has itself."
        )


def _is_known(kind: str) -> bool:
    """Looks at the library's folders: importing it would import torch."""
    found = importlib.util.find_spec("transformers")
    if found is None or found.origin is None:
        return False
    models = Path(found.origin).parent / "models"
    return any((models / name).is_dir() for name in (kind, kind.removesuffix("_text")) if name)


def _check_quantization(folder: Path, config: dict[str, Any]) -> None:
    if given := config.get("quantization_config"):
        method = given.get("quant_method", "some method") if isinstance(given, dict) else given
        raise FailedPrecondition(
            f"The weights in {folder} are quantised already ({method}). Take the original ones, "
            "and add --quantization nf4 to hold them in 4 bits."
        )


def _tensors(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Name, type and count of numbers of every tensor, from the files' headers."""
    for file in weight_files(folder):
        try:
            with file.open("rb") as opened:
                length = int.from_bytes(opened.read(8), "little")
                if not 0 < length <= min(_MOST_HEADER, file.stat().st_size):
                    raise ValueError("its header is no safetensors header")
                header = json.loads(opened.read(length))
            for name, tensor in header.items():
                if name != "__metadata__":
                    yield name, str(tensor["dtype"]), math.prod(tensor["shape"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FailedPrecondition(
                f"{file.name} in {folder} cannot be read: {error}. Fetch it again."
            ) from error


def _number(given: dict[str, Any], key: str, usual: float, low: float, high: float) -> float:
    found = given.get(key)
    fits = isinstance(found, int | float) and not isinstance(found, bool) and low <= found <= high
    return float(found) if fits and found is not None else usual
