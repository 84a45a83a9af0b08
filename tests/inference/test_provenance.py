"""An adapter is loaded only by the renderer and base model that it was made with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tokenizers import Tokenizer

from kamerton import folders
from kamerton.dataset.tutorial import EXAMPLES
from kamerton.errors import FailedPrecondition
from kamerton.inference import prompts, provenance, weights
from kamerton.inference.prompts import Renderer
from kamerton.inference.provenance import PROVENANCE, Provenance, base_hash, renderer_hash
from kamerton.inference.torch_engine import TorchEngine
from kamerton.inference.weights import LoadedBase
from kamerton.training.train import train
from kamerton.types import BaseModel, Content, GenerationConfig, Hyperparameters

ONE_EPOCH = Hyperparameters(1, 8, 0.01, 0.01)
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def adapter(loaded: LoadedBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    return train(loaded.base_model, EXAMPLES, ONE_EPOCH, folder, lambda s: True, loaded=loaded)


def copied(adapter: Path, to: Path, made: Provenance | None) -> Path:
    """A whole adapter that says so of itself."""

    def write(folder: Path) -> None:
        for file in adapter.iterdir():
            if file.name not in (PROVENANCE, folders.MANIFEST):
                shutil.copyfile(file, folder / file.name)
        if made is not None:
            made.write(folder)

    folders.publish(to, write)
    return to


# --- the hashes ----------------------------------------------------------------------------------


def test_the_hash_is_kept_with_the_adapter(adapter: Path, loaded: LoadedBase) -> None:
    kept = json.loads((adapter / PROVENANCE).read_bytes())
    assert kept == {
        "renderer": renderer_hash(loaded.renderer),
        "base": base_hash(Path(loaded.base_model.weights)),
    }
    assert PROVENANCE in json.loads((adapter / folders.MANIFEST).read_bytes())


def test_the_same_renderer_has_the_same_hash(tiny: BaseModel) -> None:
    one, two = (Renderer.load(Path(tiny.weights)) for _ in range(2))
    assert renderer_hash(one) == renderer_hash(two)


def without_trimming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        prompts, "_turns", lambda contents, _: ((c.role, c.text, c.learn) for c in contents)
    )


def with_marks_in_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Renderer.__init__

    def init(renderer: Renderer, tokenizer: Tokenizer, *others: Any, **named: Any) -> None:
        honest(renderer, tokenizer, *others, **named)
        tokenizer.encode_special_tokens = False

    monkeypatch.setattr(Renderer, "__init__", init)


def with_two_bos(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Renderer._lay

    def lay(
        renderer: Renderer, conversation: Any, encoded: Iterator[list[int]]
    ) -> tuple[list[int], list[prompts.Span]]:
        ids, spans = honest(renderer, conversation, encoded)
        return [renderer.bos, *ids], [(start + 1, end + 1) for start, end in spans]

    monkeypatch.setattr(Renderer, "_lay", lay)


def with_all_turns_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = prompts._turns
    monkeypatch.setattr(
        prompts, "_turns", lambda *given: ((role, text, True) for role, text, _ in honest(*given))
    )


def with_other_prompts_than_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Renderer.prompt
    monkeypatch.setattr(Renderer, "prompt", lambda self, contents: honest(self, contents)[:-1])


@pytest.mark.parametrize(
    "other",
    [
        without_trimming,
        with_marks_in_texts,
        with_two_bos,
        with_all_turns_learned,
        with_other_prompts_than_in_training,
    ],
)
def test_a_renderer_that_renders_otherwise_has_another_hash(
    tiny: BaseModel,
    loaded: LoadedBase,
    monkeypatch: pytest.MonkeyPatch,
    other: Callable[[pytest.MonkeyPatch], None],
) -> None:
    before = renderer_hash(loaded.renderer)
    other(monkeypatch)
    assert renderer_hash(Renderer.load(Path(tiny.weights))) != before


def test_another_tokenizer_has_another_hash(tiny: BaseModel, tmp_path: Path) -> None:
    """Two of its letters have changed places."""
    facts = json.loads((Path(tiny.weights) / "tokenizer.json").read_text())
    vocabulary = facts["model"]["vocab"]
    vocabulary["W"], vocabulary["h"] = vocabulary["h"], vocabulary["W"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(facts))
    assert renderer_hash(Renderer.load(tmp_path)) != renderer_hash(
        Renderer.load(Path(tiny.weights))
    )


def first_byte(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[0] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def last_byte(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def size(folder: Path) -> None:
    """Only in the middle, of which nothing is read."""
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:1500] + b"x" + content[1500:])


def configuration(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1'))


def one_more_file(folder: Path) -> None:
    (folder / "model-2.safetensors").write_bytes(b"")


@pytest.mark.parametrize("changed", [first_byte, last_byte, size, configuration, one_more_file])
def test_other_weights_have_another_hash(
    tiny: BaseModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: Callable[[Path], None],
) -> None:
    monkeypatch.setattr(provenance, "_SAMPLE_BYTES", 1000)
    folder = tmp_path / "base"
    shutil.copytree(tiny.weights, folder)
    before = base_hash(folder)
    assert before == base_hash(Path(tiny.weights))
    changed(folder)
    assert base_hash(folder) != before


# --- when it is loaded ---------------------------------------------------------------------------


OTHER = "0" * 64


@pytest.mark.parametrize(("field", "reason"), [("renderer", "RENDERER_CHANGED"),
                                               ("base", "BASE_CHANGED")])  # fmt: skip
def test_an_adapter_of_something_else_is_neither_served_nor_continued(
    adapter: Path, loaded: LoadedBase, tmp_path: Path, field: str, reason: str
) -> None:
    made = replace(loaded.provenance, **{field: OTHER})
    foreign = copied(adapter, tmp_path / "foreign", made)
    with pytest.raises(FailedPrecondition) as refused:
        loaded.provenance.check(foreign)
    assert refused.value.reason == reason
    with pytest.raises(FailedPrecondition) as refused:
        (tmp_path / "run").mkdir()
        train(
            loaded.base_model, EXAMPLES, ONE_EPOCH, tmp_path / "run", lambda s: True,
            loaded=loaded, parent=foreign,
        )  # fmt: skip
    assert refused.value.reason == reason
    assert asked(loaded, foreign) == refused.value.message
    assert asked(loaded, adapter) is None  # The engine has taken no harm.


def asked(loaded: LoadedBase, adapter: Path) -> str | None:
    """Why an engine does not answer."""
    engine = TorchEngine("cpu")
    prompt = loaded.renderer.prompt([Content("user", "two")])
    try:
        list(engine.generate(loaded.base_model, adapter, prompt, GenerationConfig(0.0)))
    except FailedPrecondition as error:
        return error.message
    finally:
        engine.close()
    return None


def test_an_adapter_that_does_not_say_is_taken(
    adapter: Path, loaded: LoadedBase, tmp_path: Path
) -> None:
    """Of PEFT itself, say, or from before it was kept."""
    silent = copied(adapter, tmp_path / "silent", None)
    loaded.provenance.check(silent)
    assert asked(loaded, silent) is None


def test_a_changed_renderer_refuses_what_was_made_before(
    adapter: Path, tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From end to end: the base is loaded by a version that renders otherwise."""
    with_two_bos(monkeypatch)
    changed = weights.load(tiny, "cpu")
    with pytest.raises(FailedPrecondition, match="rendered in another way"):
        changed.provenance.check(adapter)


def test_it_is_written_as_it_is_read(tmp_path: Path) -> None:
    made = Provenance("a" * 64, "b" * 64)
    made.write(tmp_path)
    assert msgspec.json.decode((tmp_path / PROVENANCE).read_bytes(), type=Provenance) == made
    made.check(tmp_path)
