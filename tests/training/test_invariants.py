"""What a run promises, held against stock transformers, PEFT and AdamW."""

from __future__ import annotations

import errno
import itertools
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from kamerton import checking, folders, library
from kamerton.dataset.check import check
from kamerton.dataset.sources import example_source
from kamerton.dataset.tutorial import EXAMPLES
from kamerton.errors import Cancelled, FailedPrecondition, ResourceExhausted
from kamerton.inference import weights
from kamerton.inference.catalog import EMBEDDED
from kamerton.inference.torch_engine import TorchEngine
from kamerton.inference.weights import LoadedBase
from kamerton.training import checkpoints, gemma3, rows, steps
from kamerton.training import train as training
from kamerton.training.adapter import Adapter
from kamerton.training.batches import Batch
from kamerton.training.checkpoints import Checkpoints
from kamerton.training.outcome import read_outcome
from kamerton.training.together import Together
from kamerton.training.train import Limits
from kamerton.types import Content, EarlyStopping, Example, Hyperparameters, Snapshot

WEIGHTS = "adapter_model.safetensors"
CHAT = Example(
    (
        Content("user", "one"),
        Content("model", "two"),
        Content("user", "three and a prompt that is longer than all of the others"),
        Content("model", "four", learn=False),
        Content("user", "five"),
    ),
    "six and an answer of some length, too",
)
ROWS = (*EXAMPLES, CHAT)
ACROSS = Hyperparameters(2, 6, 2e-3, 2e-3, warmup_steps=3, seed=5)
"""Of 16 rows: 6 steps; the third has rows of both epochs, the last one only two."""


@pytest.fixture(scope="module")
def embedded() -> LoadedBase:
    return weights.load(EMBEDDED, "cpu")


@pytest.fixture(params=["tiny", "embedded"])
def base(request: pytest.FixtureRequest) -> LoadedBase:
    """The base model that ships, and a random one of its kind."""
    found: LoadedBase = request.getfixturevalue("loaded" if request.param == "tiny" else "embedded")
    return found


@pytest.fixture
def saving_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoints, "is_due", lambda *_: True)


@dataclass
class Run:
    """Where a run works, and what it told."""

    folder: Path
    snapshots: list[Snapshot]
    events: list[tuple[str, str, int | None]]

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @property
    def bytes(self) -> bytes:
        return (self.adapter / WEIGHTS).read_bytes()

    def told(self) -> list[tuple[object, ...]]:
        """All that does not depend on the clock or the machine."""
        return [
            (
                s.step, s.epoch, s.mean_loss, s.held_out_loss, s.start_loss, s.smoothed_loss,
                s.learning_rate, s.gradient_norm, s.trained_tokens,
            )
            for s in self.snapshots
        ]  # fmt: skip


def run(
    base: LoadedBase,
    folder: Path,
    hyperparameters: Hyperparameters = ACROSS,
    *,
    examples: Sequence[Example] = ROWS,
    held_out: Sequence[Example] = (),
    limits: Limits | None = None,
    parent: Path | None = None,
    stop_at: int = 0,
) -> Run:
    """Train in `folder`; at step `stop_at` somebody pulls the plug."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Run(folder, [], [])

    def keep(snapshot: Snapshot) -> bool:
        made.snapshots.append(snapshot)
        if snapshot.step == stop_at:
            raise Cancelled("plug pulled")
        return True

    def go() -> None:
        training.train(
            base.base_model, examples, hyperparameters, folder, keep,
            loaded=base, held_out=held_out, parent=parent,
            limits=limits or Limits(early_stopping=EarlyStopping("off")),
            on_event=lambda *event: made.events.append(event),
        )  # fmt: skip

    if stop_at:
        with pytest.raises(Cancelled):
            go()
    else:
        go()
    return made


# --- the same by the book ------------------------------------------------------------------------


def stock_row(tokenizer: Any, example: Example) -> tuple[list[int], list[int]]:
    """Ids and labels: Gemma's format as a text, and what is learned by its place in that text."""
    text, learned = "<bos>", []
    for turn in (*example.contents, Content("model", example.output)):
        text += f"<start_of_turn>{turn.role}\n"
        start = len(text)
        text += f"{turn.text.strip()}<end_of_turn>"
        if turn.role == "model" and turn.learn:
            learned.append((start, len(text)))
        text += "\n"
    encoded = tokenizer(text[:-1], add_special_tokens=False, return_offsets_mapping=True)
    ids = list(encoded["input_ids"])
    places = [any(a <= start and end <= b for a, b in learned)
              for start, end in encoded["offset_mapping"]]  # fmt: skip
    return ids, [id if place else -100 for id, place in zip(ids, places, strict=True)]


def stock_loss(model: Any, tokenizer: Any, examples: Sequence[Example]) -> torch.Tensor:
    """Padded on the right, with a mask, in one pass."""
    encoded = [stock_row(tokenizer, example) for example in examples]
    longest = max(len(ids) for ids, _ in encoded)

    def padded(values: list[int], filler: int) -> list[int]:
        return values + [filler] * (longest - len(values))

    loss: torch.Tensor = model(
        input_ids=torch.tensor([padded(ids, 0) for ids, _ in encoded]),
        attention_mask=torch.tensor([padded([1] * len(ids), 0) for ids, _ in encoded]),
        labels=torch.tensor([padded(labels, -100) for _, labels in encoded]),
    ).loss
    return loss


def stock_model(base: LoadedBase) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        base.base_model.weights, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def stock_adapter(base: LoadedBase, folder: Path) -> Path:
    """Made and written by PEFT, with no matrix at zero."""
    torch.manual_seed(0)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(stock_model(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    model.save_pretrained(str(folder))
    return folder


def stock_run(
    base: LoadedBase, adapter: Path, hyperparameters: Hyperparameters
) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step."""
    tokenizer = AutoTokenizer.from_pretrained(base.base_model.weights)
    model = PeftModel.from_pretrained(stock_model(base), str(adapter), is_trainable=True)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=0.0)
    told = []
    for step in range(1, math.ceil(len(ROWS) * 2 / hyperparameters.batch_size) + 1):
        chosen = rows.rows_of_step(step, len(ROWS), hyperparameters)
        warmed = min(1.0, step / (hyperparameters.warmup_steps + 1))
        optimizer.param_groups[0]["lr"] = hyperparameters.peak_learning_rate * warmed
        optimizer.zero_grad()
        loss = stock_loss(model, tokenizer, [ROWS[place] for place in chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        told.append((loss.item(), norm.item()))
    return told


# --- rows and prompts ----------------------------------------------------------------------------


def test_rows_are_those_of_the_stock_tokenizer(base: LoadedBase) -> None:
    """One BOS; answers and the mark that ends each carry loss, and nothing else does."""
    tokenizer = AutoTokenizer.from_pretrained(base.base_model.weights)
    for row, example in zip(rows.encode_all(base.renderer, ROWS, 512), ROWS, strict=True):
        ids, labels = stock_row(tokenizer, example)
        assert row.ids.tolist() == ids
        learned = [place for start, end in row.spans for place in range(start, end)]
        assert learned == [place for place, label in enumerate(labels) if label != -100]
        assert ids.count(tokenizer.bos_token_id) == 1 == row.ids[:1].count(base.renderer.bos)
        mark = tokenizer.convert_tokens_to_ids("<end_of_turn>")
        assert [row.ids[end - 1] for _, end in row.spans] == [mark] * len(row.spans)


class _Asked(Exception):
    def __init__(self, prompt: Sequence[int]) -> None:
        self.prompt = list(prompt)


def test_what_is_served_is_what_was_trained(
    base: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(self: TorchEngine, *asked: Any) -> Iterator[Any]:
        raise _Asked(asked[2])

    monkeypatch.setattr(TorchEngine, "generate", generate)
    tokenizer = AutoTokenizer.from_pretrained(base.base_model.weights)
    for row, example in zip(rows.encode_all(base.renderer, ROWS, 512), ROWS, strict=True):
        with pytest.raises(_Asked) as asked:
            library.generate(base.base_model.weights, example.contents)
        prompt = asked.value.prompt
        assert row.ids[: len(prompt)].tolist() == prompt
        assert row.spans[-1][0] == len(prompt)
        assert stock_row(tokenizer, example)[0][: len(prompt)] == prompt


def test_what_was_announced_is_trained_and_no_row_vanishes(
    base: LoadedBase, tmp_path: Path
) -> None:
    """Answers of different lengths, one row a step: every row shows by its count."""
    examples = [Example.pair(f"row {length}", "x 1 " * length) for length in range(1, 10)]
    examples.append(Example.pair("long " * 500, "y " * 60))  # Its prompt is cut.
    measuring = rows.measuring(base.renderer, base.base_model.context_tokens)
    announced = [count.answer for count in measuring.measure(examples)]
    assert len(set(announced)) == len(examples)
    report = check(example_source(examples), measuring=measuring, count_all=True)
    assert report.statistics.tokens is not None
    assert report.statistics.tokens.answer.total == sum(announced)
    assert report.statistics.tokens.truncated_count == 1

    made = run(base, tmp_path / "run", Hyperparameters(2, 1, 1e-4, 1e-4, seed=1), examples=examples)
    trained = [snapshot.trained_tokens for snapshot in made.snapshots]
    half = len(examples)
    assert sorted(announced) == sorted(filter(None, trained[:half]))
    assert sorted(announced) == sorted(filter(None, trained[half:]))
    assert trained[:half] != trained[half:]
    estimated = checking.estimate(
        examples, base.base_model.weights, holdout=None, measure=False, epoch_count=2, batch_size=1
    )
    assert estimated.total_steps == len(trained)
    if base.base_model.name == "tiny":  # By its folder, the other one has another context.
        return
    by_name = checking.estimate(
        examples, EMBEDDED.name, holdout=None, measure=False, epoch_count=2, batch_size=1
    )
    assert by_name.trained_tokens == sum(filter(None, trained))


def test_a_batch_across_an_epochs_border_has_the_rows_of_both(
    base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen at the model's door: every example as often as there are epochs, none in between."""
    seen: list[list[str]] = []
    honest = gemma3.Decoder.step

    def watched(decoder: gemma3.Decoder, batch: Batch, *others: Any, **more: Any) -> list[float]:
        ends = torch.tensor(batch.lengths).cumsum(0).tolist()
        starts = [0, *ends[:-1]]
        ids = batch.input_ids.tolist()
        texts = [base.renderer.text(ids[a:b]) for a, b in zip(starts, ends, strict=True)]
        assert batch.input_ids[starts].tolist() == [base.renderer.bos] * len(starts)
        assert ids.count(base.renderer.bos) == len(starts)
        assert batch.position_ids[starts].tolist() == [0] * len(starts)
        seen.append(texts)
        return honest(decoder, batch, *others, **more)

    monkeypatch.setattr(gemma3.Decoder, "step", watched)
    made = run(base, tmp_path / "run")
    assert [len(texts) for texts in seen] == [6, 6, 6, 6, 6, 2]
    assert [s.epoch for s in made.snapshots] == [1, 1, 2, 2, 2, 2]
    stream = [text for texts in seen for text in texts]
    once = Counter(stream[:16])
    assert len(once) == 16 and set(once.values()) == {1}
    assert Counter(stream[16:]) == once and stream[16:] != stream[:16]


# --- loss and gradients --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["by hand", "lean"])
def test_a_run_is_what_stock_modules_do(
    base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Each loss and gradient norm of all steps: rows without padding, warm-up, clipping, the
    batch across the border, the short one at the end."""
    if kind == "lean":
        monkeypatch.setattr(gemma3, "can_step", lambda loaded: False)
    adapter = stock_adapter(base, tmp_path / "stock")
    expected = stock_run(base, adapter, ACROSS)
    made = run(base, tmp_path / "run", parent=adapter)
    assert [s.mean_loss for s in made.snapshots] == pytest.approx(
        [loss for loss, _ in expected], rel=1e-4
    )
    assert [s.gradient_norm for s in made.snapshots] == pytest.approx(
        [norm for _, norm in expected], rel=1e-4
    )
    assert max(norm for _, norm in expected) > steps.MAX_NORM  # Clipping was seen.


def test_the_first_loss_is_the_base_models_own(base: LoadedBase, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base.base_model.weights)
    chosen = [ROWS[place] for place in rows.rows_of_step(1, len(ROWS), ACROSS)]
    with torch.no_grad():
        expected = stock_loss(stock_model(base), tokenizer, chosen).item()
    made = run(base, tmp_path / "run", held_out=chosen)
    assert made.snapshots[0].mean_loss == pytest.approx(expected, rel=1e-5)
    assert made.snapshots[0].start_loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["by hand", "lean"])
def test_parts_and_order_of_a_batch_change_nothing(
    base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "lean":
        monkeypatch.setattr(gemma3, "can_step", lambda loaded: False)
    stock = stock_adapter(base, tmp_path / "stock")
    adapter = Adapter(base, ACROSS)
    adapter.restore(load_file(stock / WEIGHTS))
    together = Together(base)
    batch = rows.encode_all(base.renderer, ROWS[9:], 512)

    def of(*parts: Sequence[rows.Row]) -> tuple[float, float]:
        loss = steps.add_gradients(together, adapter, parts, 1)
        assert adapter.flat.grad is not None
        return loss, adapter.flat.grad.norm().item()

    whole = of(batch)
    assert len({row.learned for row in batch}) > 2
    for other in (
        of(batch[::-1]),
        of([*batch[3:], *batch[:3]]),
        of(batch[:1], batch[1:]),
        of(batch[:3], batch[3:5], batch[5:]),
        of(*([row] for row in batch)),
    ):
        assert other == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_a_run_in_parts_is_the_same_run(base: LoadedBase, tmp_path: Path, micro_batch: int) -> None:
    whole = run(base, tmp_path / "whole")
    parts = run(
        base,
        tmp_path / "parts",
        limits=Limits(early_stopping=EarlyStopping("off"), micro_batch=micro_batch),
    )
    check_same(parts, whole)


def check_same(made: Run, expected: Run) -> None:
    """Within what other sums of the same numbers may differ."""
    assert [s.step for s in made.snapshots] == [s.step for s in expected.snapshots]
    for one, other in zip(made.snapshots, expected.snapshots, strict=True):
        assert one.mean_loss == pytest.approx(other.mean_loss, rel=1e-4)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-4)
        assert one.trained_tokens == other.trained_tokens


# --- out of memory -------------------------------------------------------------------------------


def no_room_for(
    monkeypatch: pytest.MonkeyPatch, most: int, error: Callable[[], Exception]
) -> list[int]:
    """Batches of more than `most` rows fail half-way; the list gets the sizes that were tried."""
    honest = Together.gradients
    tried: list[int] = []

    def gradients(
        together: Together, adapter: Adapter, rows: Sequence[rows.Row], step: int = 0
    ) -> float:
        tried.append(len(rows))
        loss = honest(together, adapter, rows, step)  # What it has added by then must not count.
        if len(rows) > most:
            raise error()
        return loss

    monkeypatch.setattr(Together, "gradients", gradients)
    return tried


ON_A_DEVICE = lambda: torch.OutOfMemoryError("CUDA out of memory")  # noqa: E731
ON_A_CPU = lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 GB")  # noqa: E731


@pytest.mark.parametrize(("most", "expected"), [(5, 3), (3, 3), (2, 2), (1, 1)])
@pytest.mark.parametrize("error", [ON_A_DEVICE, ON_A_CPU], ids=["device", "cpu"])
def test_out_of_memory_halves_the_micro_batch_and_nothing_else(
    loaded: LoadedBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    expected: int,
    error: Callable[[], Exception],
) -> None:
    whole = run(loaded, tmp_path / "whole")
    tried = no_room_for(monkeypatch, most, error)
    made = run(loaded, tmp_path / "made")
    check_same(made, whole)
    notes = [event for event in made.events if event[0] == "out_of_memory"]
    assert len(notes) == {3: 1, 2: 2, 1: 3}[expected]
    assert f"{expected} at a time" in notes[-1][1] and notes[-1][2] == 1
    assert [size for size in tried if size > expected] == [6, 3, 2][: len(notes)]


def test_what_fits_is_remembered_over_a_kill(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saving_each_step: None
) -> None:
    whole = run(loaded, tmp_path / "whole")
    tried = no_room_for(monkeypatch, 2, ON_A_DEVICE)
    run(loaded, tmp_path / "made", stop_at=3)
    tried.clear()
    made = run(loaded, tmp_path / "made")
    check_same(made, whole)
    assert max(tried) == 2


def test_without_room_for_one_row_the_run_fails_and_says_so(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_room_for(monkeypatch, 0, ON_A_DEVICE)
    with pytest.raises(ResourceExhausted, match="Not even one row at a time") as failed:
        run(loaded, tmp_path / "run")
    assert (failed.value.reason, failed.value.step) == ("OUT_OF_MEMORY", 1)


# --- what is not finite --------------------------------------------------------------------------


def at_fourth_call(
    monkeypatch: pytest.MonkeyPatch, holder: Any, name: str, wrong: Callable[..., Any]
) -> None:
    """Let `wrong` take the place of a function, which it is given, when that is called the fourth
    time."""
    honest, calls = getattr(holder, name), itertools.count(1)

    def called(*arguments: Any) -> Any:
        return wrong(honest, *arguments) if next(calls) == 4 else honest(*arguments)

    monkeypatch.setattr(holder, name, called)


def poison_loss(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    def wrong(honest: Callable[..., float], *arguments: Any) -> float:
        honest(*arguments)
        return value

    at_fourth_call(monkeypatch, Together, "gradients", wrong)


def poison_gradient(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    def wrong(honest: Callable[..., float], weights: torch.nn.Parameter, *others: Any) -> float:
        assert weights.grad is not None
        weights.grad[7] = value
        return honest(weights, *others)

    at_fourth_call(monkeypatch, training, "update", wrong)


def poison_weights(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    def wrong(honest: Callable[..., Any], optimizer: torch.optim.AdamW) -> None:
        honest(optimizer)
        with torch.no_grad():
            optimizer.param_groups[0]["params"][0][7] = value

    at_fourth_call(monkeypatch, torch.optim.AdamW, "step", wrong)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("poison", "what"),
    [(poison_loss, "loss"), (poison_gradient, "gradient"), (poison_weights, "weights")],
)
@pytest.mark.parametrize("saves", ["each step", "seldom"])
def test_what_is_not_finite_ends_the_run_there_and_what_was_is_kept(
    loaded: LoadedBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    poison: Callable[[pytest.MonkeyPatch, float], None],
    what: str,
    value: float,
    saves: str,
) -> None:
    straight = run(loaded, tmp_path / "straight")
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "is_due", lambda *_: saves == "each step")
        poison(patched, value)
        with pytest.raises(FailedPrecondition, match=rf"The {what} .* at step 4, .*rate") as failed:
            run(loaded, folder)
    assert (failed.value.reason, failed.value.step) == ("NOT_FINITE", 4)
    assert not (folder / "adapter").exists()
    newest = folders.newest_whole(folder / "checkpoints")
    if (what, saves) == ("weights", "seldom"):  # By then there is nothing to keep.
        assert newest is None
        return
    assert newest is not None and newest.name == "step-00000003"
    assert all(t.isfinite().all() for t in load_file(newest / checkpoints.CHECKPOINT).values())
    # It is as good as any: without what went wrong, the run ends as if nothing had been.
    again = run(loaded, folder)
    assert again.told() == straight.told() and again.bytes == straight.bytes


def test_a_learning_rate_that_is_far_too_high_is_named_as_the_cause(
    base: LoadedBase, tmp_path: Path
) -> None:
    with pytest.raises(FailedPrecondition, match="learning rate is too high") as failed:
        run(base, tmp_path / "run", replace(ACROSS, peak_learning_rate=1e30))
    assert failed.value.reason == "NOT_FINITE"
    assert failed.value.step in (1, 2)


def test_a_parent_that_is_not_finite_is_named_as_the_cause(
    loaded: LoadedBase, tmp_path: Path
) -> None:
    parent = stock_adapter(loaded, tmp_path / "parent")
    tensors = load_file(parent / WEIGHTS)
    next(iter(tensors.values())).fill_(math.nan)
    save_file(tensors, parent / WEIGHTS)
    with pytest.raises(FailedPrecondition, match="the weights it began with") as failed:
        run(loaded, tmp_path / "run", parent=parent)
    assert (failed.value.reason, failed.value.step) == ("NOT_FINITE", 1)


# --- kills, damage and a full disk ---------------------------------------------------------------

OVERFITS = Hyperparameters(12, 4, 0.02, 0.02, seed=3)
STOPS = Limits(early_stopping=EarlyStopping("auto", patience=2))
HELD_OUT = ROWS[11:15]


def stopping(base: LoadedBase, folder: Path, stop_at: int = 0) -> Run:
    """A run that early stopping ends, and that keeps a step before its last."""
    return run(
        base, folder, OVERFITS,
        examples=ROWS[:11], held_out=HELD_OUT, limits=STOPS, stop_at=stop_at,
    )  # fmt: skip


@pytest.fixture(scope="module")
def straight(loaded: LoadedBase, tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = stopping(loaded, tmp_path_factory.mktemp("straight"))
    outcome = read_outcome(made.adapter)
    assert "Early stopping" in outcome.stop_reason
    assert outcome.kept_step is not None and 3 < outcome.kept_step < made.snapshots[-1].step < 33
    return made


def epochs_of(made: Run) -> dict[str, bytes]:
    found = sorted((made.folder / "epochs").iterdir())
    assert all(folders.is_whole(folder) for folder in found)
    return {folder.name: (folder / WEIGHTS).read_bytes() for folder in found}


def check_as_if_nothing_had_been(made: Run, straight: Run) -> None:
    assert made.told() == straight.told()
    assert made.bytes == straight.bytes
    assert read_outcome(made.adapter) == read_outcome(straight.adapter)
    assert epochs_of(made) == epochs_of(straight)


@pytest.mark.parametrize("place", ["first", "epoch", "after the best", "before the end", "end"])
@pytest.mark.parametrize("saved", ["each step", "every fourth", "never"])
def test_a_kill_changes_nothing_in_how_a_run_ends(
    loaded: LoadedBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    straight: Run,
    place: str,
    saved: str,
) -> None:
    """Held-out losses, the step that is kept, adapters of epochs, early stopping: all the same."""
    last = straight.snapshots[-1].step
    kept = read_outcome(straight.adapter).kept_step
    assert kept is not None
    where = {
        "first": 1, "epoch": 3, "after the best": kept + 1, "before the end": last - 1, "end": last,
    }  # fmt: skip
    every = {"each step": 1, "every fourth": 4, "never": 1000}[saved]
    calls = 0

    def is_due(self: Checkpoints, runs: int = 1) -> bool:
        nonlocal calls
        calls += 1
        return calls % every == 0

    monkeypatch.setattr(Checkpoints, "is_due", is_due)
    stopping(loaded, tmp_path / "run", where[place])
    check_as_if_nothing_had_been(stopping(loaded, tmp_path / "run"), straight)


def missing(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def flipped(file: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [missing, cut, emptied, flipped])
@pytest.mark.parametrize("file", [checkpoints.CHECKPOINT, checkpoints.SNAPSHOTS, folders.MANIFEST])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    loaded: LoadedBase,
    tmp_path: Path,
    saving_each_step: None,
    straight: Run,
    damage: Callable[[Path], None],
    file: str,
) -> None:
    stopping(loaded, tmp_path / "run", 7)
    newest = folders.newest_whole(tmp_path / "run" / "checkpoints")
    assert newest is not None and newest.name == "step-00000007"
    damage(newest / file)
    made = stopping(loaded, tmp_path / "run")
    assert [step for kind, _, step in made.events if kind == "resumed"] == [6]
    check_as_if_nothing_had_been(made, straight)


def test_without_any_checkpoint_a_run_begins_anew(
    loaded: LoadedBase, tmp_path: Path, saving_each_step: None, straight: Run
) -> None:
    stopping(loaded, tmp_path / "run", 7)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    made = stopping(loaded, tmp_path / "run")
    assert not [event for event in made.events if event[0] == "resumed"]
    check_as_if_nothing_had_been(made, straight)


def full_disk(*arguments: Any, **others: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("part", ["checkpoint", "snapshots", "epochs", "manifest"])
def test_a_full_disk_while_saving_does_not_end_the_run(
    loaded: LoadedBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    saving_each_step: None,
    straight: Run,
    part: str,
) -> None:
    """It is full from step 5 to step 8, as whatever part of a checkpoint is written."""
    where = {
        "checkpoint": (checkpoints, "save_tensors"),
        "snapshots": (checkpoints, "write_snapshots"),
        "epochs": (Adapter, "save"),
        "manifest": (folders, "publish"),
    }
    holder, name = where[part]
    honest = Checkpoints.try_to_save
    refused = 0

    def try_to_save(self: Checkpoints, progress: Any, *also: Any) -> None:
        nonlocal refused
        with monkeypatch.context() as patched:
            if 5 <= progress.step <= 8:
                refused += 1
                patched.setattr(holder, name, full_disk)
            honest(self, progress, *also)
        newest = folders.newest_whole(tmp_path / "run" / "checkpoints")
        if 5 <= progress.step <= 8 and part != "epochs":
            assert newest is not None and newest.name == "step-00000004"

    monkeypatch.setattr(Checkpoints, "try_to_save", try_to_save)
    made = stopping(loaded, tmp_path / "run")
    assert refused == 4
    check_as_if_nothing_had_been(made, straight)
    left = {path.name for path in made.folder.iterdir()}
    assert left <= {"adapter", "checkpoints", "epochs"}
    assert not [path for path in made.folder.rglob(".*")]


def test_an_adapter_that_finds_no_room_is_written_by_the_next_attempt(
    loaded: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, straight: Run
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Adapter, "save", full_disk)
        with pytest.raises(OSError, match="No space left"):
            stopping(loaded, tmp_path / "run")
    assert not (tmp_path / "run" / "adapter").exists()
    check_as_if_nothing_had_been(stopping(loaded, tmp_path / "run"), straight)


# --- adapters of the epochs ----------------------------------------------------------------------


def test_an_epochs_adapter_is_that_of_a_run_of_so_many_epochs(
    base: LoadedBase, tmp_path: Path
) -> None:
    chosen = Hyperparameters(3, 4, 2e-3, 2e-3, seed=2)
    long = run(base, tmp_path / "long", chosen)
    assert list(epochs_of(long)) == ["epoch-0001", "epoch-0002", "epoch-0003"]
    for epochs in (1, 2, 3):
        short = run(base, tmp_path / f"{epochs}", replace(chosen, epoch_count=epochs))
        assert epochs_of(long)[f"epoch-{epochs:04d}"] == short.bytes


def test_stock_peft_loads_an_epochs_adapter(base: LoadedBase, tmp_path: Path) -> None:
    """And gives the loss that the run had with the same weights."""
    made = run(base, tmp_path / "run", Hyperparameters(2, 4, 2e-3, 2e-3, seed=2), held_out=HELD_OUT)
    tokenizer = AutoTokenizer.from_pretrained(base.base_model.weights)
    for epoch, step in ((1, 4), (2, 8)):
        folder = made.folder / "epochs" / f"epoch-{epoch:04d}"
        stock = PeftModel.from_pretrained(stock_model(base), str(folder))
        with torch.no_grad():
            found = stock_loss(stock, tokenizer, HELD_OUT).item()
        assert made.snapshots[step - 1].held_out_loss == pytest.approx(found, rel=1e-4)
