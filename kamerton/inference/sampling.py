"""From logits to the next token, and from tokens to text that may be shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import takewhile

import torch

from kamerton.inference.prompts import Renderer
from kamerton.types import FinishReason, GenerationConfig, TokenChoice, TokenLogprob

UNFINISHED = "\ufffd"
"""What a tokenizer decodes the first bytes of a longer character to."""
LEAST_LOGPROB = -9999.0
"""Said of what has no chance at all, because JSON has no infinity."""


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


def token_choice(logits: torch.Tensor, token: int, count: int, renderer: Renderer) -> TokenChoice:
    """How probable `token` was, and the `count` most probable tokens, from `logits` [vocabulary].

    Natural logarithms of the softmax of these very logits: temperature, penalties, top-k and top-p
    have no part in them.
    """
    logprobs = logits.log_softmax(-1).nan_to_num(nan=LEAST_LOGPROB, neginf=LEAST_LOGPROB)
    values, tokens = logprobs.topk(min(count, len(logprobs)))
    return TokenChoice(
        TokenLogprob(token, renderer.token(token), float(logprobs[token])),
        tuple(
            TokenLogprob(other, renderer.token(other), value)
            for other, value in zip(tokens.tolist(), values.tolist(), strict=True)
        ),
    )


@dataclass(slots=True)
class Answer:
    """One candidate as it grows; holds text back until it is certain to be part of it."""

    renderer: Renderer
    config: GenerationConfig
    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    _shown: int = 0
    _untold: list[tuple[int, TokenChoice]] = field(default_factory=list)
    """Each with the place in the text where its token begins."""

    def add(self, token: int, logits: torch.Tensor) -> str:
        """Take one more token, chosen from `logits` [vocabulary], and return the text that it makes
        certain."""
        if token in self.renderer.stops:
            return self._end("STOP")
        if self.config.logprobs is not None:
            begins = len(self.renderer.text(self.tokens).rstrip(UNFINISHED))
            choice = token_choice(logits, token, self.config.logprobs, self.renderer)
            self._untold.append((begins, choice))
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

    def logprobs(self) -> tuple[TokenChoice, ...] | None:
        """The tokens whose text began to be shown since the last call; None when nobody asked.

        So the mark that ends an answer is not among them, nor what a stop sequence cut off.
        """
        if self.config.logprobs is None:
            return None
        told = list(takewhile(lambda waiting: waiting[0] < self._shown, self._untold))
        del self._untold[: len(told)]
        return tuple(choice for _, choice in told)

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
