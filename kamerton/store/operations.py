"""Operations, which are also the queue: add, claim, renew, record, finish.

A worker claims a row under a lease; every later write names the worker and the attempt, so one
that lost its lease changes nothing ("fencing"). Those writes return False then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, insert, or_, select, tuple_
from sqlalchemy.orm import Session

from kamerton.card import Card
from kamerton.errors import CANCELLED, Cancelled, ResourceExhausted
from kamerton.store import events, tuned_models
from kamerton.store.database import (
    CardRow,
    Database,
    OperationRow,
    SnapshotRow,
    TunedModelRow,
    page,
)
from kamerton.store.permissions import names
from kamerton.store.tuned_models import has_permission, noun
from kamerton.types import Caller, Failure, Operation, Place, Snapshot, State, TunedModel

CANCELLED_FAILURE = Failure(Cancelled.__name__, CANCELLED, "CANCELLED")


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
    keep: bool = False
    """And the best step so far to become the model."""
    micro_batch: int | None = None
    """Rows at once, where an attempt died for want of memory."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that belongs to the story of a run."""

    kind: str
    message: str
    step: int | None = None


@dataclass(frozen=True, slots=True)
class News:
    """What a worker has to tell of one of its runs."""

    claim: Claim
    snapshots: Sequence[Snapshot] = ()
    notes: Sequence[Note] = ()


@dataclass(frozen=True, slots=True)
class Hold:
    """What a worker must know of a run it works on."""

    ours: bool
    cancelled: bool = False
    keep: bool = False


TOLD_ONCE = frozenset({"baseline", "epoch"})
"""Events that a resumed run comes by once more."""


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
                keep=False,
            )
        )
        session.flush()
        events.add(session, model.uid, "queued", _plan(model))


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


def cancel(database: Database, uid: str, keep: bool = False) -> None:
    """Ask for an end of the run of a tuned model; one that nobody works on, and that has no steps
    to keep, ends here. What was asked first holds."""
    with database.write() as session:
        row = session.scalar(
            select(OperationRow).where(OperationRow.uid == uid, OperationRow.done.is_(False))
        )
        if row is None or row.cancelled:
            return
        row.cancelled, row.keep = True, keep
        asked = "Somebody asked for it to end" + (" and to keep what it has." if keep else ".")
        events.add(session, uid, "cancel_asked", asked)
        if row.worker is None and not (keep and _last_step(session, uid)):
            _end(session, row, CANCELLED_FAILURE)


def claim(
    database: Database,
    worker: str,
    lease_seconds: float,
    base_model: str | None = None,
    *,
    unsuspected: bool = False,
    besides: Sequence[str] = (),
) -> Claim | None:
    """The oldest run that nobody holds, or whose holder has been silent too long.

    None as well when that one is not of `base_model`, or is to be `unsuspected` and its last
    attempt died without a step of progress: nobody overtakes it, so its turn will come. `besides`
    are the ids of operations that the caller works on: after a pause of the whole machine their
    leases may have run out.
    """
    now = datetime.now(UTC)
    with database.write() as session:
        found = session.execute(
            select(OperationRow, TunedModelRow)
            .join(TunedModelRow, TunedModelRow.uid == OperationRow.uid)
            .where(
                OperationRow.done.is_(False),
                OperationRow.id.not_in(besides),
                or_(OperationRow.worker.is_(None), OperationRow.lease_until < now),
            )
            .order_by(OperationRow.create_time)
            .limit(1)
            .with_for_update(of=OperationRow, skip_locked=True)
        ).one_or_none()
        if found is None:
            return None
        row, model = found
        if base_model is not None and model.base_model != base_model:
            return None
        if unsuspected and row.attempts_without_progress:
            return None
        row.worker = worker
        row.lease_until = now + timedelta(seconds=lease_seconds)
        row.attempt += 1
        row.attempts_without_progress += 1
        model.start_time = model.start_time or now
        session.flush()
        if row.attempt == 1:
            events.add(session, row.uid, "started", "A worker has taken it.")
        else:
            events.add(session, row.uid, "taken_again", f"Attempt {row.attempt} begins.")
        return Claim(
            operation_id=row.id,
            worker=worker,
            attempt=row.attempt,
            attempts_without_progress=row.attempts_without_progress,
            tuned_model=noun(session, model),
            cancelled=row.cancelled,
            keep=row.keep,
            micro_batch=row.micro_batch,
        )


def exists(database: Database, claim: Claim) -> bool:
    """False once the tuned model was deleted."""
    with database.read() as session:
        return session.get(OperationRow, claim.operation_id) is not None


def renew(
    database: Database,
    claim: Claim,
    lease_seconds: float,
    snapshots: Sequence[Snapshot] = (),
    notes: Sequence[Note] = (),
) -> Hold:
    """`renew_all` for a single run."""
    (hold,) = renew_all(database, lease_seconds, [News(claim, snapshots, notes)])
    return hold


def renew_all(database: Database, lease_seconds: float, news: Sequence[News]) -> list[Hold]:
    """Prolong the leases of runs, keep their new snapshots and add to their stories, all in one
    transaction; what became of each, in the order of `news`.

    Steps that are there already stay as they are: what a client saw is never rewritten.
    """
    with database.write() as session:
        return [_renew(session, lease_seconds, told) for told in news]


def _renew(session: Session, lease_seconds: float, news: News) -> Hold:
    row = _held(session, news.claim)
    if row is None:
        return Hold(False)
    row.lease_until = datetime.now(UTC) + timedelta(seconds=lease_seconds)
    _tell(session, row.uid, news.notes)
    if _keep(session, row.uid, news.snapshots):
        row.attempts_without_progress = 0
    return Hold(True, row.cancelled, row.keep)


def give_back(database: Database, claim: Claim, note: Note, *, counts: bool = True) -> None:
    """Leave a run to whoever takes it next, and say why. Unless it `counts`, this attempt was not
    one: the run did not die of itself."""
    with database.write() as session:
        row = _held(session, claim)
        if row is None:
            return
        row.worker, row.lease_until = None, None
        if not counts:
            row.attempts_without_progress = max(0, row.attempts_without_progress - 1)
        events.add(session, row.uid, note.kind, note.message, note.step)


def halve(database: Database, claim: Claim, micro_batch: int) -> None:
    """Let so many rows at most go through the model at once from the next attempt on."""
    with database.write() as session:
        row = _held(session, claim)
        if row is not None:
            row.micro_batch = micro_batch


def finish(
    database: Database,
    claim: Claim,
    stop_reason: str = "",
    kept_step: int | None = None,
    verdict: str = "",
    card: Card | None = None,
) -> bool:
    """The adapter is published: ACTIVE and done, in one transaction. `verdict` is what the report
    card says in a sentence, or why there is none."""
    with database.write() as session:
        row = _held(session, claim)
        if row is None:
            return False
        model = session.get_one(TunedModelRow, row.uid)
        model.stop_reason, model.kept_step, model.verdict = stop_reason, kept_step, verdict
        if card is not None:
            session.merge(CardRow(uid=row.uid, card=card))
        if stop_reason:
            events.add(session, row.uid, "stopped_early", stop_reason)
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


def release(database: Database, worker: str, *, counts: bool = True) -> None:
    """Give back what a worker held that is known to be dead, without waiting for its lease.
    Unless it `counts`, the attempt was not one: the worker was stopped."""
    with database.write() as session:
        held = select(OperationRow).where(
            OperationRow.worker == worker, OperationRow.done.is_(False)
        )
        for row in session.scalars(held.with_for_update()):
            row.worker, row.lease_until = None, None
            if not counts:
                row.attempts_without_progress = max(0, row.attempts_without_progress - 1)
            events.add(session, row.uid, "worker_ended", "The worker that had it has ended.")


def card(database: Database, uid: str) -> Card | None:
    with database.read() as session:
        return session.scalar(select(CardRow.card).where(CardRow.uid == uid))


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
    last = _last_step(session, uid)
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
            [{"uid": uid, **asdict(snapshot)} for snapshot in new],
        )
    return bool(new)


def _last_step(session: Session, uid: str) -> int:
    return session.scalar(select(func.max(SnapshotRow.step)).where(SnapshotRow.uid == uid)) or 0


def _tell(session: Session, uid: str, notes: Sequence[Note]) -> None:
    for note in notes:
        if note.kind not in TOLD_ONCE or not events.has(session, uid, note.kind, note.step):
            events.add(session, uid, note.kind, note.message, note.step)


def _plan(model: TunedModel) -> str:
    chosen = model.hyperparameters
    held_out = f", {model.held_out_count} held out" if model.held_out_count else ""
    return (
        f"{model.example_count} examples{held_out}: {model.total_steps} steps in "
        f"{chosen.epoch_count} epochs, batches of {chosen.batch_size}, learning rate "
        f"{chosen.learning_rate:g}, base model {model.base_model}."
    )


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
        kept = "" if model.kept_step is None else f" with the weights of step {model.kept_step}"
        events.add(
            session, row.uid, "active", f"The model is ACTIVE{kept}. {model.verdict}".strip()
        )
    else:
        model.state = State.FAILED.value
        model.failure_kind = failure.kind
        model.failure_message = failure.message
        model.failure_reason = failure.reason
        model.failure_step = failure.step
        model.failure_row = failure.row
        events.add(session, row.uid, "failed", failure.message, failure.step)


def _noun(session: Session, row: OperationRow, model: TunedModelRow) -> Operation:
    return Operation(
        id=row.id,
        tuned_model=noun(session, model),
        done=row.done,
        cancelled=row.cancelled,
    )
