"""Tokens of a local issuer: what makes them good, and what happens when the issuer is not there."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.errors import InvalidArgument, InvalidKey, Unauthenticated, Unavailable
from kamerton.service import access, app, credentials, oidc
from kamerton.service.oidc import Issuer
from kamerton.settings import Settings
from kamerton.types import Caller
from tests.issuer import AUDIENCE, FakeIssuer, Json, private_key, public_jwk
from tests.service.conftest import FakeApp


@pytest.fixture
def fake() -> Iterator[FakeIssuer]:
    issuer = FakeIssuer()
    yield issuer
    issuer.close()


def trusting(fake: FakeIssuer, **more: Any) -> Issuer:
    settings: Json = {"oidc_issuer": fake.url, "oidc_audience": AUDIENCE, **more}
    return Issuer(Settings(**settings))


@pytest.fixture
def issuer(fake: FakeIssuer) -> Issuer:
    return trusting(fake, oidc_admins="root@x.org, Boss@x.org")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock by which keys get old; `clock.now += 1` is a second later."""
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(oidc, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def segment(value: Json) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def refusal(issuer: Issuer, token: str) -> str:
    """What is said of a bad token; never anything that it holds."""
    with pytest.raises(Unauthenticated) as caught:
        issuer.caller(token)
    assert not any(part and part in caught.value.message for part in token.split("."))
    return caught.value.message


# --- good and bad tokens ------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_good_token_is_whom_its_email_names(fake: FakeIssuer, algorithm: str) -> None:
    fake.keys = [public_jwk("RS256", "other"), public_jwk(algorithm, "k")]
    caller = trusting(fake).caller(fake.token(algorithm, "k"))
    assert caller == Caller("ann@x.org", frozenset({"infer", "tuning"}))


def test_scopes_and_admins_come_from_the_settings(fake: FakeIssuer, issuer: Issuer) -> None:
    assert issuer.caller(fake.token(email="boss@X.org")).scopes == {"infer", "tuning", "admin"}
    assert trusting(fake, oidc_scopes="").caller(fake.token()).scopes == {"infer"}
    claimed = fake.token(scope="admin", scopes=["admin"])
    assert "admin" not in issuer.caller(claimed).scopes


@pytest.mark.parametrize(
    ("given", "groups"),
    [
        (["Team@x.org", "all"], {"team@x.org", "all"}),
        (["team@x.org", 7, None, ["x"]], {"team@x.org"}),
        ("team@x.org", set()),
        ({"team@x.org": True}, set()),
    ],
)
def test_groups(fake: FakeIssuer, issuer: Issuer, given: Any, groups: set[str]) -> None:
    assert issuer.caller(fake.token(groups=given)).groups == groups


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": 1000}, "expired"),
        ({"exp": None}, "lacks the claim exp"),
        ({"exp": "tomorrow"}, "well-formed"),
        ({"exp": float("inf")}, "well-formed"),
        ({"nbf": time.time() + 3600}, "not valid yet"),
        ({"iat": time.time() + 3600}, "not valid yet"),
        ({"iss": "https://elsewhere.example"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "somebody else"}, "another audience"),
        ({"aud": ["a", "b"]}, "another audience"),
        ({"aud": {AUDIENCE: 1}}, "another audience"),
        ({"aud": None}, "lacks the claim aud"),
        ({"email": None}, "no claim email"),
        ({"email": ""}, "no claim email"),
        ({"email": True}, "no claim email"),
        ({"email": "ann x.org"}, "no claim email"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": "false"}, "not verified"),
    ],
)
def test_a_bad_claim_is_named(fake: FakeIssuer, issuer: Issuer, changes: Json, reason: str) -> None:
    assert reason in refusal(issuer, fake.token(**changes))


def test_one_of_several_audiences_is_enough(fake: FakeIssuer, issuer: Issuer) -> None:
    assert issuer.caller(fake.token(aud=["other", AUDIENCE]))
    assert issuer.caller(fake.token(email_verified=None))


def test_clocks_may_differ_by_the_leeway(fake: FakeIssuer, issuer: Issuer) -> None:
    now = time.time()
    times: list[Json] = [{"exp": now - 30}, {"nbf": now + 30}, {"iat": now + 30}]
    for changes in times:
        assert issuer.caller(fake.token(**changes))
        refusal(trusting(fake, oidc_leeway_seconds=0), fake.token(**changes))
    refusal(issuer, fake.token(exp=now - 90))


def test_an_unsigned_token_is_refused_without_asking(fake: FakeIssuer, issuer: Issuer) -> None:
    unsigned = jwt.encode(fake.claims(), "", "none", headers={"kid": "first"})
    assert "not signed with one of" in refusal(issuer, unsigned)
    for name in ("None", "", None, ["RS256"], 7):
        token = f"{segment({'alg': name, 'kid': 'first'})}.{segment(fake.claims())}."
        assert "not signed with one of" in refusal(issuer, token)
    assert fake.asked == []


def test_the_public_key_is_no_shared_secret(fake: FakeIssuer, issuer: Issuer) -> None:
    fake.keys.append({"kty": "oct", "kid": "secret", "k": "c2VjcmV0" * 8, "alg": "HS256"})
    public = json.dumps(public_jwk("RS256", "first")).encode()
    for kid, secret in (("first", public), ("secret", b"secret" * 8)):
        text = f"{segment({'alg': 'HS256', 'kid': kid})}.{segment(fake.claims())}"
        signature = hmac.digest(secret, text.encode(), hashlib.sha256)
        token = f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        assert "not signed with one of" in refusal(issuer, token)


def test_a_signature_holds_for_its_own_words_and_key_only(fake: FakeIssuer, issuer: Issuer) -> None:
    head, _, signature = fake.token().split(".")
    changed = f"{head}.{segment(fake.claims(email='root@x.org'))}.{signature}"
    assert "does not match" in refusal(issuer, changed)
    assert "does not match" in refusal(issuer, f"{changed.rpartition('.')[0]}.")
    stranger = private_key("RS256", "stranger")
    forged = jwt.encode(fake.claims(), stranger, "RS256", headers={"kid": "first"})
    assert "does not match" in refusal(issuer, forged)
    own = private_key("RS256", "first")
    other_way = jwt.encode(fake.claims(), own, "PS256", headers={"kid": "first"})
    assert "key that its issuer does not have" in refusal(issuer, other_way)


def test_keys_that_are_weak_or_for_other_uses_do_not_count(
    fake: FakeIssuer, issuer: Issuer
) -> None:
    fake.keys = [public_jwk("RS256", "short"), {**public_jwk("RS256", "secrecy"), "use": "enc"}]
    assert "too short" in refusal(issuer, weak_token(fake))
    assert "does not have" in refusal(issuer, fake.token(key="secrecy"))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def weak_token(fake: FakeIssuer) -> str:
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        return fake.token(key="short")


@pytest.mark.parametrize(
    "token",
    [
        "..",
        "a.b.c",
        "€.€.€",
        "eyJ.eyJ.eyJ",
        f"{segment({'alg': 'RS256', 'kid': 7})}.{segment({})}.x",
        f"{segment({'alg': 'RS256', 'crit': ['x'], 'x': 1})}.{segment({})}.",
        f"{segment({'alg': 'RS256', 'crit': ['b64'], 'b64': False})}..",
        f"{base64.urlsafe_b64encode(b'[' * 30_000).decode()}.{segment({})}.",
        f"{base64.urlsafe_b64encode(b'1' * 30_000).decode()}.{segment({})}.",
        f"{segment({'alg': 'RS256'})}.{base64.urlsafe_b64encode(b'[' * 30_000).decode()}.",
        f"{segment({'alg': 'RS256'})}.{segment({'iss': ['x']})}.",
        "x" * 10_000 + ".." + "x" * 10_000,
    ],
)
def test_garbage_is_refused_quickly_and_asks_nobody(
    fake: FakeIssuer, issuer: Issuer, token: str
) -> None:
    began = time.perf_counter()
    with pytest.raises(Unauthenticated):
        issuer.caller(token)
    assert time.perf_counter() - began < 0.5
    assert fake.asked == []


@given(st.text(), st.text(), st.text())
def test_nothing_but_a_refusal_comes_of_any_text(head: str, payload: str, signature: str) -> None:
    issuer = Issuer(Settings(oidc_issuer="http://127.0.0.1:9", oidc_audience=AUDIENCE))
    with pytest.raises(Unauthenticated):
        issuer.caller(f"{head}.{payload}.{signature}")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(["RS256", "b64"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ"]), JSON_VALUES))
def test_nothing_but_a_refusal_comes_of_any_header(header: Json) -> None:
    issuer = Issuer(Settings(oidc_issuer="http://127.0.0.1:9", oidc_audience=AUDIENCE))
    with pytest.raises(Unauthenticated):
        issuer.caller(f"{segment(header)}.{segment({})}.")


def test_a_long_token_is_a_token(fake: FakeIssuer, issuer: Issuer) -> None:
    groups = [f"group-{number}" for number in range(800)]
    token = fake.token(groups=groups)
    assert len(token) > 10_000
    assert issuer.caller(token).groups == set(groups)


# --- the issuer's keys --------------------------------------------------------------------------


def test_keys_are_fetched_once(fake: FakeIssuer, issuer: Issuer) -> None:
    assert fake.asked == []
    for _ in range(5):
        issuer.caller(fake.token())
    assert fake.fetches == 1


def test_a_new_key_is_fetched_when_it_is_met(
    fake: FakeIssuer, issuer: Issuer, clock: SimpleNamespace
) -> None:
    issuer.caller(fake.token())
    fake.keys.append(public_jwk("RS256", "second"))
    refusal(issuer, fake.token(key="second"))  # somebody asked just now
    clock.now += oidc.PAUSE_SECONDS
    assert issuer.caller(fake.token(key="second"))
    assert fake.fetches == 2


def test_a_withdrawn_key_is_soon_forgotten(
    fake: FakeIssuer, issuer: Issuer, clock: SimpleNamespace
) -> None:
    issuer.caller(fake.token())
    fake.keys = [public_jwk("RS256", "second")]
    clock.now += oidc.FRESH_SECONDS
    assert "does not have" in refusal(issuer, fake.token())


def test_many_bad_tokens_do_not_make_many_fetches(
    fake: FakeIssuer, issuer: Issuer, clock: SimpleNamespace
) -> None:
    issuer.caller(fake.token())
    _, payload, signature = fake.token().split(".")
    for seconds in range(1, 101):
        clock.now = 1000 + seconds / 5
        bad = segment({"alg": "RS256", "kid": f"{seconds}"})
        refusal(issuer, f"{bad}.{payload}.{signature}")
    assert fake.fetches == 3  # at 1000, 1010 and 1020


def test_an_issuer_that_is_away_at_first(
    fake: FakeIssuer, issuer: Issuer, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    fake.status = 500
    for _ in range(3):
        with pytest.raises(Unavailable):
            issuer.caller(fake.token())
    assert len(fake.asked) == 1
    assert "answers 500" in caplog.text
    refusal(issuer, fake.token(iss="https://elsewhere.example"))
    fake.status = 200
    clock.now += oidc.PAUSE_SECONDS
    assert issuer.caller(fake.token())


def test_known_keys_go_on_working_without_the_issuer(
    fake: FakeIssuer, issuer: Issuer, clock: SimpleNamespace
) -> None:
    issuer.caller(fake.token())
    fake.status = 500
    clock.now += oidc.FRESH_SECONDS
    assert issuer.caller(fake.token())
    with pytest.raises(Unavailable):
        issuer.caller(fake.token(key="second"))
    clock.now = 1000 + oidc.STALE_SECONDS
    with pytest.raises(Unavailable):
        issuer.caller(fake.token())


def test_an_issuer_that_nobody_listens_for() -> None:
    fake = FakeIssuer()
    issuer, token = trusting(fake), fake.token()
    fake.close()
    with pytest.raises(Unavailable, match="Try again"):
        issuer.caller(token)


def test_callers_that_come_together_share_a_fetch(fake: FakeIssuer, issuer: Issuer) -> None:
    with ThreadPoolExecutor(5) as pool:
        callers = list(pool.map(issuer.caller, [fake.token()] * 5))
    assert len(callers) == 5
    assert fake.fetches == 1


@pytest.mark.parametrize(("places", "key"), [(8, "first"), (1, "first"), (1, "third")])
def test_an_issuer_that_hangs_holds_up_few(
    fake: FakeIssuer,
    clock: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    places: int,
    key: str,
) -> None:
    """Nobody whose key is known, and no more than there are places for."""
    monkeypatch.setattr(oidc, "MAX_WAITING", places)
    issuer = trusting(fake)
    issuer.caller(fake.token())
    clock.now += oidc.FRESH_SECONDS
    reached, answer = threading.Event(), threading.Event()

    def hang() -> None:
        reached.set()
        answer.wait(10)

    fake.before_answering = hang
    with ThreadPoolExecutor(1) as pool:
        held_up = pool.submit(issuer.caller, fake.token(key="second"))
        reached.wait(10)
        began = time.monotonic()
        try:
            assert issuer.caller(fake.token(key=key)) and key == "first"
        except Unavailable:
            assert key == "third"
        assert time.monotonic() - began < oidc.FETCH_SECONDS / 2
        answer.set()
        assert isinstance(held_up.exception(), Unauthenticated)


@pytest.mark.parametrize(
    ("discovery", "said"),
    [
        ({"issuer": "https://elsewhere.example"}, "calls itself"),
        ({"jwks_uri": "http://192.0.2.1/keys"}, "neither https nor"),
        ({"jwks_uri": "file:///etc/passwd"}, "neither https nor"),
        ({"jwks_uri": None}, "jwks_uri"),
        ({"issuer": "x" * oidc.MAX_BYTES}, "longer than"),
    ],
)
def test_a_discovery_that_cannot_be_trusted(
    fake: FakeIssuer,
    issuer: Issuer,
    caplog: pytest.LogCaptureFixture,
    discovery: Json,
    said: str,
) -> None:
    fake.discovery = discovery
    with pytest.raises(Unavailable):
        issuer.caller(fake.token())
    assert said in caplog.text
    assert fake.fetches == 0


@pytest.mark.parametrize(
    "keys", [None, [], ["x"], [{"kty": "RSA"}], [{"kty": "RSA", "alg": ["x"]}]]
)
def test_a_key_document_that_holds_no_key(fake: FakeIssuer, issuer: Issuer, keys: Any) -> None:
    fake.keys = keys
    with pytest.raises(Unavailable):
        issuer.caller(fake.token())


def test_redirects_are_not_followed(fake: FakeIssuer, issuer: Issuer) -> None:
    fake.status = 302
    with pytest.raises(Unavailable):
        issuer.caller(fake.token())
    assert fake.asked == ["/.well-known/openid-configuration"]


# --- a server with an issuer --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"oidc_audience": ""}, "set both"),
        ({"oidc_issuer": ""}, "set both"),
        ({"oidc_issuer": "http://issuer.example"}, "https"),
        ({"oidc_issuer": "issuer.example"}, "https"),
        ({"oidc_issuer": "https://"}, "https"),
        ({"oidc_issuer": "https://[x"}, "https"),
        ({"oidc_issuer": "file:///etc/passwd"}, "https"),
        ({"oidc_scopes": "infer,fly"}, "KAMERTON_OIDC_SCOPES: fly"),
        ({"oidc_admins": "ann x.org"}, "KAMERTON_OIDC_ADMINS"),
        ({"oidc_leeway_seconds": -1.0}, "LEEWAY"),
        ({"oidc_leeway_seconds": float("nan")}, "LEEWAY"),
        ({"groups": "team@x.org"}, "KAMERTON_GROUPS"),
        ({"groups": "team@x.org ann@x.org"}, "KAMERTON_GROUPS"),
        ({"owner": "two words"}, "KAMERTON_OWNER"),
    ],
)
def test_a_server_does_not_start_with_what_cannot_be(
    tmp_path: Path, settings: Json, said: str
) -> None:
    good: Json = {"oidc_issuer": "https://issuer.example", "oidc_audience": AUDIENCE}
    with pytest.raises(InvalidArgument) as caught:
        app.build(Settings(**{"data": tmp_path / "data", **good, **settings}))
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert not (tmp_path / "data").exists()


def test_the_bearer_decides_and_brings_both_kinds_of_groups(
    app: FakeApp, fake: FakeIssuer, issuer: Issuer
) -> None:
    app.issuer = issuer
    app.settings = replace(app.settings, groups="staff@x.org=ann@x.org")
    _, key = credentials.create(app.settings, "key", owner="bob@x.org")
    caller = access.authenticate(app, bearer=fake.token(groups=["team@x.org"]), key=key)
    assert caller.owner == "ann@x.org"
    assert caller.groups == {"staff@x.org", "team@x.org"}
    with pytest.raises(Unauthenticated):
        access.authenticate(app, bearer=fake.token(exp=1), key=key)


def test_the_issuer_is_asked_about_nothing_else(app: FakeApp, fake: FakeIssuer) -> None:
    class Untouchable:
        def caller(self, token: str) -> Caller:
            raise AssertionError(token)

    app.issuer = Untouchable()  # type: ignore[assignment]
    for text in ("kam-a.b.c", "kamt-a.b.c", "a.b", "a.b.c.d", "ya29.abc"):
        with pytest.raises(Unauthenticated, match="kamerton tokens create"):
            access.authenticate(app, bearer=text, key=None)
    with pytest.raises(InvalidKey, match="Authorization: Bearer"):
        access.authenticate(app, bearer=None, key=fake.token())


def test_without_an_issuer_no_jwt_is_good(app: FakeApp, fake: FakeIssuer) -> None:
    with pytest.raises(Unauthenticated):
        access.authenticate(app, bearer=fake.token(), key=None)
