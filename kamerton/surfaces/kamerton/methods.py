"""The methods of our own API: JSON in, a verb, JSON out."""

from __future__ import annotations

from kamerton.service import datasets
from kamerton.service.app import App
from kamerton.surfaces.body import Json
from kamerton.surfaces.errors import wire_fields
from kamerton.surfaces.kamerton import messages
from kamerton.types import Caller


def check_dataset(app: App, caller: Caller, given: Json) -> Json:
    data, arguments = messages.check_arguments(given)
    with wire_fields(messages.CHECK_FIELDS):
        return messages.outcome(datasets.check(app, caller, data, **arguments))
