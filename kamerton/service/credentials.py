"""API keys and bearer tokens: made, listed, revoked and checked; a secret is shown once and kept
as a hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from kamerton.errors import InvalidArgument, NotFound
from kamerton.service import emails
from kamerton.settings import Settings
from kamerton.store import credentials as store
from kamerton.store.database import Database
from kamerton.types import Credential, CredentialKind, Scope

PREFIXES: dict[CredentialKind, str] = {"key": "kam-", "token": "kamt-"}
SCOPES: frozenset[Scope] = frozenset({"infer", "tuning", "admin"})


def create(
    settings: Settings,
    kind: CredentialKind,
    *,
    owner: str,
    scopes: frozenset[Scope],
    lifetime: timedelta | None = None,
) -> tuple[Credential, str]:
    """A new key or token and its secret, which nobody can show again."""
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_address())
    try:
        database.migrate()
        return create_in(database, kind, owner=owner, scopes=scopes, lifetime=lifetime)
    finally:
        database.close()


def list_(settings: Settings, kind: CredentialKind) -> list[Credential]:
    """Oldest first."""
    with _existing(settings) as database:
        return store.list_(database, kind)


def revoke(settings: Settings, kind: CredentialKind, id: str) -> None:
    """In force with the next request. Raises NotFound."""
    with _existing(settings) as database:
        if not store.delete_(database, kind, id):
            raise NotFound(f"There is no {kind} {id}. See: kamerton {kind}s list")


def create_in(
    database: Database,
    kind: CredentialKind,
    *,
    owner: str,
    scopes: frozenset[Scope],
    lifetime: timedelta | None = None,
) -> tuple[Credential, str]:
    """`create` in an open database."""
    if unknown := scopes - SCOPES:
        raise InvalidArgument.of(
            "scope", f"{', '.join(sorted(unknown))} is none of infer, tuning, admin"
        )
    now = datetime.now(UTC)
    credential = Credential(
        id=secrets.token_hex(6),
        kind=kind,
        owner=emails.checked("owner", owner),
        scopes=scopes | {"infer"},
        create_time=now,
        expire_time=None if lifetime is None else now + lifetime,
    )
    secret = secrets.token_urlsafe(32)
    store.add(database, credential, _hash(secret))
    return credential, f"{PREFIXES[kind]}{credential.id}-{secret}"


def create_first(database: Database, owner: str) -> str | None:
    """The secret of a key that may do everything; None when there are credentials already."""
    if store.count(database):
        return None
    return create_in(database, "key", owner=owner, scopes=SCOPES)[1]


def find(database: Database, text: str) -> Credential | None:
    """The key or token that `text` is the secret of; None also when it has expired."""
    kind: CredentialKind = "token" if text.startswith(PREFIXES["token"]) else "key"
    id, dash, secret = text.removeprefix(PREFIXES[kind]).partition("-")
    if not (text.startswith(PREFIXES[kind]) and dash and len(id) <= 16):
        return None
    found = store.find(database, id)
    # Compared also when there is none: how long it takes must not tell which ids exist.
    expected = found[1] if found else _hash("")
    matches = hmac.compare_digest(_hash(secret), expected)
    if found is None or not matches or found[0].kind != kind:
        return None
    expires = found[0].expire_time
    return found[0] if expires is None or datetime.now(UTC) < expires else None


@contextmanager
def _existing(settings: Settings) -> Iterator[Database]:
    if not settings.database_url and not (settings.data / "kamerton.db").exists():
        raise NotFound(f"There is no server data in {settings.data}. Name the folder with --data.")
    database = Database(settings.database_address())
    try:
        yield database
    finally:
        database.close()


def _hash(secret: str) -> str:
    # 256 random bits need no slow password hash.
    return hashlib.sha256(secret.encode()).hexdigest()
