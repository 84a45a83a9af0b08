"""Child processes that talk in lines and end when their parent ends."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

CHANNEL = "KAMERTON_CHANNEL"
"""Environment variable that tells a child the descriptor of its channel."""
BEAT_SECONDS = 1.0
"""How often a child says that it is there."""
SILENT_BEATS = 10
"""So many missed in a row, and a child that is watched counts as hung."""
START_BEATS = 120
"""So many before the first one: where much is going on, a child takes long to be there."""


class Channel:
    """One end of a two-way pipe of lines; sending is safe from any thread."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._reader: BinaryIO = end.makefile("rb")
        self._sending = threading.Lock()
        self.heard = 0
        """Lines that came from the other end so far, empty ones too."""

    def send(self, line: bytes) -> None:
        """Send one message, which must not hold a newline. Raises OSError when nobody listens."""
        with self._sending:
            self._socket.sendall(line + b"\n")

    def lines(self) -> Iterator[bytes]:
        """The whole messages of the other end; ends when the other process does."""
        try:
            for line in self._reader:
                self.heard += 1
                if line == b"\n":  # It only says that it is there.
                    continue
                if line.endswith(b"\n"):  # Not what the other end died in the middle of.
                    yield line[:-1]
        except OSError:
            return

    def close(self) -> None:
        """Tell the other end that there is nothing more to come."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # The other end was faster.
        self._socket.close()


def report() -> None:
    """Write the exception that is being handled to the log, unless the disk is too full for it."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


class Child:
    """A Python module running as a child process, with a channel to it."""

    def __init__(self, module: str, log: Path) -> None:
        ours, theirs = socket.socketpair()
        # Not its parents: a child that is late must not bring back a data folder that was removed.
        log.parent.mkdir(exist_ok=True)
        with theirs, log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                # Ctrl-C in a terminal is for the parent, which then ends its children in order.
                start_new_session=True,
                env={**os.environ, CHANNEL: str(theirs.fileno())},
            )
        self.channel = Channel(ours)

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def watch(self) -> None:
        """End it by force when it does not, or no longer, say that it is there. Somebody must read
        its lines."""

        def watch() -> None:
            heard, silent = 0, 0
            while self.alive():
                time.sleep(BEAT_SECONDS)
                # Counted, not measured: when this process was stopped itself, all clocks are late.
                silent = 0 if self.channel.heard > heard else silent + 1
                heard = self.channel.heard
                if silent >= (SILENT_BEATS if heard else START_BEATS):
                    self.kill()

        threading.Thread(target=watch, name="watch", daemon=True).start()

    def exit_status(self) -> int | None:
        return self._process.poll()

    def wait(self, patience: float) -> None:
        """Until it has ended by itself, but not for ever."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)

    def close(self, patience: float = 5.0) -> None:
        """End the child: by closing its channel, and by force when that is not heard."""
        self.channel.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.channel.close()


def parent_channel() -> Channel:
    """The channel to the parent of this process; only for modules started by `Child`."""
    return Channel(socket.socket(fileno=int(os.environ.pop(CHANNEL))))


def follow_parent(channel: Channel, on_line: Callable[[bytes], None]) -> None:
    """Hand the parent's messages to `on_line` in a thread, and end this process at their end.

    The end of the channel is the end of the parent, however it died: the kernel closes its side.
    Ending at once is right because everything that must last is published whole.
    """

    def follow() -> None:
        try:
            for line in channel.lines():
                on_line(line)
        finally:
            os._exit(0)

    def beat() -> None:
        with contextlib.suppress(OSError):
            while True:
                channel.send(b"")
                time.sleep(BEAT_SECONDS)

    threading.Thread(target=follow, name="parent", daemon=True).start()
    threading.Thread(target=beat, name="beat", daemon=True).start()
