"""What an adapter was made with: it is served only by the same renderer and base model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kamerton.errors import FailedPrecondition
from kamerton.inference.prompts import Renderer
from kamerton.inference.records import FINGERPRINT
from kamerton.types import Content, Example

PROVENANCE = "provenance.json"
_SAMPLE_BYTES = 1024**2
_SAMPLES = (
    Example.pair("What is 2 + 2?", "4"),
    Example.pair("  Привет, <end_of_turn> мир!\n\n", " Да. "),
    Example(
        (
            Content("system", "Be brief."),
            Content("user", "日本 🙂"),
            Content("model", "ok\tok"),
            Content("model", "read only", learn=False),
            Content("user", "1234567890 {}[]<b>"),
        ),
        "The\nend",
    ),
)
"""Rendered otherwise, they make another hash."""


@dataclass(frozen=True, slots=True)
class Provenance:
    renderer: str
    """SHA-256 of the token ids that the renderer makes of fixed examples, and what is learned."""
    base: str
    """See `base_hash`."""

    def write(self, folder: Path) -> None:
        (folder / PROVENANCE).write_bytes(msgspec.json.encode(self))

    def check(self, folder: Path) -> None:
        """Raises FailedPrecondition when the adapter in `folder` was made with something else.
        One that does not say, as those of other tools and older versions, is taken."""
        file = folder / PROVENANCE
        if not file.exists():
            return
        made = msgspec.json.decode(file.read_bytes(), type=Provenance)
        if made.base != self.base:
            raise FailedPrecondition(
                "This adapter was made for other weights than its base model has now. Put those "
                "back, or tune it again."
            ).at("BASE_CHANGED")
        if made.renderer != self.renderer:
            raise FailedPrecondition(
                "This adapter was made with prompts that were rendered in another way than now: "
                "its answers would be wrong. Tune it again, or serve it with the version that "
                "made it."
            ).at("RENDERER_CHANGED")


def renderer_hash(renderer: Renderer) -> str:
    rendered = [(ids, spans) for ids, spans in renderer.examples(_SAMPLES)]
    prompts = [renderer.prompt(example.contents) for example in _SAMPLES]
    return hashlib.sha256(msgspec.json.encode([rendered, prompts])).hexdigest()


def base_hash(folder: Path) -> str:
    """SHA-256 of a base model's configuration and of its weight files' names, sizes, beginnings
    and ends: all of gigabytes would take too long at every start."""
    found = hashlib.sha256()
    for file in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        size = file.stat().st_size
        found.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as opened:
            found.update(opened.read(_SAMPLE_BYTES))
            opened.seek(max(0, size - _SAMPLE_BYTES))
            found.update(opened.read())
    return found.hexdigest()


def fingerprint(base: str) -> str:
    """Of a `base_hash`, as the version of a base model that was added."""
    return FINGERPRINT + base[:12]
