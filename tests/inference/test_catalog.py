from __future__ import annotations

from pathlib import Path

import pytest

from kamerton.errors import InvalidArgument, NotFound
from kamerton.inference import catalog
from kamerton.inference.catalog import EMBEDDED, Catalog
from kamerton.types import BaseModel

DEFAULT = Catalog.of("", "gemini-*=kamerton-nano-001")


@pytest.mark.parametrize(
    "name",
    ["kamerton-nano-001", "gemini-1.0-pro-001", "gemini-1.5-flash-001-tuning", "gemini-1.5-pro"],
)
def test_old_names_lead_to_the_embedded_model(name: str) -> None:
    assert DEFAULT.find(name).name == "kamerton-nano-001"


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(NotFound, match="models/gpt-5 is not found"):
        DEFAULT.find("gpt-5")


def test_more_base_models_and_aliases() -> None:
    many = Catalog.of("mine=/models/mine, hub=google/gemma-3-270m-it", "old=mine,gemini-*=hub")
    assert many.find("old").weights == "/models/mine"
    assert many.find("gemini-2.0").weights == "google/gemma-3-270m-it"
    assert [base.name for base in many.list()] == ["kamerton-nano-001", "mine", "hub"]


@pytest.mark.parametrize(("models", "aliases"), [("mine", ""), ("=x", ""), ("", "a=nowhere")])
def test_settings_that_make_no_sense_are_refused(models: str, aliases: str) -> None:
    with pytest.raises(InvalidArgument):
        Catalog.of(models, aliases)


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert catalog.folder(BaseModel(name="x", weights=str(tmp_path))) == tmp_path
    assert catalog.folder(EMBEDDED).is_dir()


def test_weights_that_are_nowhere_are_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="neither a local folder"):
        catalog.folder(BaseModel(name="x", weights=str(tmp_path / "nowhere")))
    with pytest.raises(NotFound, match="nor to be had"):
        catalog.folder(BaseModel(name="x", weights="nobody/nothing"))
