"""Base models that somebody added: what was written down of each, in the data folder."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec

from kamerton.folders import sync
from kamerton.types import BaseModel

_log = logging.getLogger(__name__)

FINGERPRINT = "sha256-"
"""Begins the `version` of a base model that was added; see `provenance.fingerprint`."""
Signature = tuple[tuple[str, int, int, int], ...]


class File(msgspec.Struct, frozen=True):
    size: int
    sha256: str


class Record(msgspec.Struct, frozen=True):
    """One base model, as it was when it was added."""

    base_model: BaseModel
    """Its `weights` are empty where they lie beside this record."""
    source: str
    """Hub id, or the folder that was named."""
    revision: str
    """The commit on the hub; "" for a folder."""
    licence: str
    """As the model card names it; "" where it names none."""
    terms: str
    """Address of the licence, where it is known."""
    family: str
    model_type: str
    """Of the text part."""
    parameters: int
    """Of the text part, the embeddings counted once."""
    dtype: str
    """In which most of them are stored."""
    files: dict[str, File]
    add_time: str
    """ISO 8601, UTC."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def parent(data: Path) -> Path:
    """Where the records of a data folder lie."""
    return data / "bases"


def own_folder(data: Path, name: str) -> Path:
    """Where the files of a base model lie that was fetched."""
    return parent(data) / name


def read(data: Path) -> list[Record]:
    """All records, by name. One that is damaged is passed over, with a line in the log."""
    found = []
    for file in sorted(parent(data).glob("*.json")):
        try:
            record = msgspec.json.decode(file.read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("%s is not a base model's record: %s", file, error)
            continue
        if not record.base_model.weights:
            record = _at(record, str(own_folder(data, record.base_model.name).absolute()))
        found.append(record)
    return found


def find(data: Path, name: str) -> Record | None:
    return next((record for record in read(data) if record.base_model.name == name), None)


def write(data: Path, record: Record) -> None:
    """From the moment its record is there, a base model is."""
    own = str(own_folder(data, record.base_model.name).absolute())
    if record.base_model.weights == own:  # A data folder may be moved.
        record = _at(record, "")
    parent(data).mkdir(parents=True, exist_ok=True)
    file = parent(data) / f"{record.base_model.name}.json"
    new = file.with_suffix(".new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    sync(new)
    os.replace(new, file)
    sync(file.parent)


def remove(data: Path, name: str) -> bool:
    """Forget a base model, and remove its files where they are our own; True if they were."""
    (parent(data) / f"{name}.json").unlink(missing_ok=True)
    folder = own_folder(data, name)
    if not folder.is_dir():
        return False
    shutil.rmtree(folder)
    return True


def signature(data: Path) -> Signature:
    """Another one whenever a record was added, changed or removed; far cheaper than reading."""
    found = []
    try:
        with os.scandir(parent(data)) as entries:
            for entry in entries:
                if entry.name.endswith(".json"):
                    stat = entry.stat()
                    found.append((entry.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    except OSError:  # Nobody has added one, or one is being removed at this moment.
        pass
    return tuple(sorted(found))


def _at(record: Record, weights: str) -> Record:
    moved = replace(record.base_model, weights=weights)
    return msgspec.structs.replace(record, base_model=moved)
