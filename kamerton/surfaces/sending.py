"""Answers in pieces, to clients that may be slow or leave."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import IO, Any, TypeVar

from anyio import to_thread
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Send

T = TypeVar("T")

SLOWEST_READER = 60.0
"""Seconds that a client may leave a piece of its answer unread."""
_PIECE_BYTES = 1024 * 1024


async def send_piece(send: Send, piece: bytes) -> None:
    """Waits for a slow reader, but not for ever."""
    try:
        async with asyncio.timeout(SLOWEST_READER):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except TimeoutError:
        raise ClientDisconnect from None


async def send_file(send: Send, content: IO[bytes], headers: Sequence[tuple[bytes, bytes]]) -> None:
    """A whole answer, read from a file as fast as the client takes it."""
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while piece := await to_thread.run_sync(content.read, _PIECE_BYTES):
        await send_piece(send, piece)
    await send({"type": "http.response.body", "body": b""})


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves."""

    async def leaving() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(leaving())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
