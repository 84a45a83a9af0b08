from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from kamerton.errors import ResourceExhausted
from kamerton.inference import engine_process
from kamerton.inference.engine_process import Ask, EngineProcess, Over, Piece, Ready
from kamerton.types import BaseModel, Chunk, GenerationConfig, TokenChoice, TokenLogprob

CHOICES = (
    TokenChoice(TokenLogprob(3, "é", -0.125), (TokenLogprob(4, "\ufffd", -9999.0),)),
    TokenChoice(TokenLogprob(5, "", 0.0)),
)


@pytest.mark.parametrize("logprobs", [None, (), CHOICES])
def test_a_piece_arrives_as_it_was_sent(logprobs: tuple[TokenChoice, ...] | None) -> None:
    sent = Piece(7, Chunk("é", 1, "STOP", 5, 2, logprobs))
    got = msgspec.json.decode(msgspec.json.encode(sent), type=Ready | Piece | Over)
    assert isinstance(got, Piece) and got.chunk == sent.chunk


def test_a_question_arrives_as_it_was_sent() -> None:
    config = GenerationConfig(logprobs=20, stop_sequences=("x",), seed=-5)
    sent = Ask(7, BaseModel("a", "b"), None, [1, 2], config)
    got = msgspec.json.decode(msgspec.json.encode(sent), type=Ask)
    assert got == sent and got.config == config


class SilentChild:
    """An engine that takes every question and never answers."""

    def __init__(self, module: str, log: Path) -> None:
        self._closed = threading.Event()
        self.channel: Any = SimpleNamespace(send=lambda line: None, lines=self._lines)

    def watch(self) -> None:
        pass

    def _lines(self) -> Iterator[bytes]:
        self._closed.wait(10)
        return iter(())

    def close(self) -> None:
        self._closed.set()


def test_a_full_queue_refuses_until_somebody_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_process, "Child", SilentChild)
    engine = EngineProcess((), "cpu", tmp_path / "log", max_pending=1)
    asked = (BaseModel("a", "b"), None, [1], GenerationConfig())
    first: Any = engine.generate(*asked)
    with pytest.raises(ResourceExhausted, match="Too many prompts"):
        engine.generate(*asked)
    first.close()
    engine.generate(*asked)
    engine.close()
