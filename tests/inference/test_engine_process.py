from __future__ import annotations

import msgspec
import pytest

from kamerton.inference.engine_process import Ask, Over, Piece, Ready
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
