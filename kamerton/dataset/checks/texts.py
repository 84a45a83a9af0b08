"""Left-overs in texts: markup, broken characters, invisible ones, the marks of chat templates."""

from __future__ import annotations

import html
import html.entities
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator

from ftfy.badness import is_bad

from kamerton.dataset.checks.registry import row_check
from kamerton.dataset.seen import (
    ANGLE,
    BRACKET,
    BROKEN,
    INVISIBLE,
    MARKDOWN,
    Seen,
    with_any,
)
from kamerton.findings import Hit

_EXCERPT = 40
"""Characters of a text that a hit shows."""


def excerpt(text: str, start: int, end: int) -> str:
    """What is found in a text, cut where it is long, with its invisible characters spelled out."""
    shown = text[start : min(end, start + _EXCERPT)]
    dots = "…" if end - start > _EXCERPT else ""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown) + dots


_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
# What else people put between < and >, such as placeholders and type parameters, is no markup.
_TAG = re.compile(
    r"</(?:a|article|aside|b|blockquote|body|button|center|code|dd|div|dl|dt|em|font|footer|form"
    r"|h[1-6]|head|header|html|i|iframe|label|li|main|nav|ol|option|p|pre|script|section|select"
    r"|small|span|strike|strong|style|sub|sup|svg|table|tbody|td|textarea|tfoot|th|thead|title"
    r"|tr|u|ul|video)\s*>"
    r"|<(?:br|hr)\s*/?>"
    r"|(?<!\w)<[biup]>"
    r"|<(?:blockquote|center|div|em|font|h[1-6]|html|img|li|ol|pre|span|strong|sub|sup|table|tbody"
    r"|td|th|thead|tr|ul)\s*/?>"
    r"|<(?:a|body|button|div|font|form|h[1-6]|i|iframe|img|input|label|li|link|meta|ol|option|p"
    r"|script|span|style|svg|table|td|th|tr|ul|video)\s+[a-z-]+\s*=[^<>]*>"
    r"|<!--|<!doctype\b",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:#\d{2,6}|#x[0-9a-f]{2,5}|(?P<name>[a-z][a-z0-9]{1,8}));", re.IGNORECASE)


@row_check(
    "K402",
    "html",
    "warning",
    what="have HTML in a text",
    advice="Take tags and entities such as <br> and &nbsp; out of these rows, or write them as "
    "plain text.",
    why="The model would learn to answer with tags now and then. Where more than a fifth of the "
    "inputs, or of the outputs, have HTML it is taken for the task, and nothing is said; so are an "
    "answer whose input speaks of HTML, tags or code, and what stands between backticks.",
    smell=True,
)
def html_left_over(seen: Seen) -> Iterator[Hit]:
    return _unasked(seen, seen.search(with_any(ANGLE), _html))


_ASKED = re.compile(r"html|xml|markdown|маркдаун|\bcode|\bкод|\bтег|\btags?\b|разметк|вёрст|верст")
_PAGE = re.compile(r"\s*<(?:!doctype|html|svg|\?xml)\b", re.IGNORECASE)


def _unasked(seen: Seen, hits: Iterable[Hit]) -> Iterator[Hit]:
    """Without answers for which the input asks, and those that are a whole page of HTML."""
    for hit in hits:
        if hit.field == "output":
            place = bisect_left(seen.numbers, hit.number)
            if _ASKED.search(seen.inputs.texts[place].lower()):
                continue
            if _PAGE.match(seen.outputs.texts[place]):
                continue
        yield hit


def _html(text: str) -> str:
    if "`" in text:
        text = _CODE.sub(" ", text)
    if tag := _TAG.search(text):
        return excerpt(text, *tag.span())
    for entity in _ENTITY.finditer(text):
        if not entity["name"] or f"{entity['name']};" in html.entities.html5:
            return entity[0]
    return ""


_MARKDOWN = re.compile(
    r"(?<![\w*])\*\*(?=[^\s*])[^*\n]{1,200}?(?<=[^\s*])\*\*(?![\w*])"
    r"|(?<![\w_])__(?![a-z]+__)(?=[^\s_])[^_\n]{1,200}?(?<=[^\s_])__(?![\w_])"
    r"|^\#{1,6}[ ]\S[^\n]*"
    r"|^```.*"
    r"|\[[^\[\]\n]{1,100}\]\((?:https?://|/|\#|mailto:)[^\s()]*\)"
    r"|^\|(?:[ ]?:?-{3,}:?[ ]?\|)+"
    r"|^[*][ ]\S[^\n]*\n+[*][ ]\S"
    r"|!\[[^\[\]\n]{0,100}\]\([^\s()]+\)"
    r"|(?<![\w~])~~(?=[^\s~])[^~\n]{1,200}~~(?![\w~])",
    re.MULTILINE,
)


@row_check(
    "K403",
    "markdown",
    "note",
    what="have Markdown in a text, and most others have none",
    advice="Write all answers with Markdown, or all without.",
    why="The model would use it by chance. Where more than a fifth of the inputs, or of the "
    "outputs, have Markdown it is taken for the task, and nothing is said; so is an answer whose "
    "input speaks of Markdown or code.",
    smell=True,
)
def markdown_left_over(seen: Seen) -> Iterator[Hit]:
    return _unasked(seen, seen.search(with_any(MARKDOWN | BRACKET), _markdown))


_MARKS = ("**", "__", "# ", "```", "](", "|-", "|:", "| -", "| :", "* ", "~~")
"""One of them is in all Markdown; far cheaper than the pattern."""


def _markdown(text: str) -> str:
    found = _MARKDOWN.search(text) if any(mark in text for mark in _MARKS) else None
    return excerpt(text, *found.span()) if found else ""


@row_check(
    "K404",
    "mojibake",
    "warning",
    what="have broken characters, as of text that was read in the wrong encoding",
    advice="Export the data once more as UTF-8, or restore these rows, for example with ftfy.",
    why="The model would learn the broken characters, and answer with them. U+FFFD stands where a "
    "character was lost for good.",
)
def mojibake(seen: Seen) -> Iterator[Hit]:
    return seen.search(with_any(BROKEN), _broken)


_CYRILLIC_LOST = re.compile(
    # Windows-1251 read as Latin letters; of one letter many times it is a cry.
    r"(?!(.)\1\1)[\xa8\xb8\xc0-\xd6\xd8-\xf6\xf8-\xff]{5,}"
    # UTF-8 read as Windows-1251: each letter became two.
    "|(?:[РС][\u0401-\u040f\u0451-\u045f\u0490\u0491\u2013-\u203a\u20ac\u2116\u2122\xa0-\xbf]){3}"
    # Its quotes and dashes, and Latin letters with an accent, read likewise.
    "|вЂ|(?<=[A-Za-z])Г[\u0401-\u040f\u0451-\u045f\u0490\u0491\xa1-\xba\xbc-\xbf]"
)
"""What ftfy does not take for broken."""
_ODD = re.compile(r"[^\x00-\x7f]+")


def _broken(text: str) -> str:
    if (at := text.find("\ufffd")) >= 0:
        return f"U+FFFD after {excerpt(text, max(0, at - 20), at)!r}"
    if not is_bad(text) and not _CYRILLIC_LOST.search(text):
        return ""
    odd = max((found for found in _ODD.finditer(text)), key=lambda found: len(found[0]))
    return excerpt(text, odd.start(), odd.start() + _EXCERPT)


_JOINERS = "\u200c\u200d"
_DIRECTIONS = "\u200e\u200f\u061c\u2066\u2067\u2068\u2069\u202a\u202b\u202c"
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_FLAG = re.compile("\U0001f3f4[\U000e0061-\U000e007a]+\U000e007f")


@row_check(
    "K405",
    "invisible-characters",
    "warning",
    what="have control or invisible characters in a text",
    advice="Remove these characters, and look at how they got in.",
    why="Nobody sees them, but the model does: the same word with and without one is two words to "
    "it. Joiners within emoji and in scripts that need them, and marks of direction beside "
    "right-to-left text, are left alone.",
)
def invisible_characters(seen: Seen) -> Iterator[Hit]:
    return seen.search(with_any(INVISIBLE), _invisible)


def _invisible(text: str) -> str:
    flagless = _FLAG.sub("", text)
    for found in _INVISIBLE.finditer(flagless):
        character = found[0]
        if character in _JOINERS and _joins(flagless, found.start()):
            continue
        if character in _DIRECTIONS and _RIGHT_TO_LEFT.search(flagless):
            continue
        name = unicodedata.name(character, "a control character")
        return f"U+{ord(character):04X}, {name.lower()}"
    return ""


def _joins(text: str, at: int) -> bool:
    """Whether a joiner stands where one belongs: after an emoji or a letter of a script that
    joins its letters."""
    before = text[at - 1] if at else " "
    return ord(before) >= 0x0590 and not before.isspace() and not _INVISIBLE.match(before)


_TEMPLATE = re.compile(
    r"<\|[a-z0-9_ ]{2,40}\|>"
    r"|<｜[^｜<>\n]{2,40}｜>"
    r"|</?(?:start|end)_of_(?:turn|image|text)>"
    r"|</?(?:bos|eos|pad|unk)>"
    r"|</?s>(?!\w[^<]*</s>)"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\]"
    r"|<</?SYS>>"
    r"|<(?:unused|extra_id_)\d+>"
    r"|^\#{2,3}[ ](?:Instruction|Response|Input|Human|Assistant|User|System):",
    re.MULTILINE,
)
_MARK = re.compile(r"<[^<>\s]{1,40}>|\[[^\[\]\s]{1,20}\]")


@row_check(
    "K406",
    "template-tokens",
    "warning",
    what="have marks of a chat template in a text",
    advice="Give the plain texts: Kamerton puts the base model's own marks around them.",
    why="The model would see marks within marks, and learn to write them. To Kamerton "
    "a mark within a text is plain characters; to other servers of the same model it may be the "
    "end of a turn.",
)
def template_tokens(seen: Seen) -> Iterator[Hit]:
    special = seen.special_tokens

    def find(text: str) -> str:
        if found := _TEMPLATE.search(text):
            return found[0]
        return next((mark for mark in _MARK.findall(text) if mark in special), "")

    return seen.search(with_any(ANGLE | BRACKET | MARKDOWN), find)
