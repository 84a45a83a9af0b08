"""Who knows whom: the rules of docs/architecture.md, read off the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kamerton

ROOT = Path(kamerton.__file__).parent
WORDS = {
    "types", "card", "findings", "errors", "interfaces", "settings", "folders", "processes",
    "meminfo",
}  # fmt: skip
ENGINES = {"dataset", "inference", "evaluation", "training"}
KNOWS = {
    **{word: WORDS for word in WORDS},
    "dataset": WORDS,
    "inference": WORDS | {"dataset"},
    "evaluation": WORDS | {"dataset", "inference"},
    "training": WORDS | {"dataset", "inference", "evaluation"},
    "store": WORDS,
    "service": WORDS | ENGINES | {"store"},
    "surfaces": WORDS | {"service"},
    "checking": WORDS | ENGINES,
    "library": WORDS | ENGINES | {"checking", "trackers"},
    "trackers": WORDS,
    "client": WORDS,
    "genai": WORDS | {"client", "progress"},
    "progress": WORDS | {"terminal"},
    "terminal": WORDS,
}
"""What each part of the package may import besides itself; the others are the outermost ring."""
LIBRARIES = {
    "torch": {"inference", "training"},
    "transformers": {"inference", "training"},
    "peft": {"inference", "training"},
    "safetensors": {"inference", "training"},
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "jwt": {"service"},
    "google": {"surfaces"},
    "grpc": {"surfaces"},
    "cryptography": {"surfaces"},
    "starlette": {"surfaces"},
    "uvicorn": {"surfaces"},
    "asyncio": {"surfaces"},
    "anyio": {"surfaces"},
}
"""Where each of these may be imported."""

MODULES = sorted(p for p in ROOT.rglob("*.py") if "migrations" not in p.parts)


def part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """Every import in a file, at whatever depth, name by name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = (node.module or "").split(".")
            yield from ((*module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    here = part(path)
    for name in imports(path):
        assert not any(word.startswith("_") and word != "__future__" and word != "__version__"
                       for word in name), f"{'.'.join(name)} is private"  # fmt: skip
        if name[0] == "kamerton" and len(name) > 1 and here in KNOWS:
            known = (ROOT / name[1]).is_dir() or (ROOT / f"{name[1]}.py").exists()
            if known and name[1] != here:
                assert name[1] in KNOWS[here], f"{here} must not know {'.'.join(name)}"
        allowed = LIBRARIES.get(name[0])
        assert allowed is None or here in allowed, f"{name[0]} does not belong in {here}"


def test_surfaces_do_not_know_each_other() -> None:
    surfaces = {p.name for p in (ROOT / "surfaces").iterdir() if p.is_dir()} - {"__pycache__"}
    for path in (ROOT / "surfaces").rglob("*.py"):
        own = path.relative_to(ROOT / "surfaces").parts[0]
        for name in imports(path):
            if own in surfaces and name[:2] == ("kamerton", "surfaces") and len(name) > 2:
                assert name[2] not in surfaces - {own}


def test_only_settings_and_the_channel_read_the_environment() -> None:
    for path in MODULES:
        if "os.environ" in path.read_text():
            names = ("settings.py", "processes.py", "demo.py", "configuration.py")
            assert path.name in names, path


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after a statement."""
    script = f"{statement}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return set(found.stdout.decode().split())


def test_the_server_and_the_worker_do_not_import_torch() -> None:
    heavy = {"torch", "transformers", "peft"}
    assert not (heavy | {"jwt"}) & loaded_by("import kamerton.surfaces.serve")
    assert not heavy & loaded_by("import kamerton.service.worker")


def test_importing_the_package_imports_nothing_else() -> None:
    heavy = {"torch", "transformers", "peft", "sqlalchemy", "google", "starlette", "typer"}
    assert not heavy & loaded_by("import kamerton")


def test_the_client_for_scripts_loads_no_more_than_http() -> None:
    heavy = {"torch", "transformers", "sqlalchemy", "google", "starlette", "pandas", "rich"}
    assert not heavy & loaded_by("import kamerton.genai")
