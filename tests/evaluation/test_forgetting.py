from __future__ import annotations

import pytest

from kamerton import library
from kamerton.evaluation.forgetting import Probe, examples, forgetting, knows, probes
from tests.evaluation.candidates import Candidates

RIGHT = {probe.input: probe.answers[0] for probe in probes()}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Odd", True),
        ("7 is odd.", True),
        ("**odd**", True),
        ("Even.", False),
        ("Is 7 odd or even?", False),
        ("Oddly", False),
        ("", False),
    ],
)
def test_a_probe_is_known_by_its_words(answer: str, right: bool) -> None:
    assert knows(Probe("Is 7 odd or even?", ("odd",)), answer) is right


def test_the_probes_are_known_by_their_own_answers() -> None:
    assert 24 <= len(probes()) == len({probe.input for probe in probes()})
    for probe in probes():
        assert all(knows(probe, answer) for answer in probe.answers), probe
        assert not knows(probe, probe.input), probe
    assert [example.output for example in examples()] == list(RIGHT.values())


def test_only_what_the_base_model_knew_can_be_lost() -> None:
    def tuned(text: str) -> str:
        return "spam" if text.startswith("What") else RIGHT[text]

    known = [text for text in RIGHT if text != "Add one to 99"]
    asked = Candidates({"base": lambda text: RIGHT[text] if text in known else "?", "tuned": tuned})
    found = forgetting(asked.generate, {"base": 2.0, "tuned": 2.5})
    whats = [text for text in RIGHT if text.startswith("What")]
    assert found.probe_count == len(RIGHT)
    assert found.base_right == len(RIGHT) - 1
    assert found.tuned_right == len(RIGHT) - len(whats)
    assert found.still_right == found.base_right - len(whats)
    assert [lost.input for lost in found.lost] == whats
    assert (found.lost[0].right, found.lost[0].tuned) == ("Paris", "spam")
    assert found.share == pytest.approx(len(whats) / found.base_right)
    assert (found.base_loss, found.tuned_loss) == (2.0, 2.5)


def test_nothing_known_is_nothing_to_forget() -> None:
    asked = Candidates({"base": lambda text: "?", "tuned": RIGHT.__getitem__})
    assert forgetting(asked.generate, {}).share is None


def test_the_embedded_base_answers_most_of_them() -> None:
    known = [
        knows(probe, library.generate("kamerton-nano-001", probe.input, max_output_tokens=24))
        for probe in probes()
    ]
    assert sum(known) >= 24
