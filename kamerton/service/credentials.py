"""API keys and bearer tokens: made, listed, revoked and checked; a secret is shown once and kept
as a hash."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import cast

from kamerton.errors import InvalidArgument, NotFound
from kamerton.service import emails
from kamerton.settings import Settings
from kamerton.store import credentials as store
from kamerton.store.database import Database
from kamerton.types import Credential, CredentialKind, Scope

PREFIXES: dict[CredentialKind, str] = {"key": "kam-", "token": "kamt-"}
SCOPES: frozenset[Scope] = frozenset({"infer", "tuning", "admin"})
DEFAULT_SCOPES: dict[CredentialKind, frozenset[Scope]] = {
    "key": frozenset({"infer"}),
    "token": frozenset({"infer", "tuning"}),
}
_SECRET = re.compile(r"(kamt?-)([0-9a-f]{12})-([A-Za-z0-9_-]{43})")


def create(
    settings: Settings,
    kind: CredentialKind,
    *,
    owner: str,
    scopes: Iterable[str] | None = None,
    expire_time: datetime | None = None,
) -> tuple[Credential, str]:
    """A new key or token and its secret, which nobody can show again.

    Without scopes it gets those that its kind has by default; every credential may infer.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_address())
    try:
        database.migrate()
        return create_in(database, kind, owner=owner, scopes=scopes, expire_time=expire_time)
    finally:
        database.close()


def list_(settings: Settings, kind: CredentialKind) -> list[Credential]:
    """Oldest first."""
    with _existing(settings) as database:
        return store.list_(database, kind)


def revoke(settings: Settings, kind: CredentialKind, text: str) -> str:
    """In force with the next request. Takes the id or the secret, and returns the id.

    Raises NotFound.
    """
    id = text.removeprefix(PREFIXES[kind]).partition("-")[0]
    with _existing(settings) as database:
        if not store.delete_(database, kind, id):
            raise NotFound(f"There is no {kind} {id}. See: kamerton {kind}s list")
    return id


def create_in(
    database: Database,
    kind: CredentialKind,
    *,
    owner: str,
    scopes: Iterable[str] | None = None,
    expire_time: datetime | None = None,
) -> tuple[Credential, str]:
    """`create` in an open database."""
    now = datetime.now(UTC)
    if expire_time is not None and expire_time <= now:
        raise InvalidArgument.of("expires", "must be in the future")
    chosen = DEFAULT_SCOPES[kind] if scopes is None else checked_scopes("scope", scopes)
    credential = Credential(
        id=secrets.token_hex(6),
        kind=kind,
        owner=emails.checked("owner", owner),
        scopes=chosen,
        create_time=now,
        expire_time=expire_time,
    )
    secret = secrets.token_urlsafe(32)
    store.add(database, credential, _hash(secret))
    return credential, f"{PREFIXES[kind]}{credential.id}-{secret}"


def create_first(database: Database, owner: str) -> str | None:
    """The secret of a key that may do everything; None when there are credentials already."""
    if store.count(database):
        return None
    return create_in(database, "key", owner=owner, scopes=SCOPES)[1]


def checked_scopes(field: str, names: Iterable[str]) -> frozenset[Scope]:
    """The scopes of those names, and infer, which everybody has. Raises InvalidArgument."""
    chosen = frozenset(names)
    if unknown := chosen - SCOPES:
        raise InvalidArgument.of(
            field, f"{', '.join(sorted(unknown))} is none of infer, tuning, admin"
        )
    return cast("frozenset[Scope]", chosen) | {"infer"}


def find(database: Database, text: str) -> Credential | None:
    """The key or token that `text` is the secret of; also one that has expired."""
    parts = _SECRET.fullmatch(text)
    if parts is None:
        return None
    prefix, id, secret = parts.groups()
    found = store.find(database, id)
    # Compared also when there is none: how long it takes must not tell which ids exist.
    expected = found[1] if found else _hash("")
    matches = hmac.compare_digest(_hash(secret), expected)
    return found[0] if found and matches and PREFIXES[found[0].kind] == prefix else None


def has_expired(credential: Credential) -> bool:
    return credential.expire_time is not None and credential.expire_time <= datetime.now(UTC)


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
