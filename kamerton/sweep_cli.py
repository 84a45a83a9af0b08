"""`kamerton tune --sweep`: several runs on a server, and which of them is the best."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer

from kamerton.errors import FailedPrecondition, InvalidArgument, KamertonError, NotFound
from kamerton.options import print_json

if TYPE_CHECKING:
    from rich.table import Table

    from kamerton.client import Client
    from kamerton.sweep import Plan, Result, Trial
    from kamerton.types import Example

ID_CHARACTERS = NAME_CHARACTERS = 40
"""Of a tuned model's id, and of its display name."""
CHECKED = (
    "validation", "max_tokens", "max_seconds", "max_cost", "held_out", "allow",
    "epoch_count", "batch_size", "learning_rate", "learning_rate_multiplier",
)  # fmt: skip
"""What a run is asked for that can be asked of a check as well."""


def sweep(
    client: Client,
    examples: Sequence[Example],
    asked: Mapping[str, Any],
    *,
    halving: bool = False,
    keep_all: bool = False,
    as_json: bool = False,
) -> None:
    """Tune on the same examples at several learning rates, and say which is best.

    `asked` is what `Client.create_tuned_model` would be told of a single run. Raises
    InvalidArgument, before there is any run, when nothing would tell them apart."""
    from kamerton.sweep import ranked, run

    plan = _planned(client, examples, asked, halving)
    made: list[str] = []

    def tune(trial: Trial) -> Result:
        return _tuned(client, examples, asked, trial, plan, made)

    results: list[Result] = []
    try:
        for result in run(plan, tune):
            results.append(result)
    except KeyboardInterrupt:
        _tell_left(made, results)
        raise typer.Exit(130) from None
    except KamertonError:
        _tell_left(made, results)
        raise
    best = next(iter(ranked(results)), None)
    _print(results, best, as_json)
    if best is None:
        raise FailedPrecondition(
            "no run of the sweep became a model, and none was deleted: look at each with "
            f"kamerton watch: {', '.join(made)}"
        )
    _describe(client, best, len(results))
    if not keep_all:
        _delete(client, [name for name in made if name != best.name])


# --- before --------------------------------------------------------------------------------------


def _planned(
    client: Client, examples: Sequence[Example], asked: Mapping[str, Any], halving: bool
) -> Plan:
    """What will be tried and what it takes, said before it begins."""
    from kamerton import sweep

    estimate = _estimated(client, examples, asked)
    if not estimate["heldOutCount"]:
        raise InvalidArgument(_nothing_held_out(len(examples), asked))
    chosen = estimate["hyperparameters"]
    make = sweep.halving if halving else sweep.grid
    plan = make(chosen["learningRate"], chosen["epochCount"])
    _refuse_names(client, asked.get("tuned_model_id", ""), plan)
    tokens = plan.tokens(estimate["tokens"] / chosen["epochCount"], asked.get("max_tokens"))
    cost = ""
    if "cost" in estimate and estimate["tokens"]:
        cost = f", which cost {estimate['cost'] * tokens / estimate['tokens']:,.4g}"
    rounds = ", ".join(f"{r.trials} of {_epochs(r.epoch_count)}" for r in plan.rounds)
    rates = ", ".join(f"{rate:g}" for rate in plan.rates)
    _say(f"A sweep of {plan.trials} runs: {rounds}; learning rates {rates}.")
    _say(f"Estimate: at most {tokens:,} tokens to train on, over all runs{cost}.")
    return plan


def _estimated(
    client: Client, examples: Sequence[Example], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Of one ordinary run, by the server, which has the base model."""
    base = asked["base_model"]
    if base.startswith("tunedModels/"):
        model = client.get_tuned_model(base)
        base = model.get("baseModel") or model.get("tunedModelSource", {}).get("baseModel", "")
    given = {name: asked[name] for name in CHECKED if asked.get(name) is not None}
    check = client.check_dataset([_row(e) for e in examples], base_model=base, **given)
    if "estimate" not in check:
        errors = [found["message"] for found in check["findings"] if found["severity"] == "error"]
        raise InvalidArgument(f"the server refuses these examples: {'; '.join(errors)}")
    return check["estimate"]


def _row(example: Example) -> dict[str, Any]:
    from kamerton.types import Content

    turns = (*example.contents, Content("model", example.output))
    return {
        "messages": [
            {
                "role": "assistant" if turn.role == "model" else turn.role,
                "content": turn.text,
                "weight": int(turn.learn),
            }
            for turn in turns
        ]
    }


def _nothing_held_out(count: int, asked: Mapping[str, Any]) -> str:
    wanted = "a sweep compares runs by their loss on held-out examples, and there are none"
    if asked.get("held_out") == 0:
        return f"{wanted}: leave out --held-out 0, or give --validation FILE"
    few = f"{count} example{'' if count == 1 else 's'}"
    return f"{wanted} of {few}: give at least 20, or --validation FILE"


def _refuse_names(client: Client, id: str, plan: Plan) -> None:
    """All of them before the first run, not one after hours."""
    if not id:
        return
    names = [f"{id}{_suffix(number)}" for number in range(1, plan.trials + 1)]
    if (excess := len(names[-1]) - ID_CHARACTERS) > 0:
        raise InvalidArgument(
            f"--id {id} is too long for the runs of a sweep, such as {names[-1]}: give at most "
            f"{len(id) - excess} characters"
        )
    there = {model["name"] for model in client.list_tuned_models()}
    if taken := [name for name in names if f"tunedModels/{name}" in there]:
        raise InvalidArgument(
            f"there is a tuned model of the name {taken[0]} already: choose another --id, or "
            f"delete it with: kamerton delete {taken[0]}"
        )


def _suffix(number: int) -> str:
    return f"-sweep-{number}"


# --- a run ---------------------------------------------------------------------------------------


def _tuned(
    client: Client,
    examples: Sequence[Example],
    asked: Mapping[str, Any],
    trial: Trial,
    plan: Plan,
    made: list[str],
) -> Result:
    """One run, from its request to its end; its name is in `made` as soon as it has one."""
    from rich.console import Console

    from kamerton.sweep import result_of
    from kamerton.watch import follow

    suffix = _suffix(trial.number)
    id, name = asked.get("tuned_model_id", ""), asked.get("display_name", "")
    changed = {
        "tuned_model_id": id and id + suffix,
        "display_name": name[: NAME_CHARACTERS - len(suffix)] + suffix,
        "epoch_count": trial.epoch_count,
        "learning_rate": trial.learning_rate,
        "learning_rate_multiplier": None,
    }
    _say(
        f"Run {trial.number} of {plan.trials}: learning rate {trial.learning_rate:g}, "
        f"{_epochs(trial.epoch_count)}."
    )
    operation = client.create_tuned_model(examples, **{**asked, **changed})
    made.append(operation["metadata"]["tunedModel"])
    follow(client, operation, Console(stderr=True))
    return result_of(trial, client.get_tuned_model(made[-1]))


# --- afterwards ----------------------------------------------------------------------------------


def _describe(client: Client, best: Result, runs: int) -> None:
    """So that whoever finds it later knows what it is."""
    text = f"The best of a sweep of {runs} runs: {_found(best)}."
    query = {"updateMask": "description"}
    client.json("PATCH", f"/v1beta/{best.name}", {"description": text}, query)


def _found(best: Result) -> str:
    return (
        f"learning rate {best.trial.learning_rate:g}, {_epochs(best.trial.epoch_count)}, held-out "
        f"loss {best.loss:.4g} after step {best.step}"
    )


def _print(results: Sequence[Result], best: Result | None, as_json: bool) -> None:
    if as_json:
        runs = [_fields(result) for result in results]
        print_json({"best": None if best is None else best.name, "runs": runs})
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_table(results, best))
    if best is not None:
        console.print(f"The best is {best.name}: {_found(best)}.", markup=False, soft_wrap=True)
        ask = f"Ask it: kamerton generate {best.name} TEXT"
        console.print(ask, markup=False, soft_wrap=True)


def _fields(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "learningRate": result.trial.learning_rate,
        "epochCount": result.trial.epoch_count,
        "heldOutLoss": result.loss,
        "step": result.step,
        "state": result.state,
        "verdict": result.verdict,
    }


def _table(results: Sequence[Result], best: Result | None) -> Table:
    from rich.table import Table
    from rich.text import Text

    from kamerton.terminal import printable

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("run", "rate", "epochs", "held-out loss", "step"):
        table.add_column(name, justify="right")
    table.add_column("state")
    table.add_column("verdict")
    for result in results:
        trial = result.trial
        table.add_row(
            str(trial.number),
            f"{trial.learning_rate:g}",
            str(trial.epoch_count),
            "" if result.loss is None else f"{result.loss:.4g}",
            "" if result.step is None else str(result.step),
            f"{result.state}, best" if result is best else result.state,
            Text(printable(result.verdict)),
            style="bold" if result is best else None,
        )
    return table


def _delete(client: Client, names: Sequence[str]) -> None:
    for name in names:
        with suppress(NotFound):  # Somebody was faster.
            client.delete_tuned_model(name)
    if names:
        _say(f"Deleted the others (--keep-all keeps them): {', '.join(names)}")


def _tell_left(made: Sequence[str], results: Sequence[Result]) -> None:
    """What there is when a sweep ends before its end; nothing of it is deleted."""
    states = {result.name: result.state for result in results}
    if made:
        _say("The sweep did not come to its end; what it has made stays:")
    for name in made:
        if name in states:
            _say(f"{name} is {states[name]}. Delete it: kamerton delete {name}")
        else:
            _say(f"{name} goes on. Watch it: kamerton watch {name}")
            _say(f"Stop it: kamerton cancel {name}")


def _epochs(count: int) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"


def _say(line: str) -> None:
    """Beside the outcome, which alone is on stdout."""
    print(line, file=sys.stderr)
