"""From logits to the next token, and from tokens to text that may be shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch

from kamerton.inference.prompts import Renderer
from kamerton.types import FinishReason, GenerationConfig

UNFINISHED = "\ufffd"
"""What a tokenizer decodes the first bytes of a longer character to."""


def next_token(
    logits: torch.Tensor,
    config: GenerationConfig,
    so_far: list[int],
    generator: torch.Generator | None,
) -> int:
    """Choose from `logits` [vocabulary] by penalties, temperature, top-k, then top-p.

    Temperature 0 is greedy. Every field of `config` that steers sampling must be given.
    """
    if config.presence_penalty or config.frequency_penalty:
        logits = logits.clone()
        for token, count in Counter(so_far).items():
            logits[token] -= config.presence_penalty + config.frequency_penalty * count
    if not config.temperature:
        return int(logits.argmax())
    # The greatest is taken off first: divided by a tiny temperature it would be infinite.
    values, tokens = ((logits - logits.max()) / config.temperature).sort(descending=True)
    if config.top_k:
        values, tokens = values[: config.top_k], tokens[: config.top_k]
    probabilities = values.softmax(-1)
    if config.top_p is not None and config.top_p < 1.0:
        # Keep the shortest head whose sum reaches top_p; at least one token.
        before = probabilities.cumsum(-1) - probabilities
        beyond = before >= config.top_p
        beyond[0] = False
        probabilities = probabilities.masked_fill(beyond, 0.0)
    return int(tokens[torch.multinomial(probabilities, 1, generator=generator)])


@dataclass(slots=True)
class Answer:
    """One candidate as it grows; holds text back until it is certain to be part of it."""

    renderer: Renderer
    config: GenerationConfig
    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    _shown: int = 0

    def add(self, token: int) -> str:
        """Take one more token and return the text that it makes certain."""
        if token in self.renderer.stops:
            return self._end("STOP")
        self.tokens.append(token)
        text = self.renderer.text(self.tokens)
        stop = min(
            (at for at in map(text.find, self.config.stop_sequences) if at >= 0), default=None
        )
        if stop is not None:
            self.finish_reason = "STOP"
            return self._show(text[:stop])
        if len(self.tokens) >= (self.config.max_output_tokens or 1):
            return self._end("MAX_TOKENS")
        return self._show(text[: len(text) - self._uncertain(text)])

    def _end(self, reason: FinishReason) -> str:
        self.finish_reason = reason
        return self._show(self.renderer.text(self.tokens).rstrip(UNFINISHED))

    def _show(self, text: str) -> str:
        new, self._shown = text[self._shown :], max(self._shown, len(text))
        return new

    def _uncertain(self, text: str) -> int:
        """How many characters at the end may still change, or begin a stop sequence."""
        certain = text.rstrip(UNFINISHED)
        begun = max(
            (
                length
                for stop in self.config.stop_sequences
                for length in range(1, min(len(stop), len(certain) + 1))
                if certain.endswith(stop[:length])
            ),
            default=0,
        )
        return len(text) - len(certain) + begun
