"""Runs that are trained together go as if each were alone."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kamerton.dataset.tutorial import EXAMPLES
from kamerton.errors import Cancelled, FailedPrecondition
from kamerton.inference import attention
from kamerton.inference.weights import LoadedBase
from kamerton.training import memory, pointwise, rows, together
from kamerton.training.adapter import Adapter
from kamerton.training.batches import Batch
from kamerton.training.gemma3 import Decoder
from kamerton.training.rows import Row
from kamerton.training.stack import Stack
from kamerton.training.stock import StockDecoder
from kamerton.training.switches import Switches
from kamerton.training.together import Together
from kamerton.training.train import train
from kamerton.types import Example, Hyperparameters, Snapshot

ONE = Hyperparameters(2, 4, 0.01, 0.01, seed=1)
MANY = (
    ONE,
    replace(ONE, seed=2, batch_size=2, peak_learning_rate=0.003),
    replace(ONE, lora_rank=3, lora_alpha=9, rslora=True, epoch_count=3),
    replace(ONE, target_modules=("q_proj", "down_proj"), lora_rank=16, warmup_steps=3),
)
"""Of other data, rank, rate, length and end each."""
HANDS = pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "stock"])


def data(number: int) -> list[Example]:
    return [Example.pair(f"{number} {e.contents[0].text}", e.output) for e in EXAMPLES]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs went through the model at once, pass by pass."""
    found: list[int] = []
    honest = Together._pass

    def watched(self: Together, chosen: list[Any]) -> None:
        found.append(len(chosen))
        honest(self, chosen)

    def wait_for_all(self: Together) -> None:
        self._changed.wait_for(lambda: len(self._waiting) >= self._running, 2.0)

    monkeypatch.setattr(Together, "_pass", watched)
    monkeypatch.setattr(Together, "_wait_for_others", wait_for_all)
    return found


def run_all(
    shared: Together,
    folder: Path,
    chosen: Sequence[Hyperparameters] = MANY,
    on_snapshot: Callable[[int, Snapshot], bool] = lambda number, snapshot: True,
) -> list[list[Snapshot] | Exception]:
    """All of them at once, each in a thread of its own."""
    found: list[Any] = [[] for _ in chosen]

    def run(number: int) -> None:
        where = folder / str(number)
        where.mkdir(parents=True)

        def keep(snapshot: Snapshot) -> bool:
            found[number].append(snapshot)
            return on_snapshot(number, snapshot)

        try:
            train(
                shared.loaded.base_model, data(number), chosen[number], where, keep,
                together=shared,
            )  # fmt: skip
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(chosen))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def alone(
    loaded: LoadedBase, folder: Path, chosen: Sequence[Hyperparameters] = MANY
) -> list[list[Snapshot]]:
    found = []
    for number, hyperparameters in enumerate(chosen):
        snapshots: list[Snapshot] = []
        where = folder / f"alone{number}"
        where.mkdir()

        def keep(snapshot: Snapshot, snapshots: list[Snapshot] = snapshots) -> bool:
            snapshots.append(snapshot)
            return True

        train(loaded.base_model, data(number), hyperparameters, where, keep, loaded=loaded)
        found.append(snapshots)
    return found


def check_same(found: list[Snapshot] | Exception, expected: list[Snapshot]) -> None:
    assert isinstance(found, list), found
    assert [s.step for s in found] == [s.step for s in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.mean_loss == pytest.approx(other.mean_loss, abs=1e-5)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-4)


@HANDS
def test_each_run_goes_as_if_it_were_alone(
    loaded: LoadedBase, tmp_path: Path, passes: list[int], by_hand: bool
) -> None:
    found = run_all(Together(loaded, Switches(by_hand=by_hand)), tmp_path)
    assert max(passes) >= 3  # They were together.
    for one, other in zip(found, alone(loaded, tmp_path), strict=True):
        check_same(one, other)


def test_what_is_not_finite_stays_with_its_run(
    loaded: LoadedBase, tmp_path: Path, passes: list[int]
) -> None:
    wild = replace(ONE, learning_rate=1e30, peak_learning_rate=1e30)
    found = run_all(Together(loaded), tmp_path, (ONE, wild, replace(ONE, seed=2)))
    assert isinstance(found[1], FailedPrecondition) and found[1].reason == "NOT_FINITE"
    expected = alone(loaded, tmp_path, (ONE, ONE, replace(ONE, seed=2)))
    check_same(found[0], expected[0])
    check_same(found[2], expected[2])
    assert max(passes) >= 2


def test_one_that_is_cancelled_takes_nobody_with_it(
    loaded: LoadedBase, tmp_path: Path, passes: list[int]
) -> None:
    def on_snapshot(number: int, snapshot: Snapshot) -> bool:
        if (number, snapshot.step) == (2, 3):
            raise Cancelled("no more")
        return True

    found = run_all(Together(loaded), tmp_path, on_snapshot=on_snapshot)
    assert isinstance(found[2], Cancelled)
    expected = alone(loaded, tmp_path)
    for number in (0, 1, 3):
        check_same(found[number], expected[number])


def joined(shared: Together, asked: Sequence[tuple[Adapter, list[Row]]]) -> list[float]:
    """The losses of one step of all."""
    found = [math.nan] * len(asked)

    def ask(number: int) -> None:
        found[number] = shared.gradients(*asked[number])

    with ExitStack() as running:
        for _ in asked:
            running.enter_context(shared.running())
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asked))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found


def moved(loaded: LoadedBase, hyperparameters: Hyperparameters = ONE) -> Adapter:
    """One that is not at its start, where B is zero and A has no gradient."""
    adapter = Adapter(loaded, hyperparameters)
    noise = torch.Generator().manual_seed(hyperparameters.seed)
    with torch.no_grad():
        adapter.flat.add_(torch.randn(adapter.flat.shape, generator=noise), alpha=0.05)
    return adapter


def encoded(loaded: LoadedBase, first: int, last: int) -> list[Row]:
    return rows.encode_all(loaded.renderer, EXAMPLES[first:last], 512)


@pytest.mark.parametrize(
    "layers",
    [(("q_proj", "v_proj"), ("k_proj", "o_proj")), (("up_proj",), ("gate_proj",))],
)
@HANDS
def test_adapters_on_other_layers_do_not_mix(
    loaded: LoadedBase, passes: list[int], layers: tuple[tuple[str, ...], ...], by_hand: bool
) -> None:
    shared = Together(loaded, Switches(by_hand=by_hand))
    adapters = [moved(loaded, replace(ONE, target_modules=some)) for some in layers]
    batch = encoded(loaded, 0, 4)
    expected = []
    for adapter in adapters:
        loss = shared.gradients(adapter, batch)
        assert adapter.flat.grad is not None
        expected.append((loss, adapter.flat.grad.clone()))
    losses = joined(shared, [(adapter, batch) for adapter in adapters])
    assert passes[-1] == 2
    for adapter, loss, (alone, gradient) in zip(adapters, losses, expected, strict=True):
        assert loss == pytest.approx(alone, abs=1e-6)
        torch.testing.assert_close(adapter.flat.grad, gradient, rtol=1e-4, atol=1e-6)


def test_who_comes_during_a_long_step_is_served(
    loaded: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a lane waits for work before it closes."""
    monkeypatch.setattr(together, "IDLE_SECONDS", 0.05)
    shared = Together(loaded)
    shared._lanes = 1
    begun, go_on = threading.Event(), threading.Event()
    honest = Together._pass

    def slow(self: Together, chosen: list[Any]) -> None:
        if not begun.is_set():
            begun.set()
            go_on.wait(5)
        honest(self, chosen)

    monkeypatch.setattr(Together, "_pass", slow)
    batch, found = encoded(loaded, 0, 4), []

    def ask() -> None:
        found.append(shared.gradients(moved(loaded), batch))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
    threads[0].start()
    begun.wait(5)
    threads[1].start()
    time.sleep(0.3)
    go_on.set()
    for thread in threads:
        thread.join(5)
    assert len(found) == 2


def test_what_is_computed_twice_beside_others_is_the_same(
    loaded: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps at once through stock modules, and answers beside them."""
    shared = Together(loaded, Switches(by_hand=False, together=False))
    shared._lanes = 2
    asked = [
        (moved(loaded, replace(ONE, seed=n)), encoded(loaded, 3 * n, 3 * n + 3)) for n in range(4)
    ]
    expected = []
    for adapter, batch in asked:
        shared.gradients(adapter, batch)
        assert adapter.flat.grad is not None
        expected.append(adapter.flat.grad.clone())
    prompt = torch.arange(3, 9)[None]
    answer = loaded.model.generate(prompt, max_new_tokens=8, do_sample=False)
    monkeypatch.setattr(memory, "available", lambda device: 0)
    answers = []

    def answering() -> None:
        for _ in range(6):
            answers.append(loaded.model.generate(prompt, max_new_tokens=8, do_sample=False))

    thread = threading.Thread(target=answering)
    thread.start()
    for _ in range(5):
        joined(shared, asked)
        for (adapter, _), gradient in zip(asked, expected, strict=True):
            torch.testing.assert_close(adapter.flat.grad, gradient, rtol=1e-5, atol=1e-7)
    thread.join()
    assert len(answers) == 6 and all(torch.equal(other, answer) for other in answers)


def test_an_interrupted_step_leaves_no_lane_taken(
    loaded: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, adapter, batch = Together(loaded), moved(loaded), encoded(loaded, 0, 4)

    def interrupted(self: Together, chosen: list[Any]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Together, "_pass", interrupted)
        with pytest.raises(KeyboardInterrupt):
            shared.gradients(adapter, batch)
    assert shared._busy == 0 and shared.gradients(adapter, batch) > 0


def test_poisoned_weights_reach_no_neighbour(loaded: LoadedBase, passes: list[int]) -> None:
    shared = Together(loaded)
    good, bad = moved(loaded), moved(loaded, replace(ONE, seed=9))
    expected = shared.gradients(good, encoded(loaded, 0, 4))
    assert good.flat.grad is not None
    gradient = good.flat.grad.clone()
    bad.flat.data.fill_(math.nan)
    asked = [(good, encoded(loaded, 0, 4)), (bad, encoded(loaded, 4, 8))]
    losses = joined(shared, asked)
    assert passes == [1, 2]
    assert losses[0] == pytest.approx(expected, abs=1e-6) and math.isnan(losses[1])
    torch.testing.assert_close(good.flat.grad, gradient, rtol=1e-4, atol=1e-6)


def test_no_room_for_all_is_room_for_each(
    loaded: LoadedBase, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Together(loaded)
    honest = Decoder.step

    def step(self: Decoder, batch: Batch, stack: Stack, **more: bool) -> list[float]:
        if stack.count > 1:
            raise torch.OutOfMemoryError("no room")
        return honest(self, batch, stack, **more)

    monkeypatch.setattr(Decoder, "step", step)
    asked = [(moved(loaded, replace(ONE, seed=n)), encoded(loaded, n, n + 4)) for n in range(3)]
    losses = joined(shared, asked)
    assert passes == [3, 1, 1, 1]
    assert losses == pytest.approx([shared.gradients(*one) for one in asked], abs=1e-6)


def test_only_what_fills_the_axis_goes_together(loaded: LoadedBase, passes: list[int]) -> None:
    """A run of long rows is not padded for, and is taken in its turn."""
    shared = Together(loaded)
    short, long = encoded(loaded, 0, 2), encoded(loaded, 0, 15)
    joined(shared, [(moved(loaded), short), (moved(loaded), long), (moved(loaded), short)])
    assert sorted(passes) == [1, 2]


@HANDS
@pytest.mark.parametrize("least", [0, 10**18], ids=["recomputed", "kept"])
def test_what_is_computed_twice_is_the_same(
    loaded: LoadedBase, monkeypatch: pytest.MonkeyPatch, by_hand: bool, least: int
) -> None:
    shared, adapter = Together(loaded, Switches(by_hand=by_hand)), moved(loaded)
    expected = shared.gradients(adapter, encoded(loaded, 0, 6))
    assert adapter.flat.grad is not None
    gradient = adapter.flat.grad.clone()
    monkeypatch.setattr(memory, "available", lambda device: least)
    assert shared.gradients(adapter, encoded(loaded, 0, 6)) == expected
    torch.testing.assert_close(adapter.flat.grad, gradient, rtol=1e-6, atol=1e-8)


@HANDS
@pytest.mark.parametrize("most", ["MAX_SCORES", "LONG"])
def test_long_rows_take_another_way_to_the_same(
    loaded: LoadedBase, monkeypatch: pytest.MonkeyPatch, by_hand: bool, most: str
) -> None:
    adapter, batch = moved(loaded), encoded(loaded, 3, 9)
    expected = Together(loaded).gradients(adapter, batch)
    assert adapter.flat.grad is not None
    gradient = adapter.flat.grad.clone()
    monkeypatch.setattr(attention, most, 1)
    shared = Together(loaded, Switches(by_hand=by_hand))
    assert shared.gradients(adapter, batch) == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(adapter.flat.grad, gradient, rtol=1e-3, atol=1e-5)


def test_dropout_is_drawn_by_seed_and_step(loaded: LoadedBase, passes: list[int]) -> None:
    """Alone or with others, and again after a crash; another step leaves out other inputs."""
    shared = Together(loaded)
    chosen = replace(ONE, lora_dropout=0.3)
    adapters = [moved(loaded, replace(chosen, seed=seed)) for seed in (1, 2)]
    batch = encoded(loaded, 0, 4)
    first = [shared.gradients(adapter, batch, 0) for adapter in adapters]
    again = [shared.gradients(adapter, batch, 0) for adapter in adapters]
    other = [shared.gradients(adapter, batch, 1) for adapter in adapters]
    assert first == again and first[0] != other[0]
    assert joined(shared, [(adapter, batch) for adapter in adapters]) == pytest.approx(
        first, abs=1e-6
    )
    assert passes[-1] == 2
    plain = moved(loaded, ONE)
    assert shared.loss(adapters[0], batch) == pytest.approx(shared.loss(plain, batch), abs=1e-6)


def test_dropout_leaves_out_its_share_and_makes_up_for_it(loaded: LoadedBase) -> None:
    stack = Stack([Adapter(loaded, replace(ONE, lora_dropout=0.25))], torch.float32)
    stack.begin(400)
    kept = stack.kept("any.layer", 100)
    assert torch.equal(kept, stack.kept("any.layer", 100))
    assert not torch.equal(kept, stack.kept("other.layer", 100))
    assert float((kept == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert sorted(set(kept.flatten().tolist())) == pytest.approx([0.0, 1 / 0.75])


def test_the_stock_head_is_used_where_logits_are_more_than_products(
    loaded: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert StockDecoder(loaded)._is_fused
    honest = type(loaded.model).forward

    def scaled(self: Any, *arguments: Any, **more: Any) -> Any:
        output = honest(self, *arguments, **more)
        output.logits = output.logits * 0.5
        return output

    monkeypatch.setattr(type(loaded.model), "forward", scaled)
    assert not StockDecoder(loaded)._is_fused
    found = Together(loaded, Switches(by_hand=False)).loss(moved(loaded), encoded(loaded, 0, 4))
    monkeypatch.undo()
    assert found != pytest.approx(Together(loaded).loss(moved(loaded), encoded(loaded, 0, 4)))


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiled_functions_are_the_same() -> None:
    """The two with the most in them: to compile all takes long."""
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    for function, given in (
        (pointwise.gate_back, [some(9, 8), some(9, 16)]),
        (
            pointwise.join_back,
            [some(9, 8), some(9, 8), some(9, 8), some(9, 1), some(8), some(9, 8), some(9, 1),
             some(8)],
        ),
    ):  # fmt: skip
        expected = function(*given)
        torch.testing.assert_close(torch.compile(function, dynamic=True)(*given), expected)
