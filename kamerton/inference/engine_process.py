"""The torch engine as a child process, and the side of it that lives in the server."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from kamerton.errors import Internal, KamertonError, ResourceExhausted, Unavailable, by_name
from kamerton.inference.pieces import Pieces
from kamerton.processes import Child, follow_parent, parent_channel, report
from kamerton.types import BaseModel, Chunk, GenerationConfig

STARTED_AGAIN = "The engine stopped and is being started again. Try again in a few seconds."

# The channel's messages; the server speaks the first four, the child the others.


class Start(msgspec.Struct, tag=True):
    base_models: tuple[BaseModel, ...]
    """To be loaded before anybody asks."""
    device: str


class Ask(msgspec.Struct, tag=True):
    id: int
    base_model: BaseModel
    adapter: str | None
    prompt: list[int]
    config: GenerationConfig


class Leave(msgspec.Struct, tag=True):
    id: int


class Forget(msgspec.Struct, tag=True):
    adapter: str


class Ready(msgspec.Struct, tag=True):
    pass


class Piece(msgspec.Struct, tag=True):
    id: int
    chunk: Chunk


class Over(msgspec.Struct, tag=True):
    id: int
    error: str | None = None
    message: str = ""


class EngineProcess:
    """An InferenceEngine whose work is done by a child; one that dies is started again."""

    def __init__(
        self, base_models: tuple[BaseModel, ...], device: str, log: Path, max_pending: int
    ) -> None:
        self._start = Start(base_models, device)
        self._log = log
        self._max_pending = max_pending
        self._answers: dict[int, queue.SimpleQueue[Chunk | KamertonError | None]] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._closed = False
        self._up = True
        """False from the death of one child to the birth of the next."""
        self._child = self._spawn()
        threading.Thread(target=self._follow, name="engine", daemon=True).start()

    def generate(
        self,
        base_model: BaseModel,
        adapter: Path | None,
        prompt: Sequence[int],
        config: GenerationConfig,
    ) -> Iterator[Chunk]:
        """See interfaces.InferenceEngine. Raises ResourceExhausted at once when too many wait, and
        Unavailable while the engine is being started again."""
        chunks: queue.SimpleQueue[Chunk | KamertonError | None] = queue.SimpleQueue()
        where = None if adapter is None else str(adapter)
        with self._lock:
            if not self._up:
                raise Unavailable(STARTED_AGAIN)
            if len(self._answers) >= self._max_pending:
                raise ResourceExhausted("Too many prompts are waiting; try again in a moment.")
            number = next(self._ids)
            self._answers[number] = chunks
            self._send(Ask(number, base_model, where, list(prompt), config))
        return Pieces(chunks, lambda: self._leave(number))

    def forget(self, adapter: Path) -> None:
        self._send(Forget(str(adapter)))

    def warming(self) -> str | None:
        return None if self._ready.is_set() else "engine: loading the base model"

    def close(self) -> None:
        self._closed = True
        self._child.close()

    def _leave(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        with self._lock:
            unfinished = self._answers.pop(number, None)
        if unfinished is not None:
            self._send(Leave(number))

    def _send(self, message: msgspec.Struct) -> None:
        try:
            self._child.channel.send(msgspec.json.encode(message))
        except OSError:
            pass  # The child died; _follow tells everybody who waits.

    def _spawn(self) -> Child:
        self._ready.clear()
        child = Child(__spec__.name, self._log)
        child.channel.send(msgspec.json.encode(self._start))
        child.watch()
        return child

    def _follow(self) -> None:
        decoder = msgspec.json.Decoder(Ready | Piece | Over)
        while True:
            for line in self._child.channel.lines():
                self._take(decoder.decode(line))
            self._fail_all()
            if self._closed:
                return
            self._child.kill()
            while not self._up:
                time.sleep(1.0)  # One that dies at once must not keep a core busy.
                if self._closed:
                    return
                try:
                    child = self._spawn()
                except OSError:  # No memory or no process to be had: try again.
                    report()
                    continue
                with self._lock:
                    self._child, self._up = child, True

    def _take(self, message: Ready | Piece | Over) -> None:
        if isinstance(message, Ready):
            self._ready.set()
            return
        with self._lock:
            chunks = self._answers.get(message.id)
            if isinstance(message, Over):
                self._answers.pop(message.id, None)
        if chunks is None:
            return
        if isinstance(message, Piece):
            chunks.put(message.chunk)
        elif message.error is None:
            chunks.put(None)
        else:
            chunks.put(by_name(message.error)(message.message))

    def _fail_all(self) -> None:
        self._ready.clear()
        with self._lock:
            self._up = False
            waiting, self._answers = self._answers, {}
        for chunks in waiting.values():
            chunks.put(Unavailable(STARTED_AGAIN))


def main() -> None:
    """The child: answers what comes through the channel until the parent is gone."""
    channel = parent_channel()
    requests: queue.SimpleQueue[Start | Ask | Leave | Forget] = queue.SimpleQueue()
    decoder = msgspec.json.Decoder(Start | Ask | Leave | Forget)
    follow_parent(channel, lambda line: requests.put(decoder.decode(line)))

    import torch

    from kamerton.inference.torch_engine import OnChunk, Request, TorchEngine

    start = requests.get()
    assert isinstance(start, Start)
    engine = TorchEngine(start.device)
    try:
        for base_model in start.base_models:
            if engine.warm(base_model).is_small:
                torch.set_num_threads(1)  # More only wait for each other.
    except Exception:  # The requests that need it will say it again, to whom it concerns.
        report()
    channel.send(msgspec.json.encode(Ready()))

    asked: dict[int, Request] = {}

    def teller(number: int) -> OnChunk:
        def tell(chunk: Chunk | KamertonError | None) -> None:
            if isinstance(chunk, Chunk):
                message: msgspec.Struct = Piece(number, chunk)
            elif chunk is None:
                message = Over(number)
            else:
                message = Over(number, type(chunk).__name__, chunk.message)
            if isinstance(message, Over):
                asked.pop(number, None)
            channel.send(msgspec.json.encode(message))

        return tell

    while True:
        message = requests.get()
        if isinstance(message, Ask):
            adapter = None if message.adapter is None else Path(message.adapter)
            request = Request(
                message.base_model, adapter, message.prompt, message.config, teller(message.id)
            )
            asked[message.id] = request
            engine.submit(request)
        elif isinstance(message, Leave):
            if message.id in asked:
                asked[message.id].given_up.set()
        elif isinstance(message, Forget):
            engine.forget(Path(message.adapter))
        else:
            raise Internal("the engine was started twice")


if __name__ == "__main__":
    main()
