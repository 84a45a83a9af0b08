"""What many tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# Nothing may reach for a network, and small models are fastest on one thread.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

# Machines are noisy: how long an example takes says nothing.
settings.register_profile("kamerton", deadline=None)
settings.load_profile("kamerton")

if TYPE_CHECKING:
    from kamerton.inference.weights import LoadedBase
    from kamerton.types import BaseModel

Run = Callable[..., tuple[int, str, str]]
"""Arguments of a command to its exit status, stdout and stderr."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The `kamerton` command, in this process."""
    from kamerton import cli

    def run_command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kamerton", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run_command


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A random base model of the embedded one's shape, only smaller."""
    from tests import bases

    return bases.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def loaded(tiny: BaseModel) -> LoadedBase:
    from kamerton.inference import weights

    return weights.load(tiny, "cpu")
