"""The story of a run, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from kamerton.store.database import Database, EventRow
from kamerton.types import Event


def add(session: Session, uid: str, kind: str, message: str, step: int | None = None) -> None:
    """The next line. The caller's transaction is alone among writers."""
    last = session.scalar(select(func.max(EventRow.number)).where(EventRow.uid == uid)) or 0
    session.add(
        EventRow(
            uid=uid,
            number=last + 1,
            time=datetime.now(UTC),
            kind=kind,
            message=message,
            step=step,
        )
    )
    session.flush()


def has(session: Session, uid: str, kind: str, step: int | None) -> bool:
    """Whether there is such a line already."""
    same = (EventRow.uid == uid, EventRow.kind == kind, EventRow.step.is_not_distinct_from(step))
    return session.scalar(select(EventRow.number).where(*same).limit(1)) is not None


def list_(database: Database, uid: str, after: int, most: int) -> Sequence[Event]:
    """Those with a higher number than `after`, in their order."""
    query = (
        select(EventRow)
        .where(EventRow.uid == uid, EventRow.number > after)
        .order_by(EventRow.number)
        .limit(most)
    )
    with database.read() as session:
        return [
            Event(row.number, row.time, row.kind, row.message, row.step)
            for row in session.scalars(query)
        ]
