"""Every form in which training data is given, as `trainingData` of a request."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from numbers import Real
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from kamerton.client.connection import ANSWER_SECONDS, Json
from kamerton.errors import InvalidArgument, KamertonError, Violation
from kamerton.genai.files import File, upload_file

TrainingData = File | str | os.PathLike[str] | Mapping[str, Iterable[Any]] | Iterable[Any]

_KEYS = ("text_input", "output")
_FILE = re.compile(r"(?:https?://[^/]+/v1(?:beta)?/)?(files/[a-z0-9-]{1,40})")
_SHEET = re.compile(r"https://docs\.google\.com/spreadsheets/d/[^/]+")


@contextmanager
def sending(data: TrainingData, input_key: str, output_key: str) -> Iterator[Json]:
    """`trainingData` for as long as a request takes; what was uploaded for it alone is deleted.

    JSONL is uploaded as it is, in whatever shape its rows are; everything else is read here.
    """
    if uploaded := _uploaded(data):
        yield {"fileUri": uploaded}
    elif isinstance(data, str | os.PathLike) and _is_jsonl(data, input_key, output_key):
        local = io.BytesIO(_downloaded(str(data))) if _is_address(data) else Path(data)
        file = upload_file(local, display_name=Path(data).name)
        try:
            yield {"fileUri": file.name}
        finally:
            with suppress(KamertonError):  # The server forgets it by itself, only later.
                file.delete()
    else:
        yield {"examples": {"examples": _examples(data, input_key, output_key)}}


def _uploaded(data: TrainingData) -> str:
    """The name of the file that `data` is, names, or is the address of; else empty."""
    if isinstance(data, File):
        return data.name
    found = _FILE.fullmatch(data) if isinstance(data, str) and not Path(data).exists() else None
    return found[1] if found else ""


def _is_jsonl(path: str | os.PathLike[str], *keys: str) -> bool:
    return _suffix(path) == ".jsonl" and keys == _KEYS


def _suffix(path: str | os.PathLike[str]) -> str:
    place = urlsplit(str(path)).path if _is_address(path) else path
    return Path(place).suffix.lower()


def _is_address(path: str | os.PathLike[str]) -> bool:
    return isinstance(path, str) and path.startswith(("http://", "https://"))


def _downloaded(address: str) -> bytes:
    if sheet := _SHEET.match(address):
        tab = re.search(r"gid=\d+", address)
        address = f"{sheet[0]}/export?format=csv" + (f"&{tab[0]}" if tab else "")
    try:
        response = requests.get(address, timeout=ANSWER_SECONDS)
        response.raise_for_status()
    except requests.RequestException as error:
        raise InvalidArgument(f"{address} cannot be read: {error}") from error
    return response.content


def _examples(data: Any, input_key: str, output_key: str) -> list[Json]:
    """Rows, pairs or columns as examples. Raises InvalidArgument that names every bad one."""
    if isinstance(data, str | os.PathLike):
        data = _read(data)
    rows = _from_columns(data, input_key, output_key) if hasattr(data, "keys") else data
    examples, violations = [], []
    for number, row in enumerate(rows):
        try:
            text_input, output = _pair(row, input_key, output_key)
            examples.append({"textInput": _text(text_input), "output": _text(output)})
        except ValueError as error:
            violations.append(Violation(f"training_data[{number}]", str(error)))
    if violations:
        raise InvalidArgument.all_of(violations)
    return examples


def _read(path: str | os.PathLike[str]) -> Any:
    """What a JSON, JSONL or CSV file holds; a file with any other ending is read as CSV."""
    content = _downloaded(str(path)) if _is_address(path) else Path(path).read_bytes()
    text = content.decode("utf-8-sig")
    if _suffix(path) == ".json":
        return json.loads(text)
    if _suffix(path) == ".jsonl":
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    return csv.DictReader(io.StringIO(text, newline=""))


def _from_columns(columns: Any, input_key: str, output_key: str) -> Iterable[Any]:
    try:
        return zip(columns[input_key], columns[output_key], strict=True)
    except KeyError as error:
        has = ", ".join(map(str, columns.keys()))
        raise InvalidArgument(f"training_data has no column {error}, only {has}") from None


def _pair(row: Any, input_key: str, output_key: str) -> tuple[Any, Any]:
    if isinstance(row, Mapping):
        if missing := [key for key in (input_key, output_key) if key not in row]:
            raise ValueError(f"has no {missing[0]!r}, only {', '.join(map(str, row))}")
        return row[input_key], row[output_key]
    if isinstance(row, str) or not isinstance(row, Iterable) or len(pair := tuple(row)) != 2:
        raise ValueError(f"must be a pair or have {input_key!r} and {output_key!r}")
    return pair


def _text(value: Any) -> str:
    # A number that is not itself is how pandas keeps an empty cell.
    if not isinstance(value, str | Real) or value != value:
        raise ValueError(f"must hold text, not {value!r}")
    return str(value)
