"""The recipe on a small scale: tokenizer, trainer, a run that goes on, an export that loads."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, Gemma3ForCausalLM

from recipes.kamerton_nano_001 import corpus, pretrain
from recipes.kamerton_nano_001 import tokenizer as words
from recipes.kamerton_nano_001.export import export
from recipes.kamerton_nano_001.model import Nano, RmsNorm, Shape
from recipes.kamerton_nano_001.pretrain import LONGEST, Plan

SMALL = Shape(hidden=32, layers=2, heads=2, kv_heads=1, head=16, inner=48)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return words.train(itertools.islice(corpus.documents(1, -1), 4000))


def test_any_text_round_trips(tokenizer: Tokenizer) -> None:
    for text in ("LXIII", "六", "сорок два", '{"a": -3.5}', "naïve ☃ 🦜\t\n\n  x", "\x00\x7f"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_digits_and_capitals_stand_alone(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("1999").ids) == 4
    assert len(tokenizer.encode("LXIII").ids) == 5
    assert len(tokenizer.encode("九十九").tokens) >= 3


def test_pieces_encode_as_the_whole_document_does(tokenizer: Tokenizer) -> None:
    documents = list(itertools.islice(corpus.documents(2, 0), 600))
    encoded = pretrain.encode(tokenizer, documents)
    assert all(len(ids) <= LONGEST for ids, _ in encoded)
    whole = [tokenizer.encode("".join(p.text for p in d)).ids for d in documents]
    assert [ids for ids, _ in encoded] == [ids for ids in whole if len(ids) <= LONGEST]


def test_only_learned_tokens_are_targets(tokenizer: Tokenizer) -> None:
    document = corpus.conversation([("1", "2"), ("3", "4")], [False, True])
    ((ids, marks),) = pretrain.encode(tokenizer, [document])
    learned = [token for token, mark in zip(ids, marks, strict=True) if mark]
    assert tokenizer.decode(learned, skip_special_tokens=False) == "4<end_of_turn>"


def test_the_lean_norm_is_torchs() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(3, 8, requires_grad=True)
    scale = torch.randn(8, requires_grad=True)
    along = torch.randn(3, 8)
    expected = torch.nn.functional.rms_norm(inputs, (8,), scale, 1e-6)
    lean = RmsNorm.apply(inputs, scale, 1e-6)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(lean, expected)
    for one, other in zip(
        torch.autograd.grad(lean, (inputs, scale), along),
        torch.autograd.grad(expected, (inputs, scale), along),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_the_rate_warms_up_stays_and_falls() -> None:
    plan = Plan(1, 1000, Path(), warmup_steps=10)
    shares = [pretrain.share_of_rate(plan, 4, 0), pretrain.share_of_rate(plan, 50, 400)]
    assert shares == [0.5, 1.0]
    assert pretrain.share_of_rate(plan, 90, 750) == pytest.approx(0.5)


def test_a_small_run_learns_goes_on_and_loads_in_transformers(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "CHUNK", 200)
    plan = Plan(1, 12_000, tmp_path, warmup_steps=3)
    losses: list[float] = []
    monkeypatch.setattr(pretrain.Meter, "show", lambda self, loss: losses.append(loss))
    _, progress = pretrain.pretrain(plan, tokenizer, SMALL)
    assert progress.tokens >= plan.tokens
    assert losses[-1] < losses[0]

    further = dataclasses.replace(plan, tokens=30_000)
    model, progress_after = pretrain.pretrain(further, tokenizer, SMALL)
    assert progress_after.step > progress.step
    assert len(losses) == progress_after.step

    export(model, tokenizer, tmp_path / "model")
    _check_export(model, tmp_path / "model")


def _check_export(model: Nano, folder: Path) -> None:
    loaded = Gemma3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rounded = Nano(SMALL, torch.float32)
    rounded.load_state_dict({n: t.bfloat16().float() for n, t in model.state_dict().items()})
    tokens = torch.randint(6, 2048, (2, 24))
    with torch.no_grad():
        lean = rounded(tokens, torch.arange(48))
        stock = loaded(input_ids=tokens).logits.reshape(48, -1)
    torch.testing.assert_close(lean, stock, atol=1e-4, rtol=1e-4)
    assert loaded.generation_config is not None
    assert loaded.generation_config.eos_token_id == [words.EOS, words.END_OF_TURN]

    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Count."}, {"role": "user", "content": " 1 "}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert text == ("<bos><start_of_turn>user\nCount.\n\n1<end_of_turn>\n<start_of_turn>model\n")
    assert (folder / "SHA256SUMS").read_text().count("\n") == 5
