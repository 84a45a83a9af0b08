"""The weights in the package hold what their card says: the gate's short form."""

import hashlib
import subprocess
import sys

from kamerton.inference import catalog
from kamerton.inference.catalog import EMBEDDED


def test_the_shipped_base_passes_the_short_gate() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "recipes.kamerton_nano_001.gate", "--short"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_sums_name_every_file_that_is_loaded() -> None:
    folder = catalog.folder(EMBEDDED)
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    named = {name: expected for expected, name in (line.split() for line in lines)}
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= named.keys()
    for name, expected in named.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected


def test_it_fits_in_a_package() -> None:
    folder = catalog.folder(EMBEDDED)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10_000_000
