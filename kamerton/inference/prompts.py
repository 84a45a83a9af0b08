"""Contents to token ids: the only renderer, shared by training and serving.

The format is Gemma's chat template. Turn marks are put in as token ids, never as text, so that a
user who writes `<end_of_turn>` has written thirteen characters and not the end of a turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from kamerton.errors import FailedPrecondition
from kamerton.types import Content, Example

Span = tuple[int, int]
"""A half-open stretch of token ids."""
LONG_TEXT = 2000
"""Characters from which on the tokenizer is called so that other threads can go on meanwhile."""


class Renderer:
    """Renders prompts and answers with the tokenizer of one base model."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        # Special tokens in the user's text are text.
        self._tokenizer.encode_special_tokens = True
        self._longest_token = max(map(len, tokenizer.get_vocab()))
        self.bos = self._mark("<bos>")
        self.eos = self._mark("<eos>")
        self.start_of_turn = self._mark("<start_of_turn>")
        self.end_of_turn = self._mark("<end_of_turn>")
        self._model_line = self._encode("model\n")
        self._line_end = self._encode("\n")

    @classmethod
    def load(cls, folder: Path) -> Renderer:
        """Raises FailedPrecondition when the folder has no tokenizer that can be read."""
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # The library raises nothing narrower.
            raise FailedPrecondition(
                f"tokenizer.json of the base model {folder.name} cannot be read: {error}"
            ) from error
        return cls(tokenizer)

    @property
    def special_tokens(self) -> frozenset[str]:
        """The marks of this tokenizer, as texts."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added if token.special)

    @property
    def stops(self) -> frozenset[int]:
        """Token ids that end an answer."""
        return frozenset({self.end_of_turn, self.eos})

    def prompt(self, contents: Sequence[Content]) -> list[int]:
        """Everything up to the place where the answer begins, with exactly one BOS in front."""
        ids, _ = self._lay(contents, map(self._encode, _texts(contents)))
        return ids

    def examples(self, examples: Sequence[Example]) -> list[tuple[list[int], list[Span]]]:
        """The ids of each example, and which of them are learned: answers with the mark that ends
        each. Model turns are the very tokens that serving would have sampled for them."""
        texts = [text for example in examples for text in _texts(example.contents)]
        texts += [example.output.strip() for example in examples]
        encoded = iter(self._encode_all(texts))
        laid = [self._lay(example.contents, encoded) for example in examples]
        for ids, spans in laid:
            start = len(ids)
            ids += [*next(encoded), self.end_of_turn]
            spans.append((start, len(ids)))
        return laid

    def cannot_fit(self, contents: Sequence[Content], tokens: int) -> bool:
        """True when so much text is more than `tokens`, however well it is cut into tokens.

        Far faster than rendering what is then refused.
        """
        return sum(len(content.text) for content in contents) > tokens * self._longest_token

    def answer(self, text: str) -> list[int]:
        """The tokens that carry loss: the answer and the mark that ends it."""
        return [*self._encode(text.strip()), self.end_of_turn]

    def text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def token(self, id: int) -> str:
        """The text of one token by itself, marks included."""
        return str(self._tokenizer.decode([id], skip_special_tokens=False))

    def _lay(
        self, contents: Sequence[Content], encoded: Iterator[list[int]]
    ) -> tuple[list[int], list[Span]]:
        """Ids up to where the answer begins, from the ids of `_texts`; spans of learned turns."""
        ids, spans = [self.bos], []
        for turn in contents:
            if turn.role == "system":
                continue
            ids.append(self.start_of_turn)
            if turn.role == "model":
                ids += self._model_line
            start = len(ids)
            ids += [*next(encoded), self.end_of_turn]
            if turn.role == "model" and turn.learn:
                spans.append((start, len(ids)))
            ids += self._line_end
        return [*ids, self.start_of_turn, *self._model_line], spans

    def _encode_all(self, texts: list[str]) -> list[list[int]]:
        """As `_encode` does, on all cores."""
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _encode(self, text: str) -> list[int]:
        if len(text) < LONG_TEXT:
            return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        return list(self._tokenizer.encode_batch([text], add_special_tokens=False)[0].ids)

    def _mark(self, token: str) -> int:
        mark = self._tokenizer.token_to_id(token)
        if mark is None:
            raise FailedPrecondition(
                f"The tokenizer has no {token}: only base models with Gemma's turn tokens can be "
                "used so far."
            )
        return int(mark)


def _texts(contents: Sequence[Content]) -> Iterator[str]:
    """What is to be encoded of each turn but a system's, which stands in front of the first."""
    system = "\n\n".join(c.text.strip() for c in contents if c.role == "system")
    for turn in contents:
        if turn.role == "system":
            continue
        text = turn.text.strip()
        if system:
            text, system = f"{system}\n\n{text}", ""
        # The line with the role is a model's own: its answer begins a new token.
        yield text if turn.role == "model" else f"{turn.role}\n{text}"
