"""The connection, the tables and their migrations."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    event,
    false,
)
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from kamerton.card import Card
from kamerton.errors import (
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from kamerton.findings import Report
from kamerton.types import CredentialKind, GranteeType, PermissionRole, Place, Snapshot

BUSY_SECONDS = 5.0
"""How long a writer waits for another before it gives up."""


T = TypeVar("T")
_MIGRATIONS = Path(__file__).with_name("migrations")


class UtcTime(TypeDecorator[datetime]):
    """Aware times in Python, UTC without a zone in the table."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class NounText(TypeDecorator[Any]):
    """JSON that is read straight into a noun, which is faster than by way of dictionaries."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value, type=self.kind)


class Table(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcTime, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class TunedModelRow(Table):
    """One tuned model; `uid` is what other tables and the disk know it by."""

    __tablename__ = "tuned_models"

    uid: Mapped[str] = mapped_column(String(32), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    base_model: Mapped[str]
    asked_base_model: Mapped[str]
    source: Mapped[str | None]
    display_name: Mapped[str]
    description: Mapped[str]
    state: Mapped[str] = mapped_column(String(16))
    hyperparameters: Mapped[dict[str, Any]]
    example_count: Mapped[int]
    total_steps: Mapped[int]
    truncated_example_count: Mapped[int]
    temperature: Mapped[float]
    top_p: Mapped[float]
    top_k: Mapped[int]
    reader_project_numbers: Mapped[list[Any]]
    create_time: Mapped[datetime] = mapped_column(index=True)
    update_time: Mapped[datetime]
    start_time: Mapped[datetime | None]
    complete_time: Mapped[datetime | None]
    failure_kind: Mapped[str | None]
    failure_message: Mapped[str | None]
    budget: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    holdout: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    held_out_count: Mapped[int] = mapped_column(server_default="0")
    held_out_rows: Mapped[list[Any]] = mapped_column(server_default="[]")
    report: Mapped[Report | None] = mapped_column(NounText(Report))
    stop_reason: Mapped[str] = mapped_column(server_default="")
    early_stopping: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    kept_step: Mapped[int | None]
    verdict: Mapped[str] = mapped_column(server_default="")
    failure_reason: Mapped[str] = mapped_column(String(64), server_default="")
    failure_step: Mapped[int | None]
    failure_row: Mapped[int | None]
    reasons: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class SnapshotRow(Table):
    """One step of a run."""

    __tablename__ = "snapshots"

    uid: Mapped[str] = mapped_column(
        ForeignKey("tuned_models.uid", ondelete="CASCADE"), primary_key=True
    )
    step: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    mean_loss: Mapped[float]
    compute_time: Mapped[datetime]
    held_out_loss: Mapped[float | None]
    start_loss: Mapped[float | None]
    smoothed_loss: Mapped[float | None]
    learning_rate: Mapped[float | None]
    gradient_norm: Mapped[float | None]
    trained_tokens: Mapped[int | None]
    tokens_per_second: Mapped[float | None]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)


class EventRow(Table):
    """One line of the story of a run."""

    __tablename__ = "events"

    uid: Mapped[str] = mapped_column(
        ForeignKey("tuned_models.uid", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    message: Mapped[str] = mapped_column(Text)
    step: Mapped[int | None]


class CardRow(Table):
    """The report card of a tuned model, apart from it: it is long, and rarely asked for."""

    __tablename__ = "cards"

    uid: Mapped[str] = mapped_column(
        ForeignKey("tuned_models.uid", ondelete="CASCADE"), primary_key=True
    )
    card: Mapped[Card] = mapped_column(NounText(Card))


class OperationRow(Table):
    """One operation, seen by the API as progress and by workers as work."""

    __tablename__ = "operations"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    uid: Mapped[str] = mapped_column(ForeignKey("tuned_models.uid", ondelete="CASCADE"), index=True)
    create_time: Mapped[datetime] = mapped_column(index=True)
    done: Mapped[bool] = mapped_column(index=True)
    cancelled: Mapped[bool]
    worker: Mapped[str | None] = mapped_column(String(32))
    """Fresh for every start of a worker process."""
    lease_until: Mapped[datetime | None]
    attempt: Mapped[int]
    """How many times it was claimed; every write of a worker carries it."""
    attempts_without_progress: Mapped[int]
    keep: Mapped[bool] = mapped_column(server_default=false())
    """When it is cancelled: whether the best step so far becomes the model."""
    micro_batch: Mapped[int | None]
    """Rows at once, where an attempt died for want of memory."""


class PermissionRow(Table):
    """What somebody may do with one tuned model; every model has one OWNER."""

    __tablename__ = "permissions"
    __table_args__ = (UniqueConstraint("uid", "grantee_type", "email"),)

    uid: Mapped[str] = mapped_column(
        ForeignKey("tuned_models.uid", ondelete="CASCADE"), primary_key=True
    )
    id: Mapped[str] = mapped_column(String(18), primary_key=True)
    grantee_type: Mapped[GranteeType] = mapped_column(String(8))
    email: Mapped[str] = mapped_column(index=True)
    role: Mapped[PermissionRole] = mapped_column(String(8))


class FileRow(Table):
    """One uploaded file; `uid` names its bytes on disk."""

    __tablename__ = "files"

    uid: Mapped[str] = mapped_column(String(32), primary_key=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    owner: Mapped[str] = mapped_column(index=True)
    display_name: Mapped[str]
    mime_type: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    create_time: Mapped[datetime] = mapped_column(index=True)
    update_time: Mapped[datetime]
    expire_time: Mapped[datetime] = mapped_column(index=True)


class UploadRow(Table):
    """One upload session; it outlives its file's arrival, so that a lost answer can be repeated."""

    __tablename__ = "uploads"

    uid: Mapped[str] = mapped_column(String(32), primary_key=True)
    secret_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    """None when all comes in one request, and nobody can go on with it in another."""
    owner: Mapped[str] = mapped_column(index=True)
    file_id: Mapped[str] = mapped_column(String(40))
    display_name: Mapped[str]
    mime_type: Mapped[str]
    size: Mapped[int | None] = mapped_column(BigInteger)
    reserved_bytes: Mapped[int] = mapped_column(BigInteger)
    """Of the owner's quota: what was announced, else what has come so far."""
    create_time: Mapped[datetime]
    expire_time: Mapped[datetime] = mapped_column(index=True)


class CredentialRow(Table):
    """An API key or a bearer token: a hash, never the secret."""

    __tablename__ = "credentials"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    kind: Mapped[CredentialKind] = mapped_column(String(8))
    secret_hash: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str]
    scopes: Mapped[list[Any]]
    create_time: Mapped[datetime]
    expire_time: Mapped[datetime | None]


def page(rows: Sequence[T], size: int, place: Callable[[T], Place]) -> tuple[list[T], Place | None]:
    """Of one row more than are shown: those, and where the next page begins."""
    shown = list(rows[:size])
    return shown, place(shown[-1]) if len(rows) > size else None


class SeenSnapshots:
    """The snapshots that this process read last, so that a poll reads only what is new.

    They never change once they are written, and a uid is never used again.
    """

    KEPT = 64
    """Tuned models; the one unused longest goes first."""

    def __init__(self) -> None:
        self._by_uid: OrderedDict[str, tuple[Snapshot, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, uid: str) -> tuple[Snapshot, ...]:
        with self._lock:
            if uid in self._by_uid:
                self._by_uid.move_to_end(uid)
            return self._by_uid.get(uid, ())

    def put(self, uid: str, snapshots: tuple[Snapshot, ...]) -> None:
        with self._lock:
            self._by_uid[uid] = snapshots
            self._by_uid.move_to_end(uid)
            if len(self._by_uid) > self.KEPT:
                self._by_uid.popitem(last=False)


class Database:
    """Sessions for reading and for writing; everything in a block is one transaction."""

    def __init__(self, address: str) -> None:
        try:
            url = make_url(address)
            self._engine = create_engine(url, **_options(url))
        except (ArgumentError, ImportError) as error:
            raise InvalidArgument(f"database_url: {error}") from error
        self._seen = SeenSnapshots()
        if url.get_backend_name() == "sqlite":
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view that never waits for a writer."""
        with self._session(writing=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Committed when the block ends well; alone among writers from its first statement."""
        with self._session(writing=True) as session:
            yield session
            session.commit()

    def migrate(self) -> None:
        """Bring the tables to the newest version."""
        from alembic import command

        self._keep_a_copy()
        with self._alembic() as config:
            command.upgrade(config, "head")

    def _keep_a_copy(self) -> None:
        """Beside a SQLite database of an older version, before its tables are changed."""
        from alembic.script import ScriptDirectory

        path = self._engine.url.database
        if self._engine.url.get_backend_name() != "sqlite" or not path or not Path(path).exists():
            return
        newest = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            try:
                versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            except sqlite3.DatabaseError:
                return  # New, or damaged; what follows says so.
            if versions and versions != [(newest,)]:
                copy = Path(f"{path}.before-{newest}")
                copy.unlink(missing_ok=True)
                connection.execute("VACUUM INTO ?", (str(copy),))

    def check(self) -> None:
        """Raises when the tables in Python and the newest migration differ."""
        from alembic import command

        with self._alembic() as config:
            command.check(config)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _alembic(self) -> Iterator[Any]:
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config(stdout=StringIO())  # Its default is bound when alembic is imported.
        config.set_main_option("script_location", str(_MIGRATIONS))
        try:
            with self._engine.connect() as connection:
                config.attributes["connection"] = connection
                yield config
                connection.commit()
        except CommandError as error:
            if "Can't locate revision" not in str(error):
                raise
            raise FailedPrecondition(
                f"The database {self._engine.url!r} was made by a newer version of Kamerton. "
                "Install that one, or put a copy in its place."
            ) from error
        except DatabaseError as error:
            raise FailedPrecondition(
                f"The database {self._engine.url!r} cannot be used: {error.orig}. If it is "
                "damaged, put a copy in its place."
            ) from error

    @contextmanager
    def _session(self, *, writing: bool) -> Iterator[Session]:
        try:
            info = {SeenSnapshots: self._seen}
            with Session(self._engine, expire_on_commit=False, info=info) as session:
                session.connection(execution_options={"kamerton_writing": writing})
                yield session
        except DatabaseError as error:
            raise _in_our_words(error) from error


def _options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() != "sqlite":
        return {"pool_pre_ping": True}
    # Autocommit in the driver: `_begin_sqlite` begins transactions itself.
    return {"connect_args": {"timeout": BUSY_SECONDS, "isolation_level": None}, "pool_size": 64}


def _prepare_sqlite(connection: sqlite3.Connection, record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    # FULL: what a client was told survives a power loss.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    # SQLite's own knows only ASCII, and searches are to find Число by число.
    connection.create_function("lower", 1, lambda text: text and text.lower(), deterministic=True)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that begins by reading and then wants to write fails with "locked" at once.
    writing = connection.get_execution_options().get("kamerton_writing", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _in_our_words(error: DatabaseError) -> Exception:
    reason = str(error.orig)
    if "locked" in reason or "busy" in reason:
        return Unavailable("The database is busy. Try again in a moment.")
    if "full" in reason:
        return ResourceExhausted("The disk with the database is full. Make room and try again.")
    if "no such table" in reason:
        return FailedPrecondition("The database is empty: start the server once, it prepares it.")
    return error
