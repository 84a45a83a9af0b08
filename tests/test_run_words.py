"""The reasons and events that docs/runs.md lists are those of the code, read off its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import kamerton

ROOT = Path(kamerton.__file__).parent
DOCUMENT = ROOT.parent / "docs" / "runs.md"


@cache
def modules() -> Sequence[ast.Module]:
    return [ast.parse(path.read_text()) for path in ROOT.rglob("*.py")]


def constants(module: ast.Module) -> dict[str, str]:
    """Names of a module that stand for a text."""
    return {
        target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def said(called: Callable[[ast.Call], bool], form: str) -> set[str]:
    """Every text of that form among the arguments of such calls, also by name."""
    found = set()
    for module in modules():
        named = constants(module)
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and called(node):
                arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
                for part in (part for argument in arguments for part in ast.walk(argument)):
                    text = named.get(part.id) if isinstance(part, ast.Name) else None
                    if isinstance(part, ast.Constant):
                        text = part.value if isinstance(part.value, str) else None
                    if text is not None and re.fullmatch(form, text):
                        found.add(text)
    return found


def name(call: ast.Call) -> str:
    return ast.unparse(call.func)


def of_errors_without_one() -> set[str]:
    """The values of `_REASONS`, and what stands for all others."""
    path = ROOT / "training" / "trainer_process.py"
    (table,) = [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_REASONS"
    ]
    assert isinstance(table, ast.Dict)
    values = {value.value for value in table.values if isinstance(value, ast.Constant)}
    return {str(value) for value in values} | said(
        lambda call: name(call) == "_REASONS.get", "[A-Z_]+"
    )


def listed(heading: str) -> set[str]:
    section = re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(heading)]
    return set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE))


def test_every_reason_is_explained_and_no_other() -> None:
    raised = said(lambda call: name(call).endswith(".at"), "[A-Z]+(_[A-Z]+)*")
    ended = said(lambda call: name(call).endswith("Failure"), "[A-Z]+(_[A-Z]+)*")
    assert {"NOT_FINITE", "BUDGET_TOO_SMALL", "DISK_FAILED"} <= raised  # The reading works.
    assert {"CANCELLED", "TRAINER_DIED"} <= ended
    assert listed("Reasons") == raised | ended | of_errors_without_one()


def test_every_event_is_explained_and_no_other() -> None:
    told = said(
        lambda call: name(call) in ("Note", "events.add", "self._on_event", "on_event"),
        "[a-z]+(_[a-z]+)*",
    )
    assert {"queued", "paused", "epoch"} <= told
    assert listed("Events") == told
