"""Whatever is sent in place of our options is taken or refused in words."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from kamerton.errors import InvalidArgument
from kamerton.surfaces.gemini import extension
from kamerton.surfaces.kamerton import messages

NAMES = st.sampled_from(
    [
        "tuningTask", "tuning_task", "trainingData", "validationData", "validation_data",
        "kamerton", "budget", "maxTokens", "max_seconds", "maxCost", "holdout",
        "earlyStopping", "mode", "patience", "min_change",
        "share", "atLeast", "seed", "allow", "inputKey", "output_key", "examples",
        "fileUri", "file_uri", "baseModel", "hyperparameters", "epochCount",
        "learning_rate", "validateOnly", "adapterSize", "target_modules", "rslora",
    ]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=5)


@given(BODIES)
@example({"tuningTask": {"kamerton": {"budget": {"maxTokens": "1e999"}}}})
@example({"tuningTask": {"kamerton": {"holdout": {"seed": 10**400}}}})
def test_requests_to_create(model: dict[str, Any]) -> None:
    with suppress(InvalidArgument):
        extension.lifted({"tuned_model": model}, {})


@given(BODIES)
@example({"examples": [], "hyperparameters": {"epochCount": 1e400}})
def test_requests_to_check(body: dict[str, Any]) -> None:
    with suppress(InvalidArgument):
        messages.check_arguments(body)
