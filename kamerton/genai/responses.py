"""Answers of a model, whole or as a stream of pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from pprint import pformat
from typing import Any

from kamerton.genai.contents import MODEL, Content, Part
from kamerton.genai.safety import SafetyRating


class FinishReason(IntEnum):
    FINISH_REASON_UNSPECIFIED = 0
    STOP = 1
    MAX_TOKENS = 2
    SAFETY = 3
    RECITATION = 4
    OTHER = 5
    LANGUAGE = 6
    BLOCKLIST = 7
    PROHIBITED_CONTENT = 8
    SPII = 9


class BlockReason(IntEnum):
    BLOCK_REASON_UNSPECIFIED = 0
    SAFETY = 1
    OTHER = 2
    BLOCKLIST = 3
    PROHIBITED_CONTENT = 4


class BlockedPromptException(Exception):
    """The prompt was refused; never raised, for scripts that catch it."""


class StopCandidateException(Exception):
    """The answer was cut for its content; never raised, for scripts that catch it."""


class IncompleteIterationError(Exception):
    """A stream was asked for its whole answer before it had ended."""


@dataclass
class Candidate:
    """One answer."""

    index: int = 0
    content: Content = field(default_factory=Content)
    finish_reason: FinishReason = FinishReason.FINISH_REASON_UNSPECIFIED
    safety_ratings: list[SafetyRating] = field(default_factory=list)
    token_count: int = 0


@dataclass
class PromptFeedback:
    block_reason: BlockReason = BlockReason.BLOCK_REASON_UNSPECIFIED
    safety_ratings: list[SafetyRating] = field(default_factory=list)


@dataclass
class UsageMetadata:
    prompt_token_count: int = 0
    candidates_token_count: int = 0
    total_token_count: int = 0
    cached_content_token_count: int = 0


@dataclass
class Answer:
    """What the server says at once: all of an answer, or the next piece of it."""

    candidates: list[Candidate] = field(default_factory=list)
    prompt_feedback: PromptFeedback = field(default_factory=PromptFeedback)
    usage_metadata: UsageMetadata = field(default_factory=UsageMetadata)
    model_version: str = ""


class GenerateContentResponse:
    """An answer. One that is streamed is iterated over piece by piece, and is whole afterwards
    or after `resolve()`."""

    def __init__(self, coming: Iterator[Answer]) -> None:
        self._coming = coming
        self._pieces: list[Answer] = []
        self._done = False
        self._receive()

    def __iter__(self) -> Iterator[GenerateContentResponse]:
        place = 0
        while place < len(self._pieces) or self._receive():
            piece = GenerateContentResponse(iter([self._pieces[place]]))
            piece.resolve()
            yield piece
            place += 1

    def resolve(self) -> None:
        """Wait for the end of a stream."""
        while self._receive():
            pass

    @property
    def text(self) -> str:
        """The text of the only candidate. Raises ValueError when there is not just one."""
        if not self.parts:
            reason = self.candidates[0].finish_reason.name
            raise ValueError(f"the answer has no text; its finish reason is {reason}")
        return "\n".join(part.text for part in self.parts)

    @property
    def parts(self) -> list[Part]:
        """The parts of the only candidate. Raises ValueError when there is not just one."""
        if len(self.candidates) != 1:
            raise ValueError(
                f"the answer has {len(self.candidates)} candidates; "
                "take one of response.candidates[...].content.parts"
            )
        return self.candidates[0].content.parts

    @property
    def candidates(self) -> list[Candidate]:
        """All answers. Raises IncompleteIterationError on a stream that has not ended."""
        if not self._done:
            raise IncompleteIterationError(
                "the answer is still coming; iterate over it to its end or call resolve() first"
            )
        return self._so_far().candidates

    @property
    def prompt_feedback(self) -> PromptFeedback:
        return self._so_far().prompt_feedback

    @property
    def usage_metadata(self) -> UsageMetadata:
        """Tokens of prompt and answer; of a stream, as far as it has come."""
        return self._so_far().usage_metadata

    @property
    def model_version(self) -> str:
        return self._so_far().model_version

    def to_dict(self) -> dict[str, Any]:
        """What has come so far."""
        return asdict(self._so_far())

    def __repr__(self) -> str:
        state = "" if self._done else " still coming"
        return f"<GenerateContentResponse{state}\n{pformat(self._so_far())}>"

    def _receive(self) -> bool:
        """Take in the next piece; False when there is none."""
        try:
            self._pieces.append(next(self._coming))
        except StopIteration:
            self._done = True
        except Exception:
            # What has come by now is all there will ever be.
            self._done = True
            raise
        return not self._done

    def _so_far(self) -> Answer:
        return _joined(self._pieces or [Answer()])


def _joined(pieces: Sequence[Answer]) -> Answer:
    """Pieces of a stream as one answer, each candidate's text joined."""
    by_index: dict[int, list[Candidate]] = {}
    for candidate in (candidate for piece in pieces for candidate in piece.candidates):
        by_index.setdefault(candidate.index, []).append(candidate)
    return Answer(
        [_joined_candidate(by_index[index]) for index in sorted(by_index)],
        pieces[0].prompt_feedback,
        pieces[-1].usage_metadata,
        pieces[-1].model_version,
    )


def _joined_candidate(pieces: Sequence[Candidate]) -> Candidate:
    parts = [part for piece in pieces for part in piece.content.parts]
    text = [Part("".join(part.text for part in parts))] if parts else []
    return replace(pieces[-1], content=Content(text, MODEL))
