"""The same run through TRL's SFTTrainer: the yardstick that the lean step is held to, and a way
around it.

Its loop, its batches with padding, its loss, its clipping, its AdamW, on stock PEFT modules in a
base model of its own. Rows, their order, the schedule and LoRA's first weights are the run's; so
are snapshots, measuring, budgets, early stopping and checkpoints, as in `train`. Held-out examples
are measured by the lean step, on the same weights.
"""

from __future__ import annotations

import functools
import math
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from kamerton.errors import FailedPrecondition, Internal, ResourceExhausted
from kamerton.inference import catalog, weights
from kamerton.inference.weights import LoadedBase
from kamerton.interfaces import OnSnapshot
from kamerton.training import train as lean
from kamerton.training.adapter import Adapter
from kamerton.training.checkpoints import MOMENTS
from kamerton.training.hyperparameters import total_steps
from kamerton.training.outcome import Outcome
from kamerton.training.rows import Row, rows_of_step
from kamerton.training.steps import MAX_NORM, learning_rate, not_finite, peak_memory
from kamerton.types import Hyperparameters

try:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer
except ImportError as error:
    raise FailedPrecondition(
        f"This server is set to train with TRL, and {error.name} is not installed: "
        "pip install 'trl>=1.16,<2', or set KAMERTON_TRAINER=lean."
    ) from error

IGNORED = -100
"""Label of what carries no loss."""

_alone = threading.Lock()
"""Trainers share what accelerate keeps for the process."""


class _Run(lean.Run):
    """A run whose gradients and updates are SFTTrainer's."""

    _loop: _Loop | None = None

    def go(self, on_snapshot: OnSnapshot) -> Outcome:
        if self._progress.step >= self._total:
            return super().go(on_snapshot)
        moments = _moments(self._optimizer, self._adapter.flat, self._progress.step)
        with _alone, tempfile.TemporaryDirectory() as folder:
            self._loop = _Loop(
                self._together.loaded,
                self._adapter,
                self._rows,
                self._hyperparameters,
                self._progress.step,
                moments,
                Path(folder),
            )
            self._optimizer = _Handed(self._adapter.flat, self._loop)
            with self._loop:
                return super().go(on_snapshot)

    def _add_gradients(self, chosen: list[Row], step: int) -> float:
        assert self._loop is not None
        try:
            loss = self._loop.ask()
        except Exception as error:
            if not weights.is_out_of_memory(error):
                raise
            longest = max(len(row.ids) for row in chosen)
            used = peak_memory(self._device) / 1e9
            raise ResourceExhausted(
                f"TRL has no memory for a batch of {len(chosen)} rows, the longest of {longest} "
                f"tokens, at step {step}; {used:.1f} GB were in use. Use smaller batches, shorten "
                "the longest examples, or train with KAMERTON_TRAINER=lean."
            ).at("OUT_OF_MEMORY", step=step) from error
        if not math.isfinite(loss):
            raise not_finite("loss", loss, step)
        return loss


train = functools.partial(lean.train, kind=_Run)
"""As `train.train`, which also says what it raises; only a batch that does not fit the memory is
not taken in parts, but ends the run with ResourceExhausted."""


class _Handed(torch.optim.AdamW):
    """An optimizer whose step another one takes, on the same memory."""

    def __init__(self, flat: torch.nn.Parameter, loop: _Loop) -> None:
        super().__init__([flat], weight_decay=0.0)
        self._loop = loop

    def step(self, closure: Any = None) -> Any:
        self._loop.ask()


def _moments(
    optimizer: torch.optim.AdamW, flat: torch.nn.Parameter, done: int
) -> Mapping[str, Tensor]:
    """AdamW's, of all weights in one, by their names; where `optimizer`, which checkpoints look at,
    has none yet, they are zero."""
    if flat not in optimizer.state:
        zeros: dict[str, Any] = {moment: torch.zeros_like(flat) for moment in MOMENTS}
        optimizer.state[flat] = {"step": torch.tensor(float(done)), **zeros}
    return {moment: optimizer.state[flat][moment] for moment in MOMENTS}


class _Left(Exception):
    """The run wants no step more."""


class _Loop:
    """SFTTrainer's loop in a thread of its own; a run asks it for gradients, then for the update
    by them, and so on. Its adapter's weights and moments are those of the run, not copies."""

    def __init__(
        self,
        loaded: LoadedBase,
        adapter: Adapter,
        rows: Sequence[Row],
        hyperparameters: Hyperparameters,
        done: int,
        moments: Mapping[str, Tensor],
        folder: Path,
    ) -> None:
        """`done` are the steps of earlier attempts; `folder` is for what SFTTrainer may write."""
        self.adapter = adapter
        self.rows = rows
        self.hyperparameters = hyperparameters
        self.done = done
        self.moments = moments
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._told: SimpleQueue[float | BaseException] = SimpleQueue()
        self._trainer = _Trainer(self, **_arguments(loaded, self, folder))
        self._thread = threading.Thread(target=self._train, name="trl", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._asked.put(False)
        self._thread.join()

    def ask(self) -> float:
        """Have the next gradients computed, and get their loss, or have the weights updated by
        them. Raises whatever goes wrong there."""
        self._asked.put(True)
        answer = self._told.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def wait(self) -> None:
        """Until something is asked for; the loop calls it. Raises _Left."""
        if not self._asked.get():
            raise _Left

    def tell(self, answer: float = 0.0) -> None:
        self._told.put(answer)

    def _train(self) -> None:
        try:
            self._trainer.train()
        except _Left:
            pass
        except BaseException as error:
            self._told.put(error)
        else:
            self._told.put(Internal("TRL's trainer ended by itself, before the run did."))


class _Trainer(SFTTrainer):  # type: ignore[misc]
    """It says what it does, and does it when it is asked."""

    def __init__(self, loop: _Loop, **arguments: Any) -> None:
        self._loop = loop
        super().__init__(**arguments)
        self.remove_callback(PrinterCallback)
        self.add_callback(_Callback(self))
        self._weights = {
            name.replace(".default.", "."): parameter
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }
        shared = loop.adapter.parameters
        if self._weights.keys() != shared.keys():
            names = sorted(self._weights.keys() ^ shared.keys())
            raise Internal(
                f"PEFT puts the adapter on other layers than we do, {names[0]} among them: please "
                "report this with the versions that `kamerton env` prints."
            )
        for name, parameter in self._weights.items():
            parameter.data = shared[name]

    def share_moments(self) -> None:
        """Let the optimizer, which is there now, go on with those of the run."""
        layout = self._loop.adapter.layout
        parts = {n: layout.parameters(flat) for n, flat in self._loop.moments.items()}
        for name, parameter in self._weights.items():
            moments = {moment: part[name] for moment, part in parts.items()}
            step = torch.tensor(float(self._loop.done))
            self.optimizer.state[parameter] = {"step": step, **moments}

    def training_step(self, *arguments: Any, **named: Any) -> Tensor:
        self._loop.wait()
        loss: Tensor = super().training_step(*arguments, **named)
        flat = self._loop.adapter.flat.grad
        assert flat is not None
        for name, gradient in self._loop.adapter.layout.parameters(flat).items():
            gradient.copy_(self._weights[name].grad)
        self._loop.tell(loss.item())
        self._loop.wait()
        return loss

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        chosen = self._loop.hyperparameters

        def share(step: int) -> float:
            return learning_rate(self._loop.done + step + 1, chosen) / chosen.peak_learning_rate

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset: Any = None) -> _Order:
        return _Order(self._loop)


class _Callback(TrainerCallback):  # type: ignore[misc]
    def __init__(self, trainer: _Trainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, *arguments: Any, **named: Any) -> None:
        self._trainer.share_moments()

    def on_step_end(self, *arguments: Any, **named: Any) -> None:
        self._trainer._loop.tell()


class _Order(torch.utils.data.Sampler[int]):
    """The rows of the steps that are left, one step after the other."""

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop

    def __iter__(self) -> Iterator[int]:
        count, chosen = len(self._loop.rows), self._loop.hyperparameters
        for step in range(self._loop.done + 1, total_steps(count, chosen) + 1):
            yield from rows_of_step(step, count, chosen)

    def __len__(self) -> int:
        chosen = self._loop.hyperparameters
        return len(self._loop.rows) * chosen.epoch_count - self._loop.done * chosen.batch_size


def _arguments(loaded: LoadedBase, loop: _Loop, folder: Path) -> dict[str, Any]:
    """Of SFTTrainer. It changes the base model that it is given, so
    it gets one of its own, with the stock attention."""
    chosen = loop.hyperparameters
    own = weights.load(loaded.base_model, str(loaded.device))
    own.model.set_attn_implementation("sdpa")
    return {
        "model": own.model,
        "args": SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=chosen.batch_size,
            max_steps=total_steps(len(loop.rows), chosen) - loop.done,
            learning_rate=chosen.peak_learning_rate,
            optim="adamw_torch",
            weight_decay=0.0,
            max_grad_norm=MAX_NORM,
            bf16=own.model.dtype == torch.bfloat16,
            max_length=None,
            activation_checkpointing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=chosen.seed,
            use_cpu=loaded.device.type == "cpu",
        ),
        "train_dataset": Dataset.from_list([_labelled(row) for row in loop.rows]),
        "processing_class": AutoTokenizer.from_pretrained(
            catalog.folder(loaded.base_model), local_files_only=True
        ),
        "peft_config": LoraConfig(
            r=chosen.lora_rank,
            lora_alpha=chosen.lora_alpha,
            lora_dropout=chosen.lora_dropout,
            target_modules=list(chosen.target_modules) or "all-linear",
            use_rslora=chosen.rslora,
            task_type="CAUSAL_LM",
        ),
    }


def _labelled(row: Row) -> dict[str, list[int]]:
    labels = [IGNORED] * len(row.ids)
    for start, end in row.spans:
        labels[start:end] = row.ids[start:end]
    return {"input_ids": list(row.ids), "labels": labels}
