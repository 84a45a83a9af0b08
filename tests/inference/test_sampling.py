from __future__ import annotations

from collections import Counter

import pytest
import torch

from kamerton.inference.sampling import Answer, next_token
from kamerton.inference.weights import LoadedBase
from kamerton.types import GenerationConfig


def draw(count: int, logits: list[float], **config: float) -> Counter[int]:
    settings = GenerationConfig(**{"temperature": 1.0, "top_p": 1.0, "top_k": 0, **config})  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    return Counter(next_token(torch.tensor(logits), settings, [], generator) for _ in range(count))


def test_temperature_zero_takes_the_greatest() -> None:
    assert draw(5, [0.0, 3.0, 1.0], temperature=0.0) == {1: 5}


@pytest.mark.parametrize("temperature", [1e-38, 1e-45, 1e-6])
def test_a_tiny_temperature_is_nearly_greedy(temperature: float) -> None:
    assert draw(5, [0.0, 300.0, 1.0], temperature=temperature) == {1: 5}


def test_frequencies_follow_the_probabilities() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().tolist()
    seen = draw(4000, logits)
    assert seen[0] / 4000 == pytest.approx(0.5, abs=0.03)
    assert seen[2] / 4000 == pytest.approx(0.2, abs=0.03)


def test_top_k_and_top_p_cut_the_tail() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert set(draw(300, logits, top_k=2)) == {0, 1}
    assert set(draw(300, logits, top_p=0.6)) == {0, 1}
    assert set(draw(300, logits, top_p=0.4)) == {0}
    assert set(draw(50, logits, top_p=0.0)) == {0}


def test_penalties_push_away_from_what_was_said() -> None:
    config = GenerationConfig(temperature=0.0, presence_penalty=1.0, frequency_penalty=0.5)
    logits = torch.tensor([3.0, 2.0])
    assert next_token(logits, config, [], None) == 0
    assert next_token(logits, config, [0], None) == 1
    assert logits.tolist() == [3.0, 2.0]


def say(loaded: LoadedBase, text: str, *stops: str) -> list[str]:
    """The pieces in which a text appears, a byte a token."""
    config = GenerationConfig(max_output_tokens=500, stop_sequences=stops)
    answer = Answer(loaded.renderer, config)
    pieces = []
    for token in loaded.renderer.answer(text):
        pieces.append(answer.add(token))
        if answer.finish_reason:
            break
    assert answer.finish_reason == "STOP"
    return pieces


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("two thousand", (), "two thousand"),
        ("сорок три 🎉", (), "сорок три 🎉"),
        ("caf é🎉 more", ("é🎉",), "caf "),
        ("caf é🎁 more", ("é🎉",), "caf é🎁 more"),
        ("aab", ("ab", "aac"), "a"),
        ("one two three", ("three", "two"), "one "),
        ("stop at the enEND", ("END",), "stop at the en"),
        ("nothing", ("x" * 1_000_000,), "nothing"),
    ],
)
def test_what_is_shown_is_certain(
    loaded: LoadedBase, text: str, stops: tuple[str, ...], expected: str
) -> None:
    pieces = say(loaded, text, *stops)
    assert "".join(pieces) == expected
    assert all("\ufffd" not in piece for piece in pieces)
    shown = ""
    for piece in pieces:
        shown += piece
        assert expected.startswith(shown)
