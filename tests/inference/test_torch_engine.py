from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from kamerton.errors import FailedPrecondition, Internal, NotFound
from kamerton.inference import sampling, torch_engine, weights
from kamerton.inference.prompts import Renderer
from kamerton.inference.sampling import next_token
from kamerton.inference.torch_engine import TorchEngine
from kamerton.inference.weights import LoadedBase
from kamerton.training.train import train
from kamerton.types import (
    BaseModel,
    Chunk,
    Content,
    Example,
    GenerationConfig,
    Hyperparameters,
    TokenChoice,
)
from tests import bases

GREEDY = GenerationConfig(temperature=0.0, top_p=1.0, top_k=0, max_output_tokens=12)
FACTS = {"a": "alpha", "b": "бета", "c": "γάμμα 🎉", "d": "delta delta"}


@pytest.fixture(scope="module")
def engine() -> Iterator[TorchEngine]:
    engine = TorchEngine("cpu")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def adapters(loaded: LoadedBase, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four tuned models, each of which gives its own answer to the same question."""
    found = {}
    for name, answer in FACTS.items():
        folder = tmp_path_factory.mktemp(name)
        chosen = Hyperparameters(40, 1, 0.02, 0.02)
        found[name] = train(
            loaded.base_model, [Example.pair("who?", answer)], chosen, folder, lambda s: True,
            loaded=loaded,
        )  # fmt: skip
    return found


def ask(
    engine: TorchEngine,
    loaded: LoadedBase,
    adapter: Path | None,
    text: str = "who?",
    config: GenerationConfig = GREEDY,
) -> str:
    prompt = loaded.renderer.prompt([Content("user", text)])
    chunks = list(engine.generate(loaded.base_model, adapter, prompt, config))
    assert chunks[-1].finish_reason is not None
    assert chunks[-1].prompt_tokens == len(prompt)
    return "".join(chunk.text for chunk in chunks)


def test_greedy_equals_the_stock_model(engine: TorchEngine, loaded: LoadedBase) -> None:
    prompt = loaded.renderer.prompt([Content("user", "who?")])
    expected = loaded.model.generate(
        torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=[1, 5]
    )[0, len(prompt) :].tolist()
    got = ask(engine, loaded, None)
    shown = [token for token in expected if token not in loaded.renderer.stops]
    assert got == loaded.renderer.text(shown).rstrip("\ufffd")


def test_each_tuned_model_gives_its_own_answer(
    engine: TorchEngine, loaded: LoadedBase, adapters: dict[str, Path]
) -> None:
    long = GenerationConfig(temperature=0.0, max_output_tokens=40)
    for name, adapter in adapters.items():
        assert ask(engine, loaded, adapter, config=long) == FACTS[name]


def test_batched_together_they_answer_as_alone(
    engine: TorchEngine, loaded: LoadedBase, adapters: dict[str, Path]
) -> None:
    """Different adapters, the base, and prompts of different length in one batch."""
    asks: list[tuple[Path | None, str]] = [
        (adapters[n], "who?" + "!" * k) for k, n in enumerate([*FACTS, *FACTS])
    ]
    asks += [(None, "who?"), (None, "who? who?")]
    alone = [ask(engine, loaded, adapter, text) for adapter, text in asks]
    with ThreadPoolExecutor(len(asks)) as pool:
        together = list(pool.map(lambda pair: ask(engine, loaded, *pair), asks))
    assert together == alone


def test_eviction_changes_no_answer(
    loaded: LoadedBase, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_engine, "MAX_ADAPTERS", 2)
    monkeypatch.setattr(torch_engine, "MAX_ROWS", 2)
    engine = TorchEngine("cpu")
    long = GenerationConfig(temperature=0.0, max_output_tokens=40)
    try:
        for _ in range(3):
            for name, adapter in adapters.items():
                assert ask(engine, loaded, adapter, config=long) == FACTS[name]
        for adapter in adapters.values():
            engine.forget(adapter)
        base = ask(engine, loaded, None)
        assert base not in FACTS.values()
    finally:
        engine.close()


def test_the_same_seed_gives_the_same_text(engine: TorchEngine, loaded: LoadedBase) -> None:
    def sample(seed: int | None) -> str:
        config = GenerationConfig(temperature=1.0, top_p=0.95, top_k=64, max_output_tokens=12)
        seeded = GenerationConfig(
            temperature=1.0, top_p=0.95, top_k=64, max_output_tokens=12, seed=seed
        )
        return ask(engine, loaded, None, config=config if seed is None else seeded)

    assert sample(7) == sample(7)
    assert sample(-(2**31)) == sample(-(2**31))
    assert len({sample(seed) for seed in range(5)}) > 1
    assert len({sample(None) for _ in range(5)}) > 1


def test_candidates_differ_and_each_one_ends(engine: TorchEngine, loaded: LoadedBase) -> None:
    config = GenerationConfig(
        temperature=1.5, top_p=1.0, top_k=0, max_output_tokens=8, seed=1, candidate_count=3
    )
    prompt = loaded.renderer.prompt([Content("user", "who?")])
    chunks = list(engine.generate(loaded.base_model, None, prompt, config))
    ends = [chunk for chunk in chunks if chunk.finish_reason]
    assert sorted(chunk.candidate for chunk in ends) == [0, 1, 2]
    texts = {n: "".join(c.text for c in chunks if c.candidate == n) for n in range(3)}
    assert len(set(texts.values())) > 1


def test_the_limit_ends_an_answer(
    engine: TorchEngine, loaded: LoadedBase, adapters: dict[str, Path]
) -> None:
    config = GenerationConfig(temperature=0.0, max_output_tokens=3)
    prompt = loaded.renderer.prompt([Content("user", "who?")])
    chunks = list(engine.generate(loaded.base_model, adapters["a"], prompt, config))
    assert "".join(chunk.text for chunk in chunks) == "alp"
    assert chunks[-1].finish_reason == "MAX_TOKENS"
    assert chunks[-1].output_tokens == 3


def test_a_stop_sequence_ends_an_answer_and_is_not_in_it(
    engine: TorchEngine, loaded: LoadedBase, adapters: dict[str, Path]
) -> None:
    config = GenerationConfig(temperature=0.0, max_output_tokens=30, stop_sequences=("a d", "zz"))
    prompt = loaded.renderer.prompt([Content("user", "who?")])
    chunks = list(engine.generate(loaded.base_model, adapters["d"], prompt, config))
    assert "".join(chunk.text for chunk in chunks) == "delt"
    assert chunks[-1].finish_reason == "STOP"


def test_characters_are_never_cut(
    engine: TorchEngine, loaded: LoadedBase, adapters: dict[str, Path]
) -> None:
    """With a byte tokenizer every one of these characters is several tokens."""
    config = GenerationConfig(temperature=0.0, max_output_tokens=40)
    prompt = loaded.renderer.prompt([Content("user", "who?")])
    chunks = list(engine.generate(loaded.base_model, adapters["c"], prompt, config))
    assert len(chunks) > 5
    assert all("\ufffd" not in chunk.text for chunk in chunks)


def test_a_damaged_adapter_fails_alone(
    engine: TorchEngine, loaded: LoadedBase, adapters: dict[str, Path], tmp_path: Path
) -> None:
    prompt = loaded.renderer.prompt([Content("user", "who?")])
    with pytest.raises(FailedPrecondition, match="missing or damaged"):
        list(engine.generate(loaded.base_model, tmp_path, prompt, GREEDY))
    config = GenerationConfig(temperature=0.0, max_output_tokens=40)
    assert ask(engine, loaded, adapters["a"], config=config) == "alpha"


def test_a_base_without_weights_fails_and_the_engine_lives(
    engine: TorchEngine, loaded: LoadedBase, tmp_path: Path
) -> None:
    lost = BaseModel(name="lost", weights=str(tmp_path / "nowhere"))
    with pytest.raises(NotFound):
        list(engine.generate(lost, None, [1, 2], GREEDY))
    assert ask(engine, loaded, None)


def test_who_leaves_frees_the_place(
    engine: TorchEngine, loaded: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = loaded.renderer.prompt([Content("user", "who?")])
    endless = GenerationConfig(
        temperature=1.0, top_p=1.0, top_k=0, max_output_tokens=100_000, seed=1
    )
    with monkeypatch.context() as without_end:
        without_end.setattr(Renderer, "stops", frozenset())
        chunks = engine.generate(loaded.base_model, None, prompt, endless)
        for _ in range(30):  # It goes on and on ...
            next(chunks)
        start = time.monotonic()
        chunks.close()  # type: ignore[attr-defined]
        short = GenerationConfig(temperature=0.0, max_output_tokens=1)
        list(engine.generate(loaded.base_model, None, prompt, short))  # ... until nobody listens.
    assert time.monotonic() - start < 5


def test_a_request_that_fails_does_not_take_its_neighbours_along(
    engine: TorchEngine,
    loaded: LoadedBase,
    adapters: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = next_token

    def fails_for_seed_13(
        logits: torch.Tensor,
        config: GenerationConfig,
        so_far: list[int],
        generator: torch.Generator | None,
    ) -> int:
        if config.seed == 13:
            raise RuntimeError("no such number")
        return honest(logits, config, so_far, generator)

    monkeypatch.setattr(torch_engine, "next_token", fails_for_seed_13)
    bad = GenerationConfig(temperature=0.0, max_output_tokens=12, seed=13)

    def ask_badly(_: int) -> str:
        with pytest.raises(Internal, match="RuntimeError"):
            ask(engine, loaded, adapters["a"], config=bad)
        return ""

    expected = ask(engine, loaded, adapters["b"])
    with ThreadPoolExecutor(8) as pool:
        failed = [pool.submit(ask_badly, number) for number in range(4)]
        answers = [pool.submit(ask, engine, loaded, adapters["b"]) for _ in range(4)]
        assert [answer.result() for answer in answers] == [expected] * 4
        assert [one.result() for one in failed] == [""] * 4


# --- log probabilities ---------------------------------------------------------------------------

TOLD = GenerationConfig(temperature=0.0, max_output_tokens=12, logprobs=3)


def chunks_of(
    engine: TorchEngine, loaded: LoadedBase, adapter: Path | None, config: GenerationConfig
) -> list[Chunk]:
    prompt = loaded.renderer.prompt([Content("user", "who?")])
    return list(engine.generate(loaded.base_model, adapter, prompt, config))


def choices_of(chunks: list[Chunk], candidate: int = 0) -> list[TokenChoice]:
    mine = [chunk.logprobs for chunk in chunks if chunk.candidate == candidate]
    return [choice for some in mine if some is not None for choice in some]


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        TOLD,
        GenerationConfig(
            temperature=1.7,
            top_p=0.9,
            top_k=9,
            max_output_tokens=12,
            seed=4,
            presence_penalty=2.0,
            frequency_penalty=2.0,
            logprobs=3,
        ),
    ],
)
def test_logprobs_are_those_of_the_stock_model(
    engine: TorchEngine,
    loaded: LoadedBase,
    adapters: dict[str, Path],
    tuned: bool,
    config: GenerationConfig,
) -> None:
    """However the tokens were sampled, and with the weights that sampled them."""
    adapter = adapters["b"] if tuned else None
    choices = choices_of(chunks_of(engine, loaded, adapter, config))
    answer = [choice.chosen.id for choice in choices]
    assert len(answer) > 3
    model = weights.load(loaded.base_model, "cpu").model
    if adapter:
        model = PeftModel.from_pretrained(model, str(adapter))
    prompt = loaded.renderer.prompt([Content("user", "who?")])
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].float()
    for choice, expected in zip(choices, logits.log_softmax(-1), strict=True):
        assert choice.chosen.logprob == pytest.approx(float(expected[choice.chosen.id]), abs=0.01)
        best = expected.topk(3).values.tolist()
        assert [token.logprob for token in choice.top] == pytest.approx(best, abs=0.01)


def test_logprobs_beside_neighbours_are_those_of_alone(
    engine: TorchEngine, loaded: LoadedBase, adapters: dict[str, Path]
) -> None:
    asks = [None, *adapters.values(), *adapters.values()]

    def told(adapter: Path | None) -> list[float]:
        chunks = chunks_of(engine, loaded, adapter, TOLD)
        return [choice.chosen.logprob for choice in choices_of(chunks)]

    alone = [told(adapter) for adapter in asks]
    with ThreadPoolExecutor(len(asks)) as pool:
        together = list(pool.map(told, asks))
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=0.01)


def test_each_candidate_tells_its_own_tokens(engine: TorchEngine, loaded: LoadedBase) -> None:
    config = GenerationConfig(
        temperature=1.5, max_output_tokens=8, seed=1, candidate_count=3, logprobs=0
    )
    chunks = chunks_of(engine, loaded, None, config)
    answers = []
    for candidate in range(3):
        ids = [choice.chosen.id for choice in choices_of(chunks, candidate)]
        text = "".join(chunk.text for chunk in chunks if chunk.candidate == candidate)
        assert loaded.renderer.text(ids).rstrip("\ufffd") == text
        assert not loaded.renderer.stops.intersection(ids)
        answers.append(ids)
    assert answers[0] != answers[1] != answers[2]


def test_nothing_is_computed_for_who_did_not_ask(
    engine: TorchEngine, loaded: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> TokenChoice:
        raise AssertionError("nobody asked for log probabilities")

    monkeypatch.setattr(sampling, "token_choice", never)
    chunks = chunks_of(engine, loaded, None, GREEDY)
    assert chunks and all(chunk.logprobs is None for chunk in chunks)
    with pytest.raises(Internal, match="nobody asked"):
        chunks_of(engine, loaded, None, TOLD)


def test_with_soft_caps_a_batch_answers_as_each_alone(tmp_path: Path) -> None:
    """Gemma 2: padding in front of the shorter prompt must not reach it."""
    bases.gemma2(tmp_path)
    model = weights.load(BaseModel(name="capped", weights=str(tmp_path)), "cpu").model
    short, long = [5, 6, 7], [5, 6, 7, 8, 9, 10, 11, 12]
    with torch.inference_mode():
        alone = model(input_ids=torch.tensor([short])).logits[0, -1]
        pad = len(long) - len(short)
        both = model(
            input_ids=torch.tensor([[0] * pad + short, long]),
            attention_mask=torch.tensor([[0] * pad + [1] * len(short), [1] * len(long)]),
            position_ids=torch.tensor([[0] * pad + [*range(len(short))], [*range(len(long))]]),
        ).logits[0, -1]
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-4)
