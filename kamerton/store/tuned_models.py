"""Tuned models and their snapshots, as rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, delete, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session

from kamerton.errors import AlreadyExists
from kamerton.store import permissions
from kamerton.store.database import (
    Database,
    OperationRow,
    PermissionRow,
    SeenSnapshots,
    SnapshotRow,
    TunedModelRow,
    page,
)
from kamerton.types import (
    Budget,
    Caller,
    EarlyStopping,
    Failure,
    Holdout,
    Hyperparameters,
    PermissionRole,
    Place,
    Snapshot,
    State,
    TunedModel,
)


def get(database: Database, id: str) -> TunedModel | None:
    """The tuned model with its snapshots."""
    with database.read() as session:
        row = session.scalar(select(TunedModelRow).where(TunedModelRow.id == id))
        return None if row is None else noun(session, row)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tuned models a list has; everything must hold."""

    words: tuple[str, ...] = ()
    """Each in the display name or the description."""
    held: tuple[tuple[Caller, PermissionRole], ...] = ()
    """Callers who must have at least that role by their own name or by a group's."""
    everyone: bool = False
    """Shared with everyone."""


def list_(
    database: Database, filter: Filter, page_size: int, after: Place | None
) -> tuple[list[TunedModel], Place | None]:
    """Newest first, and where the next page begins."""
    query = select(TunedModelRow).where(*_conditions(filter))
    place = tuple_(TunedModelRow.create_time, TunedModelRow.uid)
    if after is not None:
        query = query.where(place < tuple_(*after))
    query = query.order_by(TunedModelRow.create_time.desc(), TunedModelRow.uid.desc())
    with database.read() as session:
        rows = session.scalars(query.limit(page_size + 1)).all()
        shown, next_ = page(rows, page_size, lambda row: (row.create_time, row.uid))
        return [noun(session, row) for row in shown], next_


def patch(database: Database, uid: str, changes: Mapping[str, Any]) -> TunedModel | None:
    """Set columns by name; None when the model is gone."""
    with database.write() as session:
        row = session.get(TunedModelRow, uid)
        if row is None:
            return None
        for name, value in changes.items():
            setattr(row, name, list(value) if isinstance(value, tuple) else value)
        row.update_time = datetime.now(UTC)
        return noun(session, row)


def delete_(database: Database, uid: str) -> None:
    """Its snapshots and operations go with it; the id is free again."""
    with database.write() as session:
        session.execute(delete(TunedModelRow).where(TunedModelRow.uid == uid))


def uids(database: Database) -> set[str]:
    """Of all tuned models there are."""
    with database.read() as session:
        return set(session.scalars(select(TunedModelRow.uid)))


def check_free(session: Session, id: str) -> None:
    """Raises AlreadyExists when there is a tuned model of that id."""
    if session.scalar(select(TunedModelRow.uid).where(TunedModelRow.id == id)):
        raise AlreadyExists(
            f"tunedModels/{id} already exists. Choose another id, or delete it first."
        )


def add(session: Session, model: TunedModel, owner: str) -> None:
    """Raises AlreadyExists when the id is taken."""
    check_free(session, model.id)
    session.add(
        TunedModelRow(
            uid=model.uid,
            id=model.id,
            base_model=model.base_model,
            asked_base_model=model.asked_base_model,
            source=model.source,
            display_name=model.display_name,
            description=model.description,
            state=model.state.value,
            hyperparameters=asdict(model.hyperparameters),
            example_count=model.example_count,
            total_steps=model.total_steps,
            truncated_example_count=model.truncated_example_count,
            temperature=model.temperature,
            top_p=model.top_p,
            top_k=model.top_k,
            reader_project_numbers=list(model.reader_project_numbers),
            create_time=model.create_time,
            update_time=model.update_time,
            budget=asdict(model.budget),
            holdout=None if model.holdout is None else asdict(model.holdout),
            held_out_count=model.held_out_count,
            held_out_rows=list(model.held_out_rows),
            report=model.report,
            stop_reason=model.stop_reason,
            early_stopping=asdict(model.early_stopping),
            reasons=dict(model.reasons),
        )
    )
    session.flush()
    permissions.grant(session, model.uid, "USER", owner, "OWNER")


def pending(session: Session) -> int:
    """How many runs wait or train."""
    query = select(func.count()).select_from(OperationRow).where(OperationRow.done.is_(False))
    return session.scalar(query) or 0


def noun(session: Session, row: TunedModelRow) -> TunedModel:
    """A row and its snapshots as the noun."""
    failure = None
    if row.failure_kind is not None:
        failure = Failure(
            row.failure_kind,
            row.failure_message or "",
            row.failure_reason,
            row.failure_step,
            row.failure_row,
        )
    return TunedModel(
        id=row.id,
        uid=row.uid,
        base_model=row.base_model,
        asked_base_model=row.asked_base_model,
        state=State(row.state),
        # What newer versions have beside it has its defaults in older rows; JSON has no tuples.
        hyperparameters=msgspec.convert(row.hyperparameters, Hyperparameters),
        example_count=row.example_count,
        total_steps=row.total_steps,
        temperature=row.temperature,
        top_p=row.top_p,
        top_k=row.top_k,
        create_time=row.create_time,
        update_time=row.update_time,
        source=row.source,
        display_name=row.display_name,
        description=row.description,
        reader_project_numbers=tuple(row.reader_project_numbers),
        truncated_example_count=row.truncated_example_count,
        start_time=row.start_time,
        complete_time=row.complete_time,
        failure=failure,
        snapshots=_snapshots(session, row.uid, State(row.state) is not State.CREATING),
        budget=Budget(**row.budget),
        holdout=None if row.holdout is None else Holdout(**row.holdout),
        held_out_count=row.held_out_count,
        held_out_rows=tuple(row.held_out_rows),
        report=row.report,
        stop_reason=row.stop_reason,
        early_stopping=EarlyStopping(**row.early_stopping),
        kept_step=row.kept_step,
        verdict=row.verdict,
        reasons=tuple(row.reasons.items()),
    )


def _snapshots(session: Session, uid: str, is_over: bool) -> tuple[Snapshot, ...]:
    """By step; only those that this process has not seen yet are read, and once all of them when
    the run is over: a held-out loss may have been measured late."""
    seen: SeenSnapshots = session.info[SeenSnapshots]
    key = f"{uid} over" if is_over else uid
    old = seen.get(key)
    query = (
        select(*(getattr(SnapshotRow, field.name) for field in fields(Snapshot)))
        .where(SnapshotRow.uid == uid, SnapshotRow.step > (old[-1].step if old else 0))
        .order_by(SnapshotRow.step)
    )
    new = tuple(Snapshot(*columns) for columns in session.execute(query))
    if not new:
        return old
    seen.put(key, old + new)
    return old + new


def _conditions(filter: Filter) -> Iterator[ColumnElement[bool]]:
    yield from map(_mentions, filter.words)
    for caller, role in filter.held:
        yield has_permission(
            permissions.names(caller), PermissionRow.role.in_(permissions.at_least(role))
        )
    if filter.everyone:
        yield has_permission(PermissionRow.grantee_type == "EVERYONE")


def has_permission(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """True of tuned models with a permission of which all that holds."""
    return exists().where(PermissionRow.uid == TunedModelRow.uid, *conditions)


def _mentions(word: str) -> ColumnElement[bool]:
    return or_(
        TunedModelRow.display_name.icontains(word, autoescape=True),
        TunedModelRow.description.icontains(word, autoescape=True),
    )
