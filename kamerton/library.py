"""Tuning and answering in this process, without a server: tune(), load(), Model."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from kamerton.dataset.formats import check_limits, read_examples
from kamerton.errors import FailedPrecondition, InvalidArgument
from kamerton.folders import is_whole
from kamerton.inference.catalog import EMBEDDED, Catalog
from kamerton.inference.prompts import Renderer
from kamerton.inference.torch_engine import TorchEngine
from kamerton.inference.weights import LoadedBase
from kamerton.inference.weights import load as load_weights
from kamerton.training import hyperparameters as rules
from kamerton.training.train import read_snapshots, train
from kamerton.types import BaseModel, Content, Example, GenerationConfig, Hyperparameters, Snapshot

FACTS = "kamerton.json"
"""What `Model.save` writes beside the adapter and its snapshots."""


@dataclass(frozen=True)
class Model:
    """A tuned model in this process."""

    base_model: BaseModel
    adapter: Path
    """A folder with a stock PEFT adapter."""
    hyperparameters: Hyperparameters
    snapshots: tuple[Snapshot, ...]

    def generate(self, text: str | Sequence[Content], **config: Any) -> str:
        """The answer; `config` is any field of GenerationConfig, by default greedy."""
        return _generate(self.base_model, self.adapter, text, config)

    def save(self, folder: str | Path) -> Path:
        """Copy adapter and facts to a folder, which must not exist yet, for `load`."""
        folder = Path(folder)
        shutil.copytree(self.adapter, folder)
        facts = {
            "base_model": self.base_model.name,
            "hyperparameters": asdict(self.hyperparameters),
        }
        (folder / FACTS).write_text(json.dumps(facts, indent=2, ensure_ascii=False))
        return folder


def tune(
    data: str | Path | Iterable[Mapping[str, Any] | Example],
    base_model: str = EMBEDDED.name,
    *,
    epoch_count: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    learning_rate_multiplier: float | None = None,
    seed: int = 0,
    on_snapshot: Callable[[Snapshot], bool] = lambda snapshot: True,
) -> Model:
    """Tune a base model on a file or on rows, with the same training as the server's.

    `base_model` is a name of the catalog, a local folder or a Hugging Face hub id. `on_snapshot`
    sees every step and answers whether to go on. Raises InvalidArgument naming every bad row.
    """
    examples = _examples(data)
    base = find_base(base_model)
    if violations := check_limits(examples):
        raise InvalidArgument.all_of(violations)
    chosen = rules.choose(
        len(examples),
        base,
        epoch_count=epoch_count,
        batch_size=batch_size,
        learning_rate=learning_rate,
        learning_rate_multiplier=learning_rate_multiplier,
        seed=seed,
    )
    snapshots: list[Snapshot] = []

    def keep(snapshot: Snapshot) -> bool:
        snapshots.append(snapshot)
        return on_snapshot(snapshot)

    directory = Path(tempfile.mkdtemp(prefix="kamerton-"))
    try:
        adapter = train(base, examples, chosen, directory, keep, loaded=_for_training(base))
    except BaseException:
        shutil.rmtree(directory)
        raise
    model = Model(base, adapter, chosen, tuple(snapshots))
    # Until it is saved, its weights live as long as it does.
    weakref.finalize(model, shutil.rmtree, directory, ignore_errors=True)
    return model


def load(folder: str | Path) -> Model:
    """A model that `Model.save` wrote. Raises FailedPrecondition when it is damaged."""
    folder = Path(folder)
    if not is_whole(folder) or not (folder / FACTS).exists():
        raise FailedPrecondition(f"{folder} holds no whole model saved by Kamerton.")
    facts = json.loads((folder / FACTS).read_text())
    return Model(
        find_base(facts["base_model"]),
        folder,
        Hyperparameters(**facts["hyperparameters"]),
        tuple(read_snapshots(folder)),
    )


def generate(base_model: str, text: str | Sequence[Content], **config: Any) -> str:
    """The answer of an untuned base model."""
    return _generate(find_base(base_model), None, text, config)


def find_base(name: str) -> BaseModel:
    """A base model of the catalog, or any local folder or hub id."""
    if "/" in name or Path(name).is_dir():
        return BaseModel(name=name, weights=name)
    return Catalog().find(name)


def _examples(data: str | Path | Iterable[Mapping[str, Any] | Example]) -> list[Example]:
    if isinstance(data, str | Path):
        return read_examples(Path(data))
    rows = list(data)
    ready = [row for row in rows if isinstance(row, Example)]
    if not ready:
        return read_examples([row for row in rows if not isinstance(row, Example)])
    if len(ready) < len(rows):
        raise InvalidArgument.of("data", "holds both rows and Examples; give one kind")
    return ready


def _generate(
    base: BaseModel, adapter: Path | None, text: str | Sequence[Content], config: dict[str, Any]
) -> str:
    contents = [Content("user", text)] if isinstance(text, str) else list(text)
    prompt = _for_serving(base).prompt(contents)
    asked = GenerationConfig(**{"temperature": 0.0, **config})
    _check(asked)
    room = min(
        asked.max_output_tokens or base.output_token_limit, base.context_tokens - len(prompt)
    )
    if room < 1:
        raise InvalidArgument.of("text", f"{len(prompt)} tokens leave no room for an answer")
    chunks = _engine().generate(base, adapter, prompt, replace(asked, max_output_tokens=room))
    return "".join(chunk.text for chunk in chunks if chunk.candidate == 0)


def _check(config: GenerationConfig) -> None:
    ranges: dict[str, tuple[float | None, float, float]] = {
        "temperature": (config.temperature, 0.0, 2.0),
        "top_p": (config.top_p, 0.0, 1.0),
        "top_k": (config.top_k, 0, 2**31 - 1),
        "candidate_count": (config.candidate_count, 1, 1),
    }
    for name, (value, low, high) in ranges.items():
        if value is not None and not low <= value <= high:
            raise InvalidArgument.of(name, f"must be from {low:g} to {high:g}")


@lru_cache(maxsize=1)
def _engine() -> TorchEngine:
    return TorchEngine()


@lru_cache(maxsize=1)
def _for_training(base: BaseModel) -> LoadedBase:
    return load_weights(base)


def _for_serving(base: BaseModel) -> Renderer:
    return _engine().warm(base).renderer
