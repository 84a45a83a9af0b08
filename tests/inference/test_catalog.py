from __future__ import annotations

from pathlib import Path

import pytest

from kamerton.errors import InvalidArgument, NotFound
from kamerton.inference import catalog, records
from kamerton.inference.catalog import EMBEDDED, Catalog
from kamerton.inference.records import File, Record
from kamerton.settings import Settings
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
    with pytest.raises(NotFound, match=r"there is no folder .*nowhere\. .*kamerton base remove x"):
        catalog.folder(BaseModel(name="x", weights=str(tmp_path / "nowhere")))
    with pytest.raises(NotFound, match="nor to be had"):
        catalog.folder(BaseModel(name="x", weights="nobody/nothing"))


# --- those that are added ------------------------------------------------------------------------


def recorded(name: str, weights: str = "/models/x", rate: float = 0.1) -> Record:
    return Record(
        base_model=BaseModel(name=name, weights=weights, learning_rate=rate),
        source="me/x",
        revision="c0ffee",
        licence="mit",
        terms="",
        family="Llama",
        model_type="llama",
        parameters=7,
        dtype="bfloat16",
        files={"config.json": File(2, "00")},
        add_time="2026-11-22T00:00:00+00:00",
    )


def test_what_is_added_and_removed_is_seen_at_once(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, aliases="gemini-*=kamerton-nano-001")
    models = Catalog.read(settings)
    assert [base.name for base in models.list()] == ["kamerton-nano-001"]
    records.write(tmp_path, recorded("mine"))
    assert models.find("mine").weights == "/models/x"
    assert [base.name for base in models.list()] == ["kamerton-nano-001", "mine"]
    records.write(tmp_path, recorded("mine", rate=0.2))
    assert models.find("mine").learning_rate == 0.2
    assert not records.remove(tmp_path, "mine"), "there were no files of our own"
    with pytest.raises(NotFound):
        models.find("mine")


def test_an_alias_may_name_what_was_added(tmp_path: Path) -> None:
    records.write(tmp_path, recorded("mine"))
    models = Catalog.read(Settings(data=tmp_path, aliases="old=mine"))
    assert models.find("old").name == "mine"
    records.remove(tmp_path, "mine")
    with pytest.raises(NotFound, match="models/old"):
        models.find("old")


def test_settings_come_before_what_was_added(tmp_path: Path) -> None:
    records.write(tmp_path, recorded("mine"))
    models = Catalog.read(Settings(data=tmp_path, base_models="mine=/models/other", aliases=""))
    assert models.find("mine").weights == "/models/other"


def test_a_data_folder_may_be_moved(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    folder = records.own_folder(before, "mine")
    folder.mkdir(parents=True)
    records.write(before, recorded("mine", str(folder.absolute())))
    before.rename(after)
    assert Catalog.read(Settings(data=after)).find("mine").weights == str(after / "bases" / "mine")
    assert records.remove(after, "mine")
    assert list((after / "bases").iterdir()) == []


def test_a_damaged_record_does_not_hide_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records.write(tmp_path, recorded("mine"))
    (tmp_path / "bases" / "bad.json").write_text('{"base_model": 3}')
    assert Catalog.read(Settings(data=tmp_path)).find("mine")
    assert "bad.json is not a base model's record" in caplog.text


def test_a_folder_of_the_settings_is_described_by_its_files(tiny: BaseModel) -> None:
    found = Catalog.of(f"mine={tiny.weights}", "").find("mine")
    assert (found.learning_rate, found.input_token_limit) == (2e-4, 384)
