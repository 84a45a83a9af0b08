"""The commands against a small fake server: what they send, print, and say when it goes wrong."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kamerton import __version__, errors
from kamerton.client import Client
from kamerton.types import Example, GenerationConfig
from tests.conftest import Run
from tests.fake_server import (
    DONE,
    FAILED,
    NAME,
    OPERATION,
    FakeServer,
    operation,
    refusal,
    says,
    snapshots,
)

PAIRS = '{"text_input": "1", "output": "2"}\n{"text_input": "three", "output": "four"}\n'


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    fake = FakeServer()
    monkeypatch.setenv("KAMERTON_ENDPOINT", fake.endpoint)
    monkeypatch.setenv("KAMERTON_API_KEY", "kam-secret")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    yield fake
    fake.close()


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text(PAIRS)
    return path


def test_starting_imports_nothing_slow() -> None:
    code = "import sys, kamerton.cli; print(*{name.split('.')[0] for name in sys.modules})"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    slow = {"torch", "transformers", "sqlalchemy", "google", "requests", "starlette", "msgspec"}
    slow |= {"numpy", "pyarrow", "tokenizers", "rich"}
    assert not slow & set(printed.stdout.split())
    assert printed.stdout


def test_help_names_every_command_and_the_exit_codes(run: Run) -> None:
    status, out, _ = run("--help")
    assert status == 0
    commands = "serve check estimate convert tune models show generate watch cancel delete keys "
    commands += "tokens demo version events diagnose plot"
    assert all(command in out for command in commands.split())
    assert "Exit status" in out


def test_version(run: Run) -> None:
    assert run("version") == (0, f"{__version__}\n", "")


def test_tune_sends_what_was_asked(server: FakeServer, run: Run, train: Path) -> None:
    server.when("POST /v1beta/tunedModels", operation())
    options = "--epochs 5 --batch 4 --rate 0.001 --name numbers --id next --base models/x"
    status, out, _ = run("tune", str(train), *options.split())
    assert status == 0
    assert f"kamerton watch {NAME}" in out
    assert server.headers[0]["x-goog-api-key"] == "kam-secret"
    assert server.requests == [
        (
            "POST /v1beta/tunedModels?tunedModelId=next",
            {
                "display_name": "numbers",
                "base_model": "models/x",
                "tuning_task": {
                    "hyperparameters": {"epoch_count": 5, "batch_size": 4, "learning_rate": 0.001},
                    "training_data": {
                        "examples": {
                            "examples": [
                                {"text_input": "1", "output": "2"},
                                {"text_input": "three", "output": "four"},
                            ]
                        }
                    },
                },
            },
        )
    ]


def test_tune_sends_the_adapter_that_was_asked_for(
    server: FakeServer, run: Run, train: Path
) -> None:
    server.when("POST /v1beta/tunedModels", operation())
    options = "--adapter-size 16 --alpha 8 --dropout 0.1 --rslora --target-modules"
    status, _, _ = run("tune", str(train), *options.split(), "q_proj, v_proj,")
    body = server.requests[0][1]
    assert status == 0 and body
    assert body["tuning_task"]["kamerton"]["hyperparameters"] == {
        "adapter_size": 16,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
        "target_modules": ["q_proj", "v_proj"],
        "rslora": True,
    }


@pytest.mark.parametrize("wrong", ["--adapter-size 257", "--alpha 0", "--dropout 1"])
def test_an_adapter_that_cannot_be_is_wrong_usage(
    server: FakeServer, run: Run, train: Path, wrong: str
) -> None:
    status, _, err = run("tune", str(train), *wrong.split())
    assert status == 2 and wrong.split()[0] in err
    assert server.requests == []


def test_tune_and_watch(server: FakeServer, run: Run, train: Path) -> None:
    server.when("POST /v1beta/tunedModels", operation())
    states = (operation(), operation(1), operation(5), DONE)
    server.when(f"GET /v1/{OPERATION}", *states)
    server.when(f"GET /v1beta/{NAME}", {"name": NAME, "kamerton": {"verdict": "Better: much."}})
    server.when(
        f"GET /kamerton/v1/{NAME}/diagnosis",
        {"pattern": "still_falling", "confidence": "medium", "summary": "It fell.",
         "cause": "Too few.", "advice": "Train for 9 epochs.", "evidence": [],
         "hyperparameters": {"epochCount": 9}},
    )  # fmt: skip
    status, out, err = run("tune", str(train), "--watch")
    assert status == 0
    assert "Better: much.\nThe curve: still falling (confidence: medium). It fell.\n" in out
    assert f"Train for 9 epochs. More: kamerton diagnose {NAME}\n" in out
    assert "waiting for its first step" in err
    assert "step 5/10, 50%, loss 1.4000" in err
    assert "step 10/10, 100%" in err
    assert "┤" in out
    assert f"{NAME} is ready" in out
    server.when(f"GET /v1/{OPERATION}", *states)
    status, out, _ = run("tune", str(train), "--watch", "--json")
    assert json.loads(out) == DONE


def test_watch_a_failed_run(server: FakeServer, run: Run) -> None:
    server.when(f"GET /v1beta/{NAME}/operations", {"operations": [FAILED]})
    status, out, err = run("watch", NAME)
    assert status == 1
    assert "┤" in out
    assert err.endswith(f"error: {NAME} was not tuned: the loss is not finite\n")
    status, out, _ = run("watch", OPERATION, "--json")
    assert (status, json.loads(out)) == (1, FAILED)


def test_ctrl_c_while_watching_says_that_the_run_goes_on(
    server: FakeServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.when(f"GET /v1beta/{NAME}/operations", {"operations": [operation(1)]})

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    status, _, err = run("watch", NAME)
    assert status == 130
    assert f"The run goes on. Watch it again: kamerton watch {NAME}" in err
    assert f"kamerton cancel {NAME}" in err


def test_models_and_show(server: FakeServer, run: Run) -> None:
    base = {"name": "models/kamerton-nano-001", "displayName": "Nano"}
    tuned = {
        "name": NAME,
        "state": "FAILED",
        "displayName": "next number",
        "baseModel": "models/gemini-1.0-pro-001",
        "tuningTask": {"hyperparameters": {"epochCount": 5}, "snapshots": snapshots(5)},
        "kamerton": {"error": {"message": "out of memory"}, "totalSteps": 10},
    }
    server.when("GET /v1beta/models", {"models": [base]})
    server.when("GET /v1beta/tunedModels", {"nextPageToken": "next"}, {"tunedModels": [tuned]})
    status, out, _ = run("models")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["models/kamerton-nano-001", "base"],
        [NAME, "FAILED"],
    ]
    assert json.loads(run("models", "--json")[1]) == {"models": [base], "tunedModels": [tuned]}
    server.when(f"GET /v1beta/{NAME}", tuned)
    status, out, _ = run("show", NAME.removeprefix("tunedModels/"))
    assert status == 0
    for part in ("FAILED", "out of memory", "epoch count", "steps          5 of 10", "┤"):
        assert part in out
    assert json.loads(run("show", NAME, "--json")[1]) == tuned


def test_generate(server: FakeServer, run: Run) -> None:
    server.when(f"GET /v1beta/{NAME}", {"name": NAME})
    server.when(f"POST /v1beta/{NAME}:generateContent", says("LXIV"))
    server.when("POST /v1beta/models/nano:generateContent", says("?"))
    bare = NAME.removeprefix("tunedModels/")
    status, out, _ = run("generate", bare, "LXIII", "--temperature", "0", "--max-tokens", "9")
    assert (status, out) == (0, "LXIV\n")
    assert server.requests[-1][1] == {
        "contents": [{"parts": [{"text": "LXIII"}]}],
        "generationConfig": {"temperature": 0.0, "maxOutputTokens": 9},
    }
    assert run("generate", "nano", "LXIII")[1] == "?\n"
    assert json.loads(run("generate", "models/nano", "LXIII", "--json")[1]) == says("?")


def test_generate_in_a_stream(server: FakeServer, run: Run) -> None:
    call = f"POST /v1beta/{NAME}:streamGenerateContent"
    last = says("три")
    last["candidates"][0]["finishReason"] = "MAX_TOKENS"
    server.when(call, [says("сорок "), last])
    status, out, err = run("generate", NAME, "сорок два", "--stream")
    assert (status, out) == (0, "сорок три\n")
    assert "cut off" in err
    server.when(call, [says("со"), refusal(503, "UNAVAILABLE", "the engine died")])
    status, out, err = run("generate", NAME, "сорок два", "--stream")
    assert (status, out) == (1, "со")
    assert err == "error: the engine died\n"


def test_cancel_and_delete(server: FakeServer, run: Run) -> None:
    server.when(f"GET /v1beta/{NAME}/operations", {"operations": [operation(2)]})
    server.when(f"POST /v1beta/{OPERATION}:cancel", {})
    server.when(f"DELETE /v1beta/{NAME}", {})
    assert run("cancel", NAME)[0] == 0
    assert server.requests[-1] == (f"POST /v1beta/{OPERATION}:cancel", {})
    assert run("delete", NAME)[:2] == (0, f"deleted {NAME}\n")
    server.when(f"GET /v1beta/{NAME}/operations", {"operations": [DONE]})
    assert "already over" in run("cancel", NAME)[2]


def test_what_a_cancelled_run_has_is_kept(server: FakeServer, run: Run) -> None:
    server.when(f"GET /v1beta/{NAME}/operations", {"operations": [operation(2)]})
    server.when(f"POST /kamerton/v1/{NAME}:cancel", {})
    assert run("cancel", NAME, "--keep")[:2] == (
        0,
        f"asked {NAME} to stop and to keep what it has\n",
    )
    assert server.requests[-1] == (f"POST /kamerton/v1/{NAME}:cancel", {"keep": True})


def test_tune_sends_when_to_stop_early(server: FakeServer, run: Run, train: Path) -> None:
    server.when("POST /v1beta/tunedModels", operation())
    options = "--early-stopping on --patience 5 --min-change 0.1"
    assert run("tune", str(train), *options.split())[0] == 0
    body = server.requests[-1][1]
    assert body is not None
    wanted = {"early_stopping": {"mode": "on", "patience": 5, "min_change": 0.1}}
    assert body["tuning_task"]["kamerton"] == wanted
    for wrong in ("--early-stopping perhaps", "--patience 0", "--min-change 11"):
        assert run("tune", str(train), *wrong.split())[0] == 2


def test_show_tells_what_was_kept_and_why_a_run_failed(server: FakeServer, run: Run) -> None:
    ours = {"keptStep": 7, "verdict": "Better than its base model.", "totalSteps": 10}
    server.when(f"GET /v1beta/{NAME}", {"name": NAME, "state": "ACTIVE", "kamerton": ours})
    shown = run("show", NAME)[1].splitlines()
    assert "kept step      7" in shown
    assert "verdict        Better than its base model." in shown
    ours = {
        "error": {"code": 9, "message": "The loss became nan."},
        "failure": {"reason": "NOT_FINITE", "step": 3, "message": "The loss became nan."},
    }
    server.when(f"GET /v1beta/{NAME}", {"name": NAME, "state": "FAILED", "kamerton": ours})
    shown = run("show", NAME)[1].splitlines()
    assert "error          The loss became nan." in shown
    assert "reason         NOT_FINITE" in shown


def test_errors_are_one_line_that_helps(
    server: FakeServer, run: Run, train: Path, tmp_path: Path
) -> None:
    message = "API key not valid. Please pass a valid API key."
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    server.when("GET /v1beta/models", refusal(400, "INVALID_ARGUMENT", message, reason), status=400)
    expected = f"error: {message} (pass --key, or set KAMERTON_API_KEY)\n"
    assert run("models") == (1, "", expected)
    server.when("GET /v1beta/models", "<html>not ours</html>", status=502)
    assert "does not look like a Kamerton server" in run("models")[2]
    (tmp_path / "bad.jsonl").write_text('{"text_input": "1"}')
    status, _, err = run("tune", str(tmp_path / "bad.jsonl"))
    assert status == 2
    assert err.startswith("error K103 unreadable-row: ")
    assert "nothing was sent; more about them: kamerton check " in err.splitlines()[-1]
    assert not [call for call, _ in server.requests if call.startswith("POST")]
    (tmp_path / "two rows.csv").write_text("q,a\n1,\n")
    named = ["two rows.csv", "--input-key", "q", "--output-key", "a"]
    err = run("tune", str(tmp_path / named[0]), *named[1:], "--base", "models/m")[2]
    again = shlex.split(err.splitlines()[-1].partition("more about them: ")[2])
    base = ["--base", "models/m"]
    assert again == ["kamerton", "check", str(tmp_path / named[0]), *base, *named[1:]]
    assert run("show", "models/x")[2].startswith("error: models/x is not a tuned model")


def test_no_server(run: Run) -> None:
    status, _, err = run("models", "--server", "http://127.0.0.1:9")
    assert status == 1
    assert err == "error: no server at http://127.0.0.1:9; start one with: kamerton serve\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["tune"],
        ["no-such-command"],
        ["tune", "x", "--rate", "1", "--rate-multiplier", "1"],
    ],
)
def test_wrong_usage_is_status_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments)[0] == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("NOT_FOUND", errors.NotFound),
        ("ALREADY_EXISTS", errors.AlreadyExists),
        ("FAILED_PRECONDITION", errors.FailedPrecondition),
        ("RESOURCE_EXHAUSTED", errors.ResourceExhausted),
        ("PERMISSION_DENIED", errors.PermissionDenied),
        ("UNAVAILABLE", errors.Unavailable),
        ("SOMETHING_NEW", errors.Internal),
    ],
)
def test_the_client_raises_our_errors(
    server: FakeServer, status: str, kind: type[errors.KamertonError]
) -> None:
    server.when("GET /v1beta/models", refusal(400, status, "because"), status=400)
    client = Client(server.endpoint.removeprefix("http://"))
    with pytest.raises(kind, match="because"):
        client.list_models()
    client.close()
    assert "x-goog-api-key" not in server.headers[0]


def test_the_client_keeps_field_violations(server: FakeServer) -> None:
    wrong = {"field": "tuned_model.display_name", "description": "at most 40 characters"}
    detail = {"fieldViolations": [wrong]}
    answer = refusal(400, "INVALID_ARGUMENT", "too long", detail)
    server.when("POST /v1beta/tunedModels", answer, status=400)
    client = Client(server.endpoint)
    with pytest.raises(errors.InvalidArgument) as caught:
        client.create_tuned_model([Example.pair("1", "2")], base_model="x")
    assert caught.value.violations == (errors.Violation(**wrong),)
    client.close()


def test_the_client_counts_and_streams(server: FakeServer) -> None:
    server.when("POST /v1beta/models/x:countTokens", {"totalTokens": 7})
    server.when("POST /v1beta/models/x:streamGenerateContent", [says("a"), says("b")])
    client = Client(server.endpoint)
    assert client.count_tokens("models/x", "hello") == 7
    stream = client.stream_generate("models/x", "hello", GenerationConfig(seed=1, top_k=3))
    assert list(stream) == [says("a"), says("b")]
    assert server.requests[-1][1] == {
        "contents": [{"parts": [{"text": "hello"}]}],
        "generationConfig": {"seed": 1, "topK": 3},
    }
    client.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--port", "0", "--data", "{file}"], "File exists"),
        (["serve", "--port", "0", "--data", "{damaged}"], "cannot be used"),
        (["keys", "list", "--data", "{empty}"], "start the server once"),
        (["models", "--key", "ключ"], "no key has"),
        (["models", "--server", "http://[::1"], "no address of a server"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for name, content in (("damaged", b"x" * 5000), ("empty", b"")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kamerton.db").write_bytes(content)
    names = {name: str(tmp_path / name) for name in ("file", "damaged", "empty")}
    command = [argument.format(**names) for argument in arguments]
    found = subprocess.run(
        [sys.executable, "-m", "kamerton", *command], capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 1
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1
    assert message in found.stderr


def test_a_port_that_cannot_be_is_a_wrong_use() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "kamerton", "serve", "--port", "99999"], capture_output=True
    )
    assert found.returncode == 2
