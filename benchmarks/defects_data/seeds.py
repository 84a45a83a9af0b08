"""Defects of single texts: by code the ways in which a text comes to have it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from random import Random

from benchmarks.defects_data.writing import Language

Spoil = Callable[[Random, str, Language], str]
"""A text with the defect in it."""


def spoilers() -> dict[str, tuple[Spoil, ...]]:
    """Codes of the defects that any text can have, and ways to it."""
    return {
        "K402": (_wrapped_in_tags, *map(_inserted, _TAGS)),
        "K403": (_marked_up, _headed, _fenced, *map(_inserted, _MARKDOWN)),
        "K404": (_misread, _misread, _misread, _misread_word, _misread_word, _lost),
        "K405": (_with_invisible,),
        "K406": tuple(map(_inserted, _MARKS)),
        "K501": (_writing(_email),),
        "K502": (_writing(_phone),),
        "K503": (_writing(_card),),
        "K504": (_writing(_iban),),
        "K505": tuple(map(_writing, _SECRETS)),
    }


def inserted(chance: Random, text: str, piece: str) -> str:
    """The piece before, between or after the words of a text; one of lines, on its own lines."""
    places = [found.start() for found in re.finditer(r" |$", text)] + [0]
    place = chance.choice(places)
    gap = "\n" if "\n" in piece else " "
    parts = text[:place], piece, text[place:]
    return gap.join(part.strip() for part in parts if part.strip())


def _inserted(piece: str) -> Spoil:
    return lambda chance, text, language: inserted(chance, text, piece)


# Left-overs of markup.

_TAGS = (
    "<br>",
    "<BR/>",
    "&nbsp;",
    "&quot;",
    "&#39;",
    "&amp;",
    "<p>",
    "</div>",
    '<a href="/about">more</a>',
    '<img src="photo.jpg" alt="">',
    '<span style="color:red">!</span>',
    "<!-- ad -->",
    "<li>",
    "<strong>Sale</strong>",
    "<script>track()</script>",
    '<td colspan="2">',
    "&mdash;",
)
_MARKDOWN = (
    "**important**",
    "[more](https://shop.example.org/more)",
    "![](chart.png)",
    "__good to know__",
    "## Details\n",
    "* one\n* two",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "~~old~~",
)
_MARKS = (
    "<end_of_turn>",
    "<start_of_turn>user",
    "<|im_start|>assistant",
    "<|im_end|>",
    "[INST] [/INST]",
    "<|endoftext|>",
    "</s>",
    "<s>",
    "<<SYS>>",
    "<|eot_id|>",
    "<|start_header_id|>user<|end_header_id|>",
    "<bos>",
    "<eos>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)


def _wrapped_in_tags(chance: Random, text: str, language: Language) -> str:
    tag = chance.choice(("p", "div", "b", "h2", "li", "em"))
    return f"<{tag}>{text}</{tag}>"


def _marked_up(chance: Random, text: str, language: Language) -> str:
    words = text.split(" ")
    place = chance.randrange(len(words))
    return " ".join([*words[:place], f"**{words[place]}**", *words[place + 1 :]])


def _headed(chance: Random, text: str, language: Language) -> str:
    return f"# {'Answer' if language == 'en' else 'Ответ'}\n\n{text}"


def _fenced(chance: Random, text: str, language: Language) -> str:
    return f"```\n{text}\n```"


# Broken characters.

_WORDS = {
    "en": ("don’t", "café", "naïve", "“quoted”", "20 °C", "– well –", "€5", "Zoë", "résumé"),
    "ru": ("«отзыв»", "— нет —", "скоро", "ёлка", "Объявление", "привет", "№ 5", "спасибо"),
}
_READINGS = {
    "en": (("utf-8", "cp1252"), ("utf-8", "latin-1")),
    "ru": (
        ("utf-8", "cp1251"),
        ("utf-8", "latin-1"),
        ("utf-8", "cp1252"),
        ("cp1251", "latin-1"),
    ),
}
"""As it was written, and as it was read."""


def _read_wrongly(chance: Random, text: str, language: Language) -> str:
    """Bytes without a meaning become U+FFFD, as decoders put it."""
    written, read = chance.choice(_READINGS[language])
    return text.encode(written, "replace").decode(read, "replace")


def _misread(chance: Random, text: str, language: Language) -> str:
    """The whole text, as it happens to a file; pure ASCII would come out of it unharmed."""
    letters = "[а-яё]" if language == "ru" else r"[^\x00-\x7f]"
    if not re.search(letters, text):
        return _misread_word(chance, text, language)
    return _read_wrongly(chance, text, language)


def _misread_word(chance: Random, text: str, language: Language) -> str:
    word = chance.choice(_WORDS[language])
    return inserted(chance, text, _read_wrongly(chance, word, language))


def _lost(chance: Random, text: str, language: Language) -> str:
    place = chance.randrange(len(text))
    return f"{text[:place]}\ufffd{text[place + 1 :]}"


def _with_invisible(chance: Random, text: str, language: Language) -> str:
    place = chance.randrange(len(text))
    sign = chance.choice(_INVISIBLE)
    return text[:place] + sign + text[place:]


_INVISIBLE = (
    *("\u200b", "\ufeff", "\u202e", "\x07", "\x00", "\xad", "\u200e", "\u2060", "\x1b[31m"),
    *("\u200c", "\u2066", "\x08", "\x7f"),
)


# Personal data: all made up, by the rules that the real ones follow.


def _writing(make: Callable[[Random], str]) -> Spoil:
    def spoil(chance: Random, text: str, language: Language) -> str:
        before = ("", "", "see", "contact:") if language == "en" else ("", "", "это", "контакт:")
        return inserted(chance, text, f"{chance.choice(before)} {make(chance)}".strip())

    return spoil


_DIGITS = "0123456789"
_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def _some(chance: Random, count: int, letters: str = _ALPHANUMERIC) -> str:
    return "".join(chance.choices(letters, k=count))


def _email(chance: Random) -> str:
    name = chance.choice(("anna.petrova", "JSmith", "ivan_77", "o'neill", "m.garcia+shop", "kim"))
    host = chance.choice(("gmail.com", "mail.ru", "uni-koeln.de", "post.firma.co.uk", "MAIL.RU"))
    form = chance.choice(("{}", "{}", "<{}>", "({})", "mailto:{}", "{},", "{}."))
    if chance.random() < 0.05:
        return "иван@почта.рф"
    return form.format(f"{name}@{host}")


def _phone(chance: Random) -> str:
    form = chance.choice(
        (
            "+7 (9##) ###-##-##",
            "+79#########",
            "8 9## ### ## ##",
            "8-9##-###-##-##",
            "8(9##)###-##-##",
            "89#########",
            "8 (495) 7##-##-##",
            "+1 415 6##-####",
            "(415) 6##-####",
            "415-6##-####",
            "+44 7### ######",
            "+44 20 7### ####",
            "+49 30 9######",
            "+49 (0) 171 #######",
            "+33 6 ## ## ## ##",
            "+380 67 ### ## ##",
            "+7-9##-###-####",
            "tel:+3712#######",
        )
    )
    return re.sub("#", lambda _: chance.choice(_DIGITS), form)


def _card(chance: Random) -> str:
    start, size = chance.choice(
        (("4", 16), ("4", 16), ("51", 16), ("55", 16), ("2202", 16), ("37", 15), ("6011", 16))
    )
    number = start + _some(chance, size - 1 - len(start), _DIGITS)
    number += next(digit for digit in _DIGITS if _luhn(number + digit) == 0)
    groups = re.findall(".{1,4}", number) if size == 16 else [number[:4], number[4:10], number[10:]]
    return chance.choice(("", " ", "-", " ")).join(groups)


def _luhn(number: str) -> int:
    doubled = "".join(str(int(digit) * 2) for digit in number[-2::-2])
    return sum(map(int, number[-1::-2] + doubled)) % 10


_IBANS = {
    "DE": "##################",
    "GB": "WEST##############",
    "FR": "#######################",
    "NL": "ABNA##########",
    "ES": "####################",
    "PL": "########################",
    "KZ": "###A############",
    "AT": "################",
    "CH": "#################",
}


def _iban(chance: Random) -> str:
    country, form = chance.choice(list(_IBANS.items()))
    account = re.sub("#", lambda _: chance.choice(_DIGITS), form)
    as_number = "".join(str(int(sign, 36)) for sign in f"{account}{country}00")
    whole = f"{country}{98 - int(as_number) % 97:02}{account}"
    grouped = " ".join(re.findall(".{1,4}", whole))
    return chance.choice((whole, grouped, grouped, f"IBAN: {grouped}", f"IBAN {whole}"))


def _jwt(chance: Random) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(b'{"sub":"%d"}' % chance.randrange(10**9)).decode().rstrip("=")
    return f"{head}.{body}.{_some(chance, 43)}"


def _private_key(chance: Random) -> str:
    kind = chance.choice(("", "RSA ", "EC ", "OPENSSH "))
    body = "\n".join(_some(chance, 64) for _ in range(3))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


def _password(chance: Random) -> str:
    said = chance.choice(("password: {}", "password={}", "пароль: {}", "Пароль {}", "pwd={}"))
    return said.format(_some(chance, 6) + chance.choice("!#%$7") + _some(chance, 5, _DIGITS))


_SECRETS: tuple[Callable[[Random], str], ...] = (
    lambda chance: f"sk-{_some(chance, 48)}",
    lambda chance: f"sk-proj-{_some(chance, 60)}",
    lambda chance: f"sk-ant-api03-{_some(chance, 60)}",
    lambda chance: f"AKIA{_some(chance, 16, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567')}",
    lambda chance: f"ghp_{_some(chance, 36)}",
    lambda chance: f"github_pat_{_some(chance, 22)}_{_some(chance, 59)}",
    lambda chance: f"AIza{_some(chance, 35)}",
    lambda chance: f"xoxb-{_some(chance, 12, _DIGITS)}-{_some(chance, 24)}",
    lambda chance: f"sk_live_{_some(chance, 24)}",
    lambda chance: f"hf_{_some(chance, 34)}",
    lambda chance: f"glpat-{_some(chance, 20)}",
    lambda chance: f"Authorization: Bearer {_some(chance, 40)}",
    lambda chance: f"{_some(chance, 10, _DIGITS)}:AA{_some(chance, 33)}",
    lambda chance: f"postgres://app:{_some(chance, 12)}@db.firma.de:5432/main",
    lambda chance: f"aws_secret_access_key = {_some(chance, 40)}",
    lambda chance: f"API_KEY={_some(chance, 32)}",
    _jwt,
    _private_key,
    _password,
    _password,
)
