"""The pieces of an answer, taken by one thread and left by another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

from kamerton.surfaces.body import Json
from kamerton.surfaces.gemini.streams import Pieces


class Work:
    """Something that must be ended once it was begun."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self._before = before
        self.begun = self.ended = 0

    def open(self) -> Generator[Json, None, None]:
        self._before()
        self.begun += 1
        return self._pieces()

    def _pieces(self) -> Generator[Json, None, None]:
        try:
            yield {"piece": 1}
            yield {"piece": 2}
        finally:
            self.ended += 1


def test_all_of_them() -> None:
    work = Work()
    pieces = Pieces(work.open)
    assert [pieces.next(), pieces.next(), pieces.next()] == [{"piece": 1}, {"piece": 2}, None]
    assert (work.begun, work.ended) == (1, 1)


def test_left_after_the_first() -> None:
    work = Work()
    pieces = Pieces(work.open)
    pieces.next()
    pieces.leave()
    assert pieces.next() is None
    assert (work.begun, work.ended) == (1, 1)


def test_left_before_anything_is_begun() -> None:
    work = Work()
    pieces = Pieces(work.open)
    pieces.leave()
    assert pieces.next() is None
    assert work.begun == 0


def test_left_while_it_is_being_opened() -> None:
    opening, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        opening.set()
        go_on.wait(10)

    work = Work(wait)
    pieces = Pieces(work.open)
    taker = threading.Thread(target=pieces.next)
    taker.start()
    assert opening.wait(10)
    pieces.leave()  # does not wait for the other
    go_on.set()
    taker.join(10)
    assert (work.begun, work.ended) == (1, 1)
