"""API keys: made, listed, revoked and checked; the secret is shown once and kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from kamerton.errors import InvalidArgument, NotFound
from kamerton.settings import Settings
from kamerton.store import access
from kamerton.store.database import Database
from kamerton.types import Key, Scope

PREFIX = "kam-"
SCOPES: frozenset[Scope] = frozenset({"infer", "tuning", "admin"})


def create(settings: Settings, *, owner: str, scopes: frozenset[Scope]) -> tuple[Key, str]:
    """A new key and its secret, which nobody can show again."""
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_address())
    try:
        database.migrate()
        return create_in(database, owner=owner, scopes=scopes)
    finally:
        database.close()


def list_(settings: Settings) -> list[Key]:
    """Oldest first."""
    database = _existing(settings)
    try:
        return access.list_keys(database)
    finally:
        database.close()


def revoke(settings: Settings, key_id: str) -> None:
    """In force with the next request. Raises NotFound."""
    database = _existing(settings)
    try:
        if not access.delete_key(database, key_id):
            raise NotFound(f"There is no key {key_id}. See: kamerton keys list")
    finally:
        database.close()


def create_in(database: Database, *, owner: str, scopes: frozenset[Scope]) -> tuple[Key, str]:
    """`create` on an open database."""
    if unknown := scopes - SCOPES:
        raise InvalidArgument.of(
            "scope", f"{', '.join(sorted(unknown))} is none of infer, tuning, admin"
        )
    if not owner.strip() or len(owner) > 320 or not owner.isprintable():
        raise InvalidArgument.of("owner", "must be an e-mail address")
    id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = access.add_key(database, id, _hash(secret), owner, scopes | {"infer"})
    return key, f"{PREFIX}{id}-{secret}"


def create_first(database: Database, owner: str) -> str | None:
    """The secret of a key that may do everything; None when there are keys already."""
    if access.count_keys(database):
        return None
    return create_in(database, owner=owner, scopes=SCOPES)[1]


def find(database: Database, text: str) -> Key | None:
    """The key that `text` is the secret of."""
    id, dash, secret = text.removeprefix(PREFIX).partition("-")
    if not (text.startswith(PREFIX) and dash and len(id) <= 16):
        return None
    found = access.find_key(database, id)
    # Compared also when there is none: how long it takes must not tell which ids exist.
    expected = found[1] if found else _hash("")
    matches = hmac.compare_digest(_hash(secret), expected)
    return found[0] if found and matches else None


def _existing(settings: Settings) -> Database:
    if not settings.database_url and not (settings.data / "kamerton.db").exists():
        raise NotFound(f"There is no server data in {settings.data}. Name the folder with --data.")
    return Database(settings.database_address())


def _hash(secret: str) -> str:
    # 256 random bits need no slow password hash.
    return hashlib.sha256(secret.encode()).hexdigest()
