"""`kamerton env`: what a shell, a program and a person get from it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run

KEYS = {"KAMERTON_API_KEY", "GOOGLE_API_KEY"}
ADDRESSES = {"KAMERTON_ENDPOINT", "GOOGLE_GEMINI_BASE_URL"}
AUTHORITY = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS | ADDRESSES | {AUTHORITY, "KAMERTON_DATA", "KAMERTON_GRPC_PORT"}:
        monkeypatch.delenv(name, raising=False)


def told(run: Run, *arguments: str) -> dict[str, str]:
    status, out, err = run("env", "--json", *arguments)
    assert (status, err) == (0, "")
    found: dict[str, str] = json.loads(out)
    return found


def evaluated(out: str) -> dict[str, str]:
    """The variables of a shell that has evaluated it."""
    command = ["sh", "-ec", 'eval "$0"; env -0', out]
    done = subprocess.run(command, capture_output=True, check=True, env={})
    assert not done.stderr
    lines = done.stdout.decode().split("\0")
    return dict(line.split("=", 1) for line in lines if line)


def test_addresses_and_key(run: Run, tmp_path: Path) -> None:
    address, key = "http://127.0.0.1:9999", "kam-1-secret"
    found = told(run, "--server", f"{address}/", "--key", key, "--data", str(tmp_path))
    assert found == dict.fromkeys(ADDRESSES, address) | dict.fromkeys(KEYS, key)


def test_they_come_from_the_environment_as_well(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAMERTON_ENDPOINT", "https://tuner.example.com")
    monkeypatch.setenv("KAMERTON_API_KEY", "kam-2-secret")
    found = told(run, "--data", str(tmp_path))
    assert found["GOOGLE_GEMINI_BASE_URL"] == "https://tuner.example.com"
    assert found["GOOGLE_API_KEY"] == "kam-2-secret"


def test_without_a_key_it_says_how_to_make_one(run: Run, tmp_path: Path) -> None:
    assert told(run, "--data", str(tmp_path)).keys() == ADDRESSES
    _, out, _ = run("env", "--data", str(tmp_path))
    assert "#   kamerton keys create --owner" in out
    assert "API_KEY=" not in out


def test_the_authority_is_named_once_it_is_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my data" / "tls").mkdir(parents=True)
    authority = tmp_path / "my data" / "tls" / "ca.pem"
    monkeypatch.chdir(tmp_path)
    assert AUTHORITY not in told(run, "--data", "my data")
    authority.touch()
    assert told(run, "--data", "my data")[AUTHORITY] == str(authority)
    monkeypatch.setenv("KAMERTON_GRPC_PORT", "9443")
    _, out, _ = run("env", "--data", "my data")
    assert '{"api_endpoint": "127.0.0.1:9443"}' in out
    _, out, _ = run("env", "--data", "my data", "--server", "http://[::1]:8080")
    assert '{"api_endpoint": "[::1]:9443"}' in out


@pytest.mark.parametrize("key", ["plain", "a'b", '$HOME `id` \\ "', "Ж #", "two\nlines"])
def test_a_shell_can_evaluate_it(run: Run, tmp_path: Path, key: str) -> None:
    (tmp_path / "it's" / "tls").mkdir(parents=True)
    (tmp_path / "it's" / "tls" / "ca.pem").touch()
    arguments = ("--key", key, "--data", str(tmp_path / "it's"))
    _, out, _ = run("env", *arguments)
    assert told(run, *arguments).items() <= evaluated(out).items()


@pytest.mark.parametrize(
    "server", ["", "localhost:8080", "http://", "ftp://x", "http://x\nrm -rf y", "http://x/\x1b"]
)
def test_what_is_no_address_is_refused(run: Run, server: str) -> None:
    status, out, err = run("env", "--server", server)
    assert (status, out) == (1, "")
    assert err.startswith("error: ") and "is not an address such as http://127.0.0.1:8080" in err
