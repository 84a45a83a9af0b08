"""On what something was measured, and with which versions."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("torch", "transformers", "peft", "trl", "liger-kernel", "bitsandbytes", "triton")


def words(device: str = "cpu") -> str:
    """A line with date, device and versions."""
    versions = [f"{name} {found}" for name in PACKAGES if (found := _version(name))]
    day = datetime.now(UTC).strftime("%d %B %Y")
    where = f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if device == "cuda":
        where = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}; {where}"
    return f"{day}; {where}; Python {platform.python_version()}, {', '.join(versions)}."


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """Its name, and the units for bf16 that it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    flags = facts.get("flags", "").split()
    units = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags]
    return ", ".join([facts.get("model name", platform.machine()), *units])
