from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.dataset.split import hold_out
from kamerton.errors import InvalidArgument
from kamerton.types import Content, Example, Holdout

USUAL = Holdout()


def examples(count: int, labels: tuple[str, ...] = ()) -> list[Example]:
    choose = random.Random(5)
    return [
        Example.pair(
            f"question {number} of {choose.random()}",
            choose.choice(labels) if labels else "answer " * choose.randint(1, 30),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("count", "held_out"), [(1, 0), (19, 0), (20, 4), (40, 4), (55, 6), (100, 10), (1000, 100)]
)
def test_a_tenth_at_least_four_and_none_of_few(count: int, held_out: int) -> None:
    assert len(hold_out(examples(count), USUAL)) == held_out


def test_share_and_limits_can_be_set() -> None:
    assert len(hold_out(examples(100), Holdout(share=0.3))) == 30
    assert len(hold_out(examples(10), Holdout(from_examples=10, at_least=2))) == 2
    assert len(hold_out(examples(10), Holdout(from_examples=2, at_least=9))) == 5


def test_the_same_for_the_same_data_and_seed() -> None:
    some = examples(200)
    places = hold_out(some, USUAL)
    assert places == hold_out(some, USUAL) == tuple(sorted(places))
    assert places != hold_out(some, Holdout(seed=1))


def test_the_order_of_the_examples_does_not_matter() -> None:
    some = examples(200, ("yes", "no"))
    mixed = random.Random(1).sample(some, len(some))
    chosen = {some[place] for place in hold_out(some, USUAL)}
    assert {mixed[place] for place in hold_out(mixed, USUAL)} == chosen


def test_the_same_in_another_process() -> None:
    code = (
        "from tests.dataset.test_split import examples, USUAL, hold_out\n"
        "print(hold_out(examples(100), USUAL))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(hold_out(examples(100), USUAL))


def test_every_label_gives_its_share() -> None:
    some = examples(1000, ("a",) * 6 + ("b",) * 3 + ("c",))
    counts = Counter(example.output for example in some)
    held_out = Counter(some[place].output for place in hold_out(some, USUAL))
    assert {label: round(count / 10) for label, count in counts.items()} == pytest.approx(
        dict(held_out), abs=1
    )


def test_a_label_is_never_held_out_whole() -> None:
    some = [*examples(100, ("a", "b")), Example.pair("the only one", "rare")]
    for seed in range(20):
        assert 100 not in hold_out(some, Holdout(share=0.5, seed=seed))


def test_outputs_of_every_length_are_held_out() -> None:
    some = examples(200)
    lengths = sorted(len(some[place].output) for place in hold_out(some, USUAL))
    half = sorted(len(example.output) for example in some)[100]
    assert sum(length < half for length in lengths) in range(8, 13)


def test_what_asks_the_same_stays_on_one_side() -> None:
    some = examples(200)
    again = [
        Example.pair(e.contents[0].text.upper().replace(" ", ",  ") + "!", e.output) for e in some
    ]
    held_out = set(hold_out([*some, *again], USUAL))
    assert 36 <= len(held_out) <= 40
    assert all((place in held_out) == (place + 200 in held_out) for place in range(200))


@pytest.mark.parametrize(
    ("count", "copies", "held_out"), [(100, 5, 10), (200, 2, 20), (40, 10, 10), (60, 20, 20)]
)
@pytest.mark.parametrize("spread", [1, 37])
def test_copies_are_held_out_as_well(count: int, copies: int, held_out: int, spread: int) -> None:
    some = [
        Example.pair(f"question {at // copies}", f"answer {at // copies} " + "x" * (at % spread))
        for at in range(count)
    ]
    assert len(hold_out(some, USUAL)) == held_out


def test_turns_of_a_conversation_count() -> None:
    def ask(first: str) -> Example:
        contents = (Content("user", first), Content("model", "ok"), Content("user", "and now?"))
        return Example(contents, "done")

    some = [ask(f"{number}") for number in range(100)]
    assert len(hold_out(some, USUAL)) == 10


def test_one_example_a_hundred_times_is_not_held_out() -> None:
    assert hold_out([Example.pair("a", "b")] * 100, USUAL) == ()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (Holdout(share=0.0), "holdout.share"),
        (Holdout(share=0.6), "holdout.share"),
        (Holdout(share=float("nan")), "holdout.share"),
        (Holdout(at_least=0), "holdout.at_least"),
        (Holdout(from_examples=1), "holdout.from_examples"),
    ],
)
def test_a_share_that_cannot_be_is_refused(wrong: Holdout, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        hold_out(examples(30), wrong)
    assert [violation.field for violation in caught.value.violations] == [field]


@given(
    st.lists(st.tuples(st.text(max_size=5), st.text(max_size=3)), max_size=60),
    st.floats(0.01, 0.5),
    st.integers(1, 10),
)
def test_something_is_always_left(rows: list[tuple[str, str]], share: float, least: int) -> None:
    some = [Example.pair(*row) for row in rows]
    places = hold_out(some, Holdout(share=share, at_least=least, from_examples=2))
    assert len(set(places)) == len(places) <= len(some) / 2
