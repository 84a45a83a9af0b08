"""Pretraining: batches from the corpus, Muon and AdamW, checkpoints to go on from."""

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from recipes.kamerton_nano_001 import corpus
from recipes.kamerton_nano_001.model import Nano, Shape
from recipes.kamerton_nano_001.tokenizer import PAD

LONGEST = 320
CHUNK = 16_000
BATCH_TOKENS = 4096
ROUNDING = 8


@dataclass(frozen=True)
class Plan:
    """What a run is asked to do."""

    seed: int
    tokens: int
    directory: Path
    device: str = "cpu"
    rate: float = 4e-3
    warmup_steps: int = 60
    decay_share: float = 0.5
    checkpoints: int = 10


@dataclass(frozen=True)
class Batch:
    """Right-padded tokens, and the flat positions whose successors are learned."""

    tokens: Tensor
    positions: Tensor
    targets: Tensor
    count: int


Encoded = tuple[list[int], list[bool]]


def encode(tokenizer: Tokenizer, documents: list[corpus.Document]) -> list[Encoded]:
    """Token ids and learned marks of each document that is not too long."""
    texts = [piece.text for document in documents for piece in document]
    codes = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    encoded = []
    for document in documents:
        ids: list[int] = []
        marks: list[bool] = []
        for piece in document:
            piece_ids = next(codes).ids
            ids += piece_ids
            marks += [piece.learned] * len(piece_ids)
        if len(ids) <= LONGEST:
            encoded.append((ids, marks))
    return encoded


def _batch(rows: list[Encoded]) -> Batch:
    length = -(-max(len(ids) for ids, _ in rows) // ROUNDING) * ROUNDING
    tokens = torch.full((len(rows), length), PAD)
    learned = torch.zeros((len(rows), length), dtype=torch.bool)
    for row, (ids, marks) in enumerate(rows):
        tokens[row, : len(ids)] = torch.tensor(ids)
        learned[row, : len(ids)] = torch.tensor(marks)
    positions = learned.flatten().nonzero().squeeze(1) - 1
    targets = tokens.flatten()[positions + 1]
    return Batch(tokens, positions, targets, sum(len(ids) for ids, _ in rows))


def batches(tokenizer: Tokenizer, seed: int, first_chunk: int) -> Iterator[tuple[int, Batch]]:
    """Batches of documents of similar length, with the number of their chunk."""
    for chunk in itertools.count(first_chunk):
        documents = list(itertools.islice(corpus.documents(seed, chunk), CHUNK))
        rows = sorted(encode(tokenizer, documents), key=lambda row: len(row[0]))
        groups: list[list[Encoded]] = [[]]
        for row in rows:
            if (len(groups[-1]) + 1) * len(row[0]) > BATCH_TOKENS:
                groups.append([])
            groups[-1].append(row)
        Random(f"{seed}/{chunk}").shuffle(groups)
        for group in groups:
            yield chunk, _batch(group)


class Optimizers:
    """Muon for the matrices, AdamW for the embedding and the norms, one schedule for both."""

    def __init__(self, model: Nano, plan: Plan) -> None:
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            (matrices if name.endswith("_proj.weight") else rest).append(parameter)
        muon = torch.optim.Muon(
            matrices, lr=plan.rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
        )
        adamw = torch.optim.AdamW(rest, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.plan = plan
        self.parameters = matrices + rest
        self.parts: tuple[torch.optim.Optimizer, ...] = (muon, adamw)

    def step(self, step: int, tokens: int) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        rate = self.plan.rate * share_of_rate(self.plan, step, tokens)
        for optimizer in self.parts:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()


def share_of_rate(plan: Plan, step: int, tokens: int) -> float:
    """Warm-up by steps, then constant, then a straight line to zero over the last tokens."""
    left = 1 - tokens / plan.tokens
    return min((step + 1) / plan.warmup_steps, 1.0) * min(left / plan.decay_share, 1.0)


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    tokens: int = 0
    targets: int = 0
    chunk: int = 0
    seconds: float = 0.0


def pretrain(plan: Plan, tokenizer: Tokenizer, shape: Shape) -> tuple[Nano, Progress]:
    """Trains a model, or goes on with the run whose checkpoint lies in the plan's directory."""
    torch.manual_seed(plan.seed)
    model = Nano(shape).to(plan.device)
    optimizers = Optimizers(model, plan)
    progress = _resume(plan, model, optimizers)
    meter = Meter(plan, progress)
    chunk = progress.chunk
    for number, batch in batches(tokenizer, plan.seed, chunk):
        if number != chunk:
            chunk = progress.chunk = number
            _save(plan, model, optimizers, progress)
        if progress.tokens >= plan.tokens:
            break
        loss = _learn(model, batch)
        optimizers.step(progress.step, progress.tokens)
        progress.step += 1
        progress.tokens += batch.count
        progress.targets += len(batch.targets)
        meter.show(loss)
    _save(plan, model, optimizers, progress)
    return model, progress


def _learn(model: Nano, batch: Batch) -> float:
    device = model.device
    logits = model(batch.tokens.to(device), batch.positions.to(device))
    loss = F.cross_entropy(logits, batch.targets.to(device))
    loss.backward()  # type: ignore[no-untyped-call]
    if not math.isfinite(value := loss.item()):
        raise ArithmeticError("the loss is not finite")
    return value


class Meter:
    """Prints percent, loss, speed and time left, and keeps the clock."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self.plan, self.progress = plan, progress
        self.began = time.monotonic() - progress.seconds
        self.losses: list[float] = []

    def show(self, loss: float) -> None:
        progress, plan = self.progress, self.plan
        progress.seconds = time.monotonic() - self.began
        self.losses.append(loss)
        if progress.step % 25 and progress.tokens < plan.tokens:
            return
        speed = progress.tokens / progress.seconds
        left = max(plan.tokens - progress.tokens, 0) / speed / 60
        print(
            f"{progress.tokens / plan.tokens:6.1%}  step {progress.step}"
            f"  loss {sum(self.losses) / len(self.losses):.4f}"
            f"  {speed:,.0f} tokens/s  {left:.1f} min left",
            flush=True,
        )
        self.losses.clear()


def _save(plan: Plan, model: Nano, optimizers: Optimizers, progress: Progress) -> None:
    """Writes the checkpoint whole or not at all; a few are kept along the way."""
    path = plan.directory / "checkpoint.pt"
    state = {
        "model": model.state_dict(),
        "optimizers": [part.state_dict() for part in optimizers.parts],
        "progress": vars(progress),
    }
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
    tenth = progress.tokens * plan.checkpoints // plan.tokens
    kept = plan.directory / f"checkpoint-{tenth:02}.pt"
    if tenth and not kept.exists():
        torch.save(state, kept)


def _resume(plan: Plan, model: Nano, optimizers: Optimizers) -> Progress:
    path = plan.directory / "checkpoint.pt"
    if not path.exists():
        return Progress()
    state = torch.load(path, map_location=plan.device, weights_only=True)
    model.load_state_dict(state["model"])
    for part, saved in zip(optimizers.parts, state["optimizers"], strict=True):
        part.load_state_dict(saved)
    print("going on from the checkpoint", flush=True)
    return Progress(**state["progress"])
