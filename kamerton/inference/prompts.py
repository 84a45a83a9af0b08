"""Contents to token ids: the only renderer, shared by training and serving.

The format of the turns is `chat`'s. Its marks are put in as token ids, never as text, so that a
user who writes `<end_of_turn>` has written thirteen characters and not the end of a turn. What is
between two marks is encoded as one text; only an answer begins anew, for that is where serving
begins to sample.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from kamerton.errors import FailedPrecondition
from kamerton.inference import families
from kamerton.inference.chat import Chat, ChatTemplate, GemmaTurns, Part, read_json, token_text
from kamerton.types import Content, Example, Role

Span = tuple[int, int]
"""A half-open stretch of token ids."""
Turn = tuple[Role, str, bool]
"""Who, what, and whether it is learned; as it is laid out."""
LONG_TEXT = 2000
"""Characters from which on the tokenizer is called so that other threads can go on meanwhile."""
NO_TOKEN = -1
"""In place of the id of a token that a base model does not have."""
KEPT_LAYOUTS, MOST_KEPT_TURNS = 256, 64
"""Of the layouts of conversations, by their roles."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Ids that are the same whatever is written in the turns."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """What is encoded as one text."""

    parts: tuple[Part, ...]
    answer: int | None = None
    """The turn that begins here, where it begins as an answer does that serving samples."""
    closes: int = 0
    """How many of the ids that follow belong to that answer: the mark that ends it."""


Layout = tuple[Fixed | Text, ...]
"""A conversation of certain roles, up to the place where the answer begins."""


@dataclass(frozen=True, slots=True)
class _Conversation:
    turns: Sequence[Turn]
    layout: Layout

    def texts(self) -> Iterator[str]:
        """What is to be encoded of it, in its order."""
        for piece in self.layout:
            if isinstance(piece, Text):
                yield "".join(
                    part if isinstance(part, str) else self.turns[part][1] for part in piece.parts
                )


@dataclass(frozen=True, slots=True)
class _Answer:
    """How the format holds an answer."""

    opening: str
    """How the text before it ends."""
    lead: str
    """A blank that belongs to it, because a prompt ends before."""
    tail: str
    """A blank between it and the mark that ends it."""
    end: str
    """That mark; "" where the format writes none."""


class Renderer:
    """Renders prompts and answers with the tokenizer of one base model."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        chat: Chat | None = None,
        *,
        bos: str = "<bos>",
        stops: Sequence[str | int] = ("<eos>",),
    ) -> None:
        """By default in Gemma's turns. `bos` is "" where a model has none; `stops` end an answer
        besides the turn's own end.

        Raises FailedPrecondition when the tokenizer and the format do not go together.
        """
        self._chat = chat or GemmaTurns()
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._longest_token = max(map(len, tokenizer.get_vocab()))
        self._added = {
            token.content: token for token in tokenizer.get_added_tokens_decoder().values()
        }
        self._marks = self._find_marks()
        # Special tokens in the user's text are text.
        self._tokenizer.encode_special_tokens = True
        self._anchor = self._find_anchor()
        self.bos = self._mark(bos) if bos else NO_TOKEN
        self._answered = self._find_answer()
        ends = (self._answered.end, *stops) if self._answered.end else stops
        ids = [end if isinstance(end, int) else tokenizer.token_to_id(end) for end in ends]
        known = [id for id in ids if id is not None]
        if not known:
            raise FailedPrecondition("The base model has no token that ends an answer.")
        self.end_of_turn = known[0]
        """The mark that ends an answer, and is learned with it."""
        self._stops = frozenset(known)
        self._kept_layout = lru_cache(KEPT_LAYOUTS)(self._lay_out)
        self._kept_layout(("user",))  # Now it is known that there is every mark.

    @classmethod
    def load(cls, folder: Path) -> Renderer:
        """Raises FailedPrecondition when the folder has no tokenizer that can be read, or neither
        a format that is known nor a chat template that can be used."""
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # The library raises nothing narrower.
            raise FailedPrecondition(
                f"tokenizer.json of the base model {folder.name} cannot be read: {error}"
            ) from error
        config = read_json(folder / "config.json")
        text = config.get("text_config", config)
        # A tokenizer alone is one in the making, by recipes/.
        family = families.of(text.get("model_type", "") if config else "gemma3_text")
        own = read_json(folder / "tokenizer_config.json")
        generation = read_json(folder / "generation_config.json")
        stops: list[str | int] = [*family.stops]
        stops += [*_eos(config), *_eos(text), *_eos(generation)]
        if eos := token_text(own.get("eos_token")):
            stops.append(eos)
        if family.chat == "gemma":
            return cls(tokenizer, GemmaTurns(), stops=stops)
        chat = ChatTemplate.read(folder)
        return cls(tokenizer, chat, bos=_bos(tokenizer, chat, own), stops=stops)

    @property
    def special_tokens(self) -> frozenset[str]:
        """The marks of this tokenizer, as texts."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added if token.special)

    @property
    def stops(self) -> frozenset[int]:
        """Token ids that end an answer."""
        return self._stops

    def prompt(self, contents: Sequence[Content]) -> list[int]:
        """Everything up to the place where the answer begins, with exactly one BOS in front if the
        model has one. Raises InvalidArgument for turns that its chat template refuses."""
        conversation = self._read(contents)
        ids, _ = self._lay(conversation, map(self._encode, conversation.texts()))
        return ids

    def examples(self, examples: Sequence[Example]) -> list[tuple[list[int], list[Span]]]:
        """The ids of each example, and which of them are learned: answers with the mark that ends
        each. Model turns are the very tokens that serving would have sampled for them; one that
        the format shows in another way than it asks for is only read."""
        conversations = [self._read(example.contents) for example in examples]
        texts = [text for conversation in conversations for text in conversation.texts()]
        texts += [self._answer(example.output) for example in examples]
        encoded = iter(self._encode_all(texts))
        laid = [self._lay(conversation, encoded) for conversation in conversations]
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
        return [*self._encode(self._answer(text)), self.end_of_turn]

    def text(self, ids: Sequence[int]) -> str:
        """Of an answer, or of as much of it as there is."""
        text = str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        lead = self._answered.lead
        return "" if lead.startswith(text) else text.removeprefix(lead)

    def token(self, id: int) -> str:
        """The text of one token by itself, marks included."""
        return str(self._tokenizer.decode([id], skip_special_tokens=False))

    def _read(self, contents: Sequence[Content]) -> _Conversation:
        turns = _turns(contents, self._chat.takes_system)
        if not self._chat.takes_neighbours:
            turns = _joined(turns)
        laid = list(turns)
        roles = tuple(role for role, _, _ in laid)
        # Long ones are seldom alike.
        lay_out = self._lay_out if len(roles) > MOST_KEPT_TURNS else self._kept_layout
        return _Conversation(laid, lay_out(roles))

    def _lay(
        self, conversation: _Conversation, encoded: Iterator[list[int]]
    ) -> tuple[list[int], list[Span]]:
        """Ids up to where the answer begins, from the ids of its texts; spans of learned turns."""
        ids: list[int] = []
        spans = []
        for piece in conversation.layout:
            if isinstance(piece, Fixed):
                ids += piece.ids
                continue
            start = len(ids)
            ids += next(encoded)
            if piece.answer is not None and conversation.turns[piece.answer][2]:
                spans.append((start, len(ids) + piece.closes))
        return ids, spans

    def _answer(self, text: str) -> str:
        return f"{self._answered.lead}{text.strip()}{self._answered.tail}"

    # --- the format --------------------------------------------------------------------------

    def _lay_out(self, roles: tuple[Role, ...]) -> Layout:
        """Cut what the format makes of these roles into marks and the texts between them."""
        pieces: list[Fixed | Text] = []
        stretch: list[Part] = []
        answer: int | None = None

        def end(mark: int | None) -> None:
            """Of the present text, before a mark or before an answer."""
            nonlocal answer
            if any(isinstance(part, int) for part in stretch):
                closes = int(answer is not None and mark is not None)
                pieces.append(Text(tuple(stretch), answer, closes))
            elif text := "".join(str(part) for part in stretch):
                pieces.append(Fixed(tuple(self._encode(text))))
            stretch.clear()
            answer = None

        before = ""
        for part in self._chat.lay(roles, asks=True):
            if isinstance(part, int):
                if roles[part] == "model" and before.endswith(self._answered.opening):
                    if lead := self._answered.lead:
                        stretch[-1] = str(stretch[-1]).removesuffix(lead)
                    end(None)
                    answer = part
                    stretch.append(lead)
                stretch.append(part)
                continue
            before = part
            for text, mark in self._cut(part):
                if text:
                    stretch.append(text)
                if mark:
                    end(self._mark(mark))
                    pieces.append(Fixed((self._mark(mark),)))
        end(None)
        return _compact(pieces, self.bos)

    def _cut(self, text: str) -> Iterator[tuple[str, str]]:
        """Each text of the format and the mark that follows it, "" after the last. Some marks
        swallow the blanks beside them."""
        pieces = [*self._marks.split(text), ""]
        swallowed = False
        for piece, mark in zip(pieces[::2], pieces[1::2], strict=True):
            added = self._added.get(mark)
            piece = piece.lstrip() if swallowed else piece
            yield piece.rstrip() if added and added.lstrip else piece, mark
            swallowed = bool(added and added.rstrip)

    def _find_marks(self) -> re.Pattern[str]:
        """The special tokens, and what else of the added tokens the format writes: in the user's
        text those are text from now on as well."""
        written = "\0".join(
            part
            for roles in self._chat.usual()
            for part in self._chat.lay(roles, asks=True)
            if isinstance(part, str)
        )
        for token in self._added.values():
            if not token.special and token.content in written and not token.content.isspace():
                self._tokenizer.add_special_tokens(
                    [
                        AddedToken(
                            token.content,
                            lstrip=token.lstrip,
                            rstrip=token.rstrip,
                            normalized=token.normalized,
                            special=True,
                        )
                    ]
                )
        marks = {*self.special_tokens, *self._chat.marks}
        if not marks:
            raise FailedPrecondition("The tokenizer has no special tokens, so nothing ends a turn.")
        return re.compile(f"({'|'.join(map(re.escape, sorted(marks, key=len, reverse=True)))})")

    def _find_anchor(self) -> str:
        """A text that stands for the mark before another text, for tokenizers that put a blank in
        front of the very first text only; "" where it makes no difference."""
        mark = next(iter(self.special_tokens), "")
        for text in ("x", "1") if mark else ():
            self._tokenizer.encode_special_tokens = False
            whole = self._tokenizer.encode(mark + text, add_special_tokens=False).ids
            self._tokenizer.encode_special_tokens = True
            if whole[1:] != self._tokenizer.encode(text, add_special_tokens=False).ids:
                anchor = f"<{secrets.token_hex(16)}>"  # Nobody can write it.
                self._tokenizer.add_tokens([AddedToken(anchor, normalized=False, special=False)])
                return anchor
        return ""

    def _find_answer(self) -> _Answer:
        """Where answers begin and how they end. Raises FailedPrecondition when the format shows
        them in another way than it asks for them: such a model would be tuned on prompts that
        nobody ever gives it."""
        first, _, asked = self._chat.lay(("user",), asks=True)
        _, _, plain = self._chat.lay(("user",), asks=False)
        begin, _, between, _, after = self._chat.lay(("user", "model"), asks=False)
        assert isinstance(asked, str) and isinstance(plain, str)
        assert isinstance(between, str) and isinstance(after, str)
        lead = between.removeprefix(asked)
        if begin != first or not between.startswith(asked) or lead.strip():
            raise FailedPrecondition(
                "The chat template of this base model shows an answer in another way than it asks "
                f"for one: after {asked[-60:]!r} an answer should follow, but it stands after "
                f"{between[-60:]!r}. Put a chat_template.jinja into its folder for which they are "
                "the same."
            )
        tail, end = next(self._cut(after))
        if tail.strip():
            raise FailedPrecondition(
                f"The chat template of this base model writes {tail.strip()[:60]!r} after an "
                "answer, before the token that ends it: that would be learned and said."
            )
        opening = asked.removeprefix(plain) if asked.startswith(plain) else asked
        return _Answer((opening or asked) + lead, self._lead(asked, lead), tail if end else "", end)

    def _lead(self, asked: str, lead: str) -> str:
        """The blank before an answer as it has to be encoded by itself: a tokenizer that puts one
        in front of every text needs none."""
        *_, (text, _) = self._cut(asked)
        last = self._added.get(next(reversed(self._marks.findall(asked)), ""))
        if not text:
            return "" if last and last.rstrip else lead
        before, whole = self._encode(text), self._encode(f"{text}{lead}x")
        fitting = (one for one in (lead, "") if [*before, *self._encode(f"{one}x")] == whole)
        return next(fitting, lead)

    def _encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """As `_encode` does, on all cores."""
        anchored = [self._anchor + text for text in texts] if self._anchor else list(texts)
        encodings = self._tokenizer.encode_batch_fast(anchored, add_special_tokens=False)
        return [encoding.ids[1:] if self._anchor else encoding.ids for encoding in encodings]

    def _encode(self, text: str) -> list[int]:
        text = self._anchor + text
        if len(text) < LONG_TEXT:
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        else:
            ids = self._tokenizer.encode_batch([text], add_special_tokens=False)[0].ids
        return list(ids[1:] if self._anchor else ids)

    def _mark(self, token: str) -> int:
        mark = self._tokenizer.token_to_id(token)
        if mark is None:
            raise FailedPrecondition(
                f"The tokenizer of this base model has no {token}, which its turns are made of."
            )
        return int(mark)


def _turns(contents: Sequence[Content], takes_system: bool) -> Iterator[Turn]:
    """What is laid out: system text by itself, or in front of the first turn."""
    system = "\n\n".join(c.text.strip() for c in contents if c.role == "system")
    if system and takes_system:
        yield "system", system, False
        system = ""
    for turn in contents:
        if turn.role == "system":
            continue
        text = turn.text.strip()
        if system:
            text, system = f"{system}\n\n{text}", ""
        yield turn.role, text, turn.learn


def _joined(turns: Iterable[Turn]) -> Iterator[Turn]:
    """Neighbours of one role as one turn."""
    before: Turn | None = None
    for role, text, learn in turns:
        if before is not None and before[0] == role:
            before = (role, f"{before[1]}\n\n{text}", before[2] and learn)
            continue
        if before is not None:
            yield before
        before = (role, text, learn)
    if before is not None:
        yield before


def _compact(pieces: Sequence[Fixed | Text], bos: int) -> Layout:
    """Ids that follow each other in one piece, with a BOS in front where the model has one."""
    compact: list[Fixed | Text] = []
    if bos != NO_TOKEN and not (isinstance(pieces[0], Fixed) and pieces[0].ids[0] == bos):
        compact.append(Fixed((bos,)))
    for piece in pieces:
        last = compact[-1] if compact else None
        if isinstance(piece, Fixed) and isinstance(last, Fixed):
            compact[-1] = Fixed((*last.ids, *piece.ids))
        else:
            compact.append(piece)
    return tuple(compact)


def _eos(config: dict[str, Any]) -> list[int]:
    """The tokens that end an answer by a configuration."""
    found = config.get("eos_token_id")
    several = found if isinstance(found, list) else [found]
    return [one for one in several if isinstance(one, int)]


def _bos(tokenizer: Tokenizer, chat: ChatTemplate, config: dict[str, Any]) -> str:
    """ "" where the model has none: neither the template writes it, nor does the tokenizer put it
    in front of a text."""
    bos = chat.tokens.get("bos_token", "")
    if not bos:
        return ""
    first = chat.lay(("user",), asks=True)[0]
    written = isinstance(first, str) and first.startswith(bos)
    put = tokenizer.encode("x").ids[:1] == [tokenizer.token_to_id(bos)]
    return bos if written or put or config.get("add_bos_token") is True else ""
