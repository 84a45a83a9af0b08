"""What the system says of its memory; where it says nothing, nothing is short."""

from __future__ import annotations

import re
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup")
ROOM = 0.1
"""The share of the machine's memory that must be available before one more run is begun."""


def is_short(meminfo: Path = Path("/proc/meminfo")) -> bool:
    """Whether less than `ROOM` of the memory is available."""
    free, total = _number(meminfo, "MemAvailable:"), _number(meminfo, "MemTotal:")
    return free is not None and total is not None and free < ROOM * total


def available(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that nobody uses, within the limit of a container."""
    free = _number(meminfo, "MemAvailable:")
    if free is None:
        return None
    try:
        limit, used = (int((CONTAINER / f"memory.{n}").read_text()) for n in ("max", "current"))
    except (OSError, ValueError):  # There is none: "max" is no number.
        return free * 1024
    return min(free * 1024, max(0, limit - used))


def oom_kills(vmstat: Path = Path("/proc/vmstat")) -> int:
    """How many processes the system has ended for want of memory since it started."""
    return _number(vmstat, "oom_kill") or 0


def _number(file: Path, name: str) -> int | None:
    """What stands behind a name at the beginning of a line."""
    try:
        found = re.search(rf"^{name}\s+(\d+)\b", file.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None
