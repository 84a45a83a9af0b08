"""Base models by name and alias: where their weights are and how they like to be tuned."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from kamerton.errors import InvalidArgument, NotFound
from kamerton.types import BaseModel

EMBEDDED = BaseModel(
    name="kamerton-nano-001",
    weights=str(Path(__file__).parents[1] / "models" / "kamerton-nano-001"),
    display_name="Kamerton nano 001",
    description="A tiny Gemma-3-shaped model that ships with Kamerton, for trying and testing.",
    input_token_limit=768,
    output_token_limit=256,
    reference_batch_size=4,
    lora_rank=8,
    lora_alpha=16,
)


class Catalog:
    """The base models of one server."""

    def __init__(self, base_models: tuple[BaseModel, ...] = (EMBEDDED,)) -> None:
        self._by_name = {base_model.name: base_model for base_model in base_models}

    @classmethod
    def of(cls, base_models: str, aliases: str) -> Catalog:
        """From the settings' `name=weights,…` and `alias=name,…`; the embedded one is always in."""
        found = {EMBEDDED.name: EMBEDDED}
        for name, weights in _pairs(base_models, "base_models"):
            found[name] = BaseModel(name=name, weights=weights, display_name=name)
        for alias, name in _pairs(aliases, "aliases"):
            if name not in found:
                raise InvalidArgument(f"aliases: {alias} points to {name}, which is no base model")
            old = found[name]
            found[name] = replace(old, aliases=(*old.aliases, alias))
        return cls(tuple(found.values()))

    def list(self) -> tuple[BaseModel, ...]:
        return tuple(self._by_name.values())

    def find(self, name: str) -> BaseModel:
        """The base model called `name`, or one with an alias that fits. Raises NotFound."""
        if name in self._by_name:
            return self._by_name[name]
        for base_model in self._by_name.values():
            if any(fnmatchcase(name, alias) for alias in base_model.aliases):
                return base_model
        raise NotFound(
            f"models/{name[:200]} is not found for API version v1beta, or is not supported for "
            "generateContent. List the base models with GET /v1beta/models."
        )


def folder(base_model: BaseModel) -> Path:
    """The local folder with the weights, fetched from the Hugging Face hub when need be.

    Raises NotFound when they are neither here nor there.
    """
    return _fetched(base_model, ["*.safetensors", "*.json"])


def tokenizer_folder(base_model: BaseModel) -> Path:
    """The local folder with its tokenizer: `folder`, but no weights are fetched."""
    return _fetched(base_model, ["*.json"])


def _fetched(base_model: BaseModel, patterns: list[str]) -> Path:
    local = Path(base_model.weights).expanduser()
    if local.is_dir():
        return local
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(base_model.weights, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise NotFound(
            f"The weights of {base_model.name} are neither a local folder nor to be had from the "
            "Hugging Face hub. See the server's setting base_models."
        ) from error


def _pairs(text: str, setting: str) -> list[tuple[str, str]]:
    pairs = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        left, equals, right = (part.strip() for part in item.partition("="))
        if not (left and equals and right):
            raise InvalidArgument(f"{setting}: {item!r} should be name=value")
        pairs.append((left, right))
    return pairs
