"""The verb on datasets: check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kamerton.errors import InvalidArgument
from kamerton.findings import Report
from kamerton.inference.catalog import EMBEDDED
from kamerton.service import access, plans, readings
from kamerton.service.app import App
from kamerton.service.plans import NO_OPTIONS, Options
from kamerton.service.readings import Data
from kamerton.types import Caller, Estimate


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the checks said, and what a run would take."""

    report: Report
    estimate: Estimate | None = None
    """None for data that a run would be refused for."""
    measuring: bool = False
    """Time and memory are being measured; an answer in some seconds has them."""


def check(
    app: App,
    caller: Caller,
    data: Data,
    *,
    base_model: str = EMBEDDED.name,
    validation: Data | None = None,
    options: Options = NO_OPTIONS,
    **hyperparameters: Any,
) -> Outcome:
    """What a run on a dataset would meet with. Bad rows are findings, never an exception.

    Raises InvalidArgument for what is wrong with the rest of the request, NotFound,
    PermissionDenied and ResourceExhausted.
    """
    access.require(caller, "datasets.check")
    base = app.catalog.find(base_model)
    if wrong := [*plans.violations(app, base, options, validation, **hyperparameters)]:
        raise InvalidArgument.all_of(wrong)
    reading = readings.read(
        app, caller, base, data, validation, allow=options.allow, count_all=True, only_check=True
    )
    if reading.report.count("error"):
        return Outcome(reading.report)
    plan = plans.make(app, base, reading, options, **hyperparameters)
    made = plans.estimate(app, plan, measured=True)
    return Outcome(reading.report, made, app.probes.measuring(base))
