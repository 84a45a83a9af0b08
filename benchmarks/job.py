"""The tutorial's job of fifteen pairs: create to ACTIVE on a warm server, against warm TRL."""

from __future__ import annotations

import contextlib
import copy
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer

from kamerton.dataset.tutorial import EXAMPLES
from kamerton.inference.catalog import EMBEDDED
from tests.loop.server import Server

ROUNDS = 5
STEPS = 19


def measure(server: Server, console: Console) -> None:
    """Print median seconds and ratios, and how soon the first loss could be seen."""
    stock = Stock()
    console.print("Looking for TRL's fastest settings for this job ...")
    candidates = [
        {"attention": attention, "padding_free": free, "bf16": bf16, "threads": threads}
        for attention, free, bf16, threads in product(
            ("sdpa", "eager"), (False, True), (False, True), (1, torch.get_num_threads())
        )
    ]
    times: dict[int, float] = {}
    for number, settings in enumerate(candidates):
        stock.best(settings)  # Once to warm up.
        times[number] = min(stock.best(settings) for _ in range(2))
    best = candidates[min(times, key=lambda number: times[number])]
    stock.default()
    tune(server)

    sides: dict[str, Callable[[], float]] = {
        "Kamerton, create to ACTIVE over HTTP": lambda: tune(server)[0],
        "TRL SFTTrainer, its defaults": stock.default,
        f"TRL SFTTrainer, best of {len(candidates)} settings": lambda: stock.best(best),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, run in sides.items():
            seconds[name].append(run())
    first = [tune(server)[1] for _ in range(ROUNDS)]

    table = Table(title=f"15 pairs, {STEPS} steps, warm; {ROUNDS} interleaved rounds")
    for heading in ("", "median s", "min", "max", "times Kamerton"):
        table.add_column(heading, justify="left" if not heading else "right")
    ours = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        middle = statistics.median(values)
        table.add_row(
            name,
            f"{middle:.2f}",
            f"{min(values):.2f}",
            f"{max(values):.2f}",
            f"{middle / ours:.1f}",
        )
    console.print(table)
    console.print(f"TRL's best settings here: {best}")
    console.print(f"Mean loss over the run: Kamerton {loss(server):.3f}, TRL {stock.loss:.3f}")
    console.print(
        f"First loss to be seen on the operation: {statistics.median(first):.2f} s after create "
        f"(worst of {ROUNDS}: {max(first):.2f} s)"
    )


def tune(server: Server) -> tuple[float, float]:
    """Seconds from create to done, and to the first snapshot."""
    start = time.perf_counter()
    operation = server.create(list(EXAMPLES))
    first = 0.0
    while True:
        found = server.get(f"/v1/{operation['name']}").json()
        if not first and "snapshots" in found["metadata"]:
            first = time.perf_counter() - start
        if found.get("done"):
            assert found["metadata"]["completedSteps"] == STEPS, found
            return time.perf_counter() - start, first
        time.sleep(0.01)


def loss(server: Server) -> float:
    """The mean of all steps of one more run."""
    done = server.await_done(server.create(list(EXAMPLES)))
    return statistics.mean(float(s["meanLoss"]) for s in done["metadata"]["snapshots"])


class Stock:
    """TRL in a warm process: imported, weights in memory, only the job itself is timed."""

    def __init__(self) -> None:
        self.loss = 0.0
        self._tokenizer = AutoTokenizer.from_pretrained(EMBEDDED.weights)
        self._models: dict[str, Any] = {
            attention: AutoModelForCausalLM.from_pretrained(
                EMBEDDED.weights, dtype=torch.float32, attn_implementation=attention
            )
            for attention in ("sdpa", "eager")
        }
        self._rows = [
            {
                "prompt": "<bos><start_of_turn>user\n"
                + example.contents[0].text
                + "<end_of_turn>\n<start_of_turn>model\n",
                "completion": example.output,
            }
            for example in EXAMPLES
        ]

    def default(self) -> float:
        return self._run("sdpa", torch.get_num_threads())

    def best(self, settings: dict[str, Any]) -> float:
        return self._run(
            settings["attention"],
            settings["threads"],
            activation_checkpointing=False,
            padding_free=settings["padding_free"],
            max_length=None,
            bf16=settings["bf16"],
            save_strategy="no",
            logging_strategy="no",
            optim="adamw_torch",
            dataloader_pin_memory=False,
        )

    def _run(self, attention: str, threads: int, **settings: Any) -> float:
        """Seconds for rows to a saved adapter, in the same number of steps."""
        from datasets import Dataset, disable_progress_bars
        from peft import LoraConfig
        from trl import SFTConfig, SFTTrainer

        disable_progress_bars()
        model = copy.deepcopy(self._models[attention])
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with (
                tempfile.TemporaryDirectory() as folder,
                warnings.catch_warnings(),
                contextlib.redirect_stdout(io.StringIO()),  # It prints its logs as dicts.
            ):
                warnings.simplefilter("ignore")
                start = time.perf_counter()
                trainer = SFTTrainer(
                    model=model,
                    args=SFTConfig(
                        output_dir=folder,
                        per_device_train_batch_size=4,
                        max_steps=STEPS,
                        learning_rate=0.001,
                        lr_scheduler_type="constant",
                        report_to="none",
                        disable_tqdm=True,
                        use_cpu=True,
                        # The same tokens carry loss on both sides: the answer and its end.
                        eos_token="<end_of_turn>",
                        **settings,
                    ),
                    train_dataset=Dataset.from_list(self._rows),
                    processing_class=self._tokenizer,
                    peft_config=LoraConfig(
                        r=EMBEDDED.lora_rank,
                        lora_alpha=EMBEDDED.lora_alpha,
                        target_modules="all-linear",
                    ),
                )
                self.loss = trainer.train().training_loss
                assert trainer.state.global_step == STEPS
                trainer.save_model(folder)
                return time.perf_counter() - start
        finally:
            torch.set_num_threads(before)
