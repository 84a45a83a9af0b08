"""A dataset read for a run: what the checks say, its examples, and their tokens, counted once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from kamerton.dataset.check import Measuring, RowTokens, check
from kamerton.dataset.chunks import Chunk, Source
from kamerton.findings import Report
from kamerton.types import Example


class Tokens:
    """Counts tokens, and no example twice: the checks ask first, and the estimate later."""

    def __init__(self, measuring: Measuring) -> None:
        self._measuring = measuring
        self._known: dict[Example, RowTokens] = {}

    @property
    def measuring(self) -> Measuring:
        return replace(self._measuring, measure=self.measure)

    def measure(self, examples: Sequence[Example]) -> Sequence[RowTokens]:
        if new := list(dict.fromkeys(e for e in examples if e not in self._known)):
            self._known.update(zip(new, self._measuring.measure(new), strict=True))
        return [self._known[example] for example in examples]

    def truncated(self, examples: Sequence[Example]) -> int:
        """How many of those that were counted must be cut to fit."""
        cut = {e for e, found in self._known.items() if found.cut_prompt or found.cut_answer}
        return sum(example in cut for example in examples) if cut else 0


@dataclass(frozen=True, slots=True)
class Reading:
    """A dataset that was read to its end."""

    report: Report
    examples: Sequence[Example]
    """Those that can be trained on."""
    validation: Sequence[Example] | None
    """None when none was given."""
    tokens: Tokens | None
    """None when nobody said how to count them."""

    def measure(self, examples: Sequence[Example]) -> Sequence[RowTokens]:
        assert self.tokens is not None
        return self.tokens.measure(examples)

    @property
    def truncated_count(self) -> int:
        """How many of the examples must be cut to fit."""
        return self.tokens.truncated(self.examples) if self.tokens else 0


def read(
    source: Source,
    measuring: Measuring | None,
    *,
    validation: Source | None = None,
    allow: Collection[str] = (),
    count_all: bool = False,
    on_rows: Callable[[int], None] | None = None,
) -> Reading:
    """Check a dataset, as `dataset.check.check` does, and keep its examples."""
    tokens = None if measuring is None else Tokens(measuring)
    examples: list[Example] = []
    held_out: list[Example] = []
    report = check(
        source,
        validation=validation and _kept(validation, held_out),
        measuring=None if tokens is None else tokens.measuring,
        count_all=count_all,
        allow=allow,
        keep=examples.extend,
        on_rows=on_rows,
    )
    return Reading(report, examples, None if validation is None else held_out, tokens)


def _kept(source: Source, examples: list[Example]) -> Source:
    """The same source, whose examples are kept as they are read."""

    def chunks() -> Iterator[Chunk]:
        for chunk in source.chunks:
            yield chunk
            # Only now: while rows are plain pairs, the checks need not count so many.
            examples.extend(chunk.examples)

    return replace(source, chunks=chunks())
