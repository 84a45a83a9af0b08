"""One check over a few rows."""

from __future__ import annotations

from kamerton.dataset.checks.registry import ROW_CHECKS, all_checks
from kamerton.dataset.chunks import Chunk
from kamerton.dataset.seen import Seen
from kamerton.findings import Hit
from kamerton.types import Example

all_checks()


def look(code: str, *pairs: tuple[str, str], special: frozenset[str] = frozenset()) -> list[Hit]:
    """What a check finds in pairs, which are numbered from 1."""
    inputs, outputs = ([pair[side] for pair in pairs] for side in (0, 1))
    seen = Seen(Chunk(range(1, len(pairs) + 1), inputs, outputs), special)
    return list(ROW_CHECKS[code].look(seen))


def look_at_text(code: str, text: str) -> list[Hit]:
    """The same of a single text, as an output."""
    return look(code, ("a question", text))


def look_at_examples(code: str, *examples: Example) -> list[Hit]:
    inputs = ["\n\n".join(turn.text for turn in example.contents) for example in examples]
    outputs = [
        "\n\n".join(
            [
                *(t.text for t in example.contents if t.role == "model" and t.learn),
                example.output,
            ]
        )
        for example in examples
    ]
    seen = Seen(Chunk(range(1, len(examples) + 1), inputs, outputs, examples))
    return list(ROW_CHECKS[code].look(seen))
