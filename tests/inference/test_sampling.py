from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from kamerton.inference.catalog import EMBEDDED
from kamerton.inference.prompts import Renderer
from kamerton.inference.sampling import LEAST_LOGPROB, Answer, next_token, token_choice
from kamerton.inference.weights import LoadedBase
from kamerton.types import GenerationConfig

LOGITS = torch.zeros(262)


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
        pieces.append(answer.add(token, LOGITS))
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


# --- log probabilities ---------------------------------------------------------------------------


def test_the_logarithm_of_the_softmax(loaded: LoadedBase) -> None:
    logits = [1.0, 3.0, -2.0, 2.5]
    total = sum(map(math.exp, logits))
    expected = [math.log(math.exp(logit) / total) for logit in logits]
    choice = token_choice(torch.tensor(logits), 2, 3, loaded.renderer)
    assert choice.chosen.id == 2
    assert choice.chosen.logprob == pytest.approx(expected[2], abs=1e-6)
    assert [token.id for token in choice.top] == [1, 3, 0]
    assert [token.logprob for token in choice.top] == pytest.approx(
        [expected[1], expected[3], expected[0]], abs=1e-6
    )


def test_as_many_alternatives_as_there_are(loaded: LoadedBase) -> None:
    assert len(token_choice(torch.zeros(5), 0, 20, loaded.renderer).top) == 5
    assert token_choice(torch.zeros(5), 0, 0, loaded.renderer).top == ()


@pytest.mark.parametrize("broken", [[0.0, -math.inf], [0.0, math.inf], [0.0, math.nan]])
def test_they_can_always_be_written_as_json(loaded: LoadedBase, broken: list[float]) -> None:
    choice = token_choice(torch.tensor(broken), 1, 2, loaded.renderer)
    for token in (choice.chosen, *choice.top):
        assert token.logprob >= LEAST_LOGPROB
        json.dumps(token.logprob, allow_nan=False)


def test_a_token_is_the_text_of_its_id_alone(loaded: LoadedBase) -> None:
    renderer = loaded.renderer
    first, *_ = renderer.answer("é")
    choice = token_choice(LOGITS, first, 0, renderer)
    assert (choice.chosen.id, choice.chosen.text) == (first, "\ufffd")
    assert choice.chosen.logprob == pytest.approx(-math.log(262), abs=1e-5)
    assert token_choice(LOGITS, renderer.end_of_turn, 0, renderer).chosen.text == "<end_of_turn>"


def tell(renderer: Renderer, tokens: list[int], **config: object) -> list[tuple[str, list[int]]]:
    """Every piece of text and the tokens that are told with it."""
    asked = GenerationConfig(**{"max_output_tokens": 500, "logprobs": 0, **config})  # type: ignore[arg-type]
    answer = Answer(renderer, asked)
    told = []
    for token in tokens:
        text = answer.add(token, torch.zeros(4096))
        if text or answer.finish_reason:
            told.append((text, [choice.chosen.id for choice in answer.logprobs() or ()]))
        if answer.finish_reason:
            break
    return told


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("two thousand", (), "two thousand"),
        ("сорок три 🎉", (), "сорок три 🎉"),
        ("caf é🎉 more", ("é🎉",), "caf "),
        ("caf é🎁 more", ("é🎉",), "caf é🎁 more"),
        ("aab", ("ab", "aac"), "a"),
        ("stop at the enEND", ("END",), "stop at the en"),
    ],
)
def test_each_piece_comes_with_its_own_tokens(
    loaded: LoadedBase, text: str, stops: tuple[str, ...], expected: str
) -> None:
    """A byte a token: neither the mark that ends the answer nor what was cut off is told."""
    renderer = loaded.renderer
    told = tell(renderer, renderer.answer(text), stop_sequences=stops)
    for piece, tokens in told:
        assert renderer.text(tokens) == piece
    assert renderer.text([token for _, tokens in told for token in tokens]) == expected


def test_a_token_that_is_cut_in_two_is_told_and_those_after_it_are_not() -> None:
    renderer = Renderer.load(Path(EMBEDDED.weights))
    tokens = renderer.answer("one two three")
    shown = [renderer.token(token) for token in tokens]
    assert shown == ["one", " two", " three", "<end_of_turn>"]
    told = tell(renderer, tokens, stop_sequences=("wo",))
    assert "".join(piece for piece, _ in told) == "one t"
    assert [token for _, found in told for token in found] == tokens[:2]


def test_a_character_that_was_not_finished_is_not_told(loaded: LoadedBase) -> None:
    tokens = loaded.renderer.answer("aé")
    told = tell(loaded.renderer, tokens, max_output_tokens=2)
    assert told == [("a", tokens[:1]), ("", [])]
