"""Checking a dataset and estimating a run on it, in this process and without torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kamerton.dataset import check as checks
from kamerton.dataset.check import Measuring
from kamerton.dataset.chunks import Source
from kamerton.dataset.sentences import MAX_TOLD, errors_of, listed, place_of, sentence
from kamerton.dataset.sources import example_source, inline_source, source_of
from kamerton.dataset.split import hold_out
from kamerton.errors import BadDataset, FailedPrecondition, InvalidArgument, NotFound, Violation
from kamerton.findings import Finding, Report
from kamerton.inference.catalog import EMBEDDED, Catalog, described, tokenizer_folder
from kamerton.inference.prompts import Renderer
from kamerton.settings import load
from kamerton.training import estimate as estimating
from kamerton.training import hyperparameters as rules
from kamerton.training import rows
from kamerton.training.estimate import Probe
from kamerton.training.probe import probe
from kamerton.training.reading import Reading, read
from kamerton.types import NO_BUDGET, BaseModel, Budget, Estimate, Example, Holdout

Data = str | Path | Iterable[Mapping[str, Any] | Example]
"""A file, or rows of any shape that a file may have, or ready examples."""
HOLDOUT = Holdout()


def check(
    data: Data,
    base_model: str = EMBEDDED.name,
    *,
    validation: Data | None = None,
    allow: Collection[str] = (),
    input_key: str = "",
    output_key: str = "",
) -> Report:
    """What would go wrong with a run on a file or on rows.

    Bad data are never an exception: they are findings of the report. `allow` silences codes of
    warnings and notes; `input_key` and `output_key` name the two columns to take. Of the base
    model only the tokenizer is needed.
    """
    keys = {"input_key": input_key, "output_key": output_key}
    return checks.check(
        source(data, **keys),
        validation=None if validation is None else source(validation, "validation", **keys),
        measuring=measuring_of(find_base(base_model)),
        allow=_codes(allow),
    )


def estimate(
    data: Data,
    base_model: str = EMBEDDED.name,
    *,
    validation: Data | None = None,
    budget: Budget = NO_BUDGET,
    holdout: Holdout | None = HOLDOUT,
    price: float | None = None,
    measure: bool = True,
    input_key: str = "",
    output_key: str = "",
    **hyperparameters: Any,
) -> Estimate:
    """What a run would be and take: steps and tokens exactly, time and memory by a probe.

    `hyperparameters` are those of `tune`; `price` is per million tokens. The probe trains for
    some seconds; without torch, or with `measure=False`, time and memory are None. Raises
    InvalidArgument naming the rows that a run would be refused for.
    """
    base = find_base(base_model)
    rules.choose(1, base, **hyperparameters)  # To say at once what cannot be.
    reading = read_data(
        data,
        base,
        validation=validation,
        count_all=True,
        input_key=input_key,
        output_key=output_key,
    )
    refuse_errors(reading.report)
    return plan(
        reading,
        base,
        budget=budget,
        holdout=holdout,
        price=price,
        probe=_probed(base) if measure else None,
        **hyperparameters,
    )


def read_data(
    data: Data,
    base: BaseModel,
    *,
    validation: Data | None = None,
    allow: Collection[str] = (),
    count_all: bool = False,
    input_key: str = "",
    output_key: str = "",
) -> Reading:
    """The dataset of a caller in Python, checked and ready for a run."""
    keys = {"input_key": input_key, "output_key": output_key}
    return read(
        source(data, **keys),
        measuring_of(base),
        validation=None if validation is None else source(validation, "validation", **keys),
        allow=_codes(allow),
        count_all=count_all,
    )


def plan(
    reading: Reading,
    base: BaseModel,
    *,
    budget: Budget = NO_BUDGET,
    holdout: Holdout | None = HOLDOUT,
    price: float | None = None,
    probe: Probe | None = None,
    **hyperparameters: Any,
) -> Estimate:
    """The run that would be made of a dataset without errors, whose tokens were counted."""
    chosen = rules.choose(len(reading.examples), base, **hyperparameters)
    return estimating.estimate(
        reading.measure(reading.examples),
        held_out_places(reading, holdout),
        base,
        chosen,
        budget=budget,
        price=price,
        probe=probe,
        reasons=rules.reasons(len(reading.examples), base, **hyperparameters),
        validation=reading.measure(reading.validation or ()),
    )


def held_out_places(reading: Reading, holdout: Holdout | None) -> tuple[int, ...]:
    """Which of the examples are not trained on; none where validation data were given."""
    if holdout is None or reading.validation is not None:
        return ()
    return hold_out(reading.examples, holdout)


def find_base(name: str) -> BaseModel:
    """A base model of the catalog, or any local folder or hub id. Raises NotFound."""
    bare = name.removeprefix("models/")
    if "/" in bare or Path(bare).is_dir():
        return described(bare, bare)
    settings = load()
    try:  # Aliases are for those who ask a server.
        return Catalog.of(settings.base_models, "", settings.data).find(bare)
    except NotFound:
        raise NotFound(
            f"{name} is no base model here; give {EMBEDDED.name}, one that `kamerton base list` "
            "shows, a local folder, or a Hugging Face hub id such as google/gemma-3-1b-it"
        ) from None


def measuring_of(base: BaseModel) -> Measuring:
    """How its tokenizer counts; of the weights nothing is fetched or read."""
    return rows.measuring(Renderer.load(tokenizer_folder(base)), base.context_tokens)


def source(
    data: Data, name: str = "examples", *, input_key: str = "", output_key: str = ""
) -> Source:
    """The rows of data; `name` is what errors call those that are no file."""
    if isinstance(data, str | Path):
        return source_of(Path(data), input_key=input_key, output_key=output_key)
    if wrong := _no_rows(data):
        raise InvalidArgument.of(name, f"must be a file's path or rows, not {wrong}")
    given = list(data)
    ready = [row for row in given if isinstance(row, Example)]
    if ready and len(ready) < len(given):
        raise InvalidArgument.of("data", "holds both rows and Examples; give one kind")
    others = [row for row in given if not isinstance(row, Example)]
    return example_source(ready, name) if ready else inline_source(others, name)


def _no_rows(data: object) -> str:
    """What data is instead, and what to give; "" for what may hold rows."""
    if hasattr(data, "columns"):
        return "a table: give its rows, such as table.to_dict('records') of pandas"
    if isinstance(data, Mapping | Example):
        return "one row: give a list of rows, such as [row]"
    if hasattr(data, "read"):
        return "an open file: give its path"
    if not isinstance(data, Iterable) or isinstance(data, bytes | bytearray):
        return f"{type(data).__name__}: give a path, or a list of rows or Examples"
    return ""


def _codes(allow: Collection[str]) -> list[str]:
    """One code may be given as it is, and in small letters."""
    return [code.upper() for code in ([allow] if isinstance(allow, str) else allow)]


def refuse_errors(report: Report) -> None:
    """Raises BadDataset with the rows for which a run on the dataset would be refused."""
    errors, untold = errors_of(report)
    if not errors:
        return
    violations = tuple(v for finding in errors for v in _violations(finding, report.name))
    told = listed(map(sentence, violations[:MAX_TOLD]), len(violations[MAX_TOLD:]) + untold)
    of_rows = errors[0].hits and errors[0].unit != "example"
    name = f"{report.name}: " if of_rows else ""
    raise BadDataset(f"{name}{told}", violations, untold, report)


def _violations(finding: Finding, name: str) -> Iterator[Violation]:
    for hit in finding.hits:
        place = place_of(finding.unit, hit.number, hit.field)
        yield Violation(place, hit.detail or finding.message)
    if not finding.hits:
        yield Violation(name, finding.message.removeprefix(f"{name}: "))


def _probed(base: BaseModel) -> Probe | None:
    try:
        return probe(base)
    except FailedPrecondition:
        return None
