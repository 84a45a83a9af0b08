"""What benchmarks/gpu.sh runs: checks, then comparisons, each within a time of its own."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from benchmarks import floor, machine, markdown, shapes, train_data
from benchmarks.sides import JOB_STEPS, Measured, Spec, compare
from benchmarks.stock_settings import Settings
from kamerton.types import BaseModel

OURS, TRL, LIGER, DEFAULT = "Kamerton", "TRL", "TRL + Liger", "TRL, its defaults"
CHECK_SECONDS, MAKE_SECONDS, SIDE_SECONDS = 150, 120, 150
LEAST_LEFT = 40.0
"""Seconds without which no part is begun."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, the most telling first: whatever the time does not allow is left out."""

    steps: tuple[tuple[str, str, int], ...]
    """Shape, quantization, tokens of a row."""
    jobs_shape: str
    jobs: int
    tokens: int
    """Of a step."""
    steps_of_round: int
    rounds: int


FULL = Plan(
    steps=(
        ("1b", "", 2048),
        ("4b", "", 2048),
        ("270m", "", 2048),
        ("4b", "nf4", 2048),
        ("1b", "", 512),
        ("270m", "", 512),
        ("4b", "", 512),
        ("1b", "nf4", 2048),
        ("270m", "nf4", 2048),
        ("4b", "nf4", 512),
        ("1b", "nf4", 512),
        ("270m", "nf4", 512),
    ),
    jobs_shape="270m",
    jobs=32,
    tokens=8192,
    steps_of_round=4,
    rounds=3,
)
TINY = Plan(
    steps=(("tiny", "", 128), ("tiny", "nf4", 32)),
    jobs_shape="tiny",
    jobs=4,
    tokens=256,
    steps_of_round=1,
    rounds=1,
)


class Results:
    """Written anew after each part, so that one that hangs costs no other."""

    def __init__(self, folder: Path, heading: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._parts: dict[str, Any] = {"heading": heading}
        self._texts = [heading, floor.FORMULA]
        self._write()

    def add(self, name: str, facts: Any, text: str) -> None:
        print(f"\n## {name}\n\n{text}", flush=True)
        self._parts[name] = facts
        self._texts += [f"## {name}", text]
        self._write()

    def _write(self) -> None:
        (self._folder / "gpu.json").write_text(json.dumps(self._parts, indent=1))
        (self._folder / "gpu.md").write_text("\n\n".join(self._texts) + "\n")


class Script:
    def __init__(self, asked: argparse.Namespace, bases: Path) -> None:
        self._device: str = asked.device
        self._plan = TINY if asked.tiny else FULL
        self._ends: float = time.monotonic() + 60 * asked.minutes
        self._bases = bases
        self._results = Results(asked.out, machine.words(self._device))

    def run(self) -> int:
        """0 if every check is good."""
        plan = self._plan
        good = self._part("Checks", self._checks)
        # Early, for the time that many small runs take together is what nobody else shows.
        for shape, quantization, length in plan.steps[:3]:
            self._steps_part(shape, quantization, length)
        self._part(f"{plan.jobs} runs on one base, {plan.jobs_shape}", self._jobs)
        for shape, quantization, length in plan.steps[3:]:
            self._steps_part(shape, quantization, length)
        return 0 if good else 1

    def _part(self, name: str, do: Callable[[], tuple[Any, str, bool]]) -> bool:
        """Whether it went well; why not is written down, and costs no other part."""
        left = self._ends - time.monotonic()
        if left < LEAST_LEFT:
            self._results.add(name, None, f"Left out: {left:.0f} s of the time were left.")
            return False
        try:
            facts, text, good = do()
        except Exception as error:
            self._results.add(name, {"failure": repr(error)}, f"Failed: {error!r}")
            return False
        self._results.add(name, facts, text)
        return good

    def _seconds(self, most: float) -> float:
        return max(1.0, min(most, self._ends - time.monotonic()))

    def _checks(self) -> tuple[Any, str, bool]:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.gpu_checks", self._device],
            capture_output=True,
            timeout=self._seconds(CHECK_SECONDS),
        )
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
        rows = [
            [f["check"], f"{f['apart']:.1e}", f"{f['allowed']:.1e}", "yes" if f["good"] else "NO"]
            for f in found
        ]
        text = markdown.table(["check", "apart", "allowed", "good"], rows)
        if done.returncode:
            text += f"\n\nEnded with {done.returncode}:\n\n```\n{tail(done.stderr)}\n```"
        return found, text, done.returncode == 0 and bool(found)

    def _base(self, shape: str, quantization: str = "") -> BaseModel:
        """Made in a process of its own, which leaves no memory of the device in use."""
        folder = self._bases / shape
        if not (folder / "config.json").exists():
            command = [sys.executable, "-m", "benchmarks.shapes", shape, str(folder), self._device]
            subprocess.run(
                command, check=True, timeout=self._seconds(MAKE_SECONDS), capture_output=True
            )
        base = shapes.of_folder(folder, shape)
        return shapes.quantized(base) if quantization else base

    def _steps_part(self, shape: str, quantization: str, length: int) -> None:
        how = "4-bit QLoRA" if quantization else "bf16 LoRA"
        self._part(
            f"{shape}, {how}, rows of {length} tokens",
            lambda: self._steps(shape, quantization, length),
        )

    def _steps(self, shape: str, quantization: str, length: int) -> tuple[Any, str, bool]:
        plan = self._plan
        ours = Spec(
            engine="ours",
            base=self._base(shape, quantization),
            device=self._device,
            rounds=plan.rounds,
            steps=plan.steps_of_round,
            batch=plan.tokens // length,
            lengths=train_data.of_length(length),
        )
        # Nothing is to be padded and there is memory enough: so these are its fastest.
        fast = Settings(precision="bf16", checkpointing=False)
        liger = Settings(precision="bf16", checkpointing=False, liger=True)
        specs = {OURS: ours, TRL: stock(ours, fast)}
        said = ""
        if self._device == "cpu" or importlib.util.find_spec("liger_kernel") is None:
            said = "\n\nLiger's kernels are left out: they need a GPU, and `liger-kernel`."
        else:
            specs[LIGER] = stock(ours, liger)
        if shape == "270m" and not quantization:
            specs[DEFAULT] = msgspec.structs.replace(ours, engine="trl")
        sides = compare(specs, self._seconds(SIDE_SECONDS))
        against = {name: f"times {name}" for name in (TRL, LIGER) if name in sides}
        text = markdown.steps(sides, against) + said + failures(sides)
        return facts(sides), text, not any(side.failure for side in sides.values())

    def _jobs(self) -> tuple[Any, str, bool]:
        plan = self._plan
        alone = Spec(
            engine="ours",
            base=self._base(plan.jobs_shape),
            kind="jobs",
            device=self._device,
            rounds=1,
            jobs=plan.jobs,
        )
        together = msgspec.structs.replace(alone, at_once=True)
        sides = compare(
            {"one by one": alone, "together": together}, self._seconds(1.5 * SIDE_SECONDS)
        )
        rows = [
            [
                name,
                f"{60 * plan.jobs / side.seconds:,.0f}",
                f"{side.seconds:.1f}",
                f"{side.peak_bytes / 1e9:.2f}",
            ]
            for name, side in sides.items()
            if not side.failure
        ]
        text = f"The fifteen pairs, {JOB_STEPS} steps, rows of text to a proved adapter.\n\n"
        text += markdown.table(["", "jobs/min", "seconds", "peak GB"], rows) + failures(sides)
        return facts(sides), text, len(rows) == len(sides)


def stock(spec: Spec, settings: Settings) -> Spec:
    chosen = msgspec.json.encode(settings).decode()
    return msgspec.structs.replace(spec, engine="trl", settings=chosen)


def facts(sides: dict[str, Measured]) -> Any:
    return msgspec.to_builtins(sides)


def failures(sides: dict[str, Measured]) -> str:
    """Of sides that ended before they had answered, what they said."""
    failed = {name: side.failure for name, side in sides.items() if side.failure}
    return "".join(f"\n\n{name} failed:\n\n```\n{why}\n```" for name, why in failed.items())


def tail(text: bytes) -> str:
    return text.decode(errors="replace").strip()[-1500:]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("benchmarks/gpu.sh", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the script with")
    parser.add_argument("--minutes", type=float, default=12.0, help="no part is begun after them")
    parser.add_argument(
        "--out", type=Path, default=Path(os.environ.get("OUT", "gpu-results")), metavar="FOLDER"
    )
    asked = parser.parse_args(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --device cpu --tiny tries the script without one")
    if asked.device == "cpu" and not asked.tiny:
        parser.error("on a CPU give --tiny too: the full plan would take days")
    with tempfile.TemporaryDirectory() as bases:
        return Script(asked, Path(bases)).run()


if __name__ == "__main__":
    sys.exit(main())
