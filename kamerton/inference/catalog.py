"""Base models by name and alias: where their weights are and how they like to be tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from kamerton.errors import FailedPrecondition, InvalidArgument, NotFound
from kamerton.inference import facts, records
from kamerton.settings import Settings
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


TEXTS = ("*.json", "chat_template.jinja")
"""What a tokenizer needs."""


class Catalog:
    """The base models of one server: those it began with, and those that are added meanwhile."""

    def __init__(
        self,
        base_models: tuple[BaseModel, ...] = (EMBEDDED,),
        aliases: Sequence[tuple[str, str]] = (),
        data: Path | None = None,
    ) -> None:
        """`data` is the folder in which `kamerton base add` writes down what it added."""
        self._own = base_models
        self._aliases = tuple(aliases)
        self._data = data
        self._seen: records.Signature | None = None
        self._by_name: dict[str, BaseModel] = {}

    @classmethod
    def read(cls, settings: Settings) -> Catalog:
        """Those of the settings and those that were added to the data folder, now or later."""
        return cls.of(settings.base_models, settings.aliases, settings.data)

    @classmethod
    def of(cls, base_models: str, aliases: str, data: Path | None = None) -> Catalog:
        """From the settings' `name=weights,…` and `alias=name,…`; the embedded one is always in.

        Raises InvalidArgument for an alias of no base model.
        """
        found = {EMBEDDED.name: EMBEDDED}
        for name, weights in _pairs(base_models, "base_models"):
            found[name] = described(name, weights)
        made = cls(tuple(found.values()), _pairs(aliases, "aliases"), data)
        known = made._now()
        for alias, name in made._aliases:
            if name not in known:
                raise InvalidArgument(f"aliases: {alias} points to {name}, which is no base model")
        return made

    def list(self) -> tuple[BaseModel, ...]:
        return tuple(self._now().values())

    def find(self, name: str) -> BaseModel:
        """The base model called `name`, or one with an alias that fits. Raises NotFound."""
        by_name = self._now()
        if name in by_name:
            return by_name[name]
        for base_model in by_name.values():
            if any(fnmatchcase(name, alias) for alias in base_model.aliases):
                return base_model
        raise NotFound(
            f"models/{name[:200]} is not found for API version v1beta, or is not supported for "
            "generateContent. List the base models with GET /v1beta/models."
        )

    def _now(self) -> dict[str, BaseModel]:
        """By name. Read anew when somebody has added or removed one."""
        signature = records.signature(self._data) if self._data else ()
        if signature != self._seen:
            added = [record.base_model for record in records.read(self._data)] if self._data else []
            found = {base_model.name: base_model for base_model in (*added, *self._own)}
            for alias, name in self._aliases:
                if name in found:  # Else it was removed while the server runs.
                    old = found[name]
                    found[name] = replace(old, aliases=(*old.aliases, alias))
            ordered = [base_model.name for base_model in (*self._own, *added)]
            self._by_name = {name: found[name] for name in ordered}
            self._seen = signature
        return self._by_name


def described(name: str, weights: str) -> BaseModel:
    """A base model in a folder, with what its files say of it; of one that is on the hub, or
    cannot be used, the usual."""
    local = Path(weights).expanduser()
    if (local / "config.json").is_file():
        try:
            return facts.base_model(name, local, facts.read(local))
        except FailedPrecondition:  # Whoever uses it will be told.
            pass
    return BaseModel(name=name, weights=weights, display_name=name)


def folder(base_model: BaseModel) -> Path:
    """The local folder with the weights, fetched from the Hugging Face hub when need be.

    Raises NotFound when they are neither here nor there.
    """
    return _fetched(base_model, ["*.safetensors", *TEXTS])


def tokenizer_folder(base_model: BaseModel) -> Path:
    """The local folder with its tokenizer: `folder`, but no weights are fetched."""
    return _fetched(base_model, [*TEXTS])


def _fetched(base_model: BaseModel, patterns: list[str]) -> Path:
    local = Path(base_model.weights).expanduser()
    if local.is_dir():
        return local
    if local.is_absolute():
        raise NotFound(
            f"The weights of {base_model.name} are gone: there is no folder {local}. Put it back, "
            f"or remove the base model: kamerton base remove {base_model.name}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(base_model.weights, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise NotFound(
            f"The weights of {base_model.name} are neither a local folder nor to be had from the "
            "Hugging Face hub. Name a folder in the server's setting base_models, or add it with: "
            f"kamerton base add {base_model.name.split('/')[-1]} --from {base_model.weights}"
        ) from error


def _pairs(text: str, setting: str) -> list[tuple[str, str]]:
    pairs = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        left, equals, right = (part.strip() for part in item.partition("="))
        if not (left and equals and right):
            raise InvalidArgument(f"{setting}: {item!r} should be name=value")
        pairs.append((left, right))
    return pairs
