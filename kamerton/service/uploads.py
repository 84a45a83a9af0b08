"""The verbs on uploads: start, find, expect, receive, keep, finish, cancel.

An upload is found by its secret, and whoever knows that needs no other credential.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import uuid
from datetime import UTC, datetime, timedelta

from kamerton.errors import FailedPrecondition, InvalidArgument, TooLarge, Violation
from kamerton.service import access
from kamerton.service.app import App
from kamerton.service.arrivals import ended, wrong_offset
from kamerton.store import files as store
from kamerton.types import Caller, File, Upload

ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
DISPLAY_NAME_CHARACTERS = 512
MIME_TYPE = re.compile(r"[\x20-\x7e]{1,255}")
MAX_FILES = 10_000
"""Of one owner, those on their way included."""


def start(
    app: App,
    caller: Caller,
    *,
    file_id: str = "",
    display_name: str = "",
    mime_type: str = "",
    size: int | None = None,
    resumable: bool = True,
) -> tuple[Upload, str]:
    """An upload and its secret. What is announced counts as used from now on.

    One that is not resumable ends with the server. Raises InvalidArgument, AlreadyExists and
    ResourceExhausted.
    """
    access.require(caller, "files.upload")
    mime_type = mime_type or "application/octet-stream"
    if violations := _violations(file_id, display_name, mime_type):
        raise InvalidArgument.all_of(violations)
    _check_size(app, size or 0)
    now = datetime.now(UTC)
    upload = Upload(
        uid=uuid.uuid4().hex,
        owner=caller.owner,
        file_id=file_id or _random_id(),
        display_name=display_name,
        mime_type=mime_type,
        size=size,
        create_time=now,
        expire_time=now + timedelta(hours=app.settings.upload_hours),
    )
    secret = secrets.token_urlsafe(32)
    store.add_upload(app.database, upload, _hash(secret) if resumable else None, _quota(app))
    return upload, secret


def find(app: App, secret: str) -> Upload:
    """Raises NotFound when there is none, or it has ended."""
    found = store.find_upload(app.database, secret_hash=_hash(secret))
    if found is None:
        raise ended()
    return found


def received(app: App, upload: Upload) -> int:
    """How many bytes have come."""
    return app.arrivals.of(upload).size


def check_owner(upload: Upload, caller: Caller) -> None:
    """Raises NotFound when it is somebody else's."""
    if upload.owner != caller.owner and not access.is_admin(caller):
        raise ended()


def expect(app: App, upload: Upload, offset: int, length: int) -> None:
    """Raises unless so many bytes may follow at `offset`; they count as used from now on."""
    arrival, end = app.arrivals.of(upload), offset + length
    if offset > arrival.size:
        raise wrong_offset(arrival.size)
    if arrival.finished or end <= arrival.reserved:
        return
    if upload.size is not None and end > upload.size:
        raise InvalidArgument.of("size", f"{upload.size} bytes were announced, not more")
    _check_size(app, end)
    if upload.size is None:
        store.reserve(app.database, upload.uid, end, _quota(app))
    arrival.reserved = end


def receive(app: App, upload: Upload, offset: int, piece: bytes) -> int:
    """Take a piece that begins at `offset`; the offset after it.

    The same bytes may come twice. Raises InvalidArgument when they differ, or leave a gap, and
    names the offset that is expected.
    """
    expect(app, upload, offset, len(piece))
    return app.arrivals.of(upload).put(offset, piece)


def keep(app: App, upload: Upload) -> None:
    """Have the disk keep what has come, before the client is told that it has."""
    app.arrivals.of(upload).keep()


def finish(app: App, upload: Upload, size: int | None = None) -> File:
    """The whole file; the same one when it is asked for again. `size` is what the client says."""
    arrival = app.arrivals.of(upload)
    with arrival.lock:
        if size is not None and size != arrival.size:
            raise wrong_offset(arrival.size)
        if arrival.finished:
            return _file(store.find_upload(app.database, uid=upload.uid))
        if upload.size is not None and upload.size != arrival.size:
            raise InvalidArgument.of(
                "size", f"{upload.size} bytes were announced, {arrival.size} have come"
            )
        sha256 = arrival.sha256()
        lifetime = timedelta(hours=app.settings.file_hours)
        with arrival.moved():
            made = store.finish(app.database, upload.uid, arrival.size, sha256, lifetime)
            if made is None:
                raise ended()
            return made


def cancel(app: App, upload: Upload) -> None:
    """Remove what has come. Raises FailedPrecondition when it is a file already."""
    arrival = app.arrivals.of(upload)
    with arrival.lock:
        if arrival.finished:
            raise FailedPrecondition("The upload is finished; delete the file instead.")
        store.delete_upload(app.database, upload.uid)
        app.arrivals.forget(upload.uid)


def _file(upload: Upload | None) -> File:
    if upload is None or upload.file is None:
        raise ended()
    return upload.file


def _violations(file_id: str, display_name: str, mime_type: str) -> list[Violation]:
    violations = []
    if file_id and not ID.fullmatch(file_id):
        rule = "must be at most 40 of a-z, 0-9 and -, and not begin or end with -"
        violations.append(Violation("file_id", rule))
    if len(display_name) > DISPLAY_NAME_CHARACTERS:
        length = f"{len(display_name)} characters, at most {DISPLAY_NAME_CHARACTERS}"
        violations.append(Violation("display_name", length))
    if not MIME_TYPE.fullmatch(mime_type):
        rule = "must be at most 255 printable ASCII characters"
        violations.append(Violation("mime_type", rule))
    return violations


def _check_size(app: App, size: int) -> None:
    if size > app.settings.max_file_bytes:
        limit = f"the limit: {app.settings.max_file_bytes} bytes"
        violation = Violation("size", f"{size} bytes exceed {limit}")
        raise TooLarge(f"Request payload size exceeds {limit}.", (violation,))


def _quota(app: App) -> store.Quota:
    return store.Quota(app.settings.max_owner_file_bytes, MAX_FILES)


def _random_id() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(12))


def _hash(secret: str) -> str:
    # Long and random: nothing slower is needed, and an index lookup tells nothing about it.
    return hashlib.sha256(secret.encode()).hexdigest()
