"""What a sweep tries, which run it calls the best, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from kamerton import sweep
from kamerton.client import Client
from kamerton.errors import FailedPrecondition, InvalidArgument, Unavailable
from kamerton.sweep import Plan, Result, Round, Trial, ranked, result_of
from kamerton.sweep_cli import sweep as run_sweep
from kamerton.types import Content, Example
from tests.conftest import Run
from tests.fake_server import FakeServer, refusal

EXAMPLES = [Example.pair(str(number), str(number + 1)) for number in range(30)]
ASKED: dict[str, Any] = {
    "base_model": "models/m",
    "display_name": "numbers",
    "tuned_model_id": "",
    "learning_rate_multiplier": 1.0,
    "epoch_count": None,
    "early_stopping": "on",
}


# --- what is tried -------------------------------------------------------------------------------


def test_the_grid_is_the_chosen_rate_and_its_neighbours() -> None:
    plan = sweep.grid(0.001, 5)
    assert plan == Plan((0.000333, 0.001, 0.003), (Round(3, 5),))
    assert plan.trials == 3


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, [1, 2, 4]), (5, [1, 2, 4]), (8, [2, 4, 8]), (1000, [250, 500, 1000])],
)
def test_halving_keeps_half_of_the_rates_and_doubles_the_epochs(
    epochs: int, expected: list[int]
) -> None:
    plan = sweep.halving(0.001, epochs)
    assert plan.rates == (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008)
    assert [(found.trials, found.epoch_count) for found in plan.rounds] == [
        *zip((6, 3, 2), expected, strict=True)
    ]
    assert plan.trials == 11


def test_no_rate_is_above_what_a_server_takes() -> None:
    assert sweep.grid(0.5, 5).rates == (0.167, 0.5)
    assert sweep.halving(0.5, 8).rounds == (Round(4, 2), Round(2, 4))
    assert sweep.grid(1.0, 5) == Plan((0.333, 1.0), (Round(2, 5),))


def test_tokens_of_all_runs_and_within_each_ones_budget() -> None:
    plan = sweep.halving(0.001, 8)
    assert plan.tokens(10) == 10 * (6 * 2 + 3 * 4 + 2 * 8)
    assert plan.tokens(10, 35) == 6 * 20 + (3 + 2) * 35


def result(trial: Trial, loss: float | None, state: str = "ACTIVE") -> Result:
    return Result(trial, f"tunedModels/{trial.number}", state, loss, 1)


def test_each_round_goes_on_with_the_better_half() -> None:
    losses = {0.00025: 0.9, 0.0005: 0.5, 0.001: 0.3, 0.002: 0.4, 0.004: 0.2, 0.008: 0.8}
    plan = sweep.halving(0.001, 8)
    results = [*sweep.run(plan, lambda trial: result(trial, losses[trial.learning_rate]))]
    tried = [(r.trial.learning_rate, r.trial.epoch_count) for r in results]
    assert tried[:6] == [(rate, 2) for rate in plan.rates]
    assert tried[6:] == [(0.004, 4), (0.001, 4), (0.002, 4), (0.004, 8), (0.001, 8)]
    assert [r.trial.number for r in results] == [*range(1, 12)]


def test_a_run_that_fails_stops_nothing_and_goes_no_further() -> None:
    def tune(trial: Trial) -> Result:
        diverged = trial.learning_rate > 0.0004
        return result(trial, 0.1 if diverged else 0.5, "FAILED" if diverged else "ACTIVE")

    results = [*sweep.run(sweep.halving(0.001, 8), tune)]
    assert [r.trial.learning_rate for r in results[6:]] == [0.00025, 0.00025]
    assert [r.trial.epoch_count for r in ranked(results)] == [2, 4, 8]
    nothing = [*sweep.run(sweep.halving(0.001, 8), lambda trial: result(trial, None))]
    assert len(nothing) == 6 and not ranked(nothing)


def test_the_lowest_loss_is_first_and_of_equal_ones_the_earlier() -> None:
    trials = [Trial(number, 0.001, 1) for number in range(4)]
    found = ranked(map(result, trials, (0.5, 0.2, None, 0.2)))
    assert [r.trial.number for r in found] == [1, 3, 0]


def test_what_became_of_a_trial() -> None:
    losses = [
        {"step": 3, "meanLoss": 0.4},
        {"step": 6, "meanLoss": 0.2},
        {"step": 9, "meanLoss": 1},
    ]
    trial = Trial(2, 0.003, 5)
    model = {
        "name": "tunedModels/a",
        "state": "ACTIVE",
        "kamerton": {"heldOut": {"losses": losses}},
    }
    assert result_of(trial, model) == Result(trial, "tunedModels/a", "ACTIVE", 0.2, 6)
    model["kamerton"] = {"failure": {"reason": "NOT_FINITE", "message": "The loss is nan."}}
    failed = result_of(trial, model | {"state": "FAILED"})
    assert (failed.loss, failed.verdict) == (None, "NOT_FINITE: The loss is nan.")
    assert not failed.is_comparable


# --- with a server -------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    fake.when("POST /kamerton/v1/datasets:check", check())
    yield fake
    fake.close()


def check(held_out: int = 4, **more: Any) -> dict[str, Any]:
    chosen = {"learningRate": 0.001, "epochCount": 5}
    estimate = {"hyperparameters": chosen, "heldOutCount": held_out, "tokens": 1000, **more}
    return {"summary": {"errors": 0}, "findings": [], "estimate": estimate}


def name_of(number: int) -> str:
    return f"tunedModels/numbers-sweep-{number}-x"


def runs_end(server: FakeServer, *losses: float | None, is_over: bool = True) -> None:
    """So in this order; None stands for one that diverged."""
    outcomes: list[Any] = []
    for number, loss in enumerate(losses, start=1):
        name = name_of(number)
        outcome = {"error": {"code": 9}} if loss is None else {"response": {"name": name}}
        outcomes.append(
            {
                "name": f"{name}/operations/o",
                "metadata": {"tunedModel": name, "totalSteps": 9},
                **({"done": True, **outcome} if is_over or number < len(losses) else {}),
            }
        )
        own: dict[str, Any] = {"heldOut": {"losses": [{"step": 9, "meanLoss": loss}]}}
        if loss is None:
            own = {"failure": {"reason": "NOT_FINITE", "message": "The loss [b] is nan."}}
        model = {"name": name, "state": "FAILED" if loss is None else "ACTIVE", "kamerton": own}
        server.when(f"GET /v1beta/{name}", model)
        server.when(f"PATCH /v1beta/{name}", {})
        server.when(f"DELETE /v1beta/{name}", {})
    server.when("POST /v1beta/tunedModels", *outcomes)


def called(server: FakeServer, method: str) -> list[str]:
    return [call.split("/v1beta/")[1] for call, _ in server.requests if call.startswith(method)]


def test_a_sweep_tells_its_runs_and_keeps_the_best(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_end(server, 0.5, 0.25, None)
    run_sweep(Client(server.endpoint), EXAMPLES, ASKED)
    out, err = capsys.readouterr()
    assert "A sweep of 3 runs: 3 of 5 epochs; learning rates 0.000333, 0.001, 0.003." in err
    assert "Estimate: at most 3,000 tokens to train on, over all runs." in err
    assert "Run 2 of 3: learning rate 0.001, 5 epochs." in err
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert "1 0.000333 5 0.5 9 ACTIVE" in rows
    assert "2 0.001 5 0.25 9 ACTIVE, best" in rows
    assert any(row.startswith("3 0.003 5 FAILED NOT_FINITE:") for row in rows)
    assert "[b]" in out  # Not taken for markup.
    found = "learning rate 0.001, 5 epochs, held-out loss 0.25 after step 9"
    assert f"The best is {name_of(2)}: {found}." in out
    assert (
        f"PATCH /v1beta/{name_of(2)}?updateMask=description",
        {"description": f"The best of a sweep of 3 runs: {found}."},
    ) in server.requests
    assert called(server, "DELETE") == [name_of(1), name_of(3)]
    assert f"Deleted the others (--keep-all keeps them): {name_of(1)}, {name_of(3)}" in err


def test_each_run_is_an_ordinary_one(server: FakeServer) -> None:
    runs_end(server, 0.5, 0.25, 0.3)
    server.when("GET /v1beta/tunedModels", {"tunedModels": [{"name": "tunedModels/next-sweep-4"}]})
    asked = {**ASKED, "tuned_model_id": "next", "display_name": "n" * 40, "epoch_count": 7}
    run_sweep(Client(server.endpoint), EXAMPLES, asked)
    (body,) = [b for call, b in server.requests if "datasets:check" in call]
    assert body and body["hyperparameters"] == {"learning_rate_multiplier": 1.0, "epoch_count": 7}
    posts = [(c, b) for c, b in server.requests if c.startswith("POST /v1beta/tunedModels")]
    for number, rate in enumerate((0.000333, 0.001, 0.003), start=1):
        call, body = posts[number - 1]
        assert call.endswith(f"?tunedModelId=next-sweep-{number}")
        assert body and body["display_name"] == "n" * 32 + f"-sweep-{number}"
        task = body["tuning_task"]
        assert task["hyperparameters"] == {"epoch_count": 5, "learning_rate": rate}
        assert task["kamerton"] == {"early_stopping": {"mode": "on"}}
        assert len(task["training_data"]["examples"]["examples"]) == 30


def test_keep_all_and_json(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    runs_end(server, 0.5, None, 0.25)
    run_sweep(Client(server.endpoint), EXAMPLES, ASKED, keep_all=True, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["best"] == name_of(3)
    assert [run["state"] for run in told["runs"]] == ["ACTIVE", "FAILED", "ACTIVE"]
    assert told["runs"][0] == {
        "name": name_of(1), "learningRate": 0.000333, "epochCount": 5, "heldOutLoss": 0.5,
        "step": 9, "state": "ACTIVE", "verdict": "",
    }  # fmt: skip
    assert called(server, "DELETE") == []


def test_when_every_run_fails_all_are_left(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_end(server, None, None, None)
    with pytest.raises(FailedPrecondition, match=name_of(3)):
        run_sweep(Client(server.endpoint), EXAMPLES, ASKED)
    assert capsys.readouterr().out.count("NOT_FINITE") == 3
    assert called(server, "DELETE") == called(server, "PATCH") == []


def test_halving_says_its_rounds_and_its_cost(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.when("POST /kamerton/v1/datasets:check", check(cost=2.0))
    runs_end(server, *(0.1 * number for number in range(1, 12)))
    asked = {**ASKED, "max_tokens": 500}
    run_sweep(Client(server.endpoint), EXAMPLES, asked, halving=True)
    err = capsys.readouterr().err
    assert "A sweep of 11 runs: 6 of 1 epoch, 3 of 2 epochs, 2 of 4 epochs; " in err
    # 200 tokens an epoch: 6 x 200 + 3 x 400 + 2 x 500, since 800 are over the budget of a run.
    assert "at most 3,400 tokens to train on, over all runs, which cost 6.8." in err
    assert "Run 11 of 11: " in err


def test_ctrl_c_leaves_what_is_there_and_says_what(
    server: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    runs_end(server, 0.5, 0.25, is_over=False)
    monkeypatch.setattr("kamerton.watch.time.sleep", interrupt)
    with pytest.raises(typer.Exit) as ended:
        run_sweep(Client(server.endpoint), EXAMPLES, ASKED)
    assert ended.value.exit_code == 130
    err = capsys.readouterr().err
    assert f"{name_of(1)} is ACTIVE. Delete it: kamerton delete {name_of(1)}" in err
    assert f"{name_of(2)} goes on. Watch it: kamerton watch {name_of(2)}" in err
    assert called(server, "DELETE") == []


def test_a_server_that_goes_away_leaves_what_is_there(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_end(server, 0.5)
    (first,) = server.answers["POST /v1beta/tunedModels"]
    gone = (503, refusal(503, "UNAVAILABLE", "The server is stopping."))
    server.answers["POST /v1beta/tunedModels"] = [first, gone]
    with pytest.raises(Unavailable, match="stopping"):
        run_sweep(Client(server.endpoint), EXAMPLES, ASKED)
    assert f"{name_of(1)} is ACTIVE." in capsys.readouterr().err
    assert called(server, "DELETE") == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "none of 15 examples: give at least 20, or --validation"),
        ({"held_out": 0}, "leave out"),
    ],
)
def test_without_held_out_examples_nothing_is_begun(
    server: FakeServer, asked: dict[str, Any], message: str
) -> None:
    server.when("POST /kamerton/v1/datasets:check", check(held_out=0))
    with pytest.raises(InvalidArgument, match=message):
        run_sweep(Client(server.endpoint), EXAMPLES[:15], {**ASKED, **asked})
    assert len(server.requests) == 1


def test_names_that_cannot_be_are_refused_before_the_first_run(server: FakeServer) -> None:
    client = Client(server.endpoint)
    server.when("GET /v1beta/tunedModels", {"tunedModels": [{"name": "tunedModels/a-sweep-2"}]})
    with pytest.raises(InvalidArgument, match="a-sweep-2 already"):
        run_sweep(client, EXAMPLES, {**ASKED, "tuned_model_id": "a"})
    with pytest.raises(InvalidArgument, match="at most 31 characters"):
        run_sweep(client, EXAMPLES, {**ASKED, "tuned_model_id": "a" * 32}, halving=True)
    assert not [call for call, _ in server.requests if call.startswith("POST /v1beta/")]


def test_what_the_server_alone_finds_is_told(server: FakeServer) -> None:
    wrong = {"severity": "error", "message": "3 rows are longer than the context"}
    server.when("POST /kamerton/v1/datasets:check", {"findings": [wrong]})
    with pytest.raises(InvalidArgument, match="refuses these examples: 3 rows are longer"):
        run_sweep(Client(server.endpoint), EXAMPLES, ASKED)


def test_conversations_and_tuned_models_are_estimated_by_their_base(server: FakeServer) -> None:
    server.when("POST /kamerton/v1/datasets:check", check(held_out=0))
    server.when("GET /v1beta/tunedModels/t", {"tunedModelSource": {"baseModel": "models/m"}})
    turns = (Content("user", "1"), Content("model", "2", learn=False), Content("user", "3"))
    asked = {**ASKED, "base_model": "tunedModels/t"}
    with pytest.raises(InvalidArgument, match="of 1 example:"):
        run_sweep(Client(server.endpoint), [Example(turns, "4")], asked)
    (body,) = [b for call, b in server.requests if "datasets:check" in call]
    assert body and body["base_model"] == "models/m"
    assert [turn["content"] for turn in body["examples"][0]["messages"]] == [*"1234"]
    assert [turn["weight"] for turn in body["examples"][0]["messages"]] == [1, 0, 1, 1]


def test_the_command(server: FakeServer, run: Run, tmp_path: Path) -> None:
    rows = [{"text_input": str(number), "output": str(number + 1)} for number in range(30)]
    (tmp_path / "numbers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs_end(server, 0.5, 0.25, 0.3)
    at = ("--server", server.endpoint, "--key", "k")
    status, out, err = run("tune", str(tmp_path / "numbers.jsonl"), "--sweep", "--keep-all", *at)
    assert (status, "ACTIVE, best" in out) == (0, True), err
    assert called(server, "DELETE") == []
    server.when("POST /kamerton/v1/datasets:check", check(held_out=0))
    status, out, err = run("tune", str(tmp_path / "numbers.jsonl"), "--halving", *at)
    assert (status, out) == (1, "")
    assert "error: a sweep compares runs by their loss on held-out examples" in err
