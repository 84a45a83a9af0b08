"""`python -m benchmarks.dataset`: how fast a dataset is read and checked, and in how much memory.

A file of 250,000 Cyrillic rows (about 150 MB) is read by a bare loop over the JSON decoder, by the
whole check, by `datasets` and by pandas, in turns, each time in a fresh process. Then 100,000 rows
with near-duplicates among them are looked through for these.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import multiprocessing
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from kamerton.dataset.check import check
from kamerton.dataset.sources import source_of

ROWS = 250_000
ROUNDS = 5
NEAR_ROWS = 100_000
NEAR_SHARE = 0.02
LEAST_SPEED = 0.5
"""Of the bare loop's. To read, decode and hash the texts alone takes as long as that loop; not to
decode texts that nobody looks at was tried, and came to 0.57 to 0.60 at best, for texts without
escapes only."""
MOST_MEGABYTES = 300
"""Above what the process had when it began to read."""
MOST_SECONDS = 60
"""For the near-duplicates."""
LETTERS = "абвгдежзиклмнопрстуфхцчшыьэюя"


def bare(file: Path) -> None:
    decoder = msgspec.json.Decoder()
    with file.open("rb") as lines:
        for line in lines:
            decoder.decode(line)


def checked(file: Path) -> None:
    report = check(source_of(file), allow=["K202"])  # Near-duplicates: see below.
    assert report.statistics.row_count == ROWS, report
    assert not report.count("error"), report.findings


def with_datasets(file: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        read = datasets.load_dataset("json", data_files=str(file), cache_dir=cache, split="train")
        assert len(read) == ROWS


def with_pandas(file: Path) -> None:
    import pandas

    assert len(pandas.read_json(file, lines=True)) == ROWS


OURS = "Kamerton, reading and checking"
BARE = "bare loop over msgspec"
SIDES: dict[str, Callable[[Path], None]] = {
    BARE: bare,
    OURS: checked,
    'datasets.load_dataset("json")': with_datasets,
    "pandas.read_json(lines=True)": with_pandas,
}
LIBRARIES: dict[Callable[[Path], None], str] = {with_datasets: "datasets", with_pandas: "pandas"}


def main() -> None:
    sys.exit(0 if measure(Console()) else 1)


def measure(console: Console) -> bool:
    """Print both; True when what is promised holds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cyrillic.jsonl"
        write(file, rows(ROWS))
        fast_and_small = compare(file, console)
        near = Path(folder) / "near.jsonl"
        write(near, with_near_duplicates(rows(NEAR_ROWS)))
        soon = near_duplicates(near, console)
    return fast_and_small and soon


def compare(file: Path, console: Console) -> bool:
    """All sides in turns; True when Kamerton is as fast and as small as it promises."""
    sides = {name: read for name, read in SIDES.items() if installed(read, console)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    megabytes = dict.fromkeys(sides, 0.0)
    for _ in range(ROUNDS):
        for name, read in sides.items():
            passed, grown = measured(read, file)
            seconds[name].append(passed)
            megabytes[name] = max(megabytes[name], grown)
    size = file.stat().st_size / 1e6
    table = Table(title=f"{ROWS:,} Cyrillic rows, {size:.0f} MB; {ROUNDS} rounds in turns")
    for heading in ("", "median s", "min", "max", "speed of the bare loop", "MB above start"):
        table.add_column(heading, justify="right" if heading else "left")
    speeds = {}
    for name, values in seconds.items():
        # Round by round: what else the machine does slows both alike.
        pairs = zip(seconds[BARE], values, strict=True)
        speeds[name] = statistics.median(bare / value for bare, value in pairs)
        figures = (statistics.median(values), min(values), max(values))
        cells = [f"{figure:.2f}" for figure in figures]
        table.add_row(name, *cells, f"{speeds[name]:.0%}", f"{megabytes[name]:.0f}")
    console.print(table)
    console.print(
        f"At least {LEAST_SPEED:.0%} and at most {MOST_MEGABYTES} MB are promised: "
        f"{speeds[OURS]:.0%}, {megabytes[OURS]:.0f} MB."
    )
    return speeds[OURS] >= LEAST_SPEED and megabytes[OURS] <= MOST_MEGABYTES


def near_duplicates(file: Path, console: Console) -> bool:
    """The whole check of a file that is small enough for them; True when that is soon done."""
    start = time.perf_counter()
    report = check(source_of(file))
    passed = time.perf_counter() - start
    found = sum(finding.count for finding in report.findings if finding.code == "K202")
    console.print(
        f"{NEAR_ROWS:,} rows, near-duplicates among them looked for: {passed:.1f} s in all with "
        f"reading and every other check, {found} of {int(NEAR_ROWS * NEAR_SHARE)} found; at most "
        f"{MOST_SECONDS} s are promised."
    )
    return passed <= MOST_SECONDS


def installed(read: Callable[[Path], None], console: Console) -> bool:
    library = LIBRARIES.get(read)
    if library is None or importlib.util.find_spec(library):
        return True
    console.print(f"[bold]{library} is not installed: not measured.[/] pip install {library}")
    return False


def measured(read: Callable[[Path], None], file: Path) -> tuple[float, float]:
    """Seconds, and megabytes above what a process has with its libraries: in a fresh one, because
    what one side leaves of the heap slows the next."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (read, file))


def _measured(read: Callable[[Path], None], file: Path) -> tuple[float, float]:
    head = file.with_suffix(".head")
    if library := LIBRARIES.get(read):
        importlib.import_module(library)
    elif read is checked:
        write(head, rows(10))
        check(source_of(head))
    before = _kilobytes("VmRSS")
    start = time.perf_counter()
    read(file)
    passed = time.perf_counter() - start
    return passed, (_kilobytes("VmHWM") - before) * 1024 / 1e6


def _kilobytes(what: str) -> int:
    # Not getrusage: its peak is at first that of the parent.
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def rows(count: int) -> Iterator[tuple[str, str]]:
    """Made-up words in the letters of Russian: no two rows are alike."""
    choose = random.Random(1)
    words = ["".join(choose.choices(LETTERS, k=choose.randint(2, 11))) for _ in range(20_000)]
    for _ in range(count):
        asked = " ".join(choose.choices(words, k=34)).capitalize() + "."
        yield asked, " ".join(choose.choices(words, k=6))


def with_near_duplicates(found: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Now and then the row before once more, with a word of its input left out."""
    choose, before = random.Random(2), ("", "")
    for number, row in enumerate(found):
        if number % int(1 / NEAR_SHARE) == 1:
            words = before[0].split(" ")
            del words[choose.randrange(1, len(words))]
            row = " ".join(words), before[1]
        before = row
        yield row


def write(file: Path, found: Iterator[tuple[str, str]]) -> None:
    with file.open("w", encoding="utf-8") as lines:
        for asked, answer in found:
            row = {"text_input": asked, "output": answer}
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
