"""Tuning and answering in this process, without a server: tune(), load(), Model."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from kamerton.card import Card
from kamerton.checking import HOLDOUT, Data, find_base, held_out_places, read_data, refuse_errors
from kamerton.errors import FailedPrecondition, InvalidArgument
from kamerton.findings import Report
from kamerton.folders import is_whole
from kamerton.inference.catalog import EMBEDDED
from kamerton.inference.prompts import Renderer
from kamerton.inference.torch_engine import TorchEngine
from kamerton.inference.weights import LoadedBase
from kamerton.inference.weights import load as load_weights
from kamerton.trackers import Tracker, open_tracker
from kamerton.training import curve
from kamerton.training import hyperparameters as rules
from kamerton.training.checkpoints import read_snapshots
from kamerton.training.examination import Examination
from kamerton.training.outcome import read_outcome
from kamerton.training.train import Limits, train
from kamerton.types import (
    EARLY_STOPPING,
    NO_BUDGET,
    BaseModel,
    Budget,
    Content,
    Diagnosis,
    EarlyStopping,
    GenerationConfig,
    Holdout,
    Hyperparameters,
    Snapshot,
)

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
    stop_reason: str = ""
    """Why the run ended before its last step, and which step was kept."""
    kept_step: int | None = None
    """The step whose weights it has."""
    report: Report | None = None
    """What the checks said about its dataset; not kept by `save`, as what follows."""
    verdict: str = ""
    """The report card in a sentence, or why there is none."""
    card: Card | None = None
    total_steps: int = 0
    """Without an early end; 0 when it is not known, as of one that was loaded."""
    usual_learning_rate: float | None = None
    """What would be used for so many examples if nobody asked for another one."""

    def generate(self, text: str | Sequence[Content], **config: Any) -> str:
        """The answer; `config` is any field of GenerationConfig, by default greedy."""
        return _generate(self.base_model, self.adapter, text, config)

    def diagnose(self) -> Diagnosis:
        """What its loss curve means, and what to try next."""
        chosen = self.hyperparameters
        return curve.diagnose(
            self.snapshots,
            curve.Run(
                epoch_count=chosen.epoch_count,
                batch_size=chosen.batch_size,
                learning_rate=chosen.learning_rate,
                total_steps=self.total_steps,
                default_learning_rate=self.usual_learning_rate,
            ),
        )

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
    data: Data,
    base_model: str = EMBEDDED.name,
    *,
    validation: Data | None = None,
    epoch_count: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    learning_rate_multiplier: float | None = None,
    adapter_size: int | None = None,
    lora_alpha: int | None = None,
    lora_dropout: float | None = None,
    target_modules: Sequence[str] | None = None,
    rslora: bool | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    early_stopping: EarlyStopping = EARLY_STOPPING,
    card_share: float = 0.25,
    holdout: Holdout | None = HOLDOUT,
    allow: Collection[str] = (),
    input_key: str = "",
    output_key: str = "",
    report_to: str = "",
    on_snapshot: Callable[[Snapshot], bool] = lambda snapshot: True,
) -> Model:
    """Tune a base model on a file or on rows, with the same checks and training as the server's.

    `base_model` is a name of the catalog, a local folder or a Hugging Face hub id. A share of the
    examples is held out and measured with, unless there are `validation` data or `holdout` is
    None. `adapter_size` is the rank of the adapter, `target_modules` are ends of the names of the
    layers that get one, by default every linear layer but the head. `on_snapshot` sees every step
    and answers whether to go on. `report_to` is a tracker that gets every step as well:
    `tensorboard` (event files in `runs`), `wandb`, `mlflow`, `trackio`.
    After the run `card_share` of its time goes into its report card; 0 makes none.
    Raises InvalidArgument naming every bad row, and every hyperparameter out of range;
    FailedPrecondition, for example when the base model has no layer of such a name.
    """
    base = find_base(base_model)
    reading = read_data(
        data, base, validation=validation, allow=allow, input_key=input_key, output_key=output_key
    )
    refuse_errors(reading.report)
    places = frozenset(held_out_places(reading, holdout))
    trained = [example for place, example in enumerate(reading.examples) if place not in places]
    held_out = reading.validation or [reading.examples[place] for place in sorted(places)]
    chosen = rules.choose(
        len(reading.examples),
        base,
        epoch_count=epoch_count,
        batch_size=batch_size,
        learning_rate=learning_rate,
        learning_rate_multiplier=learning_rate_multiplier,
        adapter_size=adapter_size,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        target_modules=target_modules,
        rslora=rslora,
        seed=seed,
    )
    tracker = _tracker(report_to, base, chosen) if report_to else None

    def keep(snapshot: Snapshot) -> bool:
        if tracker:
            tracker.log(snapshot)
        return on_snapshot(snapshot)

    directory = Path(tempfile.mkdtemp(prefix="kamerton-"))
    loaded = _for_training(base)
    examination = Examination(loaded, trained, held_out, directory, card_share)
    try:
        examination.before()
        adapter = train(
            base,
            trained,
            chosen,
            directory,
            keep,
            loaded=loaded,
            held_out=held_out,
            limits=Limits(budget or NO_BUDGET, early_stopping),
        )
        card, verdict = examination.after(adapter)
    except BaseException:
        shutil.rmtree(directory)
        raise
    finally:
        if tracker:
            tracker.close()
    outcome = read_outcome(adapter)
    model = Model(
        base,
        adapter,
        chosen,
        tuple(read_snapshots(adapter)),  # Of several processes only the first is told of steps.
        outcome.stop_reason,
        outcome.kept_step,
        reading.report,
        verdict,
        card,
        rules.total_steps(len(trained), chosen),
        rules.choose(len(reading.examples), base).learning_rate,
    )
    # Until it is saved, its weights live as long as it does.
    weakref.finalize(model, shutil.rmtree, directory, ignore_errors=True)
    return model


def _tracker(kind: str, base: BaseModel, chosen: Hyperparameters) -> Tracker:
    name = f"{base.name.split('/')[-1]}-{datetime.now():%Y%m%d-%H%M%S}"
    told = {**asdict(chosen), "target_modules": ",".join(chosen.target_modules)}
    return open_tracker(kind, name, {"base_model": base.name, **told}, Path("runs"))


def load(folder: str | Path) -> Model:
    """A model that `Model.save` wrote. Raises FailedPrecondition when it is damaged."""
    folder = Path(folder)
    if not is_whole(folder) or not (folder / FACTS).exists():
        raise FailedPrecondition(f"{folder} holds no whole model saved by Kamerton.")
    facts = json.loads((folder / FACTS).read_text())
    outcome = read_outcome(folder)
    return Model(
        find_base(facts["base_model"]),
        folder,
        msgspec.convert(facts["hyperparameters"], Hyperparameters),
        tuple(read_snapshots(folder)),
        outcome.stop_reason,
        outcome.kept_step,
    )


def generate(base_model: str, text: str | Sequence[Content], **config: Any) -> str:
    """The answer of an untuned base model."""
    return _generate(find_base(base_model), None, text, config)


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
