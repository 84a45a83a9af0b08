"""Sets as files and requests: as they should be, and spoilt as a whole."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random

from benchmarks.defects_data.sets import Kind, Row, asked
from benchmarks.defects_data.shapes import written
from kamerton.dataset.chunks import Source
from kamerton.dataset.sources import inline_source, source_of


def source(kind: Kind, rows: Iterable[Row]) -> Source:
    """The set as Kamerton reads it."""
    if kind.shape == "inline":
        return inline_source([row for row in _values(kind, rows) if isinstance(row, dict)])
    return _file(_lines(kind, rows).encode())


def _file(content: bytes) -> Source:
    return source_of(io.BytesIO(content), "rows")


def _values(kind: Kind, rows: Iterable[Row]) -> list[str | dict[str, object]]:
    return [written(kind, row) if row.broken is None else row.broken for row in rows]


def _lines(kind: Kind, rows: Iterable[Row]) -> str:
    return "".join(
        (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) + "\n"
        for value in _values(kind, rows)
    )


def spoilt_sets(kind: Kind, rows: list[Row], chance: Random) -> Iterator[tuple[str, Source]]:
    """Sets that have a defect as a whole, with its code."""
    for content in _broken_files(kind, rows, chance):
        yield "K108", _file(content)
    for content in chance.sample(_EMPTY, 3):
        yield "K109", _file(content)
    yield "K307", source(kind, _too_few(kind, rows, chance))
    yield "K308", source(kind, _in_order(kind, rows, chance))
    if kind.labels:
        yield "K301", source(kind, _imbalanced(rows, chance))


def _broken_files(kind: Kind, rows: list[Row], chance: Random) -> Iterator[bytes]:
    """Of which only a part can be read, or nothing."""
    text = _lines(kind, rows)
    whole, packed = text.encode(), gzip.compress(text.encode())
    middle = whole.index(b" ", len(whole) // chance.randint(2, 5))
    yield whole[:middle] + b"\xff" + whole[middle:]
    yield whole[:middle] + "\u2014 caf\xe9".encode("cp1252") + whole[middle:]
    yield packed[: len(packed) // 2]
    yield packed[: len(packed) // 2] + b"....." + packed[len(packed) // 2 + 5 :]
    yield text.encode("utf-16")[:-1]
    yield text.encode("utf-16-le")  # Without a mark of its order.
    yield text.encode("utf-32")
    array = json.dumps(_values(kind, rows), ensure_ascii=False)
    yield array[: len(array) // 2].encode()
    yield array.replace("}, {", "} {").encode()
    yield f"{array}]".encode()
    yield b"PK\x03\x04" + chance.randbytes(500)
    yield b"PAR1" + chance.randbytes(500)
    yield chance.randbytes(3000)


_EMPTY = (b"", b"\n\n", b"   ", b"[]", b"\xef\xbb\xbf", b"text_input,output\n", gzip.compress(b""))


def _imbalanced(rows: list[Row], chance: Random) -> list[Row]:
    """With 85 to 98 of 100 that have its most frequent label."""
    [(label, count)] = Counter(row.output for row in rows).most_common(1)
    others = [row for row in rows if row.output != label]
    few = others[: max(1, round(count * (1 / chance.uniform(0.85, 0.98) - 1)))]
    kept = [row for row in rows if row.output == label] + few
    return chance.sample(kept, len(kept))


def _too_few(kind: Kind, rows: list[Row], chance: Random) -> list[Row]:
    """A handful of rows, or of one label."""
    if not kind.labels or chance.random() < 0.5:
        return rows[: chance.randint(2, 14)]
    rare = chance.choice(kind.labels)
    left = iter(range(chance.randint(1, 3)))
    return [row for row in rows if row.output != rare or next(left, None) is not None]


def _in_order(kind: Kind, rows: list[Row], chance: Random) -> list[Row]:
    if kind.labels and chance.random() < 0.7:
        order = chance.sample(kind.labels, len(kind.labels))
        return sorted(rows, key=lambda row: order.index(row.output))
    if not kind.labels and not rows[0].before and chance.random() < 0.3:
        return sorted(rows, key=lambda row: len(row.output))
    if chance.random() < 0.5:
        return sorted(rows, key=asked)
    return sorted(rows, key=lambda row: len(asked(row)), reverse=chance.random() < 0.5)
