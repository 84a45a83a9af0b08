from __future__ import annotations

from dataclasses import replace

import pytest

from kamerton.errors import InvalidArgument, InvalidKey, NotFound, Unauthenticated
from kamerton.service import access, credentials
from tests.service.conftest import FakeApp


def test_a_key_is_its_owner(app: FakeApp) -> None:
    key, secret = credentials.create(
        app.settings, "key", owner="ann@x.org", scopes=frozenset({"tuning"})
    )
    for credential in ({"key": secret, "bearer": None}, {"key": None, "bearer": secret}):
        caller = access.authenticate(app, **credential)
        assert caller.owner == "ann@x.org"
        assert caller.scopes == {"tuning", "infer"}
    assert credentials.list_(app.settings, "key") == [key]


def test_the_bearer_decides(app: FakeApp) -> None:
    _, ann = credentials.create(app.settings, "key", owner="ann@x.org", scopes=frozenset())
    _, bob = credentials.create(app.settings, "key", owner="bob@x.org", scopes=frozenset())
    assert access.authenticate(app, bearer=ann, key=bob).owner == "ann@x.org"


def test_revoked_is_in_force_at_once(app: FakeApp) -> None:
    key, secret = credentials.create(app.settings, "key", owner="ann@x.org", scopes=frozenset())
    credentials.revoke(app.settings, "key", key.id)
    with pytest.raises(InvalidKey, match="API key not valid"):
        access.authenticate(app, bearer=None, key=secret)
    with pytest.raises(NotFound):
        credentials.revoke(app.settings, "key", key.id)


@pytest.mark.parametrize("wrong", ["x", "kam-", "kam-abc", "kam-abc-def", "AIza" * 10, "kam-ü-ü"])
def test_wrong_credentials(app: FakeApp, wrong: str) -> None:
    with pytest.raises(InvalidKey):
        access.authenticate(app, bearer=None, key=wrong)
    with pytest.raises(Unauthenticated):
        access.authenticate(app, bearer=wrong, key=None)


def test_a_good_id_with_another_secret_is_no_key(app: FakeApp) -> None:
    key, _ = credentials.create(app.settings, "key", owner="ann@x.org", scopes=frozenset())
    with pytest.raises(InvalidKey):
        access.authenticate(app, bearer=None, key=f"kam-{key.id}-{'x' * 43}")


def test_no_credential_says_how_to_get_one(app: FakeApp) -> None:
    with pytest.raises(Unauthenticated, match="kamerton keys create"):
        access.authenticate(app, bearer=None, key=None)


def test_an_open_server_takes_everybody_for_its_owner(app: FakeApp) -> None:
    app.settings = replace(app.settings, open=True)
    assert access.authenticate(app, bearer=None, key="anything").owner == app.settings.owner


def test_the_first_key_is_made_once(app: FakeApp) -> None:
    assert credentials.create_first(app.database, "me")
    assert credentials.create_first(app.database, "me") is None


def test_secrets_are_not_on_disk(app: FakeApp) -> None:
    _, secret = credentials.create(app.settings, "key", owner="ann@x.org", scopes=frozenset())
    tail = secret.split("-", 2)[2].encode()
    for file in app.settings.data.glob("kamerton.db*"):
        assert tail not in file.read_bytes()


def test_scopes_and_owners_are_checked(app: FakeApp) -> None:
    with pytest.raises(InvalidArgument, match="fly"):
        credentials.create(app.settings, "key", owner="ann", scopes=frozenset({"fly"}))
    with pytest.raises(InvalidArgument, match="owner"):
        credentials.create(app.settings, "key", owner=" ", scopes=frozenset())
