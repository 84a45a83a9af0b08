"""Operations, which are also the queue: add, claim, renew, record, finish.

A worker claims a row under a lease; every later write names the worker and the attempt, so one
that lost its lease changes nothing ("fencing"). Those writes return False then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, insert, or_, select, tuple_, update
from sqlalchemy.orm import Session

from kamerton.errors import CANCELLED, Cancelled, ResourceExhausted
from kamerton.store import tuned_models
from kamerton.store.database import Database, OperationRow, SnapshotRow, TunedModelRow, page
from kamerton.store.permissions import names
from kamerton.store.tuned_models import has_permission, noun
from kamerton.types import Caller, Failure, Operation, Place, Snapshot, State, TunedModel


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to one run."""

    operation_id: str
    worker: str
    attempt: int
    attempts_without_progress: int
    """How often it was claimed, this time included, since it last got a step further."""
    tuned_model: TunedModel
    cancelled: bool
    """Somebody wanted it to end when its last worker died."""


def add(database: Database, operation: Operation, owner: str, max_pending: int) -> None:
    """Store a new tuned model with its owner and its operation, or nothing.

    Raises AlreadyExists when the id is taken, ResourceExhausted when the queue is full.
    """
    model = operation.tuned_model
    with database.write() as session:
        _check_queue(session, max_pending)
        tuned_models.add(session, model, owner)
        session.add(
            OperationRow(
                id=operation.id,
                uid=model.uid,
                create_time=model.create_time,
                done=False,
                cancelled=False,
                attempt=0,
                attempts_without_progress=0,
            )
        )


def check_room(database: Database, tuned_model_id: str, max_pending: int) -> None:
    """Raises what `add` would raise at this moment."""
    with database.read() as session:
        _check_queue(session, max_pending)
        tuned_models.check_free(session, tuned_model_id)


def _check_queue(session: Session, max_pending: int) -> None:
    if tuned_models.pending(session) >= max_pending:
        raise ResourceExhausted(
            f"{max_pending} runs are waiting or training already. Try again when one is done."
        )


def get(database: Database, tuned_model_id: str, operation_id: str) -> Operation | None:
    with database.read() as session:
        found = session.execute(
            select(OperationRow, TunedModelRow)
            .join(TunedModelRow, TunedModelRow.uid == OperationRow.uid)
            .where(OperationRow.id == operation_id, TunedModelRow.id == tuned_model_id)
        ).one_or_none()
        return None if found is None else _noun(session, found[0], found[1])


def list_(
    database: Database,
    caller: Caller | None,
    tuned_model_id: str | None,
    page_size: int,
    after: Place | None,
) -> tuple[list[Operation], Place | None]:
    """Newest first, and where the next page begins; `caller` None means of everybody's tuned
    models, `tuned_model_id` None of all."""
    query = select(OperationRow, TunedModelRow).join(
        TunedModelRow, TunedModelRow.uid == OperationRow.uid
    )
    if caller is not None:
        query = query.where(has_permission(names(caller)))
    if tuned_model_id is not None:
        query = query.where(TunedModelRow.id == tuned_model_id)
    if after is not None:
        query = query.where(tuple_(OperationRow.create_time, OperationRow.id) < tuple_(*after))
    query = query.order_by(OperationRow.create_time.desc(), OperationRow.id.desc())
    with database.read() as session:
        rows = session.execute(query.limit(page_size + 1)).all()
        shown, next_ = page(rows, page_size, lambda both: (both[0].create_time, both[0].id))
        return [_noun(session, row, model) for row, model in shown], next_


def cancel(database: Database, uid: str) -> None:
    """Ask for an end of the run of a tuned model; one that nobody works on ends here."""
    with database.write() as session:
        row = session.scalar(
            select(OperationRow).where(OperationRow.uid == uid, OperationRow.done.is_(False))
        )
        if row is None:
            return
        row.cancelled = True
        if row.worker is None:
            _end(session, row, Failure(Cancelled.__name__, CANCELLED))


def claim(database: Database, worker: str, lease_seconds: float) -> Claim | None:
    """The oldest run that nobody holds, or whose holder has been silent too long."""
    now = datetime.now(UTC)
    with database.write() as session:
        row = session.scalar(
            select(OperationRow)
            .where(
                OperationRow.done.is_(False),
                or_(OperationRow.worker.is_(None), OperationRow.lease_until < now),
            )
            .order_by(OperationRow.create_time)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if row is None:
            return None
        row.worker = worker
        row.lease_until = now + timedelta(seconds=lease_seconds)
        row.attempt += 1
        row.attempts_without_progress += 1
        model = session.get_one(TunedModelRow, row.uid)
        model.start_time = model.start_time or now
        session.flush()
        return Claim(
            operation_id=row.id,
            worker=worker,
            attempt=row.attempt,
            attempts_without_progress=row.attempts_without_progress,
            tuned_model=noun(session, model),
            cancelled=row.cancelled,
        )


def exists(database: Database, claim: Claim) -> bool:
    """False once the tuned model was deleted."""
    with database.read() as session:
        return session.get(OperationRow, claim.operation_id) is not None


def renew(
    database: Database, claim: Claim, lease_seconds: float, snapshots: Sequence[Snapshot] = ()
) -> tuple[bool, bool]:
    """Prolong the lease and keep new snapshots; (still ours, somebody wants it cancelled).

    Steps that are there already stay as they are: what a client saw is never rewritten.
    """
    with database.write() as session:
        row = _held(session, claim)
        if row is None:
            return False, False
        row.lease_until = datetime.now(UTC) + timedelta(seconds=lease_seconds)
        if _keep(session, row.uid, snapshots):
            row.attempts_without_progress = 0
        return True, row.cancelled


def finish(database: Database, claim: Claim, stop_reason: str = "") -> bool:
    """The adapter is published: ACTIVE and done, in one transaction."""
    with database.write() as session:
        row = _held(session, claim)
        if row is None:
            return False
        session.get_one(TunedModelRow, row.uid).stop_reason = stop_reason
        _end(session, row, None)
        return True


def fail(database: Database, claim: Claim, failure: Failure) -> bool:
    """FAILED and done, in one transaction."""
    with database.write() as session:
        row = _held(session, claim)
        if row is None:
            return False
        _end(session, row, failure)
        return True


def release(database: Database, worker: str) -> None:
    """Give back what a worker held that is known to be dead, without waiting for its lease."""
    with database.write() as session:
        session.execute(
            update(OperationRow)
            .where(OperationRow.worker == worker, OperationRow.done.is_(False))
            .values(worker=None, lease_until=None)
        )


def _held(session: Session, claim: Claim) -> OperationRow | None:
    return session.scalar(
        select(OperationRow)
        .where(
            OperationRow.id == claim.operation_id,
            OperationRow.worker == claim.worker,
            OperationRow.attempt == claim.attempt,
            OperationRow.done.is_(False),
        )
        .with_for_update()
    )


def _keep(session: Session, uid: str, snapshots: Sequence[Snapshot]) -> bool:
    """Add the snapshots beyond the last one kept; True when there were any.

    A run that resumes may measure a step late that was told unmeasured: that loss is added.
    """
    last = session.scalar(select(func.max(SnapshotRow.step)).where(SnapshotRow.uid == uid)) or 0
    new = [snapshot for snapshot in snapshots if snapshot.step > last]
    losses = {s.step: s.held_out_loss for s in snapshots if s.step <= last}
    measured = [step for step, loss in losses.items() if loss is not None]
    if measured:
        unmeasured = select(SnapshotRow).where(
            SnapshotRow.uid == uid,
            SnapshotRow.held_out_loss.is_(None),
            SnapshotRow.step.in_(measured),
        )
        for row in session.scalars(unmeasured):
            row.held_out_loss = losses[row.step]
    if new:
        session.execute(
            insert(SnapshotRow),
            [
                {
                    "uid": uid,
                    "step": snapshot.step,
                    "epoch": snapshot.epoch,
                    "mean_loss": snapshot.mean_loss,
                    "compute_time": snapshot.compute_time,
                    "held_out_loss": snapshot.held_out_loss,
                }
                for snapshot in new
            ],
        )
    return bool(new)


def _end(session: Session, row: OperationRow, failure: Failure | None) -> None:
    now = datetime.now(UTC)
    row.done = True
    row.worker = None
    row.lease_until = None
    model = session.get_one(TunedModelRow, row.uid)
    model.update_time = now
    if failure is None:
        model.state = State.ACTIVE.value
        model.complete_time = now
    else:
        model.state = State.FAILED.value
        model.failure_kind = failure.kind
        model.failure_message = failure.message


def _noun(session: Session, row: OperationRow, model: TunedModelRow) -> Operation:
    return Operation(
        id=row.id, tuned_model=noun(session, model), done=row.done, cancelled=row.cancelled
    )
