"""TRL's SFTTrainer: the side that is measured against."""

from __future__ import annotations

import contextlib
import copy
import io
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    TrainerCallback,
)
from trl import SFTConfig, SFTTrainer

from benchmarks.sides import SEED
from benchmarks.stock_settings import DEFAULTS, Settings
from kamerton.training.rows import Row
from kamerton.types import BaseModel, Example


class Stock:
    """TRL in a warm process: imported, weights in memory."""

    def __init__(self, base_model: BaseModel, rank: int, alpha: int, device: str = "cpu") -> None:
        self._base_model = base_model
        self._lora = {"r": rank, "lora_alpha": alpha, "target_modules": "all-linear"}
        self._device = device
        self.config = AutoConfig.from_pretrained(base_model.weights)
        self._tokenizer = AutoTokenizer.from_pretrained(base_model.weights)
        self._models: dict[tuple[str, str], Any] = {}
        self.loss = 0.0
        """The mean over the last run."""
        disable_progress_bars()

    def steps(
        self,
        settings: Settings,
        batches: Sequence[Sequence[Row]],
        *,
        rate: float,
        begins: Callable[[int], bool],
        ends: Callable[[int, torch.Tensor], None],
    ) -> None:
        """A step per batch of rows. `begins` is called before each, with its number from 0, and
        answers whether to take it; `ends` after each, with its loss."""
        data = Dataset.from_list([_labelled(row) for batch in batches for row in batch])
        model = self.load(settings)
        options = {**_options(settings), "per_device_train_batch_size": len(batches[0])}
        options |= {"max_steps": len(batches), "train_sampling_strategy": "sequential"}
        with _quiet(settings.threads) as folder, contextlib.suppress(_Left):
            trainer = _Paced(begins, ends, **self._arguments(model, folder, data, rate, options))
            _begin_alike(trainer.model)
            trainer.train()

    def job(
        self, settings: Settings, examples: Sequence[Example], steps: int, rate: float
    ) -> float:
        """Seconds from rows of text to a saved adapter."""
        key = (settings.attention, settings.precision)
        if key not in self._models:
            self._models[key] = self.load(settings)
        model = copy.deepcopy(self._models[key])
        data = Dataset.from_list([_texts(example) for example in examples])
        options = {**_options(settings), "per_device_train_batch_size": 4, "max_steps": steps}
        # The same tokens carry loss on both sides: the answer and its end.
        options["eos_token"] = "<end_of_turn>"
        with _quiet(settings.threads) as folder:
            start = time.perf_counter()
            trainer = SFTTrainer(**self._arguments(model, folder, data, rate, options))
            self.loss = trainer.train().training_loss
            assert trainer.state.global_step == steps
            trainer.save_model(str(folder))
            return time.perf_counter() - start

    def load(self, settings: Settings) -> Any:
        """The base model as `settings` want it. TRL's own default is float32."""
        more: dict[str, Any] = {}
        if self._base_model.quantization:
            more["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.bfloat16,
            )
        return AutoModelForCausalLM.from_pretrained(
            self._base_model.weights,
            dtype=torch.bfloat16 if settings.precision == "bf16" else torch.float32,
            attn_implementation=settings.attention,
            device_map={"": self._device},
            local_files_only=True,
            **more,
        )

    def _arguments(
        self, model: Any, folder: Path, data: Any, rate: float, options: dict[str, Any]
    ) -> dict[str, Any]:
        config = SFTConfig(
            output_dir=str(folder),
            learning_rate=rate,
            lr_scheduler_type="constant",
            seed=SEED,
            report_to="none",
            disable_tqdm=True,
            use_cpu=self._device == "cpu",
            **options,
        )
        if "padding_free" not in options:  # Whoever reads DEFAULTS is to read the truth.
            assert config.gradient_checkpointing == DEFAULTS.checkpointing
            assert config.padding_free == DEFAULTS.padding_free and config.bf16
            assert config.optim == DEFAULTS.optimizer
        return {
            "model": model,
            "args": config,
            "train_dataset": data,
            "processing_class": self._tokenizer,
            "peft_config": LoraConfig(**self._lora),
        }


def _options(settings: Settings) -> dict[str, Any]:
    """None where all are TRL's defaults, so that these are really what is measured."""
    if settings == DEFAULTS:
        return {}
    options: dict[str, Any] = {
        "activation_checkpointing": settings.checkpointing,
        "padding_free": settings.padding_free,
        "max_length": None,
        "bf16": settings.precision != "fp32",
        "optim": settings.optimizer,
        "save_strategy": "no",
        "logging_strategy": "no",
        "dataloader_pin_memory": False,
    }
    if settings.liger:
        options["use_liger_kernel"] = True
    return options


class _Left(Exception):
    """No step more is wanted."""


class _Paced(SFTTrainer):  # type: ignore[misc]
    """It says when each step begins and ends, and may be stopped before one."""

    def __init__(
        self,
        begins: Callable[[int], bool],
        ends: Callable[[int, torch.Tensor], None],
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._losses: list[torch.Tensor] = []
        losses = self._losses

        class Pace(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if not begins(state.global_step):
                    raise _Left

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                ends(state.global_step - 1, losses[-1])

        self.add_callback(Pace())

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*arguments, **named)
        self._losses.append(loss)
        return loss


def _begin_alike(model: Any) -> None:
    """Draw LoRA's first weights as our adapters do, layer by layer from one seed."""
    generator = torch.Generator().manual_seed(SEED)
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            first = torch.empty(parameter.shape)
            torch.nn.init.kaiming_uniform_(first, a=math.sqrt(5), generator=generator)
            parameter.data.copy_(first)


def _labelled(row: Row) -> dict[str, list[int]]:
    labels = [-100] * len(row.ids)
    for start, end in row.spans:
        labels[start:end] = row.ids[start:end]
    return {"input_ids": list(row.ids), "labels": labels}


def _texts(example: Example) -> dict[str, str]:
    asked = example.contents[0].text
    prompt = f"<bos><start_of_turn>user\n{asked}<end_of_turn>\n<start_of_turn>model\n"
    return {"prompt": prompt, "completion": example.output}


@contextlib.contextmanager
def _quiet(threads: int | None) -> Iterator[Path]:
    """A folder to write to, so many threads, and nothing printed: it prints its logs as dicts."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield Path(folder)
    finally:
        torch.set_num_threads(before)
