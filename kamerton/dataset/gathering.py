"""From rows to chunks: each row becomes an example, or it is told why it is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kamerton.dataset.chunks import Chunk
from kamerton.dataset.rows import MAX_ROWS, Row
from kamerton.dataset.shapes import Columns, Unlearned, read_row
from kamerton.dataset.unsupported import CONVERSATIONS, encodable
from kamerton.errors import InvalidArgument
from kamerton.findings import Hit
from kamerton.types import Example

_MAX_CHARACTERS = 1_000_000
"""That travel together, give or take a row."""
_SHORTENED = "has turns after the last answer to learn, which would be lost; take them out"


def chunks_of(
    rows: Iterable[Row], shapes: Counter[str], columns: Columns | None = None
) -> Iterator[Chunk]:
    """InvalidArgument where `rows` end with one, after all that came before."""
    gathered = _Gathered(shapes, columns)
    ended: InvalidArgument | None = None
    try:
        for row in rows:
            gathered.add(row)
            if gathered.is_full():
                yield gathered.chunk()
                gathered = _Gathered(shapes, columns)
    except InvalidArgument as error:
        ended = error
    if gathered.row_count:
        yield gathered.chunk()
    if ended:
        raise ended


@dataclass(slots=True)
class _Gathered:
    """Rows on their way into a chunk."""

    shapes: Counter[str]
    columns: Columns | None
    numbers: list[int] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    unreadable: list[Hit] = field(default_factory=list)
    unlearned: list[Hit] = field(default_factory=list)
    shortened: list[Hit] = field(default_factory=list)
    row_count: int = 0
    characters: int = 0

    def add(self, row: Row) -> None:
        self.row_count += 1
        if row.problem:
            self.unreadable.append(Hit(row.number, "", row.problem))
            return
        try:
            shape, example = read_row(row.fields, self.columns)
        except InvalidArgument as error:
            wrong = error.violations[0]
            field, description = encodable(wrong.field), encodable(wrong.description)
            self.unreadable.append(Hit(row.number, field, description))
        except Unlearned as unlearned:
            self.unlearned.append(Hit(row.number, "", str(unlearned)))
        else:
            self.shapes[shape] += 1
            if shape in CONVERSATIONS and row.fields[shape][-1].get("weight") == 0:
                self.shortened.append(Hit(row.number, "", _SHORTENED))
            self.numbers.append(row.number)
            self.examples.append(example)
            self.characters += len(example.output) + sum(len(c.text) for c in example.contents)

    def is_full(self) -> bool:
        return self.row_count >= MAX_ROWS or self.characters >= _MAX_CHARACTERS

    def chunk(self) -> Chunk:
        chunk = Chunk.of(self.numbers, self.examples, self.unreadable, self.unlearned)
        chunk.shortened = self.shortened
        return chunk
