"""What the fuzzer starts from, and what it once found, is read or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.readers import CORPUS, read


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_the_corpus(path: Path) -> None:
    count = read(path.read_bytes())
    # The names say what is in them.
    assert (count > 0) == (not path.name.startswith("bad-"))
