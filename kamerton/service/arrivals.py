"""The bytes of files: kept as they arrive, hashed on the way, in their place once they are whole.

Every byte of a file is written once. What was sent before may be sent again, after a cut
connection or by somebody else at the same time, as long as it is the same.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kamerton import folders
from kamerton.errors import InvalidArgument, NotFound, ResourceExhausted, Violation
from kamerton.types import Upload

RESERVE_BYTES = 16 * 1024**2
"""Free space that files leave on the disk: even deleting takes some, in the database."""


class Arrival:
    """One upload as it lies on disk. `lock` is held by whoever changes it."""

    def __init__(self, coming: Path, whole: Path, finished: bool) -> None:
        self.lock = threading.RLock()
        self.finished = finished
        self.ended = False
        """Its bytes were removed."""
        self.reserved = 0
        """Bytes that are known to be within the owner's quota."""
        self._coming, self._whole = coming, whole
        self._hash = hashlib.sha256()
        self._hashed = 0
        self.size = self._path.stat().st_size if self._path.exists() else 0

    def put(self, offset: int, piece: bytes) -> int:
        """Add what is new in a piece that begins at `offset`; the offset after it."""
        with self.lock, _in_our_words():
            if self.ended:
                raise ended()
            if offset > self.size or (offset < self.size and not piece):
                raise wrong_offset(self.size)
            known = piece[: self.size - offset]
            if known and self._read(offset, len(known)) != known:
                raise wrong_offset(self.size)
            if new := piece[len(known) :]:
                if self.finished:
                    raise InvalidArgument(f"The upload is finished, with {self.size} bytes.")
                self._append(new)
            return offset + len(piece)

    def keep(self) -> None:
        """What has come survives a power loss from now on."""
        with self.lock, _in_our_words():
            if not self.finished and self._coming.exists():
                folders.sync(self._coming)
                folders.sync(self._coming.parent)

    def sha256(self) -> str:
        """Of all that has come, in hexadecimal; read once more only after a restart."""
        with self.lock, _in_our_words():
            if self._hashed != self.size:
                with self._path.open("rb") as file:
                    self._hash = hashlib.file_digest(file, "sha256")
                self._hashed = self.size
            return self._hash.hexdigest()

    @contextmanager
    def moved(self) -> Iterator[None]:
        """In its place when the block ends well, and back where it was when it does not."""
        with self.lock:
            with _in_our_words():
                self._coming.touch()  # An empty file has no piece.
                folders.sync(self._coming)
                self._coming.rename(self._whole)
                folders.sync(self._whole.parent)
                folders.sync(self._coming.parent)
            try:
                yield
            except BaseException:
                self._whole.rename(self._coming)
                raise
            self.finished = True

    @property
    def _path(self) -> Path:
        return self._whole if self.finished else self._coming

    def _read(self, offset: int, size: int) -> bytes:
        with self._path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), size, offset)

    def _append(self, new: bytes) -> None:
        disk = os.statvfs(self._coming.parent)
        if disk.f_bavail * disk.f_frsize < RESERVE_BYTES + len(new):
            raise OSError(errno.ENOSPC, "the disk is nearly full")
        descriptor = os.open(self._coming, os.O_WRONLY | os.O_CREAT, 0o600)
        written = 0
        try:
            while written < len(new):
                written += os.pwrite(descriptor, new[written:], self.size + written)
        except OSError:
            os.ftruncate(descriptor, self.size)
            raise
        finally:
            os.close(descriptor)
        if self._hashed == self.size:
            self._hash.update(new)
            self._hashed += len(new)
        self.size += len(new)


def wrong_offset(expected: int) -> InvalidArgument:
    description = f"the next byte is expected at offset {expected}"
    return InvalidArgument(f"{description.capitalize()}.", (Violation("offset", description),))


def ended() -> NotFound:
    return NotFound("This upload has ended or never was: start another one.")


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ended() from None
    except OSError as error:
        raise ResourceExhausted(
            f"The file could not be kept on disk: {error.strerror}. Make room and try again."
        ) from error


class Arrivals:
    """All uploads that this process has to do with, and the folders where files lie."""

    def __init__(self, data: Path) -> None:
        self._coming, self._whole = data / "uploads", data / "files"
        for folder in (self._coming, self._whole):
            folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, Arrival] = {}

    def of(self, upload: Upload) -> Arrival:
        """Always the same one for an upload, so that its lock means something."""
        found = self._known.get(upload.uid)
        if found is None:
            paths = self._coming / upload.uid, self._whole / upload.uid
            made = Arrival(*paths, finished=upload.file is not None)
            found = self._known.setdefault(upload.uid, made)
        return found

    def path(self, uid: str) -> Path:
        """Where the bytes of a file are."""
        return self._whole / uid

    def size(self, uid: str) -> int | None:
        """Of a file's bytes; None when they are not there."""
        path = self.path(uid)
        return path.stat().st_size if path.is_file() else None

    def take_back(self, uid: str) -> None:
        """Undo a move that a crash left half done."""
        if self.path(uid).exists():
            self.path(uid).replace(self._coming / uid)

    def uids(self) -> set[str]:
        """Of everything that lies in the folders, or did while this process ran."""
        folders = (self._coming, self._whole)
        return {path.name for folder in folders for path in folder.iterdir()} | set(self._known)

    def forget(self, uid: str) -> None:
        """Remove all bytes of a file or an upload."""
        if found := self._known.pop(uid, None):
            found.ended = True
        for folder in (self._coming, self._whole):
            (folder / uid).unlink(missing_ok=True)
