"""Who may do what with a tuned model, as rows."""

from __future__ import annotations

import secrets

from sqlalchemy import ColumnElement, and_, delete, or_, select
from sqlalchemy.orm import Session

from kamerton.errors import AlreadyExists, PermissionDenied
from kamerton.store.database import Database, PermissionRow, TunedModelRow, page
from kamerton.types import NO_TIME, Caller, GranteeType, Permission, PermissionRole, Place

ROLES: tuple[PermissionRole, ...] = ("READER", "WRITER", "OWNER")
"""Each includes the ones before it."""


def at_least(role: PermissionRole) -> tuple[PermissionRole, ...]:
    """The roles that include `role`."""
    return ROLES[ROLES.index(role) :]


def role(database: Database, uid: str, caller: Caller) -> PermissionRole | None:
    """The highest that the caller has, be it as a user, in a group or as one of everyone."""
    with database.read() as session:
        return _role(session, uid, caller)


def _role(session: Session, uid: str, caller: Caller) -> PermissionRole | None:
    reaches = or_(names(caller), PermissionRow.grantee_type == "EVERYONE")
    query = select(PermissionRow.role).where(PermissionRow.uid == uid, reaches)
    held = set(session.scalars(query))
    return max((role for role in ROLES if role in held), key=ROLES.index, default=None)


def _check_still(session: Session, uid: str, by: Caller | None, least: PermissionRole) -> None:
    """Whoever was allowed to change a permission must be so when it changes: somebody else may
    have been quicker. `by` None is an administrator."""
    if by is not None and _role(session, uid, by) not in at_least(least):
        raise PermissionDenied("Your role on this tuned model was changed a moment ago.")


def names(caller: Caller) -> ColumnElement[bool]:
    """True of rows that name the caller or one of their groups."""
    return or_(
        and_(PermissionRow.grantee_type == "USER", PermissionRow.email == caller.owner),
        and_(PermissionRow.grantee_type == "GROUP", PermissionRow.email.in_(caller.groups)),
    )


def list_(
    database: Database, uid: str, page_size: int, after: Place | None
) -> tuple[list[Permission], Place | None]:
    """In the order of their ids, and where the next page begins."""
    query = select(PermissionRow).where(PermissionRow.uid == uid).order_by(PermissionRow.id)
    if after is not None:
        query = query.where(PermissionRow.id > after[1])
    with database.read() as session:
        rows = session.scalars(query.limit(page_size + 1)).all()
    shown, next_ = page(rows, page_size, lambda row: (NO_TIME, row.id))
    return [_noun(row) for row in shown], next_


def get(database: Database, uid: str, id: str) -> Permission | None:
    with database.read() as session:
        row = session.get(PermissionRow, (uid, id))
        return None if row is None else _noun(row)


def add(
    database: Database,
    uid: str,
    grantee_type: GranteeType,
    email: str,
    role: PermissionRole,
    by: Caller | None,
) -> Permission | None:
    """Raises AlreadyExists when the grantee has one; None when the model is gone."""
    with database.write() as session:
        if session.get(TunedModelRow, uid) is None:
            return None
        _check_still(session, uid, by, "WRITER")
        if found := _held_by(session, uid, grantee_type, email):
            raise AlreadyExists(
                f"{email or 'everyone'} has the role {found.role} here already, as permission "
                f"{found.id}; change that one instead."
            )
        return _noun(grant(session, uid, grantee_type, email, role))


def grant(
    session: Session, uid: str, grantee_type: GranteeType, email: str, role: PermissionRole
) -> PermissionRow:
    """A new row in a transaction of the caller's."""
    id = str(10**17 + secrets.randbelow(9 * 10**17))
    row = PermissionRow(uid=uid, id=id, grantee_type=grantee_type, email=email, role=role)
    session.add(row)
    return row


def patch(
    database: Database, uid: str, id: str, role: PermissionRole, by: Caller | None
) -> Permission | None:
    """Change the role of anyone but the owner; None when there is no such permission."""
    with database.write() as session:
        _check_still(session, uid, by, "WRITER")
        row = session.get(PermissionRow, (uid, id))
        if row is None or row.role == "OWNER":
            return None
        row.role = role
        return _noun(row)


def delete_(database: Database, uid: str, id: str, by: Caller | None) -> bool:
    """False when there is none, or when it is the owner's."""
    query = delete(PermissionRow).where(
        PermissionRow.uid == uid, PermissionRow.id == id, PermissionRow.role != "OWNER"
    )
    with database.write() as session:
        _check_still(session, uid, by, "WRITER")
        return session.scalar(query.returning(PermissionRow.id)) is not None


def transfer(database: Database, uid: str, email: str, by: Caller | None) -> None:
    """Make a user the owner; the former owner becomes WRITER."""
    with database.write() as session:
        _check_still(session, uid, by, "OWNER")
        query = select(PermissionRow).where(PermissionRow.uid == uid, PermissionRow.role == "OWNER")
        owner = session.scalar(query)
        if owner is None or owner.email == email:
            return
        owner.role = "WRITER"
        heir = _held_by(session, uid, "USER", email)
        if heir is None:
            grant(session, uid, "USER", email, "OWNER")
        else:
            heir.role = "OWNER"


def _held_by(
    session: Session, uid: str, grantee_type: GranteeType, email: str
) -> PermissionRow | None:
    return session.scalar(
        select(PermissionRow).where(
            PermissionRow.uid == uid,
            PermissionRow.grantee_type == grantee_type,
            PermissionRow.email == email,
        )
    )


def _noun(row: PermissionRow) -> Permission:
    return Permission(row.id, row.grantee_type, row.email, row.role)
