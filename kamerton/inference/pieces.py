"""An answer as it arrives, piece by piece, from whoever makes it."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator

from kamerton.errors import KamertonError
from kamerton.types import Chunk


class Pieces:
    """The pieces that were put into `chunks`: an error is raised, None is the end.

    Unlike a generator it can also be closed, and then frees its place through `leave`, before the
    first of them was asked for.
    """

    def __init__(
        self, chunks: queue.SimpleQueue[Chunk | KamertonError | None], leave: Callable[[], None]
    ) -> None:
        self._chunks = chunks
        self._leave = leave

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        chunk = self._chunks.get()
        if isinstance(chunk, Chunk):
            return chunk
        self.close()
        if chunk is None:
            raise StopIteration
        raise chunk

    def close(self) -> None:
        # Whoever still waits in another thread is let go; more of this is never asked for.
        self._chunks.put(None)
        self._leave()
