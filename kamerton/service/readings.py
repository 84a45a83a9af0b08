"""Datasets of requests: read once, checked on the way, and refused with all that is wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kamerton.dataset.chunks import Chunk, Source
from kamerton.dataset.sentences import MAX_TOLD, errors_of, listed, place_of, sentence, unusable
from kamerton.dataset.sources import example_source, inline_source
from kamerton.errors import BadDataset, InvalidArgument, Violation
from kamerton.findings import Finding, Report
from kamerton.service import files
from kamerton.service.app import App
from kamerton.training import reading, rows
from kamerton.training.reading import Reading
from kamerton.types import BaseModel, Caller, Example

MAX_EXAMPLES = 200_000
COUNTED_CHARACTERS = 4_000_000
"""So much text is always counted in tokens: it takes a second or two."""


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
    errors, untold = errors_of(report)
    if not errors:
        if others:
            raise InvalidArgument.all_of(others)
        return
    found = sorted(
        (complaint for finding in errors for complaint in _complaints(finding)),
        key=lambda complaint: (complaint.held_out, complaint.row),
    )
    violations = tuple(complaint.violation for complaint in found)
    if all(finding.unit == "example" for finding in errors):
        message = InvalidArgument.all_of([*others, *violations], untold).message
    else:
        message = _message(report, others, found, untold)
    raise BadDataset(message, (*others, *violations), untold, report)


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
    before = _VALIDATION if held_out else ""
    root = before + ("examples" if inline else "file_uri")
    if not finding.hits:
        yield _Complaint(held_out, -1, Violation(root, finding.message), finding.message)
    for hit in finding.hits:
        place = place_of(finding.unit, hit.number, hit.field)
        wrong = hit.detail or finding.message
        text = sentence(Violation(place, wrong))
        violation = Violation(before + place, wrong) if inline else Violation(root, text)
        told = f"validation data: {text}" if held_out else text
        yield _Complaint(held_out, hit.number, violation, told)


def _message(
    report: Report, others: Sequence[Violation], found: Sequence[_Complaint], untold: int
) -> str:
    rows = report.statistics.row_count
    bad = rows - report.statistics.example_count
    name = f"{report.name}: "
    told = [complaint.text.removeprefix(name) for complaint in found[:MAX_TOLD]]
    shown = listed([*told, *map(sentence, others)], len(found[MAX_TOLD:]) + untold)
    if all(complaint.held_out for complaint in found):
        return shown
    count = f"{unusable(bad, rows)}; " if bad else ""
    return f"{name}{count}{shown}"
