"""The lean step against TRL's SFTTrainer: the same run, the same losses, the same answers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trl import SFTTrainer

from kamerton.dataset.tutorial import EXAMPLES
from kamerton.errors import Cancelled, FailedPrecondition, ResourceExhausted
from kamerton.inference import weights
from kamerton.inference.catalog import EMBEDDED
from kamerton.inference.torch_engine import TorchEngine
from kamerton.inference.weights import LoadedBase
from kamerton.training import train as lean
from kamerton.training import trl_engine
from kamerton.training.checkpoints import Checkpoints
from kamerton.training.outcome import read_outcome
from kamerton.training.train import Limits
from kamerton.types import Budget, EarlyStopping, GenerationConfig, Hyperparameters, Snapshot

FORTY = Hyperparameters(6, 2, 2e-3, 2e-3, warmup_steps=3, seed=5)
"""45 steps; batches cross the borders of epochs."""
SHORT = Hyperparameters(
    4, 7, 0.02, 0.02, lora_rank=3, lora_alpha=5, target_modules=("q_proj", "mlp.up_proj"),
    rslora=True,
)  # fmt: skip
"""9 steps, the last of fewer rows."""

Engine = Callable[..., Path]


def run(
    engine: Engine, loaded: LoadedBase, folder: Path, chosen: Hyperparameters, **more: Any
) -> tuple[Path, list[Snapshot]]:
    folder.mkdir(exist_ok=True)
    told: list[Snapshot] = []
    keep = keep_in(told)
    adapter = engine(loaded.base_model, EXAMPLES, chosen, folder, keep, loaded=loaded, **more)
    return adapter, told


def keep_in(told: list[Snapshot]) -> Callable[[Snapshot], bool]:
    def keep(snapshot: Snapshot) -> bool:
        told.append(snapshot)
        return True

    return keep


def answers(engine: TorchEngine, loaded: LoadedBase, adapter: Path) -> list[str]:
    config = GenerationConfig(temperature=0.0, max_output_tokens=12)
    prompts = [loaded.renderer.prompt(example.contents) for example in EXAMPLES[::4]]
    return [
        "".join(chunk.text for chunk in engine.generate(loaded.base_model, adapter, p, config))
        for p in prompts
    ]


def alike(lean_told: list[Snapshot], trl_told: list[Snapshot], within: float = 1e-3) -> None:
    assert len(lean_told) == len(trl_told)
    for ours, theirs in zip(lean_told, trl_told, strict=True):
        assert (ours.step, ours.epoch) == (theirs.step, theirs.epoch)
        assert (ours.trained_tokens, ours.learning_rate) == (
            theirs.trained_tokens,
            theirs.learning_rate,
        )
        assert theirs.mean_loss == pytest.approx(ours.mean_loss, abs=within)
        assert theirs.gradient_norm == pytest.approx(ours.gradient_norm, rel=0.01)
    assert trl_told[-1].mean_loss < 0.9 * trl_told[0].mean_loss


@pytest.fixture(scope="module")
def embedded() -> LoadedBase:
    return weights.load(EMBEDDED, "cpu")


@pytest.mark.parametrize("name", ["embedded", "loaded"])
def test_forty_steps_have_the_same_losses_and_the_same_answers(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base: LoadedBase = request.getfixturevalue(name)
    before = {key: value.clone() for key, value in base.model.state_dict().items()}
    ours, lean_told = run(lean.train, base, tmp_path / "lean", FORTY)
    theirs, trl_told = run(trl_engine.train, base, tmp_path / "trl", FORTY)
    assert len(trl_told) == 45
    alike(lean_told, trl_told)
    engine = TorchEngine()
    assert answers(engine, base, theirs) == answers(engine, base, ours)
    engine.close()
    assert {file.name for file in theirs.iterdir()} == {file.name for file in ours.iterdir()}
    ours_config, theirs_config = ((f / "adapter_config.json").read_text() for f in (ours, theirs))
    assert theirs_config == ours_config
    after = base.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@pytest.fixture(scope="module")
def straight(
    loaded: LoadedBase, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Snapshot]]:
    """A short run that nothing happens to."""
    return run(trl_engine.train, loaded, tmp_path_factory.mktemp("straight"), SHORT)


def test_every_kind_of_adapter_is_the_same(
    loaded: LoadedBase, tmp_path: Path, straight: tuple[Path, list[Snapshot]]
) -> None:
    ours, lean_told = run(lean.train, loaded, tmp_path, SHORT)
    alike(lean_told, straight[1])
    expected, found = (load_file(f / "adapter_model.safetensors") for f in (ours, straight[0]))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_killed_run_goes_on(
    loaded: LoadedBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    straight: tuple[Path, list[Snapshot]],
) -> None:
    def kill(snapshot: Snapshot) -> bool:
        if snapshot.step == 5:
            raise Cancelled("plug pulled")
        return True

    monkeypatch.setattr(Checkpoints, "is_due", lambda *_: True)
    with pytest.raises(Cancelled):
        trl_engine.train(loaded.base_model, EXAMPLES, SHORT, tmp_path, kill, loaded=loaded)
    taken: list[int] = []
    honest = trl_engine._Trainer.training_step

    def counted(trainer: Any, *arguments: Any, **named: Any) -> Any:
        taken.append(1)
        return honest(trainer, *arguments, **named)

    monkeypatch.setattr(trl_engine._Trainer, "training_step", counted)
    _, told = run(trl_engine.train, loaded, tmp_path, SHORT)
    assert len(taken) == len(told) - 5
    expected = [snapshot.mean_loss for snapshot in straight[1]]
    assert [snapshot.mean_loss for snapshot in told] == pytest.approx(expected, abs=1e-6)


def test_held_out_examples_and_limits_are_those_of_the_lean_run(
    loaded: LoadedBase, tmp_path: Path
) -> None:
    limits = Limits(Budget(max_tokens=1500), EarlyStopping("off"))
    more: dict[str, Any] = {"held_out": EXAMPLES[:4], "limits": limits}
    ours, lean_told = run(lean.train, loaded, tmp_path / "lean", SHORT, **more)
    theirs, trl_told = run(trl_engine.train, loaded, tmp_path / "trl", SHORT, **more)
    assert 1 < len(trl_told) == len(lean_told) < 9
    for one, other in zip(lean_told, trl_told, strict=True):
        assert (one.held_out_loss is None) == (other.held_out_loss is None)
        if one.held_out_loss is not None:
            assert other.held_out_loss == pytest.approx(one.held_out_loss, abs=1e-3)
    assert read_outcome(theirs) == read_outcome(ours)
    assert "budget" in read_outcome(theirs).stop_reason


def test_a_run_can_be_stopped_and_what_was_learned_is_kept(
    loaded: LoadedBase, tmp_path: Path
) -> None:
    adapter = trl_engine.train(
        loaded.base_model, EXAMPLES, SHORT, tmp_path, lambda s: s.step < 3, loaded=loaded
    )
    outcome = read_outcome(adapter)
    assert outcome.kept_step == 3 and "on request after step 3 of 9" in outcome.stop_reason


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (None, FailedPrecondition, "loss became nan at step 2"),
        (torch.OutOfMemoryError("no room"), ResourceExhausted, "batch of 7 rows"),
        (ZeroDivisionError("inside"), ZeroDivisionError, "inside"),
    ],
)
def test_what_goes_wrong_inside_ends_the_run(
    loaded: LoadedBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception | None,
    kind: type[Exception],
    said: str,
) -> None:
    honest = SFTTrainer.compute_loss
    calls: list[int] = []

    def broken(trainer: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2 and raised is not None:
            raise raised
        return honest(trainer, *arguments, **named) * (float("nan") if len(calls) == 2 else 1.0)

    monkeypatch.setattr(SFTTrainer, "compute_loss", broken)
    told: list[Snapshot] = []
    with pytest.raises(kind, match=said):
        trl_engine.train(loaded.base_model, EXAMPLES, SHORT, tmp_path, keep_in(told), loaded=loaded)
    assert [snapshot.step for snapshot in told] == [1]
    assert not (tmp_path / "adapter").exists()


def test_without_trl_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    monkeypatch.delitem(sys.modules, trl_engine.__name__)
    with pytest.raises(FailedPrecondition, match="pip install 'trl"):
        importlib.import_module(trl_engine.__name__)
