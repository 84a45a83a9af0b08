"""Keys and tokens: what they allow, when they end, and that nobody else can make one up."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from kamerton.errors import InvalidArgument, InvalidKey, NotFound, PermissionDenied, Unauthenticated
from kamerton.service import access, credentials
from kamerton.store import credentials as store
from kamerton.types import Credential, CredentialKind
from tests.service.conftest import FakeApp

KINDS: list[CredentialKind] = ["key", "token"]


def secret_of(app: FakeApp, kind: CredentialKind, owner: str = "ann@x.org") -> str:
    return credentials.create(app.settings, kind, owner=owner)[1]


def expired(app: FakeApp, kind: CredentialKind) -> str:
    """The secret of one that ended a moment ago."""
    good = secret_of(app, kind)
    prefix, id, secret = good.split("-", 2)
    credential = credentials.find(app.database, good)
    assert credential
    assert store.delete_(app.database, kind, id)
    ended = datetime.now(UTC) - timedelta(milliseconds=1)
    end_in_the_past = Credential(
        id, kind, credential.owner, credential.scopes, credential.create_time, ended
    )
    store.add(app.database, end_in_the_past, hashlib.sha256(secret.encode()).hexdigest())
    return f"{prefix}-{id}-{secret}"


def test_each_kind_has_its_default_scopes(app: FakeApp) -> None:
    scopes = {
        kind: access.authenticate(app, bearer=secret_of(app, kind), key=None).scopes
        for kind in KINDS
    }
    assert scopes == {"key": {"infer"}, "token": {"infer", "tuning"}}


def test_a_token_can_be_narrower_and_every_credential_may_infer(app: FakeApp) -> None:
    made, _ = credentials.create(app.settings, "token", owner="ann@x.org", scopes=[])
    assert made.scopes == {"infer"}
    made, _ = credentials.create(app.settings, "key", owner="ann@x.org", scopes=["admin"])
    assert made.scopes == {"infer", "admin"}


def test_owners_are_known_by_their_address_in_lower_case(app: FakeApp) -> None:
    secret = secret_of(app, "token", " Ann@X.org ")
    assert access.authenticate(app, bearer=secret, key=None).owner == "ann@x.org"


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_is_kept_and_comes(app: FakeApp, kind: CredentialKind) -> None:
    end = datetime.now(UTC) + timedelta(minutes=5)
    made, secret = credentials.create(app.settings, kind, owner="ann@x.org", expire_time=end)
    assert made.expire_time == end
    assert credentials.list_(app.settings, kind) == [made]
    assert access.authenticate(app, bearer=secret, key=None)
    with pytest.raises(Unauthenticated, match=f"expired.*kamerton {kind}s create"):
        access.authenticate(app, bearer=expired(app, kind), key=None)


def test_only_who_has_the_secret_hears_that_a_key_expired(app: FakeApp) -> None:
    secret = expired(app, "key")
    with pytest.raises(InvalidKey, match="API key expired"):
        access.authenticate(app, bearer=None, key=secret)
    for key, bearer in ((None, f"{secret[:-43]}{'x' * 43}"), (f"{secret[:-43]}{'x' * 43}", None)):
        with pytest.raises((InvalidKey, Unauthenticated)) as caught:
            access.authenticate(app, bearer=bearer, key=key)
        assert "expired" not in caught.value.message


def test_an_end_in_the_past_is_refused(app: FakeApp) -> None:
    with pytest.raises(InvalidArgument, match="expires: must be in the future"):
        credentials.create(app.settings, "key", owner="ann@x.org", expire_time=datetime.now(UTC))


def test_a_token_is_not_taken_for_a_key(app: FakeApp) -> None:
    token = secret_of(app, "token")
    with pytest.raises(InvalidKey, match="this is a bearer token") as no:
        access.authenticate(app, bearer=None, key=token)
    assert token not in no.value.message
    for changed in (token.replace("kamt-", "kam-"), secret_of(app, "key").replace("kam-", "kamt-")):
        with pytest.raises(Unauthenticated):
            access.authenticate(app, bearer=changed, key=None)


def test_a_bad_bearer_is_not_saved_by_a_good_key(app: FakeApp) -> None:
    key = secret_of(app, "key")
    with pytest.raises(Unauthenticated):
        access.authenticate(app, bearer="ya29.something", key=key)
    assert access.authenticate(app, bearer="", key=key).owner == "ann@x.org"


@pytest.mark.parametrize("kind", KINDS)
def test_what_differs_in_one_character_is_another_secret(
    app: FakeApp, kind: CredentialKind
) -> None:
    secret = secret_of(app, kind)
    last = "A" if secret[-1] != "A" else "B"
    for wrong in (secret[:-1] + last, secret[:-1], secret + "A", secret + "\n", secret.upper()):
        assert credentials.find(app.database, wrong) is None
    assert credentials.find(app.database, secret)


def test_the_hash_is_compared_also_when_there_is_no_such_id(
    app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the time that a refusal takes would tell which ids there are."""
    compared = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    known = secret_of(app, "key")
    for secret in (known, f"{known[:-43]}{'x' * 43}", f"kam-{'0' * 12}-{'x' * 43}"):
        credentials.find(app.database, secret)
    assert len(compared) == 3
    assert all(len(hash) == 64 for pair in compared for hash in pair)


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_does_not_see_the_other(app: FakeApp, kind: CredentialKind) -> None:
    secret_of(app, "key")
    secret_of(app, "token")
    (made,) = credentials.list_(app.settings, kind)
    assert made.kind == kind
    other: CredentialKind = "token" if kind == "key" else "key"
    with pytest.raises(NotFound, match=f"kamerton {other}s list"):
        credentials.revoke(app.settings, other, made.id)
    assert credentials.revoke(app.settings, kind, made.id) == made.id
    assert credentials.list_(app.settings, kind) == []


def test_revoking_takes_the_secret_too_and_never_tells_it(app: FakeApp) -> None:
    secret = secret_of(app, "token")
    assert credentials.revoke(app.settings, "token", secret) in secret
    with pytest.raises(NotFound) as caught:
        credentials.revoke(app.settings, "token", secret)
    assert secret[-43:] not in caught.value.message
    with pytest.raises(Unauthenticated):
        access.authenticate(app, bearer=secret, key=None)


def test_a_missing_scope_is_named_with_a_command_that_can_be_pasted(app: FakeApp) -> None:
    caller = access.authenticate(app, bearer=secret_of(app, "key", "ann@x.org;reboot"), key=None)
    with pytest.raises(PermissionDenied) as caught:
        access.require(caller, "tuned_models.create")
    assert "scope 'tuning'" in caught.value.message
    advice = "kamerton keys create --owner 'ann@x.org;reboot' --scope tuning"
    assert caught.value.message.endswith(advice)


def test_tokens_leave_no_trace_on_disk(app: FakeApp) -> None:
    tail = secret_of(app, "token")[-43:].encode()
    for file in app.settings.data.glob("kamerton.db*"):
        assert tail not in file.read_bytes()
