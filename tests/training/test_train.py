"""The invariants of a run: nothing in training is silently wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from kamerton import folders
from kamerton.dataset.tutorial import EXAMPLES
from kamerton.errors import Cancelled, FailedPrecondition
from kamerton.inference import attention
from kamerton.inference.weights import LoadedBase
from kamerton.training import checkpoints, steps
from kamerton.training.adapter import Adapter
from kamerton.training.batches import collate
from kamerton.training.checkpoints import Checkpoints, Progress
from kamerton.training.hyperparameters import choose, total_steps
from kamerton.training.rows import Row, encode, rows_of_step
from kamerton.training.switches import Switches
from kamerton.training.together import Together
from kamerton.training.train import train
from kamerton.types import Content, Example, Hyperparameters, Snapshot

STEPS = Hyperparameters(
    epoch_count=2, batch_size=4, learning_rate=0.01, peak_learning_rate=0.01, seed=3
)


CHAT = Example(
    (
        Content("user", "one"),
        Content("model", "two"),
        Content("user", "three"),
        Content("model", "four", learn=False),
        Content("user", "five"),
    ),
    "six",
)


def run(
    loaded: LoadedBase, folder: Path, hyperparameters: Hyperparameters = STEPS, stop_at: int = 0
) -> tuple[Path, list[Snapshot]]:
    """Train in `folder`; at step `stop_at` somebody pulls the plug."""
    folder.mkdir(exist_ok=True)
    snapshots: list[Snapshot] = []

    def keep(snapshot: Snapshot) -> bool:
        snapshots.append(snapshot)
        if snapshot.step == stop_at:
            raise Cancelled("plug pulled")
        return True

    adapter = folder / "adapter"
    if stop_at:
        with pytest.raises(Cancelled):
            train(loaded.base_model, EXAMPLES, hyperparameters, folder, keep, loaded=loaded)
    else:
        adapter = train(loaded.base_model, EXAMPLES, hyperparameters, folder, keep, loaded=loaded)
    return adapter, snapshots


def keep_in(snapshots: list[Snapshot]) -> Callable[[Snapshot], bool]:
    def keep(snapshot: Snapshot) -> bool:
        snapshots.append(snapshot)
        return True

    return keep


def rows(loaded: LoadedBase, step: int) -> list[Row]:
    chosen = rows_of_step(step, len(EXAMPLES), STEPS)
    return [encode(loaded.renderer, EXAMPLES[index], 512) for index in chosen]


def stock_loss(model: Any, batch: list[Row]) -> torch.Tensor:
    """The same by the book: each row alone, stock attention, labels of -100 on what is read."""
    total, count = torch.tensor(0.0), 0
    for row in batch:
        ids = torch.tensor([row.ids.tolist()])
        labels = torch.full_like(ids, -100)
        for start, end in row.spans:
            labels[:, start:end] = ids[:, start:end]
        total = total + model(input_ids=ids, labels=labels).loss * row.learned
        count += row.learned
    return total / count


def test_a_snapshot_for_every_step(loaded: LoadedBase, tmp_path: Path) -> None:
    _, snapshots = run(loaded, tmp_path / "run")
    assert [s.step for s in snapshots] == list(range(1, total_steps(len(EXAMPLES), STEPS) + 1))
    assert snapshots[0].epoch == 1
    assert snapshots[-1].epoch == 2
    assert snapshots[-1].mean_loss < snapshots[0].mean_loss


def test_the_first_loss_is_the_base_models_loss(loaded: LoadedBase, tmp_path: Path) -> None:
    with torch.no_grad():
        expected = stock_loss(loaded.model, rows(loaded, 1)).item()
    _, snapshots = run(loaded, tmp_path / "run")
    assert snapshots[0].mean_loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["by hand", "lean"])
@pytest.mark.parametrize("step", [2, 8])
def test_loss_and_gradients_equal_the_stock_model(loaded: LoadedBase, kind: str, step: int) -> None:
    """Rows on one axis without padding, head at answers only: the same mathematics."""
    batch = rows(loaded, step)
    batch[0] = long_row(loaded, batch[0])
    batch.append(encode(loaded.renderer, CHAT, 512))
    assert len(batch[-1].spans) == 2
    expected_loss, expected = gradients(loaded, batch, "stock")
    loss, found = gradients(loaded, batch, kind)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        error = (gradient - expected[name]).norm() / expected[name].norm()
        assert error < 1e-5, name


def gradients(
    loaded: LoadedBase, batch: list[Row], kind: str
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and the gradient of every matrix of a fresh adapter that is not at its start."""
    adapter = Adapter(loaded, STEPS)
    torch.manual_seed(0)
    for name, parameter in adapter.parameters.items():
        if "lora_B" in name:  # It begins at zero, where A has no gradient.
            parameter.normal_(std=0.1)
    if kind == "stock":
        return stock_gradients(loaded, adapter, batch)
    loss = Together(loaded, Switches(by_hand=kind == "by hand")).gradients(adapter, batch)
    assert adapter.flat.grad is not None
    return loss, adapter.layout.parameters(adapter.flat.grad)


def stock_gradients(
    loaded: LoadedBase, adapter: Adapter, batch: list[Row]
) -> tuple[float, dict[str, torch.Tensor]]:
    """By stock PEFT, of the same weights."""
    model = AutoModelForCausalLM.from_pretrained(loaded.base_model.weights, dtype=torch.float32)
    peft = get_peft_model(
        model,
        LoraConfig(
            r=STEPS.lora_rank, lora_alpha=STEPS.lora_alpha,
            target_modules="all-linear", task_type="CAUSAL_LM",
        ),
    )  # fmt: skip
    set_peft_model_state_dict(peft, {n: p.contiguous() for n, p in adapter.parameters.items()})
    loss = stock_loss(peft, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    named = dict(peft.named_parameters())
    stock = {n: named[n.replace(".weight", ".default.weight")].grad for n in adapter.parameters}
    return loss.item(), stock


def long_row(loaded: LoadedBase, row: Row) -> Row:
    """The row with a prompt several times as long as the sliding window."""
    ((start, end),) = row.spans
    prompt, answer = row.ids[:start], row.ids[start:end]
    longer = prompt[:-4] + prompt[3:-4] * 6 + prompt[-4:]
    assert len(longer) > 4 * loaded.model.config.sliding_window
    return Row(longer + answer, ((len(longer), len(longer) + len(answer)),))


def test_an_unlearned_turn_carries_no_loss(loaded: LoadedBase) -> None:
    batch = collate([[encode(loaded.renderer, CHAT, 512)]], loaded.device)
    targets = batch.targets.tolist()
    assert loaded.renderer.text(targets) == "twosix"
    assert targets.count(loaded.renderer.end_of_turn) == 2


@pytest.mark.parametrize("kind", ["by hand", "lean"])
def test_the_loss_alone_is_the_loss_of_a_step(loaded: LoadedBase, kind: str) -> None:
    adapter = Adapter(loaded, STEPS)
    together = Together(loaded, Switches(by_hand=kind == "by hand"))
    batch = [*rows(loaded, 1), encode(loaded.renderer, CHAT, 512)]
    alone = together.loss(adapter, batch)
    assert adapter.flat.grad is not None and not adapter.flat.grad.any()
    assert alone == pytest.approx(together.gradients(adapter, batch), rel=1e-6)


@pytest.mark.parametrize("kind", ["by hand", "lean"])
def test_the_order_of_rows_in_a_batch_changes_nothing(loaded: LoadedBase, kind: str) -> None:
    adapter = Adapter(loaded, STEPS)
    together = Together(loaded, Switches(by_hand=kind == "by hand"))
    batch = rows(loaded, 1)
    forward, backward = together.loss(adapter, batch), together.loss(adapter, batch[::-1])
    assert forward == pytest.approx(backward, rel=1e-5)


def test_the_same_seed_gives_the_same_bytes(loaded: LoadedBase, tmp_path: Path) -> None:
    first, one = run(loaded, tmp_path / "one")
    second, two = run(loaded, tmp_path / "two")
    assert [s.mean_loss for s in one] == [s.mean_loss for s in two]
    assert (first / "adapter_model.safetensors").read_bytes() == (
        second / "adapter_model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("stop_at", [1, 4, 7])
@pytest.mark.parametrize("damage", ["none", "last", "all"])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int, damage: str
) -> None:
    straight, expected = run(loaded, tmp_path / "straight")
    monkeypatch.setattr(Checkpoints, "is_due", lambda *_: True)
    run(loaded, tmp_path / "killed", stop_at=stop_at)
    saved = sorted((tmp_path / "killed" / "checkpoints").iterdir())
    for checkpoint in {"none": [], "last": saved[-1:], "all": saved}[damage]:
        file = checkpoint / checkpoints.CHECKPOINT
        file.write_bytes(file.read_bytes()[:-7])
    resumed, rest = run(loaded, tmp_path / "killed")
    # All of them are told again: who was told first may have died with them.
    assert [(s.step, s.mean_loss) for s in rest] == [(s.step, s.mean_loss) for s in expected]
    assert (resumed / "adapter_model.safetensors").read_bytes() == (
        straight / "adapter_model.safetensors"
    ).read_bytes()


def test_a_finished_run_is_not_trained_again(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter was published, and then whoever was to be told died."""
    adapter, expected = run(loaded, tmp_path / "run")
    monkeypatch.setattr(Together, "gradients", None)
    again, snapshots = run(loaded, tmp_path / "run")
    assert (again, snapshots) == (adapter, expected)


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(checkpoints: Checkpoints, progress: Progress) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "save", full)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    adapter, snapshots = run(loaded, tmp_path / "run")
    assert len(snapshots) == total_steps(len(EXAMPLES), STEPS)
    assert folders.is_whole(adapter)


def test_a_run_whose_folder_was_deleted_ends(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(FileNotFoundError):
        train(
            loaded.base_model, EXAMPLES, STEPS, tmp_path / "deleted", lambda s: True, loaded=loaded
        )


def test_stock_peft_loads_the_adapter(loaded: LoadedBase, tmp_path: Path) -> None:
    adapter, _ = run(loaded, tmp_path / "run")
    stock = AutoModelForCausalLM.from_pretrained(
        loaded.base_model.weights, dtype=torch.float32, attn_implementation="eager"
    )
    stock = PeftModel.from_pretrained(stock, str(adapter))
    ours = load_file(adapter / "adapter_model.safetensors")
    theirs = {
        name.replace(".default", ""): p for name, p in stock.named_parameters() if "lora_" in name
    }
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name])
    kinds = {name.split(".")[-3] for name in ours}
    assert kinds == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip


def test_the_base_comes_back_as_it_was(loaded: LoadedBase, tmp_path: Path) -> None:
    before = {name: p.clone() for name, p in loaded.model.named_parameters()}
    run(loaded, tmp_path / "run")
    after = dict(loaded.model.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert loaded.model.config._attn_implementation == attention.NAME


def test_a_child_starts_from_its_parent(loaded: LoadedBase, tmp_path: Path) -> None:
    parent, first = run(loaded, tmp_path / "parent")
    (tmp_path / "child").mkdir()
    snapshots: list[Snapshot] = []
    train(
        loaded.base_model,
        EXAMPLES,
        STEPS,
        tmp_path / "child",
        keep_in(snapshots),
        loaded=loaded,
        parent=parent,
    )
    assert snapshots[0].mean_loss < first[0].mean_loss * 0.9


def test_a_parent_of_another_shape_is_refused(loaded: LoadedBase, tmp_path: Path) -> None:
    parent, _ = run(loaded, tmp_path / "parent")
    other = Hyperparameters(1, 4, 0.01, 0.01, lora_rank=4)
    (tmp_path / "child").mkdir()
    with pytest.raises(FailedPrecondition, match="another rank"):
        train(
            loaded.base_model, EXAMPLES, other, tmp_path / "child", lambda s: True,
            loaded=loaded, parent=parent,
        )  # fmt: skip


def test_stopping_early_keeps_what_was_learned(loaded: LoadedBase, tmp_path: Path) -> None:
    adapter = train(
        loaded.base_model, EXAMPLES, STEPS, tmp_path, lambda s: s.step < 3, loaded=loaded
    )
    assert (adapter / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_what_is_not_finite_stops_the_run_at_that_step(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, poison: float
) -> None:
    honest = Together.gradients
    calls = 0

    def poisoned(together: Together, *arguments: Any) -> float:
        nonlocal calls
        calls += 1
        return honest(together, *arguments) * (poison if calls == 3 else 1.0)

    monkeypatch.setattr(Together, "gradients", poisoned)
    snapshots: list[Snapshot] = []
    with pytest.raises(FailedPrecondition, match=r"loss became (nan|inf) at step 3"):
        train(
            loaded.base_model, EXAMPLES, STEPS, tmp_path,
            keep_in(snapshots), loaded=loaded,
        )  # fmt: skip
    assert [s.step for s in snapshots] == [1, 2]
    assert not (tmp_path / "adapter").exists()


def test_warm_up_rises_to_the_peak() -> None:
    chosen = Hyperparameters(1, 4, 0.01, 0.01, warmup_steps=3)
    rates = [steps.learning_rate(step, chosen) for step in range(1, 7)]
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])


def test_the_tutorials_settings_are_nineteen_steps(loaded: LoadedBase) -> None:
    chosen = choose(len(EXAMPLES), loaded.base_model, epoch_count=5, batch_size=4)
    assert len(EXAMPLES) == 15
    assert total_steps(len(EXAMPLES), chosen) == 19
