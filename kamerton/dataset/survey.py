"""One pass over a dataset: every check, and the statistics."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from kamerton.dataset.check import Measuring, RowTokens
from kamerton.dataset.checks.privacy import hide
from kamerton.dataset.checks.registry import ROW_CHECKS, WHOLE_CHECKS, Check, all_checks
from kamerton.dataset.chunks import Chunk, Source
from kamerton.dataset.seen import Places, Seen
from kamerton.dataset.sentences import MAX_INPUT_CHARACTERS
from kamerton.dataset.statistics import Counts
from kamerton.dataset.whole import Whole
from kamerton.errors import InvalidArgument
from kamerton.findings import Finding, Hit, Report
from kamerton.types import Example

_SEVERITIES = ("error", "warning", "note")
_TURN_TOKENS = 16
"""More than the marks around a turn take."""
_FEW_ROWS = 5
"""What is found in no more rows than these is never called the task."""


def silenced(codes: Collection[str]) -> frozenset[str]:
    """Those codes. Raises InvalidArgument for one that there is not, or that is an error."""
    checks = all_checks()
    for code in codes:
        if code not in checks:
            raise InvalidArgument.of(
                "allow", f"there is no check {code}; the codes are {', '.join(checks)}"
            )
        if checks[code].severity == "error":
            raise InvalidArgument.of(
                "allow",
                f"{code} {checks[code].name} is an error and cannot be allowed; "
                + checks[code].advice,
            )
    return frozenset(codes)


@dataclass(slots=True)
class _Rows:
    """How many rows something was found in, and the first of them."""

    most_hits: int
    count: int = 0
    hits: list[Hit] = field(default_factory=list)

    def add(self, hit: Hit) -> None:
        self.count += 1
        if self.count <= self.most_hits:
            self.hits.append(hit)


@dataclass(slots=True)
class _Found:
    """What one check found: in inputs, in outputs, and in rows."""

    inputs: _Rows
    outputs: _Rows
    rows: _Rows
    message: str = ""
    """Of a finding about the dataset as a whole."""

    def add(self, hits: Iterable[Hit], conceal: Callable[[Hit], Hit]) -> None:
        """Of one look; a row is counted once however often it is hit. What is kept is concealed
        first: secrets that a check without knowing shows."""
        numbers: set[int] = set()
        for hit in hits:
            if hit.number == -1:
                self.message = hit.detail
                continue
            side = self.outputs if hit.field.startswith("output") else self.inputs
            if side.count < side.most_hits:
                hit = conceal(hit)
            side.add(hit)
            if hit.number not in numbers:
                numbers.add(hit.number)
                self.rows.add(hit)

    def left_over(self, row_count: int) -> _Rows:
        """Without a side on which many rows have it: there it is the task."""
        sides = [
            side
            for side in (self.inputs, self.outputs)
            if side.count <= max(_FEW_ROWS, row_count // 5)
        ]
        return self.rows if len(sides) == 2 else sides[0] if sides else _Rows(0)


class Survey:
    """The pass, and what it has found so far."""

    def __init__(
        self,
        source: Source,
        measuring: Measuring | None = None,
        *,
        near: bool = True,
        count_all: bool = False,
        keep: Callable[[Sequence[Example]], None] | None = None,
        on_rows: Callable[[int], None] | None = None,
        most_hits: int = 100,
    ) -> None:
        all_checks()
        self._source = source
        self._measuring = measuring
        self._count_all = count_all and measuring is not None
        self._keep = keep
        self._on_rows = on_rows
        self._most_hits = most_hits
        self._counts = Counts()
        self._whole = Whole(source.unit, near)
        self._row_count = 0
        self._example_count = 0
        self._found: dict[str, _Found] = {}
        self._others: list[Finding] = []
        """Findings in validation data."""

    def read(self) -> None:
        """All rows of the source, or those before the place where it cannot be read."""
        try:
            for chunk in self._source.chunks:
                special = self._measuring.special_tokens if self._measuring else frozenset[str]()
                self._look_at(Seen(chunk, special))
                self._row_count += len(chunk.numbers) + len(chunk.unreadable) + len(chunk.unlearned)
                if self._on_rows:
                    self._on_rows(self._row_count)
        except InvalidArgument as error:
            rows = f"{self._row_count} row" + ("" if self._row_count == 1 else "s")
            self._found_in("K108").message = f"{error.message} (reading ended after {rows})"
        if not self._row_count and "K108" not in self._found:
            self._found_in("K109").message = "There are no examples in it."

    def _look_at(self, seen: Seen) -> None:
        seen.tokens = self._measured(seen)
        good = seen.without(self._refused(seen))
        for check in ROW_CHECKS.values():
            if check.severity != "error" and (hits := list(check.look(good))):
                self._found_in(check.code).add(hits, partial(_concealed, check, good))
        self._counts.add(good.inputs.lengths, good.outputs.lengths)
        if self._count_all:
            self._counts.add_tokens(good.tokens.values())
        self._whole.add(good)
        self._example_count += len(good)
        if self._keep and len(good):
            self._keep(good.chunk.examples)

    def _refused(self, seen: Seen) -> list[int]:
        """Places of the rows that no run may have."""
        numbers: set[int] = set()
        for check in ROW_CHECKS.values():
            if check.severity == "error" and (hits := list(check.look(seen))):
                self._found_in(check.code).add(hits, _hidden)
                numbers.update(hit.number for hit in hits)
        if not numbers:
            return []
        return [place for place, number in enumerate(seen.numbers) if number in numbers]

    def _measured(self, seen: Seen) -> dict[int, RowTokens]:
        """Token counts of all rows, or of those that could be too long, by their places."""
        if self._measuring is None or not len(seen):
            return {}
        places = self._worth_counting(seen, self._measuring.context_tokens)
        if not places:
            return {}
        examples = [seen.chunk.examples[place] for place in places]
        return dict(zip(places, self._measuring.measure(examples), strict=True))

    def _worth_counting(self, seen: Seen, context: int) -> list[int]:
        lengths = seen.inputs.lengths + seen.outputs.lengths
        # What is refused for its length need not be counted, and could take long.
        worth = lengths <= 3 * MAX_INPUT_CHARACTERS
        if self._count_all:
            return _places(np.flatnonzero(worth))
        # A token stands for at least one byte, and a character takes at most four.
        might = _places(np.flatnonzero(worth & (4 * lengths + 2 * _TURN_TOKENS > context)))
        if seen.chunk.made is None:
            return [place for place in might if _most_tokens(seen, place) > context]
        return might

    def compare(self, validation: Source) -> None:
        """Look through validation data: for errors, and for what they share with the source."""
        other = Survey(
            validation,
            self._measuring,
            near=self._whole.seeks_near,
            most_hits=self._most_hits,
        )
        other.read()
        name = validation.name
        self._others = [
            replace(
                finding,
                message=f"{name}: {finding.message.removeprefix(f'{name}: ')}",
                of_validation=True,
            )
            for finding in other._findings()
            if finding.severity == "error"
        ]
        self._whole.validation = other._whole

    def report(self, silent: Collection[str]) -> Report:
        """What was found in all; `silent` are codes of which nothing is said."""
        for check in WHOLE_CHECKS.values():
            self._found_in(check.code).add(check.look(self._whole), _hidden)
        findings = [*self._findings(), *self._others]
        findings.sort(key=lambda finding: (_SEVERITIES.index(finding.severity), finding.code))
        source = self._source
        return Report(
            name=source.name,
            format=source.format,
            shapes=tuple(source.shapes.most_common()),
            findings=tuple(finding for finding in findings if finding.code not in silent),
            statistics=self._counts.statistics(self._row_count, self._count_all),
            allowed=tuple(sorted({f.code for f in findings if f.code in silent})),
        )

    def _findings(self) -> Iterator[Finding]:
        for code, check in all_checks().items():
            found = self._found_in(code)
            rows = found.left_over(self._example_count) if check.smell else found.rows
            if rows.count or found.message:
                message = found.message or _sentence(rows.count, self._row_count, check.what)
                yield Finding(
                    code,
                    check.name,
                    check.severity,
                    _shown(message),
                    check.advice,
                    rows.count,
                    self._source.unit,
                    tuple(sorted(rows.hits, key=lambda hit: hit.number)),
                )

    def _found_in(self, code: str) -> _Found:
        if code not in self._found:
            most = self._most_hits
            self._found[code] = _Found(_Rows(most), _Rows(most), _Rows(most))
        return self._found[code]


def _shown(text: str) -> str:
    """Without secrets, also where a hard space among them is spelled out."""
    return hide(text.replace(r"\xa0", " "))


def _hidden(hit: Hit) -> Hit:
    detail = _shown(hit.detail)
    return hit if detail == hit.detail else replace(hit, detail=detail)


def _concealed(check: Check, seen: Seen, hit: Hit) -> Hit:
    """Without secrets, also those of which the detail shows a part: what the check says of the
    row once they are hidden in it."""
    if check.code.startswith("K5") or not _may_show(hit.detail):
        return hit
    place = bisect_left(seen.numbers, hit.number)
    texts = seen.inputs.texts[place], seen.outputs.texts[place]
    hidden = hide(texts[0]), hide(texts[1])
    if hidden != texts:
        row = Seen(Chunk([hit.number], [hidden[0]], [hidden[1]]), seen.special_tokens)
        of_output = hit.field.startswith("output")
        anew = (h for h in check.look(row) if h.field.startswith("output") == of_output)
        hit = replace(hit, detail=next((h.detail for h in anew), ""))
    return _hidden(hit)


def _may_show(detail: str) -> bool:
    return "@" in detail or "…" in detail or any(map(str.isdigit, detail))


def _places(places: Places) -> list[int]:
    found: list[int] = places.tolist()
    return found


def _most_tokens(seen: Seen, place: int) -> int:
    """More than a pair can have."""
    texts = seen.inputs.texts[place], seen.outputs.texts[place]
    return sum(len(text.encode(errors="replace")) + _TURN_TOKENS for text in texts)


_SINGULARS = {"have": "has", "are": "is", "do": "does", "cannot": "cannot", "would": "would"}


def _sentence(count: int, row_count: int, what: str) -> str:
    """`3 of 200 rows have an empty output`."""
    if count == 1:
        verb, _, rest = what.partition(" ")
        what = f"{_SINGULARS.get(verb, verb + 's')} {rest}"
    return f"{count} of {row_count} rows {what}" if row_count > 1 else f"the only row {what}"
