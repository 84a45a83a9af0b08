"""`kamerton convert`: examples of any shape and file format, written as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.options import InputKey, OutputKey, file_source


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Examples in any shape and format.")
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="TARGET",
            help="A new file; its ending is its format: .jsonl, .json, .csv, .tsv or .parquet, "
            "all but the last also with .gz.",
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            metavar="SHAPE",
            help="text_input, input, prompt, instruction, messages, contents or conversations.",
        ),
    ] = "text_input",
    input_key: InputKey = "",
    output_key: OutputKey = "",
) -> None:
    """Write a dataset in another shape or file format; whole, or not at all."""
    from rich.console import Console

    from kamerton.dataset.convert import convert as write
    from kamerton.report_text import count
    from kamerton.terminal import ReadingProgress, printable

    with (
        file_source(source, input_key, output_key) as rows,
        ReadingProgress(Console(stderr=True)) as progress,
    ):
        written = write(rows, target, to, progress.rows)
    print(printable(f"wrote {count(written, 'row')} to {target}"))
