"""API keys and bearer tokens, as rows: who owns them and what they allow, never what they are."""

from __future__ import annotations

from sqlalchemy import delete, func, select

from kamerton.store.database import CredentialRow, Database
from kamerton.types import Credential, CredentialKind


def add(database: Database, credential: Credential, secret_hash: str) -> None:
    with database.write() as session:
        session.add(
            CredentialRow(
                id=credential.id,
                kind=credential.kind,
                secret_hash=secret_hash,
                owner=credential.owner,
                scopes=sorted(credential.scopes),
                create_time=credential.create_time,
                expire_time=credential.expire_time,
            )
        )


def find(database: Database, id: str) -> tuple[Credential, str] | None:
    """The credential and the hash of its secret."""
    with database.read() as session:
        row = session.get(CredentialRow, id)
        return None if row is None else (_noun(row), row.secret_hash)


def list_(database: Database, kind: CredentialKind) -> list[Credential]:
    """Oldest first."""
    query = select(CredentialRow).where(CredentialRow.kind == kind)
    with database.read() as session:
        return [_noun(row) for row in session.scalars(query.order_by(CredentialRow.create_time))]


def count(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(CredentialRow)) or 0


def delete_(database: Database, kind: CredentialKind, id: str) -> bool:
    """False when there is none."""
    query = delete(CredentialRow).where(CredentialRow.id == id, CredentialRow.kind == kind)
    with database.write() as session:
        return session.scalar(query.returning(CredentialRow.id)) is not None


def _noun(row: CredentialRow) -> Credential:
    return Credential(
        id=row.id,
        kind=row.kind,
        owner=row.owner,
        scopes=frozenset(row.scopes),
        create_time=row.create_time,
        expire_time=row.expire_time,
    )
