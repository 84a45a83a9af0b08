"""Answers on their way to a client: JSON, whole or piece by piece, to someone who may leave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from kamerton.errors import ResourceExhausted
from kamerton.surfaces.body import Json
from kamerton.surfaces.documents import JSON, encode
from kamerton.surfaces.gemini.rpcs import Rpc

T = TypeVar("T")

MOST_WAITS = 64
"""Calls that may wait for operations at once."""


class Places:
    """So many calls of one kind may be on their way at once, each with a thread."""

    def __init__(self, most: int, refusal: str) -> None:
        self._most = most
        self._refusal = refusal
        self._taken = 0
        self._threads = CapacityLimiter(most)

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the calls that may be on their way. Raises ResourceExhausted."""
        if self._taken >= self._most:
            raise ResourceExhausted(self._refusal)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`; whoever is cancelled does not wait for it to end."""
        return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)


class AnswerThreads:
    """Places for what takes long, of every transport together, so that waiting for an answer
    never delays a read, and waiting for a run never an answer. Used by one event loop."""

    def __init__(self, most_answers: int) -> None:
        self._answers = Places(most_answers, "Too many prompts are waiting; try again in a moment.")
        self._waits = Places(
            MOST_WAITS, "Too many calls wait for operations; poll with GET instead."
        )

    def of(self, rpc: Rpc) -> Places:
        """Those of a method that takes long."""
        return self._waits if rpc.waits else self._answers


class Pieces:
    """The pieces of an answer that one thread may leave while another waits for the next of them;
    the work behind them is ended by whichever comes to it last."""

    def __init__(self, opening: Callable[[], Generator[Json, None, None]]) -> None:
        """`opening` is called by the first `next`, so that nothing begun is ever forgotten: a
        generator that was not started would not hear that it is closed."""
        self._opening = opening
        self._pieces: Generator[Json, None, None] | None = None
        self._busy = threading.Lock()
        self._left = False

    def next(self) -> Json | None:
        try:
            with self._busy:
                if self._left:
                    return None
                if self._pieces is None:
                    self._pieces = self._opening()
                return next(self._pieces, None)
        finally:
            if self._left:
                self.leave()

    def leave(self) -> None:
        self._left = True
        if self._busy.acquire(blocking=False):
            try:
                if self._pieces is not None:
                    self._pieces.close()
            finally:
                self._busy.release()


class SseFrame:
    """One line of JSON per event, and no comments: clients try to read those as JSON."""

    end = b""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return _stream_headers(b"text/event-stream")

    def piece(self, made: Json) -> bytes:
        return b"data: " + encode(made, pretty=False) + b"\n\n"


class ArrayFrame:
    """One JSON array, sent element by element."""

    end = b"]"

    def __init__(self, pretty: bool) -> None:
        self._pretty = pretty
        self._before = b"["

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return _stream_headers(JSON.encode())

    def piece(self, made: Json) -> bytes:
        before, self._before = self._before, b",\r\n"
        return before + encode(made, self._pretty)


def _stream_headers(content_type: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", content_type),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
    ]
