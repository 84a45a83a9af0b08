"""`kamerton keys` and `kamerton tokens`: what they print, and when, and that no secret is printed
twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kamerton.service import credentials
from kamerton.store.database import Database
from tests.conftest import Run

KINDS = pytest.mark.parametrize("kind", ["key", "token"])
Make = Callable[..., dict[str, Any]]


@pytest.fixture
def make(run: Run, tmp_path: Path) -> Make:
    """A credential of a kind, as `create --json` tells of it."""

    def made(kind: str, *options: str) -> dict[str, Any]:
        create = [f"{kind}s", "create", "--data", str(tmp_path), "--owner", "Ann@x.org"]
        status, out, err = run(*create, *options, "--json")
        assert (status, err) == (0, "")
        facts: dict[str, Any] = json.loads(out)
        return facts

    return made


@KINDS
def test_the_secret_is_all_of_stdout_and_the_facts_are_on_stderr(
    run: Run, tmp_path: Path, kind: str
) -> None:
    create = [f"{kind}s", "create", "--data", str(tmp_path), "--owner", "Ann@x.org"]
    status, out, err = run(*create, "--scope", "admin", "--expires", "2999-12-31")
    assert status == 0
    database = Database(f"sqlite:///{tmp_path / 'kamerton.db'}")
    found = credentials.find(database, out.removesuffix("\n"))
    database.close()
    assert found and found.kind == kind
    assert err == (f"id {found.id}, for ann@x.org, may admin, infer, expires 2999-12-31T00:00Z\n")
    _, listed, _ = run(f"{kind}s", "list", "--data", str(tmp_path))
    assert out.strip()[-43:] not in listed


def test_scopes(make: Make) -> None:
    assert make("key")["scopes"] == ["infer"]
    assert make("token")["scopes"] == ["infer", "tuning"]
    assert make("token", "--scope", "infer")["scopes"] == ["infer"]
    both = make("key", "--scope", "tuning", "--scope", "admin")
    assert both["scopes"] == ["admin", "infer", "tuning"]


@pytest.mark.parametrize(
    ("when", "minutes"), [("90m", 90), ("12h", 12 * 60), ("30d", 30 * 24 * 60), ("", None)]
)
def test_the_end_counts_from_now(make: Make, when: str, minutes: int | None) -> None:
    made = make("token", *(["--expires", when] if when else []))
    if minutes is None:
        assert made["expireTime"] is None
        return
    lasts = datetime.fromisoformat(made["expireTime"]) - datetime.now(UTC)
    assert timedelta(0) <= timedelta(minutes=minutes) - lasts < timedelta(minutes=1)


@KINDS
def test_list_and_revoke(run: Run, make: Make, tmp_path: Path, kind: str) -> None:
    first, second = make(kind), make(kind, "--expires", "2999-12-31")
    data = ["--data", str(tmp_path)]
    _, out, _ = run(f"{kind}s", "list", *data)
    lines = [line.split() for line in out.splitlines()]
    assert [line[:2] for line in lines] == [[made["id"], "ann@x.org"] for made in (first, second)]
    assert lines[0][-2:] == ["never", "expires"]
    assert lines[1][-2:] == ["expires", "2999-12-31T00:00Z"]
    _, out, _ = run(f"{kind}s", "list", *data, "--json")
    secret = second.pop(kind)
    assert json.loads(out)[1] == second
    assert run(f"{kind}s", "revoke", first["id"], *data) == (0, f"revoked {first['id']}\n", "")
    _, out, _ = run(f"{kind}s", "revoke", secret, *data, "--json")
    assert json.loads(out) == {"id": second["id"], "revoked": True}
    assert run(f"{kind}s", "list", *data) == (0, "", "")
    status, _, err = run(f"{kind}s", "revoke", secret, *data)
    assert status == 1
    assert err == f"error: There is no {kind} {second['id']}. See: kamerton {kind}s list\n"


def test_what_has_expired_says_so(
    run: Run, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("key", "--expires", "1m")

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Later:
            return cls(2999, 1, 1, tzinfo=tz)

    monkeypatch.setattr("kamerton.credentials_cli.datetime", Later)
    assert "  expired 20" in run("keys", "list", "--data", str(tmp_path))[1]


@pytest.mark.parametrize(
    "options",
    [
        ["--scope", "everything"],
        ["--expires", "soon"],
        ["--expires", "30"],
        ["--expires", "-1d"],
        ["--expires", "2027-02-30"],
        ["--expires", "999999d"],
    ],
)
def test_wrong_options_are_a_wrong_use(run: Run, tmp_path: Path, options: list[str]) -> None:
    create = ["tokens", "create", "--data", str(tmp_path / "data"), "--owner", "ann@x.org"]
    status, out, _ = run(*create, *options)
    assert (status, out) == (2, "")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--owner", "ann x.org"], "owner: must be an e-mail address"),
        (["--owner", "ann@x.org", "--expires", "2026-01-01"], "expires: must be in the future"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    run: Run, tmp_path: Path, options: list[str], said: str
) -> None:
    status, out, err = run("tokens", "create", "--data", str(tmp_path), *options)
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {said}") and err.count("\n") == 1


def test_no_server_has_been_there(run: Run, tmp_path: Path) -> None:
    status, _, err = run("tokens", "list", "--data", str(tmp_path / "nowhere"))
    assert status == 1
    assert "There is no server data in" in err
    assert not (tmp_path / "nowhere").exists()
