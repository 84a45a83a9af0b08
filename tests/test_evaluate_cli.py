"""`kamerton evaluate` and `kamerton gate`, over HTTP to servers with scripted answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from kamerton.card import Card, Forgetting
from kamerton.errors import InvalidArgument, KamertonError, NotFound
from kamerton.evaluate_cli import evaluate
from kamerton.evaluation.evaluate import card
from kamerton.evaluation.forgetting import probes
from kamerton.evaluation.verdict import interval
from kamerton.gate_cli import gate
from kamerton.surfaces import reports
from kamerton.surfaces.reports import card_of
from tests.evaluation.candidates import Candidates, knows_spam, labelled
from tests.fake_server import NAME, FakeServer, Json, refusal, says

BASE = "models/tiny-001"
PROBES = {probe.input: probe.answers[0] for probe in probes()}


def run(command: Callable[..., None], *arguments: str) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    return CliRunner().invoke(app, arguments)


# --- evaluate ------------------------------------------------------------------------------------


class Models:
    """A server whose models answer by rule, from the last turn of what they are asked."""

    def __init__(self) -> None:
        self.rules: dict[str, Callable[[str], str | Json]] = {
            BASE: lambda text: PROBES.get(text, "ham"),
            NAME: lambda text: "?" if text in PROBES else knows_spam(text),
        }
        self.asked: list[tuple[str, Json]] = []
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        models = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known: dict[str, Json] = {
                    f"/v1beta/{NAME}": {"name": NAME, "baseModel": BASE, "state": "ACTIVE"},
                    f"/v1beta/{BASE}": {"name": BASE, "inputTokenLimit": 24},
                }
                self._send(known.get(self.path, refusal(404, "NOT_FOUND", "is not there")))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                model, _, verb = self.path.removeprefix("/v1beta/").partition(":")
                if verb == "countTokens":
                    turns = [turn["parts"][0]["text"] for turn in body["contents"]]
                    self._send({"totalTokens": len(" ".join(turns).split())})
                    return
                with models.counted():
                    models.asked.append((model, body))
                    answer = models.rules[model](body["contents"][-1]["parts"][0]["text"])
                    self._send(says(answer) if isinstance(answer, str) else answer)

            def _send(self, answer: Json) -> None:
                text = json.dumps(answer).encode()
                self.send_response(answer["error"]["code"] if "error" in answer else 200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def counted(self) -> Models:
        return self

    def __enter__(self) -> None:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._at_once -= 1

    def of(self, model: str) -> list[Json]:
        """What a model was asked, but for the probes."""
        bodies = [body for name, body in self.asked if name == model]
        return [body for body in bodies if body["contents"][-1]["parts"][0]["text"] not in PROBES]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def models() -> Iterator[Models]:
    models = Models()
    yield models
    models.close()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    server = FakeServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(name: str, *rows: Json) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def pairs(count: int, start: int = 0) -> list[Json]:
    examples = labelled(start + count)[start:]
    return [{"text_input": e.contents[0].text, "output": e.output} for e in examples]


def evaluated(models: Models, *arguments: str) -> Card:
    done = run(evaluate, *arguments, "--json", "--server", models.endpoint)
    assert done.exit_code == 0, done.output + repr(done.exception)
    return card_of(json.loads(done.stdout))


def test_both_models_are_asked_every_row(models: Models) -> None:
    made = evaluated(models, NAME, written("valid.jsonl", *pairs(30)))
    assert made.tuned and made.base and made.few_shot is None
    assert made.tuned.normalised == 1 and made.base.normalised == pytest.approx(2 / 3)
    assert (made.verdict.outcome, made.row_count) == ("better", 30)
    assert made.tuned.loss is None and made.judged is None
    assert made.forgetting and made.forgetting.share == 1
    assert made.left_out == (
        "The base model was not asked with examples; --examples FILE gives some.",
    )
    assert len(models.of(NAME)) == len(models.of(BASE)) == 30
    config = {"temperature": 0, "maxOutputTokens": 9}
    assert all(body["generationConfig"] == config for _, body in models.asked)


def test_several_prompts_wait_together(models: Models) -> None:
    first = threading.Barrier(4, timeout=10)

    def together(text: str) -> str:
        if text not in PROBES:
            first.wait()
        return "ham"

    models.rules[BASE] = together
    evaluated(models, NAME, written("valid.jsonl", *pairs(8)))
    assert 4 <= models.most_at_once <= 8


def test_few_shot_examples_come_before_the_row(models: Models) -> None:
    train = written("train.jsonl", *pairs(30, start=30))
    made = evaluated(models, NAME, written("valid.jsonl", *pairs(30)), "--examples", train)
    assert made.few_shot and not made.left_out
    shot = [body for body in models.of(BASE) if len(body["contents"]) > 1]
    assert len(shot) == 30 == len(models.of(BASE)) - 30
    roles = [turn["role"] for turn in shot[0]["contents"]]
    assert roles == ["user", "model"] * 4 + ["user"]  # 3 words each, in half of 24.
    assert shot[0]["contents"][1]["parts"][0]["text"] in ("ham", "spam")


def test_a_conversation_goes_as_it_is(models: Models) -> None:
    turns = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "message 1"},
        {"role": "assistant", "content": "ham"},
        {"role": "user", "content": "message 3"},
        {"role": "assistant", "content": "spam"},
    ]
    evaluated(models, NAME, written("talk.jsonl", {"messages": turns}))
    (body,) = models.of(NAME)
    assert body["systemInstruction"] == {"parts": [{"text": "Be short."}]}
    assert [turn["role"] for turn in body["contents"]] == ["user", "model", "user"]


def test_some_rows_are_the_same_every_time(models: Models) -> None:
    file = written("valid.jsonl", *pairs(40))
    one = evaluated(models, NAME, file, "--rows", "10")
    assert one.row_count == 10
    assert one.left_out[0] == "30 of 40 rows were not asked: --rows 10."
    assert [a.input for a in one.answers] != [f"message {n}" for n in range(10)]
    assert one.answers == evaluated(models, NAME, file, "--rows", "10").answers
    assert evaluated(models, NAME, file, "--rows", "99").row_count == 40


def test_a_prompt_that_is_too_long_has_no_answer(models: Models) -> None:
    details = {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": "contents", "description": "99 tokens, at most 24"}],
    }
    too_long = refusal(400, "INVALID_ARGUMENT", "contents: 99 tokens, at most 24", details)
    usual = models.rules[NAME]
    models.rules[NAME] = lambda text: too_long if text == "message 7" else usual(text)
    made = evaluated(models, NAME, written("valid.jsonl", *pairs(10)))
    assert made.tuned and made.tuned.errors == 1
    assert made.answers[7].tuned == ""


def test_other_refusals_end_it(models: Models) -> None:
    refused = refusal(400, "INVALID_ARGUMENT", "generation_config: is not supported")
    models.rules[NAME] = lambda text: refused
    file = written("valid.jsonl", *pairs(10))
    done = run(evaluate, NAME, file, "--server", models.endpoint)
    assert isinstance(done.exception, InvalidArgument) and done.stdout == ""


def test_a_judge_sees_both_orders(models: Models) -> None:
    models.rules["models/judge"] = lambda text: "A" if "<answer A>\nSpam." in text else "B"
    file = written("valid.jsonl", *pairs(9))
    made = evaluated(models, NAME, file, "--judge", "judge")
    assert made.judged
    # Where both say the same, it always takes the second: such rows count for nobody.
    assert (made.judged.row_count, made.judged.tuned, made.judged.disagreed) == (9, 3, 6)
    assert len(models.of("models/judge")) == 18


def test_people_see_the_verdict_first(models: Models) -> None:
    file = written("valid.jsonl", *pairs(30))
    done = run(evaluate, NAME.partition("/")[2], file, "--server", models.endpoint)
    assert done.stdout.startswith("Better: right answers went from 67 % to 100 % on 30")
    assert "base" in done.stdout and "tuned" in done.stdout


def test_a_base_model_is_measured_by_itself(models: Models) -> None:
    file = written("valid.jsonl", *pairs(30))
    done = run(evaluate, "tiny-001", file, "--server", models.endpoint)
    assert done.stdout.startswith("The base model untuned: right answers 67 % on 30")
    done = run(evaluate, BASE, file, "--json", "--server", models.endpoint)
    assert json.loads(done.stdout)["scores"]["rowCount"] == 30
    assert {name for name, _ in models.asked} == {BASE}
    done = run(evaluate, BASE, file, "--judge", "judge", "--server", models.endpoint)
    assert isinstance(done.exception, InvalidArgument)


def test_rows_that_cannot_be_used_are_named_and_nobody_is_asked(models: Models) -> None:
    file = written("valid.jsonl", *pairs(30), {"text_input": "a", "output": ""})
    done = run(evaluate, NAME, file, "--server", models.endpoint)
    assert (done.exit_code, done.stdout, models.asked) == (2, "", [])
    assert "K101" in done.stderr and "nobody was asked" in done.stderr
    assert run(evaluate, NAME, "missing.jsonl", "--server", models.endpoint).exit_code == 2


def test_named_columns(models: Models) -> None:
    rows = "".join(f"{row['text_input']};{row['output']}\n" for row in pairs(12))
    Path("valid.csv").write_text(f"question;reply\n{rows}")
    names = ("--input-key", "question", "--output-key", "reply")
    assert evaluated(models, NAME, "valid.csv", *names).row_count == 12


def test_a_model_that_is_not_there(models: Models) -> None:
    done = run(
        evaluate, "tunedModels/no", written("v.jsonl", *pairs(9)), "--server", models.endpoint
    )
    assert isinstance(done.exception, NotFound)


# --- gate ----------------------------------------------------------------------------------------

ASKED = Candidates(
    {
        "base": lambda text: PROBES.get(text, "no idea"),
        "tuned": lambda text: PROBES.get(text) or knows_spam(text),
    }
)
GOOD = card(labelled(40), labelled(60), ASKED.generate, {}, ASKED.clock, 60)


def gated(server: FakeServer, made: Card, *options: str, other: Card | None = None) -> Result:
    server.when(f"GET /kamerton/v1/{NAME}/card", reports.card(made))
    if other is not None:
        server.when("GET /kamerton/v1/tunedModels/other/card", reports.card(other))
    return run(gate, NAME, *options, "--server", server.endpoint)


def with_gain(gain: float, low: float, high: float, outcome: Any) -> Card:
    verdict = replace(GOOD.verdict, gain=gain, low=low, high=high, outcome=outcome)
    return replace(GOOD, verdict=verdict)


def test_a_good_model_passes(server: FakeServer) -> None:
    done = gated(server, GOOD, "--min-score", "0.95", "--against", "other", other=GOOD)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line[:4] for line in lines] == ["ok  "] * 4 + ["tune"]
    assert lines[0].startswith("ok    gain: 1.000 measured (95 % interval 0.")
    assert lines[1].startswith("ok    forgetting: 0.000 measured (")
    assert lines[2] == "ok    right answers: 1.000 measured, at least 0.950 asked"
    assert lines[3].endswith("at least the 1.000 of tunedModels/other asked")
    assert lines[4] == f"{NAME} passes"


@pytest.mark.parametrize(
    ("least", "gain", "low", "high", "outcome", "status"),
    [
        ("0.05", 0.06, 0.01, 0.11, "better", 0),
        ("0.05", 0.04, 0.01, 0.11, "better", 1),
        ("0.05", 0.06, -0.01, 0.13, "no_clear_gain", 1),
        ("0", 0.06, -0.01, 0.13, "no_clear_gain", 0),
        ("0", -0.01, -0.05, 0.03, "no_clear_gain", 1),
        ("-0.05", -0.01, -0.05, 0.03, "no_clear_gain", 0),
        ("-0.5", -0.3, -0.4, -0.2, "worse", 1),
        ("2", 1.0, 0.9, 1.0, "better", 1),
    ],
)
def test_a_gain_must_be_large_enough_and_beyond_chance(
    server: FakeServer, least: str, gain: float, low: float, high: float, outcome: str, status: int
) -> None:
    made = with_gain(gain, low, high, outcome)
    done = gated(server, made, f"--min-gain={least}")
    assert done.exit_code == status, done.output
    assert done.stdout.startswith("FAIL" if status else "ok")
    assert f"gain: {gain:.3f} measured" in done.stdout


@pytest.mark.parametrize(("rows", "points"), [(40, 0), (100, 4), (400, 7)])
def test_why_the_lower_end_is_not_compared(rows: int, points: int) -> None:
    """The figures of docs/report-card.md: one row in ten became right and none wrong."""
    low, _ = interval(np.array([1.0] * (rows // 10) + [0.0] * (rows - rows // 10)))
    assert round(100 * low) == points


def test_too_few_rows_never_pass(server: FakeServer) -> None:
    few = card(labelled(4), labelled(60), ASKED.generate, {}, ASKED.clock, 60)
    done = gated(server, few, "--min-gain=-1")
    assert done.exit_code == 1
    assert "FAIL  gain: cannot be told from 4 rows, at least 8 are needed" in done.stdout
    assert done.stdout.endswith(f"{NAME} does not pass: 1 of 2 failed\n")


@pytest.mark.parametrize(
    ("found", "most", "status", "told"),
    [
        (Forgetting(30, 10, 8, 8), "0.2", 0, "0.200 measured (8 of 10 still right)"),
        (Forgetting(30, 10, 9, 7), "0.2", 1, "0.300 measured (7 of 10 still right)"),
        (Forgetting(30, 7, 7, 7), "0.2", 1, "answers 7 of 30 general questions"),
        (Forgetting(30, 0, 0, 0), "1", 0, "answers 0 of 30 general questions"),
        (None, "0.2", 1, "not measured"),
        (None, "1", 0, "not measured"),
    ],
)
def test_forgetting(
    server: FakeServer, found: Forgetting | None, most: str, status: int, told: str
) -> None:
    done = gated(server, replace(GOOD, forgetting=found), "--max-forgetting", most)
    assert done.exit_code == status, done.output
    assert told in done.stdout


def test_a_score_below_what_is_asked_or_what_is_in_use(server: FakeServer) -> None:
    assert GOOD.tuned
    worse = replace(GOOD, tuned=replace(GOOD.tuned, normalised=0.9))
    assert gated(server, worse, "--min-score", "0.91").exit_code == 1
    done = gated(server, worse, "--against", "other", other=GOOD)
    assert done.exit_code == 1
    assert "FAIL  right answers: 0.900 measured, at least the 1.000 of" in done.stdout
    done = gated(server, GOOD, "--against", "tunedModels/other", other=worse)
    assert done.exit_code == 0
    chrf = replace(GOOD, verdict=replace(GOOD.verdict, metric="chrf"))
    done = gated(server, GOOD, "--against", "other", other=chrf)
    assert done.exit_code == 1 and "cannot be compared" in done.stdout


def test_what_cannot_be_asked_is_no_answer(server: FakeServer) -> None:
    done = run(gate, "nobody", "--server", server.endpoint)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert gated(server, GOOD, "--against", "nobody").exit_code == 2
    assert run(gate, NAME, "--server", "http://127.0.0.1:1").exit_code == 2
    server.when(f"GET /kamerton/v1/{NAME}/card", {"base": 1})
    done = run(gate, NAME, "--server", server.endpoint)
    assert done.exit_code == 2 and "another version" in done.stderr
    assert not isinstance(done.exception, KamertonError)
