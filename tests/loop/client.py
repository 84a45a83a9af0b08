"""Clients as tests: scripts in `clients/`, each run in the environment of its SDK."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_SCRIPTS = Path(__file__).parent / "clients"
_ENVIRONMENTS = Path(__file__).parents[2] / ".venv-clients"
_SECONDS = 240


@dataclass(frozen=True)
class Outcomes:
    """How the functions of one script went."""

    errors: dict[str, str]
    """By the function's name; "" when it went well."""
    stderr: str

    def check(self, part: str) -> None:
        if part not in self.errors:
            pytest.fail(f"the script did not come to {part}\n{self.stderr}", pytrace=False)
        if self.errors[part]:
            pytest.fail(self.errors[part], pytrace=False)


@dataclass(frozen=True)
class Client:
    """A script, and the environment in `.venv-clients` that it needs.

    Such SDKs take seconds to start, so one process calls all functions of a script; each of them
    is a test of its own.
    """

    environment: str
    script: str

    @property
    def parts(self) -> list[str]:
        """The names of the functions, as they are called."""
        text = (_SCRIPTS / self.script).read_text()
        return re.findall(r"^(?:async )?(?:def|function) ([a-z]\w*)\(", text, re.MULTILINE)

    def run(self, **variables: str) -> Outcomes:
        """With these in the process's environment. Skips where the client is not installed."""
        command = [*self._interpreter(), str(_SCRIPTS / self.script)]
        environment = {**os.environ, "NODE_PATH": str(self._home / "node_modules"), **variables}
        try:
            done = subprocess.run(command, env=environment, capture_output=True, timeout=_SECONDS)
            out, err = done.stdout, done.stderr
        except subprocess.TimeoutExpired as late:
            out, err = late.stdout or b"", (late.stderr or b"") + b"\nIt took too long."
        lines = map(json.loads, out.splitlines())
        return Outcomes({line["name"]: line["error"] for line in lines}, err.decode())

    @property
    def _home(self) -> Path:
        return _ENVIRONMENTS / self.environment

    def _interpreter(self) -> list[str]:
        node = self.environment == "node"
        program = shutil.which("node" if node else str(self._home / "bin" / "python"))
        if program is None or not (self._home / ".made").exists():
            needs = "Node, and then " if node else ""
            pytest.skip(f"client {self.environment} is not installed: it needs {needs}make clients")
        return [program, str(_SCRIPTS / ("each.cjs" if node else "each.py"))]
