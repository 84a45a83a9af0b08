from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kamerton.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from kamerton.service import generation, tuned_models
from kamerton.service.readings import Data
from kamerton.types import Caller, Content, Example, GenerationConfig
from tests.service.conftest import ANN, BOB, FakeApp

ASK = [Content("user", "LXIII")]


def generate(app: FakeApp, contents: Sequence[Content] = ASK, **more: Any) -> str:
    options = {"base_model": "kamerton-nano-001", "config": GenerationConfig(), **more}
    caller = options.pop("caller", ANN)
    chunks = generation.generate(app, caller, contents=contents, **options)
    return "".join(chunk.text for chunk in chunks)


@pytest.fixture
def tuned(app: FakeApp) -> str:
    tuned_models.create(
        app,
        ANN,
        base_model="gemini-1.5-pro",
        data=Data(examples=[Example.pair("1", "2")]),
        tuned_model_id="mine",
        temperature=0.25,
    )
    return "mine"


def test_a_base_answers_with_its_defaults(app: FakeApp) -> None:
    assert generate(app, base_model="gemini-1.5-pro") == "word"
    name, adapter, prompt, config = app.engine.asked[0]
    assert (name, adapter) == ("kamerton-nano-001", None)
    assert prompt == app.renderer(app.catalog.find(name)).prompt(ASK)
    assert (config.temperature, config.top_p, config.top_k) == (1.0, 0.95, 64)
    assert config.max_output_tokens == 256


def test_what_is_asked_for_wins(app: FakeApp) -> None:
    asked = GenerationConfig(
        temperature=0.0,
        top_p=0.0,
        top_k=0,
        max_output_tokens=7,
        stop_sequences=("x",),
        candidate_count=8,
        seed=-5,
        presence_penalty=-2.0,
        frequency_penalty=2.0,
        logprobs=0,
    )
    generate(app, config=asked)
    assert app.engine.asked[0][3] == asked


def test_a_tuned_model_answers_with_its_own_defaults(app: FakeApp, tuned: str) -> None:
    app.runner.finish_all()
    generate(app, base_model="", tuned_model=tuned)
    name, adapter, _, config = app.engine.asked[0]
    assert name == "kamerton-nano-001"
    assert adapter == app.folder(tuned_models.get(app, ANN, tuned).uid) / "adapter"
    assert config.temperature == 0.25


def test_errors_come_before_the_first_piece(app: FakeApp, tuned: str) -> None:
    def ask(**more: Any) -> None:
        options: dict[str, Any] = {"contents": ASK, "config": GenerationConfig(), **more}
        generation.generate(app, options.pop("caller", ANN), **options)

    with pytest.raises(FailedPrecondition, match="CREATING"):
        ask(tuned_model=tuned)
    with pytest.raises(PermissionDenied):
        ask(tuned_model=tuned, caller=BOB)
    with pytest.raises(NotFound):
        ask(base_model="gpt-5")
    with pytest.raises(PermissionDenied, match="infer"):
        ask(base_model="kamerton-nano-001", caller=Caller("x", frozenset()))
    assert app.engine.asked == []


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([], "must not be empty"),
        ([Content("system", "x")], "must not be empty"),
        ([Content("user", "x"), Content("model", "y")], "must end with a turn of the user"),
        ([Content("user", "1 " * 2000)], "tokens, at most 768"),
    ],
)
def test_contents_that_cannot_be_answered(
    app: FakeApp, contents: list[Content], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        generate(app, contents)


def test_a_tuned_model_reads_forty_thousand_characters_at_most(app: FakeApp, tuned: str) -> None:
    app.runner.finish_all()
    with pytest.raises(InvalidArgument, match="40001 characters"):
        generate(app, [Content("user", "x" * 40_001)], base_model="", tuned_model=tuned)


def test_a_failed_model_says_why(app: FakeApp, tuned: str) -> None:
    tuned_models.cancel(app, ANN, tuned)
    with pytest.raises(FailedPrecondition, match="FAILED: The tuning was cancelled"):
        generate(app, base_model="", tuned_model=tuned)


def test_a_history_that_ends_with_an_answer_can_be_counted(app: FakeApp) -> None:
    history = [*ASK, Content("model", "LXIV")]
    assert generation.count_tokens(
        app, ANN, base_model="kamerton-nano-001", contents=history
    ) > generation.count_tokens(app, ANN, base_model="kamerton-nano-001", contents=ASK)


CONVERSATION = [
    Content("system", "Be brief."),
    Content("user", "LXIII"),
    Content("model", "LXIV"),
    Content("user", ""),
]


@pytest.mark.parametrize("contents", [ASK, CONVERSATION])
@pytest.mark.parametrize("of_tuned", [False, True])
def test_counted_as_it_would_be_used(
    app: FakeApp, tuned: str, contents: list[Content], of_tuned: bool
) -> None:
    app.runner.finish_all()
    target: dict[str, Any] = {"tuned_model": tuned, "base_model": ""} if of_tuned else {}
    generate(app, contents, **target)
    target = target or {"base_model": "kamerton-nano-001"}
    count = generation.count_tokens(app, ANN, contents=contents, **target)
    assert count == len(app.engine.asked[0][2])


def test_a_tuned_model_reads_every_turn_and_the_system_instruction(
    app: FakeApp, tuned: str
) -> None:
    app.runner.finish_all()
    generate(app, CONVERSATION, base_model="", tuned_model=tuned)
    name, _, prompt, _ = app.engine.asked[0]
    assert prompt == app.renderer(app.catalog.find(name)).prompt(CONVERSATION)
    assert len(prompt) > len(app.renderer(app.catalog.find(name)).prompt(CONVERSATION[1:]))


def test_far_too_much_text_is_refused_without_being_read(
    app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(app.renderer(app.catalog.list()[0])), "prompt", None)
    with pytest.raises(InvalidArgument, match="far too many tokens"):
        generate(app, [Content("user", "x" * 20_000_000)])
    with pytest.raises(InvalidArgument, match="are counted at once"):
        generation.count_tokens(
            app,
            ANN,
            base_model="kamerton-nano-001",
            contents=[Content("user", "x" * 20_000_000)],
        )
