"""Keys, bearer tokens and an identity provider at the real server, and what its log holds."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from kamerton.dataset.tutorial import EXAMPLES
from tests.issuer import AUDIENCE, FakeIssuer
from tests.loop.server import KAMERTON, Server

pytestmark = pytest.mark.xdist_group("credentials")


@pytest.fixture(scope="module")
def issuer() -> Iterator[FakeIssuer]:
    issuer = FakeIssuer()
    yield issuer
    issuer.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, issuer: FakeIssuer) -> Iterator[Server]:
    """A server that trusts the issuer."""
    server = Server(
        tmp_path_factory.mktemp("guarded") / "data",
        KAMERTON_OIDC_ISSUER=issuer.url,
        KAMERTON_OIDC_AUDIENCE=AUDIENCE,
    )
    yield server
    server.stop()


def kamerton(server: Server, *arguments: str) -> Any:
    """What a command on the server's data folder says in JSON."""
    command = [*KAMERTON, *arguments, "--data", str(server.data), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def call(
    server: Server, path: str, bearer: str = "", key: str = "", **body: Any
) -> requests.Response:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    return requests.request(
        "POST" if body else "GET",
        f"{server.address}/v1beta/{path}",
        headers=headers | ({"x-goog-api-key": key} if key else {}),
        json=body or None,
        timeout=30,
    )


def test_a_jwt_tunes_and_owns(guarded: Server, issuer: FakeIssuer) -> None:
    guarded.await_warm()
    pairs = [{"text_input": e.contents[0].text, "output": e.output} for e in EXAMPLES]
    task = {
        "hyperparameters": {"epoch_count": 1},
        "training_data": {"examples": {"examples": pairs}},
    }
    created = call(
        guarded,
        "tunedModels",
        bearer=issuer.token(),
        key=guarded.key_of("bob@x.org"),  # the bearer decides
        base_model="models/kamerton-nano-001",
        tuning_task=task,
    )
    assert created.status_code == 200, created.text
    name = created.json()["metadata"]["tunedModel"]
    guarded.await_done(created.json())
    shown = call(guarded, name, bearer=issuer.token())
    assert shown.json()["state"] == "ACTIVE"
    (permission,) = call(guarded, f"{name}/permissions", bearer=issuer.token()).json()[
        "permissions"
    ]
    assert (permission["role"], permission["emailAddress"]) == ("OWNER", "ann@x.org")
    asked: dict[str, Any] = {"contents": [{"parts": [{"text": "LXIII"}]}]}
    assert call(guarded, f"{name}:generateContent", issuer.token(), **asked).status_code == 200

    stranger = call(guarded, name, bearer=issuer.token(email="eve@x.org"))
    assert (stranger.status_code, status_of(stranger)) == (403, "PERMISSION_DENIED")
    expired = call(guarded, name, bearer=issuer.token(exp=1))
    assert (expired.status_code, status_of(expired)) == (401, "UNAUTHENTICATED")
    assert "expired" in expired.json()["error"]["message"]


def status_of(answer: requests.Response) -> str:
    return str(answer.json()["error"]["status"])


def test_tokens_and_keys_are_in_force_with_the_next_request(guarded: Server) -> None:
    token = kamerton(guarded, "tokens", "create", "--owner", "ann@x.org", "--expires", "1h")
    assert call(guarded, "tunedModels", bearer=token["token"]).status_code == 200
    as_key = call(guarded, "tunedModels", key=token["token"])
    assert as_key.status_code == 400
    assert as_key.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    assert "Authorization: Bearer" in as_key.json()["error"]["message"]
    kamerton(guarded, "tokens", "revoke", token["id"])
    assert call(guarded, "tunedModels", bearer=token["token"]).status_code == 401
    key = kamerton(guarded, "keys", "create", "--owner", "ann@x.org")["key"]
    assert call(guarded, "tunedModels", key=key).status_code == 200
    refused = call(guarded, "tunedModels", key=key, base_model="models/gemini-1.0-pro-001")
    assert refused.status_code == 403
    assert "--scope tuning" in refused.json()["error"]["message"]


def test_no_credential_comes_into_a_log_or_an_answer(guarded: Server) -> None:
    key = kamerton(guarded, "keys", "create", "--owner", "ann@x.org")
    secret = key["key"]
    answers = [
        requests.get(f"{guarded.address}/{path}key={secret}", timeout=30)
        for path in ("v1beta/nowhere?", "v1beta/tunedModels?pageToken=x&", "elsewhere?")
    ]
    answers += [
        call(guarded, f"models?key={secret}x"),
        call(guarded, "models", bearer=f"{secret}x"),
        call(guarded, f"models?key={secret}", base_model="x" * 100),
    ]
    assert all(answer.status_code in (400, 401, 404, 405) for answer in answers)
    # What nobody foresaw: a row that cannot be read.
    with sqlite3.connect(guarded.data / "kamerton.db") as database:
        database.execute("UPDATE credentials SET scopes = '{' WHERE id = ?", [key["id"]])
    database.close()
    unforeseen = [call(guarded, f"models?key={secret}"), call(guarded, "models", bearer=secret)]
    assert [answer.status_code for answer in unforeseen] == [500, 500]
    raw = raw_answers(guarded, secret)
    assert all("HTTP/1.1 400" in text and secret[-43:] not in text for text in raw)
    for answer in [*answers, *unforeseen]:
        assert secret[-43:] not in answer.text
        assert secret[-43:] not in str(answer.headers)
    assert "unexpected error" in guarded.log.read_text()
    for file in (guarded.log, *guarded.data.rglob("*")):
        assert file.is_dir() or secret[-43:].encode() not in file.read_bytes(), file
    kamerton(guarded, "keys", "revoke", key["id"])


def raw_answers(server: Server, secret: str) -> Iterator[str]:
    """To requests that are no good HTTP."""
    for request in (
        f"GET /v1beta/models?key={secret} HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        f"GET /v1beta/models?key={secret}&x={'x' * 70_000} HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        url = urlsplit(server.address)
        with socket.create_connection((url.hostname or "", url.port or 0), timeout=10) as line:
            line.sendall(request.encode())
            yield line.recv(65536).decode()


def test_a_server_does_not_start_with_half_an_issuer(tmp_path: Path) -> None:
    found = subprocess.run(
        [*KAMERTON, "serve", "--port", "0", "--data", str(tmp_path / "data")],
        env={"KAMERTON_OIDC_ISSUER": "https://issuer.example"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 1
    assert found.stderr == (
        "error: KAMERTON_OIDC_ISSUER and KAMERTON_OIDC_AUDIENCE need each other: set both.\n"
    )
