"""Uploaded files and the sessions that bring them, as rows; what has expired is not there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from kamerton.errors import AlreadyExists, ResourceExhausted
from kamerton.store.database import Database, FileRow, UploadRow, page
from kamerton.types import File, Place, Upload


@dataclass(frozen=True, slots=True)
class Quota:
    """What one owner may have, with what is on its way."""

    bytes: int
    files: int


def get(database: Database, id: str) -> File | None:
    with database.read() as session:
        row = session.scalar(select(FileRow).where(FileRow.id == id, _live(FileRow)))
        return None if row is None else _file(row)


def list_(
    database: Database, owner: str | None, page_size: int, after: Place | None
) -> tuple[list[File], Place | None]:
    """Newest first, of one owner or of all, and where the next page begins."""
    query = select(FileRow).where(_live(FileRow))
    if owner is not None:
        query = query.where(FileRow.owner == owner)
    place = tuple_(FileRow.create_time, FileRow.uid)
    if after is not None:
        query = query.where(place < tuple_(*after))
    query = query.order_by(FileRow.create_time.desc(), FileRow.uid.desc())
    with database.read() as session:
        rows = session.scalars(query.limit(page_size + 1)).all()
    shown, next_ = page(rows, page_size, lambda row: (row.create_time, row.uid))
    return [_file(row) for row in shown], next_


def delete_(database: Database, uid: str) -> None:
    """With the session that brought it; the id is free again."""
    with database.write() as session:
        _remove(session, FileRow.uid == uid)


# --- uploads -------------------------------------------------------------------------------------


def add_upload(database: Database, upload: Upload, secret_hash: str | None, quota: Quota) -> None:
    """Raises AlreadyExists when a file has the id, ResourceExhausted when the quota is full."""
    with database.write() as session:
        _check_id(session, upload.file_id)
        _check_quota(session, upload.owner, upload.size or 0, quota, new=True)
        session.add(
            UploadRow(
                uid=upload.uid,
                secret_hash=secret_hash,
                owner=upload.owner,
                file_id=upload.file_id,
                display_name=upload.display_name,
                mime_type=upload.mime_type,
                size=upload.size,
                reserved_bytes=upload.size or 0,
                create_time=upload.create_time,
                expire_time=upload.expire_time,
            )
        )


def find_upload(database: Database, *, secret_hash: str = "", uid: str = "") -> Upload | None:
    """By either; with its file once it is finished. None also when that file has expired."""
    query = select(UploadRow).where(_live(UploadRow))
    query = query.where(UploadRow.uid == uid if uid else UploadRow.secret_hash == secret_hash)
    with database.read() as session:
        row = session.scalar(query)
        if row is None:
            return None
        found = _upload(row, session.get(FileRow, row.uid))
    return None if found.file and found.file.expire_time <= datetime.now(UTC) else found


def reserve(database: Database, uid: str, bytes: int, quota: Quota) -> None:
    """Have that many bytes count for an upload whose size nobody announced."""
    with database.write() as session:
        row = session.get(UploadRow, uid)
        if row is not None and row.reserved_bytes < bytes:
            more = bytes - row.reserved_bytes
            _check_quota(session, row.owner, more, quota)
            row.reserved_bytes = bytes


def finish(
    database: Database, uid: str, size_bytes: int, sha256: str, lifetime: timedelta
) -> File | None:
    """The file that an upload has become; None when the session has ended.

    Raises AlreadyExists when another file has taken the id meanwhile.
    """
    with database.write() as session:
        upload = session.scalar(select(UploadRow).where(UploadRow.uid == uid, _live(UploadRow)))
        if upload is None:
            return None
        _check_id(session, upload.file_id)
        _remove(session, FileRow.id == upload.file_id)  # One that has expired.
        now = datetime.now(UTC)
        row = FileRow(
            uid=uid,
            id=upload.file_id,
            owner=upload.owner,
            display_name=upload.display_name,
            mime_type=upload.mime_type,
            size_bytes=size_bytes,
            sha256=sha256,
            create_time=now,
            update_time=now,
            expire_time=now + lifetime,
        )
        session.add(row)
        return _file(row)


def delete_upload(database: Database, uid: str) -> None:
    """The session only; a file that it has brought stays."""
    with database.write() as session:
        session.execute(delete(UploadRow).where(UploadRow.uid == uid))


# --- what time and crashes leave -----------------------------------------------------------------


def remove_expired(database: Database) -> None:
    old_file, old_upload = _expired(FileRow), _expired(UploadRow)
    with database.read() as session:
        found = [
            session.scalar(select(func.count()).select_from(FileRow).where(old_file)),
            session.scalar(select(func.count()).select_from(UploadRow).where(old_upload)),
        ]
    if any(found):  # Writing makes others wait.
        with database.write() as session:
            _remove(session, old_file)
            session.execute(delete(UploadRow).where(old_upload))


def remove_hopeless(database: Database) -> None:
    """Uploads that nobody can go on with after a start of the server."""
    finished = UploadRow.uid.in_(select(FileRow.uid))
    with database.write() as session:
        session.execute(delete(UploadRow).where(UploadRow.secret_hash.is_(None), ~finished))


def uids(database: Database) -> tuple[dict[str, int], set[str]]:
    """Of all files, with their sizes, and of all uploads, finished ones too."""
    with database.read() as session:
        sizes = {
            uid: size for uid, size in session.execute(select(FileRow.uid, FileRow.size_bytes))
        }
        return sizes, set(session.scalars(select(UploadRow.uid)))


def _remove(session: Session, which: ColumnElement[bool]) -> None:
    """Files, and the sessions that brought them: those could otherwise begin anew."""
    brought = select(FileRow.uid).where(which)
    session.execute(delete(UploadRow).where(UploadRow.uid.in_(brought)))
    session.execute(delete(FileRow).where(which))


# --- conditions ----------------------------------------------------------------------------------


def _live(table: type[FileRow] | type[UploadRow]) -> ColumnElement[bool]:
    return table.expire_time > datetime.now(UTC)


def _expired(table: type[FileRow] | type[UploadRow]) -> ColumnElement[bool]:
    return table.expire_time <= datetime.now(UTC)


def _check_id(session: Session, id: str) -> None:
    if session.scalar(select(FileRow.uid).where(FileRow.id == id, _live(FileRow))):
        raise AlreadyExists(f"files/{id} already exists. Choose another name, or delete it first.")


def _check_quota(session: Session, owner: str, more: int, quota: Quota, new: bool = False) -> None:
    """Raises ResourceExhausted unless the owner may have that many bytes more."""
    on_its_way = UploadRow.uid.not_in(select(FileRow.uid))
    files, in_files = _total(session, FileRow.size_bytes, FileRow.owner == owner, _live(FileRow))
    uploads, in_uploads = _total(
        session, UploadRow.reserved_bytes, UploadRow.owner == owner, _live(UploadRow), on_its_way
    )
    used = in_files + in_uploads
    if used + more > quota.bytes:
        raise ResourceExhausted(
            f"The files of {owner} may take {quota.bytes} bytes; {used} are in use or on their "
            f"way, and {more} more do not fit. Delete some, or wait until they expire."
        )
    if new and files + uploads >= quota.files:
        raise ResourceExhausted(
            f"{owner} has {files + uploads} files and uploads on their way, at most {quota.files}. "
            "Delete some, or wait until they expire."
        )


def _total(
    session: Session, size: InstrumentedAttribute[int], *conditions: ColumnElement[bool]
) -> tuple[int, int]:
    """How many rows, and the sum of their sizes."""
    query = select(func.count(), func.coalesce(func.sum(size), 0)).where(*conditions)
    count, total = session.execute(query).one()
    return count, int(total)


# --- rows to nouns -------------------------------------------------------------------------------


def _file(row: FileRow) -> File:
    return File(
        id=row.id,
        uid=row.uid,
        owner=row.owner,
        display_name=row.display_name,
        mime_type=row.mime_type,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        create_time=row.create_time,
        update_time=row.update_time,
        expire_time=row.expire_time,
    )


def _upload(row: UploadRow, file: FileRow | None) -> Upload:
    return Upload(
        uid=row.uid,
        owner=row.owner,
        file_id=row.file_id,
        display_name=row.display_name,
        mime_type=row.mime_type,
        size=row.size,
        create_time=row.create_time,
        expire_time=row.expire_time,
        file=None if file is None else _file(file),
    )
