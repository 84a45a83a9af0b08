"""Bytes that a fuzzer thinks of, given to the readers: they may refuse them, and nothing else.

    pip install atheris==3.0.0
    python -m tests.fuzz.readers --seconds 600 --found FOLDER

starts from the files in `corpus` and writes to FOLDER what it found: inputs that reach new code,
and as `crash-…` the one that ended it. A crash that was understood goes into the corpus, which the
tests read. The first byte of an input is not of the file: it says how the file is read.
"""

from __future__ import annotations

import argparse
import importlib
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
MOST_BYTES = 4 * 1024**2
WAYS: tuple[dict[str, str], ...] = ({}, {"input_key": "q", "output_key": "a b"})


def read(data: bytes) -> int:
    """How many examples there are. Anything but InvalidArgument is a mistake of ours."""
    from kamerton.dataset.sources import source_of
    from kamerton.errors import InvalidArgument

    way, file = WAYS[data[0] % len(WAYS)] if data else {}, io.BytesIO(data[1:])
    numbers: list[int] = []
    try:
        for chunk in source_of(file, "f", most_bytes=MOST_BYTES, **way).chunks:
            examples = chunk.examples
            assert len(chunk.numbers) == len(chunk.inputs) == len(chunk.outputs) == len(examples)
            wrong = [hit.number for hit in (*chunk.unreadable, *chunk.unlearned)]
            assert all(hit.detail for hit in chunk.unreadable)
            rows = sorted([*chunk.numbers, *wrong])
            assert rows == sorted(set(rows)) and (not numbers or rows[0] > numbers[-1])
            numbers += rows
    except InvalidArgument as error:
        assert error.message.startswith("f: ")
        assert len(error.message) < 4_000
    return len(numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Raw)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--found", type=Path, help="folder for what is found")
    asked = parser.parse_args()
    atheris: Any = importlib.import_module("atheris")  # Not everybody has it, nor its types.
    with atheris.instrument_imports(include=["kamerton", "json", "gzip", "csv", "codecs"]):
        import kamerton.dataset.sources  # noqa: F401
    import pyarrow.parquet  # noqa: F401  # Otherwise the first Parquet would pay for it.

    found = asked.found or Path(tempfile.mkdtemp(prefix="kamerton-fuzz-"))
    found.mkdir(exist_ok=True)
    print(f"What is found goes to {found}.", file=sys.stderr)
    options = [f"-max_total_time={asked.seconds}", "-max_len=4096", "-rss_limit_mb=4096"]
    options += ["-timeout=20", f"-artifact_prefix={found}/", str(found), str(CORPUS)]
    atheris.Setup([sys.argv[0], *options], _once)
    atheris.Fuzz()


def _once(data: bytes) -> None:
    read(data)


Raw = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
