from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kamerton.processes import Child

ECHO = "tests.echo_process"


@pytest.fixture
def child(tmp_path: Path) -> Child:
    return Child(ECHO, tmp_path / "echo.log")


def test_lines_go_both_ways(child: Child) -> None:
    child.channel.send("сорок два".encode())
    child.channel.send(b"x" * 300_000)
    lines = child.channel.lines()
    assert next(lines).decode() == "сорок два"
    assert len(next(lines)) == 300_000
    child.close()
    assert child.exit_status() == 0


def test_what_a_child_prints_does_not_disturb_the_channel(child: Child, tmp_path: Path) -> None:
    child.channel.send(b"print")
    assert next(child.channel.lines()) == b"print"
    child.close()
    assert "printed" in (tmp_path / "echo.log").read_text()


def test_the_death_of_a_child_ends_its_lines(child: Child) -> None:
    child.kill()
    assert list(child.channel.lines()) == []
    assert not child.alive()


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time; from kamerton.processes import Child; "
        f"c = Child({ECHO!r}, pathlib.Path({str(tmp_path / 'log')!r})); "
        "c.channel.send(b'up'); next(c.channel.lines()); print(c.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_child_that_does_not_listen_is_ended_by_force(child: Child) -> None:
    child.channel.send(b"up")
    next(child.channel.lines())
    process = psutil.Process(child.pid)
    process.suspend()
    deadline = time.monotonic() + 5
    while process.status() != psutil.STATUS_STOPPED:  # The signal has yet to reach it.
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.close(patience=0.3)
    assert child.exit_status() == -9
