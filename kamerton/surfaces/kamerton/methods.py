"""The methods of our own API: JSON in, a verb, an answer out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

from kamerton.errors import InvalidArgument, NotFound
from kamerton.service import datasets, runs, tuned_models
from kamerton.service.app import App
from kamerton.surfaces import asked, reports
from kamerton.surfaces.body import Json, snake_case
from kamerton.surfaces.epochs import split_epoch
from kamerton.surfaces.errors import wire_fields
from kamerton.surfaces.kamerton import messages
from kamerton.types import Caller

MAX_NAME = 200
_PAGE = 100
_MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method: who makes it, and all that came with it."""

    app: App
    caller: Caller
    name: str = ""
    """Of the tuned model in the path."""
    query: Mapping[str, str] = field(default_factory=dict)
    given: Json = field(default_factory=dict)
    """The body."""

    @property
    def who(self) -> tuple[App, Caller]:
        """What every verb is given first."""
        return self.app, self.caller

    @property
    def id(self) -> str:
        """Of the tuned model. Raises NotFound when it can be none."""
        return _id(self.name, self.name)

    def number(self, name: str, default: int) -> int:
        """A whole number of the query, from 0."""
        given = next((value for key, value in self.query.items() if snake_case(key) == name), "")
        if given and not re.fullmatch(r"[0-9]{1,18}", given):
            raise InvalidArgument.of(name, "must be a whole number, from 0")
        return int(given) if given else default


@dataclass(frozen=True, slots=True)
class Table:
    """An answer for spreadsheets."""

    csv: str


@dataclass(frozen=True, slots=True)
class Download:
    """An answer that is a file."""

    content: IO[bytes]
    """To be closed."""
    name: str


Answer = Json | Table | Download


def check_dataset(call: Call) -> Json:
    data, arguments = messages.check_arguments(call.given)
    with wire_fields(messages.CHECK_FIELDS):
        return messages.outcome(datasets.check(*call.who, data, **arguments))


def events(call: Call) -> Json:
    """A page of the story, and after which number the next one begins."""
    after = call.number("after", 0)
    most = min(call.number("page_size", 0) or _PAGE, _MAX_PAGE)
    found = runs.events(*call.who, call.id, after=after, most=most)
    return {
        "events": [messages.event(event) for event in found],
        "next": found[-1].number if found else after,
    }


def snapshots(call: Call) -> Json | Table:
    """Every step, with all that is known of it."""
    form = call.query.get("format", "json")
    if form not in ("json", "csv"):
        raise InvalidArgument.of("format", "must be json or csv")
    found = runs.snapshots(*call.who, call.id, after=call.number("after", 0))
    if form == "csv":
        return Table(messages.snapshots_csv(found))
    return {"snapshots": [messages.snapshot(snapshot) for snapshot in found]}


def diagnosis(call: Call) -> Json:
    return messages.diagnosed(runs.diagnose(*call.who, call.id))


def card(call: Call) -> Json:
    return reports.card(runs.card(*call.who, call.id))


def epochs(call: Call) -> Json:
    return {"epochs": [messages.epoch(call.id, found) for found in runs.epochs(*call.who, call.id)]}


def cancel(call: Call) -> Json:
    for name in call.given:
        if name != "keep":
            raise asked.unknown_name(name, "")
    keep = asked.boolean(call.given.get("keep"), "keep")
    tuned_models.cancel(*call.who, call.id, keep=keep)
    return {}


def download(call: Call) -> Download:
    whole, epoch = split_epoch(call.name)
    id = _id(whole, call.name)
    return Download(runs.download(*call.who, id, epoch), f"{call.name}.zip")


def _id(text: str, name: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,63}", text):
        raise NotFound(f"There is no tuned model with the name {name[:MAX_NAME]!r}.")
    return text
