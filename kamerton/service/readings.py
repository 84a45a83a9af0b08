"""Datasets of requests: read once, checked on the way, and refused with all that is wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kamerton.dataset.chunks import Chunk, Source
from kamerton.dataset.sentences import sentence
from kamerton.dataset.sources import example_source, inline_source
from kamerton.errors import BadDataset, InvalidArgument, Violation
from kamerton.findings import Finding, Hit
from kamerton.service import files
from kamerton.service.app import App
from kamerton.training import reading, rows
from kamerton.training.reading import Reading
from kamerton.types import BaseModel, Caller, Example

MAX_EXAMPLES = 200_000
COUNTED_CHARACTERS = 4_000_000
"""So much text is always counted in tokens: it takes a second or two."""
_TOLD_ROWS = 10
"""A refusal's message tells of so many rows; its details tell of more."""


@dataclass(frozen=True, slots=True)
class Data:
    """A dataset as a caller names it: a file, rows of any shape, or ready examples."""

    file_uri: str = ""
    rows: Sequence[Any] = ()
    examples: Sequence[Example] = ()
    columns: tuple[str, str] = ("", "")
    """Of a file, those with the inputs and the outputs; "" for what is recognised."""


def read(
    app: App,
    caller: Caller,
    base_model: BaseModel,
    data: Data,
    validation: Data | None = None,
    *,
    allow: Collection[str] = (),
    count_all: bool = False,
    only_check: bool = False,
) -> Reading:
    """Read a dataset of a request.

    Tokens are counted in every row when `count_all` or when there is little text, else only where
    a row may be too long. `only_check`: no run is made of it. Raises InvalidArgument for what is
    no dataset at all, and as `files.source` does; what is wrong with the rows is in the report.
    """
    measuring = rows.measuring(app.renderer(base_model), base_model.context_tokens)
    beside = None
    with ExitStack() as opened:
        source, is_short = opened.enter_context(_opened(app, caller, data, only_check))
        if validation is not None:
            with _as_validation():
                beside, _ = opened.enter_context(_opened(app, caller, validation, only_check))
            beside.name = f"validation data {beside.name}"
        return reading.read(
            source,
            measuring,
            validation=beside,
            allow=allow,
            count_all=count_all or is_short,
        )


@contextmanager
def _opened(
    app: App, caller: Caller, data: Data, only_check: bool
) -> Iterator[tuple[Source, bool]]:
    """The rows, and whether they are known to be little text."""
    if data.file_uri:
        opened = files.source(app, caller, data.file_uri, data.columns, only_check=only_check)
        with opened as (source, most_bytes):
            yield _limited(source), most_bytes <= COUNTED_CHARACTERS
    elif any(data.columns):
        name = "input_key" if data.columns[0] else "output_key"
        raise InvalidArgument.of(name, "names a column of a file, and there is no file")
    elif data.rows:
        yield _limited(inline_source(data.rows)), False
    else:
        texts = sum(len(e.output) + sum(len(c.text) for c in e.contents) for e in data.examples)
        yield _limited(example_source(data.examples)), texts <= COUNTED_CHARACTERS


def _limited(source: Source) -> Source:
    """The same source, which ends with an error where it is too long to train on."""

    def chunks() -> Iterator[Chunk]:
        count = 0
        for chunk in source.chunks:
            count += len(chunk.numbers) + len(chunk.unreadable) + len(chunk.unlearned)
            if count > MAX_EXAMPLES:
                text = f"more than {MAX_EXAMPLES} examples; use fewer of them"
                raise InvalidArgument.of(source.name, text)
            yield chunk

    return replace(source, chunks=chunks())


@contextmanager
def _as_validation() -> Iterator[None]:
    """Complaints about a file are about the validation data."""
    try:
        yield
    except InvalidArgument as error:
        wrong = [Violation(_VALIDATION + v.field, v.description) for v in error.violations]
        raise InvalidArgument.all_of(wrong) from None


_VALIDATION = "validation_"
"""Before `examples` and `file_uri` in complaints about validation data."""


# --- refusing ------------------------------------------------------------------------------------


def refuse(reading: Reading, others: Sequence[Violation] = ()) -> None:
    """Raises BadDataset when the checks found errors, else InvalidArgument when there are
    `others`; with all that is wrong either way."""
    report = reading.report
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if not errors:
        if others:
            raise InvalidArgument.all_of(others)
        return
    found = sorted(
        (complaint for finding in errors for complaint in _complaints(finding)),
        key=lambda complaint: (complaint.held_out, complaint.row),
    )
    violations = tuple(complaint.violation for complaint in found)
    more = sum(max(0, finding.count - len(finding.hits)) for finding in errors)
    if all(finding.unit == "example" for finding in errors):
        message = InvalidArgument.all_of([*others, *violations], more).message
    else:
        message = _message(reading, others, found, more)
    raise BadDataset(message, (*others, *violations), more, report)


class _Complaint(NamedTuple):
    """About one row, or about all of the data, which is row -1."""

    held_out: bool
    """It is about the validation data."""
    row: int
    violation: Violation
    text: str


def _complaints(finding: Finding) -> Iterator[_Complaint]:
    held_out = finding.of_validation
    inline = finding.unit == "example"
    root = (_VALIDATION if held_out else "") + ("examples" if inline else "file_uri")
    for hit in finding.hits or (Hit(-1, "", finding.message),):
        wrong = hit.detail or finding.message
        text = sentence(Violation(_place(finding, hit), wrong)) if hit.number >= 0 else wrong
        if inline and hit.number >= 0:
            place = f"{root}[{hit.number}]" + (f".{hit.field}" if hit.field else "")
            violation = Violation(place, wrong)
        else:
            violation = Violation(root, text)
        told = f"validation data: {text}" if held_out and hit.number >= 0 else text
        yield _Complaint(held_out, hit.number, violation, told)


def _place(finding: Finding, hit: Hit) -> str:
    """`line 7: output`."""
    return f"{finding.unit} {hit.number}" + (f": {hit.field}" if hit.field else "")


def _message(
    reading: Reading, others: Sequence[Violation], found: Sequence[_Complaint], more: int
) -> str:
    rows = reading.report.statistics.row_count
    bad = rows - reading.report.statistics.example_count
    name = f"{reading.report.name}: "
    told = [complaint.text.removeprefix(name) for complaint in found[:_TOLD_ROWS]]
    shown = "; ".join([*told, *map(sentence, others)])
    left = len(found[_TOLD_ROWS:]) + more
    shown += f"; and {left} more problem{'' if left == 1 else 's'}" if left else ""
    if all(complaint.held_out for complaint in found):
        return shown
    count = f"{bad} of {rows} row{'' if rows == 1 else 's'} cannot be used; " if bad else ""
    return f"{name}{count}{shown}"
