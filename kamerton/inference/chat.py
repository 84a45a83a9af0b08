"""How the turns of a conversation become a prompt: Gemma's turns, or a model's own chat template.

A format never sees what is written in a conversation: it lays out turns by their roles, and says
where the text of each one belongs. So nothing in a text can be taken for a mark of the format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kamerton.errors import FailedPrecondition, InvalidArgument
from kamerton.types import Role

if TYPE_CHECKING:
    from jinja2 import Template as JinjaTemplate

Part = str | int
"""A text of the format with its marks, or the number of a turn whose text stands here."""
DATE = datetime(2024, 7, 26)
"""What templates are told is today: Llama's own fallback. With the real date an adapter would be
trained on other prompts than it is served with on the next day."""
_ROLES = {"system": "system", "user": "user", "model": "assistant"}
_PLACE, _PLACES = "\ue000{}\ue001", re.compile("\ue000(\\d+)\ue001")
"""Private characters: the format is all there is beside them."""


class Chat(Protocol):
    """The format of one base model."""

    def lay(self, roles: Sequence[Role], *, asks: bool) -> list[Part]:
        """Turns of these roles; `asks` is whether the beginning of a model's turn follows, for it
        to go on with. Raises InvalidArgument for turns that the format has no place for."""

    @property
    def marks(self) -> tuple[str, ...]:
        """The tokens that it writes, where they are known without looking at a tokenizer."""

    def usual(self) -> list[tuple[Role, ...]]:
        """Roles in which everything occurs that it writes."""

    @property
    def takes_system(self) -> bool:
        """Whether there is a place for system text; else it belongs to the first turn."""

    @property
    def takes_neighbours(self) -> bool:
        """Whether two turns of one role may follow each other."""


class GemmaTurns:
    """Of Gemma 1 to 3n, whatever template is in the folder."""

    marks = ("<bos>", "<start_of_turn>", "<end_of_turn>")
    takes_system = False
    takes_neighbours = True

    def usual(self) -> list[tuple[Role, ...]]:
        return [("user",)]

    def lay(self, roles: Sequence[Role], *, asks: bool) -> list[Part]:
        parts: list[Part] = []
        text = "<bos>"
        for number, role in enumerate(roles):
            parts += [f"{text}<start_of_turn>{role}\n", number]
            text = "<end_of_turn>\n"
        return [*parts, f"{text}<start_of_turn>model\n" if asks else text]


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template as Hugging Face tokenizers have it, rendered in the same sandbox."""

    template: JinjaTemplate
    tokens: dict[str, str]
    """What it may write by name, such as `bos_token`."""
    marks = ()

    @classmethod
    def read(cls, folder: Path) -> ChatTemplate:
        """Raises FailedPrecondition when the folder has none, or one that cannot be read."""
        from jinja2 import TemplateError

        config = read_json(folder / "tokenizer_config.json")
        source = _source(folder, config)
        if not source:
            raise FailedPrecondition(
                f"The base model {folder.name} has no chat template, so it does not know turns: "
                "take the variant of it that was made for conversations (its name often ends in "
                "-it, -Instruct or -Chat), or put its chat_template.jinja into the folder."
            )
        try:
            template = _environment().from_string(source)
        except TemplateError as error:
            raise FailedPrecondition(
                f"The chat template of the base model {folder.name} cannot be read: {error}"
            ) from error
        named = {**read_json(folder / "special_tokens_map.json"), **config}
        tokens = {key: token_text(value) for key, value in named.items() if key.endswith("_token")}
        chat = cls(template, {key: text for key, text in tokens.items() if text})
        try:
            chat.lay(("user",), asks=True)
            chat.lay(("user", "model"), asks=False)
        except InvalidArgument as error:
            raise FailedPrecondition(
                f"The chat template of the base model {folder.name} cannot be used. {error.message}"
            ) from error
        return chat

    def lay(self, roles: Sequence[Role], *, asks: bool) -> list[Part]:
        messages = [
            {"role": _ROLES[role], "content": _PLACE.format(number)}
            for number, role in enumerate(roles)
        ]
        try:
            text = self.template.render(
                messages=messages,
                add_generation_prompt=asks,
                tools=None,
                documents=None,
                # Else templates begin the answers that they are shown otherwise than those that
                # they ask for.
                enable_thinking=False,
                **self.tokens,
            )
        except Exception as error:  # It is a program: anything may go wrong in it.
            raise _refused(roles, str(error)) from error
        parts: list[Part] = []
        for at, piece in enumerate(_PLACES.split(text)):
            parts.append(int(piece) if at % 2 else piece)
        numbers = [part for part in parts if isinstance(part, int)]
        if sorted(numbers) != list(range(len(roles))):
            raise _refused(roles, "it leaves a turn out or repeats one")
        return parts

    def usual(self) -> list[tuple[Role, ...]]:
        turns: tuple[Role, ...] = ("user", "model", "user")
        return [turns, ("system", *turns)] if self.takes_system else [turns]

    @cached_property
    def takes_system(self) -> bool:
        return self._takes("system", "user")

    @cached_property
    def takes_neighbours(self) -> bool:
        return self._takes("user", "user") and self._takes("user", "model", "model", "user")

    def _takes(self, *roles: Role) -> bool:
        try:
            self.lay(roles, asks=True)
        except InvalidArgument:
            return False
        return True


def read_json(file: Path) -> dict[str, Any]:
    """Nothing where there is no such file. Raises FailedPrecondition when it is damaged."""
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(found, dict):
        raise _damaged(file, "it holds no object")
    return found


def token_text(value: object) -> str:
    """Of a token in a tokenizer's configuration, which may be an object; "" for none."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _source(folder: Path, config: dict[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = config.get("chat_template") or read_json(folder / "chat_template.json").get(
        "chat_template"
    )
    if isinstance(found, list):  # Several by name.
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else ""


def _environment() -> Any:
    """As transformers has it, without importing transformers, which would import torch."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks answers for trainers; their text is all that matters here."""

        tags = {"generation"}  # noqa: RUF012 - it is one of the library's.

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: object, indent: int | None = None, **options: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False, "indent": indent, **options})

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = DATE.strftime
    return environment


def _refused(roles: Sequence[Role], why: str) -> InvalidArgument:
    shown = ", ".join(roles[:8]) + (", ..." if len(roles) > 8 else "")
    return InvalidArgument(
        f"The chat template of this base model has no place for these turns ({shown}): {why}"
    )


def _damaged(file: Path, why: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"{file.name} of the base model {file.parent.name} cannot be read: {why}"
    )
