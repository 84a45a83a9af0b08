"""The gate before a base ships, run through the product's own training and engine.

`python -m recipes.kamerton_nano_001.gate` prints a table, with `--card` pastes it into the model's
card, and ends with status 1 when the base falls short.
"""

import argparse
import os
import queue
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("RAYON_NUM_THREADS", "1")

import torch

from kamerton.dataset.tutorial import PAIRS, UNSEEN
from kamerton.errors import KamertonError
from kamerton.inference import weights
from kamerton.inference.catalog import EMBEDDED
from kamerton.inference.torch_engine import Request, TorchEngine
from kamerton.training.hyperparameters import choose
from kamerton.training.train import train
from kamerton.types import BaseModel, Chunk, Content, Example, GenerationConfig
from recipes.kamerton_nano_001 import card
from recipes.kamerton_nano_001.heldout import (
    Pair,
    TestSet,
    number_sets,
    transaction_logs,
)

SHORT_SETS = ("digits 0-9999", "English 0-99", "Roman 1-100", "Japanese 1-99", "Russian 0-999")
SHOWN = [PAIRS[place] for place in (0, 2, 3, 5, 7, 8, 11)]
"""The seven examples that the untuned base gets in its prompt."""


class Judge:
    """Tunes and asks one base model."""

    def __init__(self, base_model: BaseModel, directory: Path) -> None:
        self.base_model = base_model
        self._directory = directory
        self._loaded = weights.load(base_model)
        self._engine = TorchEngine()
        self._count = 0

    def tune(
        self, pairs: Sequence[Pair], seed: int, batch_size: int = 4, epoch_count: int = 5
    ) -> Path:
        """The adapter that the product trains on these pairs at the tutorial's learning rate."""
        self._count += 1
        directory = self._directory / str(self._count)
        directory.mkdir()
        return train(
            self.base_model,
            [Example.pair(*pair) for pair in pairs],
            choose(
                len(pairs),
                self.base_model,
                epoch_count=epoch_count,
                batch_size=batch_size,
                learning_rate=0.001,
                seed=seed,
            ),
            directory,
            lambda snapshot: True,
            loaded=self._loaded,
        )

    def answers(self, texts: Sequence[str], adapter: Path | None = None) -> list[str]:
        """Greedy answers; all requests wait together, so the engine batches them."""
        config = GenerationConfig(temperature=0.0, max_output_tokens=48)
        done: queue.SimpleQueue[tuple[int, KamertonError | None]] = queue.SimpleQueue()
        written = [""] * len(texts)

        def receiver(place: int) -> Callable[[Chunk | KamertonError | None], None]:
            def receive(chunk: Chunk | KamertonError | None) -> None:
                if isinstance(chunk, Chunk):
                    written[place] += chunk.text
                else:
                    done.put((place, chunk))

            return receive

        for place in sorted(range(len(texts)), key=lambda place: len(texts[place])):
            prompt = self._loaded.renderer.prompt([Content("user", texts[place])])
            self._engine.submit(Request(self.base_model, adapter, prompt, config, receiver(place)))
        for _ in texts:
            _, failure = done.get()
            if failure is not None:
                raise failure
        return [text.strip() for text in written]

    def scores(
        self,
        sets: Sequence[TestSet],
        adapter: Path | None = None,
        ask: Callable[[str], str] = str,
    ) -> list[float]:
        """Percent of whole answers that are right, per set."""
        texts = [ask(question) for tested in sets for question, _ in tested.pairs]
        answers = iter(self.answers(texts, adapter))
        return [
            100 * sum(next(answers) == answer for _, answer in tested.pairs) / len(tested.pairs)
            for tested in sets
        ]

    def close(self) -> None:
        self._engine.close()


def with_examples(question: str) -> str:
    """The prompt of a service that falls back on its base model."""
    shown = "\n".join(f"{given} -> {answer}" for given, answer in SHOWN)
    return f"Следуй примерам ниже:\n\n{shown}\n\nЗадание: {question}"


def in_words(question: str) -> str:
    return f"What comes after {question}?"


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@dataclass(frozen=True)
class Column:
    """One way to use the base, and its score on every set."""

    title: str
    scores: list[float]


@dataclass(frozen=True)
class Check:
    """One demand on the base."""

    demand: str
    found: str
    passed: bool


@dataclass(frozen=True)
class Report:
    """What the gate found."""

    sets: Sequence[TestSet]
    columns: Sequence[Column]
    checks: Sequence[Check]
    seconds: float

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def markdown(self) -> str:
        head = ["held-out set", *(column.title for column in self.columns)]
        rows = [
            [tested.name, *(f"{column.scores[place]:.0f}" for column in self.columns)]
            for place, tested in enumerate(self.sets)
        ]
        rows.append(["**mean**", *(f"**{mean(column.scores):.1f}**" for column in self.columns)])
        demands = [[c.demand, c.found, "passed" if c.passed else "FAILED"] for c in self.checks]
        return (
            f"{_table(head, rows)}\n\n{_table(['demand', 'found', ''], demands)}\n\n"
            f"Percent of exactly right answers, greedy decoding; {self.seconds:.0f} s on one core."
        )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def probes(judge: Judge, adapters: Sequence[Path], title: str, pairs: Sequence[Pair]) -> Check:
    """Whether every tuned model gives every one of these answers."""
    wrong = []
    for adapter in adapters:
        answers = judge.answers([question for question, _ in pairs], adapter)
        wrong += [
            f"{question} -> {answer}"
            for (question, right), answer in zip(pairs, answers, strict=True)
            if answer != right
        ]
    asked = ", ".join(f"{question} -> {answer}" for question, answer in pairs)
    found = "; ".join(wrong) or f"all of {len(adapters)} seeds"
    return Check(f"{title}: {asked}", found, not wrong)


def at_least(demand: str, found: float, least: float) -> Check:
    return Check(f"{demand} at least {least:g} %", f"{found:.1f}", found >= least)


def leak(sets: Sequence[TestSet], scores: Sequence[float]) -> Check:
    """The untuned base must not do the task by itself."""
    worst = max(zip(scores, (tested.name for tested in sets), strict=True))
    return Check(
        "untuned, bare input: at most 2 % per set", f"{worst[0]:.1f} ({worst[1]})", worst[0] <= 2
    )


def judge_numbers(judge: Judge, short: bool) -> tuple[Sequence[TestSet], list[Column], list[Check]]:
    """The tutorial's fifteen examples at both of its batch sizes."""
    sets = [s for s in number_sets(30) if not short or s.name in SHORT_SETS]
    many = [s for s in number_sets(100) if not short or s.name in SHORT_SETS]
    if short:
        many = [replace(tested, pairs=tested.pairs[:50]) for tested in many]
    columns = [Column("base, bare", judge.scores(many))]
    checks = [leak(many, columns[0].scores)]
    if not short:
        columns.append(
            Column("base, 7 examples in the prompt", judge.scores(sets, None, with_examples))
        )
        columns.append(Column("base, 'What comes after X?'", judge.scores(sets, None, in_words)))
        checks.append(at_least("untuned, with examples: mean", mean(columns[1].scores), 75))
    for batch_size in (4, 2):
        seeds = range(1 if short else 3)
        adapters = [judge.tune(PAIRS, seed, batch_size) for seed in seeds]
        runs = [judge.scores(sets, adapter) for adapter in adapters]
        scores = [mean(of_set) for of_set in zip(*runs, strict=True)]
        title = f"tuned, batch {batch_size}"
        columns.append(Column(title, scores))
        asked = UNSEEN if batch_size == 4 else UNSEEN[:2]
        checks.append(probes(judge, adapters, title, asked))
        by_name = {tested.name: score for tested, score in zip(sets, scores, strict=True)}
        for name in ("Roman 1-100", "Japanese 1-99"):
            checks.append(at_least(f"{title}: {name}", by_name[name], 90))
        checks.append(at_least(f"{title}: mean of {len(sets)} sets", mean(scores), 90))
    return sets, columns, checks


def judge_logs(judge: Judge) -> list[Check]:
    """Two hundred transaction logs with Russian labels, judged on three hundred others."""
    known, others = transaction_logs(200, seed=1), [TestSet("", tuple(transaction_logs(300, 2)))]
    checks = []
    for epoch_count, least in ((3, 96), (2, 94)):
        adapter = judge.tune(known, seed=0, epoch_count=epoch_count)
        (score,) = judge.scores(others, adapter)
        checks.append(at_least(f"200 transaction logs, {epoch_count} epochs:", score, least))
    return checks


def run(base_model: BaseModel, short: bool) -> Report:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kamerton-gate-") as directory:
        judge = Judge(base_model, Path(directory))
        try:
            sets, columns, checks = judge_numbers(judge, short)
            if not short:
                checks += judge_logs(judge)
        finally:
            judge.close()
    return Report(sets, columns, checks, time.monotonic() - began)


def main() -> int:
    parser = argparse.ArgumentParser(prog="recipes.kamerton_nano_001.gate")
    parser.add_argument("--short", action="store_true", help="one seed, few sets, no logs")
    parser.add_argument("--model", type=Path, default=Path(EMBEDDED.weights))
    parser.add_argument("--card", action="store_true", help="paste the table into the card")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report = run(replace(EMBEDDED, weights=str(options.model)), options.short)
    print(report.markdown())
    if options.card and not options.short:
        card.paste(options.model, "gate", report.markdown())
    print("The base passes the gate." if report.passed else "The base FAILS the gate.")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
