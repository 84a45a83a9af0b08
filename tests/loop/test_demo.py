"""`kamerton demo`, whole and for real: it tells everything, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

DEMO = [sys.executable, "-m", "kamerton", "demo"]


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DEMO, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "120"},
        # As from a terminal: a shell that runs the tests in the background ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def processes_of(folder: Path) -> list[str]:
    """Command lines that name a data folder inside `folder`."""
    lines = [
        " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    ]
    return [line for line in lines if str(folder) in line]


def test_the_demo_tells_everything_and_leaves_nothing(tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "demo.svg"
    folder = tmp_path / "temporary"
    folder.mkdir()
    with started(folder, "--record", str(picture)) as demo:
        out, err = demo.communicate(timeout=170)
    assert demo.returncode == 0, err
    for part in ("step 19/19", "100%", "┤", "LXIII", "сорок два", "POST /v1beta/tunedModels"):
        assert part in out
    took = re.search(r"Done in ([0-9.]+) s\.", out)
    assert took and float(took[1]) < 60
    assert "19/19" in picture.read_text().replace("&#160;", " ")
    assert "kam-" not in picture.read_text()
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0, 1])
def test_an_interrupted_demo_leaves_nothing_either(
    seconds: int, ending: signal.Signals, tmp_path: Path
) -> None:
    with started(tmp_path) as demo:
        deadline = time.monotonic() + 60
        while not any("kamerton serve" in line for line in processes_of(tmp_path)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(seconds)
        demo.send_signal(ending)
        demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []
