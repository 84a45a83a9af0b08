"""Rows on their way from a source to the checks and to training: some hundreds at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kamerton.findings import Hit, Unit
from kamerton.types import Example


@dataclass(slots=True)
class Chunk:
    """Some rows of a source that could be read, as columns, and those that could not."""

    numbers: Sequence[int]
    inputs: list[str]
    """All that leads to the last answer; the turns of a conversation with a blank line between."""
    outputs: list[str]
    """All that is to be learned; several answers with a blank line between."""
    made: Sequence[Example] | None = None
    """The rows as examples; None while they are plain pairs that nobody has asked for."""
    unreadable: Sequence[Hit] = ()
    """Rows that stand for no example, and why."""
    unlearned: Sequence[Hit] = ()
    """Rows in which every answer has the weight 0."""
    shortened: Sequence[Hit] = ()
    """Rows that had more turns, after the last answer to learn."""

    @classmethod
    def of(
        cls,
        numbers: Sequence[int],
        examples: Sequence[Example],
        unreadable: Sequence[Hit] = (),
        unlearned: Sequence[Hit] = (),
    ) -> Chunk:
        """Examples that are there already, as columns."""
        inputs = ["\n\n".join([turn.text for turn in made.contents]) for made in examples]
        outputs = [
            made.output if len(made.contents) == 1 else "\n\n".join(_answers(made))
            for made in examples
        ]
        return cls(numbers, inputs, outputs, examples, unreadable, unlearned)

    @property
    def examples(self) -> Sequence[Example]:
        if self.made is None:
            self.made = list(map(Example.pair, self.inputs, self.outputs))
        return self.made


def _answers(example: Example) -> list[str]:
    learned = [turn.text for turn in example.contents if turn.role == "model" and turn.learn]
    return [*learned, example.output]


@dataclass(slots=True)
class Source:
    """A dataset as it is read: what it is called, what was recognised, and its rows, once."""

    name: str
    """What errors call it."""
    unit: Unit
    format: str
    """Such as `JSON lines`."""
    chunks: Iterator[Chunk]
    """InvalidArgument where reading cannot go on."""
    shapes: Counter[str] = field(default_factory=Counter)
    """How many rows have which shape, of those read so far."""
