"""Whether a base model works here: it renders, answers, is tuned for three steps and reloads."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from kamerton.errors import KamertonError
from kamerton.inference import catalog, weights
from kamerton.inference.facts import parameters_text
from kamerton.inference.prompts import NO_TOKEN, Renderer
from kamerton.inference.torch_engine import TorchEngine
from kamerton.inference.weights import LoadedBase
from kamerton.training.adapter import Adapter
from kamerton.training.rows import encode_all
from kamerton.training.together import Together
from kamerton.training.train import train
from kamerton.types import BaseModel, Content, Example, GenerationConfig, Hyperparameters, Snapshot

EXAMPLES = (
    Example.pair("What comes after seven?", "eight"),
    Example.pair("Name the colour of snow.", "It is white."),
    Example((Content("system", "Answer in French."), Content("user", "Good day!")), "Bonjour !"),
)
STEPS = 3
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-3}
"""Between the loss of rows on one axis and of the same rows alone, as a share of it."""
MOST_TOKENS = 16
"""Of an answer that is asked for."""
CHAT = (
    Content("system", "Be brief."),
    Content("user", "One?"),
    Content("model", "Two."),
    Content("user", "Three?"),
)


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    is_good: bool
    detail: str
    """What was seen, or what is wrong and what to do."""
    seconds: float


class _Failed(Exception):
    """Something is not as it should be, in words."""


def run(
    base_model: BaseModel, damaged: Callable[[], Iterable[str]], device: str = "auto"
) -> Iterator[Check]:
    """One check after another; after the first that fails, no more. `damaged` tells which of its
    files are not what they were."""

    def files() -> str:
        folder = catalog.folder(base_model)
        weights.check_hashes(folder)
        if wrong := list(damaged()):
            raise _Failed(f"{'; '.join(wrong)}: fetch them again, or remove the base model")
        return f"in {folder}"

    def renders() -> str:
        return _renders(Renderer.load(catalog.tokenizer_folder(base_model)))

    loaded: list[LoadedBase] = []

    def loads() -> str:
        loaded.append(weights.load(base_model, device))
        model = loaded[0].model
        kind = base_model.quantization or str(model.dtype).removeprefix("torch.")
        held = parameters_text(int(model.get_memory_footprint()))
        return f"{kind} on {loaded[0].device}, {held} bytes"

    checks: Sequence[tuple[str, Callable[[], str]]] = (
        ("files", files),
        ("renders", renders),
        ("loads", loads),
        ("answers", lambda: _answers(loaded[0])),
        ("packs", lambda: _packs(loaded[0])),
        ("tunes", lambda: _tunes(loaded[0])),
    )
    for name, check in checks:
        start = time.monotonic()
        try:
            is_good, detail = True, check()
        except _Failed as error:
            is_good, detail = False, str(error)
        except KamertonError as error:
            is_good, detail = False, error.message
        yield Check(name, is_good, detail, time.monotonic() - start)
        if not is_good:
            return


def _renders(renderer: Renderer) -> str:
    """One BOS at most, the answer goes on where the prompt ends, and its end is learned."""
    expected = 0 if renderer.bos == NO_TOKEN else 1
    for contents in (CHAT[1:2], CHAT[:2], CHAT):
        prompt = renderer.prompt(contents)
        if prompt.count(renderer.bos) != expected or (expected and prompt[0] != renderer.bos):
            raise _Failed(
                f"a prompt of {len(contents)} turns has {prompt.count(renderer.bos)} BOS and "
                f"should have {expected}, in front"
            )
        ((ids, spans),) = renderer.examples([Example(tuple(contents), "Four.")])
        start, end = spans[-1]
        if ids[:start] != prompt or ids[end - 1] != renderer.end_of_turn or end != len(ids):
            raise _Failed("an example is not its prompt, its answer and the mark that ends it")
        if renderer.end_of_turn not in renderer.stops:
            raise _Failed("what ends an answer in training does not end it in serving")
        if (text := renderer.text(ids[start : end - 1])) != "Four.":
            raise _Failed(f"an answer reads back as {text!r} instead of 'Four.'")
    bos = renderer.token(renderer.bos) if expected else "no BOS"
    return f"{bos}, answers end with {renderer.token(renderer.end_of_turn)}"


def _answers(loaded: LoadedBase, adapter: Path | None = None) -> str:
    """Greedily, from the first example's prompt."""
    prompt = loaded.renderer.prompt(EXAMPLES[0].contents)
    config = GenerationConfig(temperature=0.0, max_output_tokens=MOST_TOKENS)
    with closing(TorchEngine(loaded=loaded)) as engine:
        chunks = list(engine.generate(loaded.base_model, adapter, prompt, config))
    if not chunks or chunks[-1].finish_reason is None:
        raise _Failed("it was asked and no answer came to an end")
    return f"{chunks[-1].output_tokens} tokens"


def _packs(loaded: LoadedBase) -> str:
    """Rows on one axis have the losses that they have alone: none sees another."""
    rows = encode_all(loaded.renderer, EXAMPLES, loaded.base_model.context_tokens)
    adapter = Adapter(loaded, _hyperparameters(loaded.base_model))
    together = Together(loaded)
    whole = together.loss(adapter, rows)
    learned = [row.learned for row in rows]
    alone = [together.loss(adapter, [row]) for row in rows]
    mean = sum(n * loss for n, loss in zip(learned, alone, strict=True)) / sum(learned)
    apart = abs(whole - mean) / abs(mean)
    allowed = TOLERANCE[loaded.model.dtype]
    if not apart <= allowed:
        raise _Failed(
            f"the loss of {len(rows)} rows on one axis is {whole:.6g}, and {mean:.6g} alone: "
            f"{apart:.2g} apart, {allowed:g} is allowed. Models of this kind cannot be tuned here"
        )
    return f"{apart:.1g} apart"


def _tunes(loaded: LoadedBase) -> str:
    """The loss is finite and falls; the adapter reloads and answers as in training, which `train`
    itself makes sure of."""
    snapshots: list[Snapshot] = []

    def keep(snapshot: Snapshot) -> bool:
        snapshots.append(snapshot)
        return True

    with tempfile.TemporaryDirectory() as directory:
        adapter = train(
            loaded.base_model,
            EXAMPLES,
            _hyperparameters(loaded.base_model),
            Path(directory),
            keep,
            loaded=loaded,
        )
        answered = _answers(loaded, adapter)
    first, last = snapshots[0].mean_loss, snapshots[-1].mean_loss
    if not (math.isfinite(last) and last < first):
        raise _Failed(f"the loss did not fall in {STEPS} steps: {first:.4g} to {last:.4g}")
    return f"loss {first:.4g} to {last:.4g} in {STEPS} steps; reloaded, {answered}"


def _hyperparameters(base_model: BaseModel) -> Hyperparameters:
    """Every step takes all examples."""
    return Hyperparameters(
        epoch_count=STEPS,
        batch_size=len(EXAMPLES),
        learning_rate=base_model.learning_rate,
        peak_learning_rate=base_model.learning_rate,
        lora_rank=base_model.lora_rank,
        lora_alpha=base_model.lora_alpha,
    )
