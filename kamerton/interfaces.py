"""The extension points, on one page; an implementation need not import them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from kamerton.types import BaseModel, Chunk, GenerationConfig, Snapshot

OnSnapshot = Callable[[Snapshot], bool]
"""Called after every step, and when a run is resumed once more for the steps already done.
True: go on; False: stop and keep what was learned. It raises `errors.Cancelled` to give the run
up, or `errors.Paused` to have it written down and left for later."""
OnEvent = Callable[[str, str, int | None], None]
"""Called with what happens in a run beside its steps: a stable word, a sentence, and the step."""


class InferenceEngine(Protocol):
    """Answers prompts from a base model with or without an adapter."""

    def generate(
        self,
        base_model: BaseModel,
        adapter: Path | None,
        prompt: Sequence[int],
        config: GenerationConfig,
    ) -> Iterator[Chunk]:
        """Stream the answer to `prompt` (token ids). Closing the iterator, which
        any thread may do, stops the work."""
        ...

    def forget(self, adapter: Path) -> None:
        """Free what is kept for an adapter that was deleted."""
        ...

    def warming(self) -> str | None:
        """What is still being loaded, in words; None when ready."""
        ...

    def close(self) -> None: ...


class Runner(Protocol):
    """Sees to it that queued operations are worked on."""

    def ensure_possible(self) -> None:
        """Raises FailedPrecondition where no operation could ever be worked on."""
        ...

    def wake(self) -> None:
        """There is something new: an operation was queued or cancelled."""
        ...

    def warming(self) -> str | None:
        """What is still being loaded, in words; None when ready."""
        ...

    def close(self) -> None: ...
