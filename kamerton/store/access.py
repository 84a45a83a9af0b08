"""API keys, as rows: who owns them and what they allow, never what they are."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import delete, func, select

from kamerton.store.database import Database, KeyRow
from kamerton.types import Key, Scope


def add_key(
    database: Database, id: str, secret_hash: str, owner: str, scopes: frozenset[Scope]
) -> Key:
    key = Key(id, owner, scopes, datetime.now(UTC))
    with database.write() as session:
        session.add(
            KeyRow(
                id=id,
                secret_hash=secret_hash,
                owner=owner,
                scopes=sorted(scopes),
                create_time=key.create_time,
            )
        )
    return key


def find_key(database: Database, id: str) -> tuple[Key, str] | None:
    """The key and the hash of its secret."""
    with database.read() as session:
        row = session.get(KeyRow, id)
        return None if row is None else (_noun(row), row.secret_hash)


def list_keys(database: Database) -> list[Key]:
    """Oldest first."""
    with database.read() as session:
        return [_noun(row) for row in session.scalars(select(KeyRow).order_by(KeyRow.create_time))]


def count_keys(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(KeyRow)) or 0


def delete_key(database: Database, id: str) -> bool:
    """False when there is none."""
    with database.write() as session:
        gone = session.scalar(delete(KeyRow).where(KeyRow.id == id).returning(KeyRow.id))
        return gone is not None


def _noun(row: KeyRow) -> Key:
    return Key(row.id, row.owner, frozenset(row.scopes), row.create_time)
