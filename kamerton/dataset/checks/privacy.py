"""What looks like personal data or a secret; a hit never repeats it whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kamerton.dataset.checks.registry import row_check
from kamerton.dataset.seen import AT, DIGIT, Seen, with_any, with_digits
from kamerton.findings import Hit

Spot = tuple[int, int, str]
"""Where something private begins and ends in a text, and what may be said of it."""

_WHY = (
    "A tuned model can repeat what it was shown, to whoever asks. This looks at the form only: it "
    "cannot know whether somebody is behind it."
)
_REMOVE = (
    "Remove it, or put something made up in its place. Where finding such things is the task, "
    "allow this check by its code."
)

# Reserved for documentation; nobody can have an address there.
_NOBODYS = re.compile(r"(?:^|\.)(?:example\.(?:com|org|net)|example|test|invalid|localhost)$", re.I)
_EMAIL = re.compile(
    r"(?<![\w.+%-])(?P<name>[\w.+%-]{1,64})@(?P<domain>(?:[\w-]{1,63}\.)+[^\W\d_]{2,24})(?![\w@])"
)


@row_check(
    "K501",
    "email",
    "warning",
    what="have what looks like an e-mail address",
    advice=_REMOVE,
    why=_WHY + " Addresses at example.com and the like are nobody's.",
)
def email(seen: Seen) -> Iterator[Hit]:
    return seen.search(with_any(AT), _first(_emails))


def _first(find: Callable[[str], Iterator[Spot]]) -> Callable[[str], str]:
    """What is said of the first spot in a text."""
    return lambda text: next((said for _, _, said in find(text)), "")


def _emails(text: str) -> Iterator[Spot]:
    for found in _EMAIL.finditer(text):
        if not _NOBODYS.search(found["domain"]):
            yield *found.span(), f"{found['name'][0]}…@{found['domain'][0]}…"


_GAP = r"[ \xa0.‑–-]"
_DIGITS = re.compile(r"[+(]?\d[\d ()\xa0.‑–-]{8,}\d")
"""Where a phone number may be: a pattern that is quick to say no."""
_PHONE = re.compile(
    # International: a plus and 10 to 15 digits in groups.
    rf"(?<![\w+])\+(?P<international>\d{{1,3}}{_GAP}?(?:\(\d{{1,5}}\)|\d{{1,5}})"
    rf"(?:{_GAP}?\d{{1,4}}){{2,5}})(?!\w|[.,]\d)"
    # The same with two zeros for the plus.
    rf"|(?<![\w.,:/+-])(?<!\d[ \xa0])00[ ]?(?P<zeros>[1-9]\d{{0,2}}{_GAP}\d{{1,5}}"
    rf"(?:{_GAP}\d{{2,5}}){{1,4}})(?![\w-]|[.,:]\d)"
    # Russian: 8, an area code, seven digits, in groups.
    rf"|(?<![\w.,/+-])8{_GAP}?(?:\([3489]\d\d\)|(?<={_GAP})[3489]\d\d){_GAP}?"
    rf"\d{{3}}{_GAP}?\d\d{_GAP}?\d\d(?![\w-]|[.,]\d)"
    # A Russian mobile in groups, with 7 and no plus.
    rf"|(?<![\w.,:/+-])7{_GAP}?(?:\(9\d\d\)|(?<={_GAP})9\d\d){_GAP}?"
    rf"\d{{3}}{_GAP}\d\d{_GAP}?\d\d(?![\w-]|[.,]\d)"
    # A Russian mobile in one piece.
    r"|(?<![\w.,/+-])89\d{9}(?![\w-]|[.,]\d)"
    # An area code in brackets, seven digits.
    rf"|(?<![\w.,/+-])\(\d{{3}}\)[ ]?\d{{3}}{_GAP}\d\d{_GAP}?\d\d(?![\w-]|[.,]\d)"
    # North American: 3, 3 and 4 digits, with or without a 1.
    r"|(?<![\w.,/+-])(?:1[ .-]\(?)?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![\w-]|[.,]\d)"
    # A British mobile.
    r"|(?<![\w.,:/+-])07\d{3}[ ]\d{3}[ ]?\d{3}(?![\w-]|[.,]\d)"
)
_SAID_WORDS = re.compile(r"phone|tel|call|mobile|whatsapp|wa\.me|тел|моб|позвон|звон|т\.")
_SAID = re.compile(
    r"\b(?:tel|phone|call|mobile|whatsapp|тел|телефон\w{0,3}|моб|звоните|звонить|позвоните)"
    r"\b(?:[ .:№—-]|me|us|at|on|is|number|по|номер\w{0,2}){1,8}"
    r"(?!\d{4}[.-]\d\d[.-]|\d{1,3}\.\d{1,3}\.\d)"  # A date, or an address of a host.
    rf"(?P<number>\+?\(?\d(?:{_GAP}?[()]?\d){{6,14}})(?!\w)"
    r"|\bwa\.me/(?P<link>\+?\d{10,15})(?!\w)"
    r"|\bт\.[ ]?(?P<short>\d{2,3}-\d\d-\d\d)(?![\w-])",
    re.IGNORECASE,
)
"""Any digits that are said to be one."""


@row_check(
    "K502",
    "phone",
    "warning",
    what="have what looks like a phone number",
    advice=_REMOVE,
    why=_WHY,
)
def phone(seen: Seen) -> Iterator[Hit]:
    return seen.search(with_digits(7), _first(_phones))


def _phones(text: str) -> Iterator[Spot]:
    for run in _DIGITS.finditer(text):
        # Two characters more, which say whether it ends there.
        found = _PHONE.search(text, run.start(), run.end() + 2)
        if not found:
            continue
        digits = re.sub(r"\D", "", found[0])
        long = found["international"] or found["zeros"]
        if not long or 10 <= len(digits.removeprefix("00")) <= 15:
            plus = "+" if found["international"] else ""
            yield *found.span(), f"{plus}{digits[:2]}… ({len(digits)} digits)"
    lower = text.lower()
    # A capital that has two small letters would move all that follows.
    for word in _SAID_WORDS.finditer(lower if len(lower) == len(text) else text):
        if found := _SAID.match(text, word.start()):
            number = found["number"] or found["link"] or found["short"]
            yield *found.span(), f"{number[:2]}…, said to be one"


_CARD = re.compile(
    r"(?<![\w.,+-])(?:\d{13,19}"
    r"|\d{4}(?P<gap>-|[ \xa0\u2009\u202f]{1,2})\d{4}(?P=gap)\d{4}(?P=gap)\d{1,7}"
    r"|\d{4}(?P<amex>-|[ \xa0\u2009\u202f]{1,2})\d{6}(?P=amex)\d{4,5})(?![\w-]|[.,]\d)"
)
_ISSUERS = re.compile(
    # Visa has long ceased to give out 13 digits; bar codes have them.
    r"4(?:\d{15}|\d{18})"
    r"|5[1-5]\d{14}|(?:222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}"
    r"|220[0-4]\d{12,15}|62\d{14,17}|6(?:011|5\d\d|4[4-9]\d)\d{12}"
)


@row_check(
    "K503",
    "card-number",
    "warning",
    what="have what looks like a card number",
    advice=_REMOVE,
    why=_WHY + " The number begins as those of a card issuer do, and its check digit is right.",
)
def card_number(seen: Seen) -> Iterator[Hit]:
    return seen.search(with_digits(13), _first(_cards))


def _cards(text: str) -> Iterator[Spot]:
    for found in _CARD.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        if _ISSUERS.fullmatch(digits) and _luhn(digits):
            yield *found.span(), f"{digits[0]}… ({len(digits)} digits)"


def _luhn(digits: str) -> bool:
    """Whether the last digit fits the others by Luhn's formula."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}\d\d(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?(?!\w)"
)
_IBAN_LENGTHS = {
    country: int(length)
    for country, length in re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 "
        "EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 "
        "IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 "
        "NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 "
        "TL23 TN24 TR26 UA29 VA22 VG24 XK20",
    )
}
"""Characters of an IBAN by its country."""


@row_check(
    "K504",
    "iban",
    "warning",
    what="have what looks like an IBAN",
    advice=_REMOVE,
    why=_WHY + " Its country, length and check digits are right.",
)
def iban(seen: Seen) -> Iterator[Hit]:
    return seen.search(with_digits(8), _first(_ibans))


def _ibans(text: str) -> Iterator[Spot]:
    for found in _IBAN.finditer(text):
        # Words in capitals after the number would belong to it.
        number = re.sub("[ -]", "", found[0]).upper()
        length = _IBAN_LENGTHS.get(number[:2], 0)
        if length and len(number) >= length and _mod_97(number[:length]):
            yield *found.span(), f"{number[:2]}… ({length} characters)"


def _mod_97(number: str) -> bool:
    return int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1


_PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----[^-]*")
_KEY = re.compile(
    r"\b(?:AIza[\w-]{35}|sk-[A-Za-z0-9_-]{20,}|[rsp]k_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|gh[opsur]_[A-Za-z0-9]{30,}|github_pat_\w{22,}|glpat-[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{50,}"
    r"|SG\.[\w-]{16,}\.[\w-]{30,}|ya29\.[\w-]{30,}|\d{8,10}:AA[\w-]{33}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{10,}|y0_[\w-]{30,}|AQVN[\w-]{30,}"
    r"|hooks\.slack\.com/services/T\w+/B\w+/\w{16,}|AccountKey=[A-Za-z0-9+/]{40,}={0,2}"
    r"|Authorization: ?Basic [A-Za-z0-9+/]{12,}={0,2}"
    r"|[Bb]earer (?=[\w.~+/-]*\d)[\w.~+/-]{20,})"
)
_KEY_STARTS = re.compile(
    r"AIza|sk-|k_live_|k_test_|gh[opsur]_|github_pat_|glpat-|AKIA|ASIA|xox|hf_|npm_|pypi-|SG\."
    r"|ya29\.|:AA|eyJ|y0_|AQVN|hooks\.slack|AccountKey=|Basic |earer "
)
_CUT_KEY = re.compile(
    r"\b(?:AIza|sk-|[rsp]k_(?:live|test)_|gh[opsur]_|github_pat_|glpat-|AKIA|ASIA|xox[abeoprs]-"
    r"|hf_|npm_|pypi-|SG\.|ya29\.|eyJ|y0_|AQVN|AccountKey=|[Bb]asic |[Bb]earer )[\w.~+/-]{6,}…"
)
"""The beginning of a key, where what is shown of a text ends within it."""
_LOGIN = re.compile(r"://[^\s:/@]{1,64}:(?P<value>[^\s:/@<>{}$*]{4,64})@(?=[\w.-]*\w)")
_SAID_SECRETS = re.compile(r"pass|pwd|secret|key|token|парол")
_SAID_SECRET = re.compile(
    r"(?:\b|_)(?:(?:password|passwd|pwd|passphrase|secret|client_secret|secret_key"
    r"|api[_-]?key|access[_-]?key|(?:access|auth|bearer)[_-]?token|(?P<token>token)|пароль)"
    r"[\"']?\s{0,3}(?::=|=>|[:=]|\sis\s|\s[-—]\s)"
    # `пароль от почты Qwe12345`
    r"|пароль\s(?:от|для|к|на)\s\w{2,20}(?:\s?[:—-])?\s)"
    r"\s{0,3}(?P<quote>[\"'`«]?)(?P<value>[^\s\"'`»,;<>{}()]{6,128})(?P<call>\(?)",
    re.IGNORECASE,
)
_NAME = r"[A-Za-z]+\d{0,2}"
_NO_SECRET = re.compile(
    r"[$%]\S+"  # A variable.
    r"|v?\d+(?:\.\d+)+\S*"  # A version.
    r"|(?:your|my|the|insert|enter|example|sample|dummy|placeholder|changeme)[_-]\S+|\S*xxx\S*",
    re.IGNORECASE,
)
_EXPRESSION = re.compile(rf"\S*\[.*|_*{_NAME}(?:[._]+(?:{_NAME}|\d{{1,2}}))+")
"""A look-up, or a name with dots or underscores: code, where no quotes are around it."""


@row_check(
    "K505",
    "secret",
    "warning",
    what="have what looks like a key, a token or a password",
    advice="Remove it, and make it invalid where it is used: it has been in a file already.",
    why="A tuned model can repeat what it was shown, to whoever asks.",
)
def secret(seen: Seen) -> Iterator[Hit]:
    # None of them is without a digit, but in an address with an @: of words alone nobody can
    # tell whether they are a password.
    return seen.search(with_any(DIGIT | AT), _first(_secrets))


def _secrets(text: str) -> Iterator[Spot]:
    for found in _PRIVATE_KEY.finditer(text) if "-----BEGIN " in text else ():
        yield *found.span(), "a private key"
    for found in _KEY.finditer(text) if _KEY_STARTS.search(text) else ():
        if len(set(found[0])) >= 10:  # Else it only shows what one looks like.
            yield *found.span(), f"{found[0][:4]}… ({len(found[0])} characters)"
    for found in _LOGIN.finditer(text) if "://" in text else ():
        if not _NO_SECRET.fullmatch(found["value"]):
            yield *found.span("value"), f"a password or key of {len(found['value'])} characters"
    for found in _SAID_SECRET.finditer(text) if _SAID_SECRETS.search(text.lower()) else ():
        if _made_up(found["value"]) and not _is_code(found):
            yield *found.span("value"), f"a password or key of {len(found['value'])} characters"


def _made_up(value: str) -> bool:
    """A word after `password:` is a word of a sentence; with digits and letters it is one."""
    mixed = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return mixed and len(set(value)) >= 4


def _is_code(found: re.Match[str]) -> bool:
    """Whether a program says there where the secret is, or a text where to put it."""
    value = found["value"].rstrip(".")
    if _NO_SECRET.fullmatch(value):
        return True
    if found["quote"]:
        return False
    short = found["token"] and len(value) < 10  # As of a compiler, or a tokenizer.
    called = found["call"] and found["value"][-1].isalnum()
    return bool(called or short or _EXPRESSION.fullmatch(value))


# What other checks show of a text must not repeat any of this.

_FINDERS = (_emails, _phones, _cards, _ibans, _secrets)
_SHOWN_CUT = re.compile(r"[\w.+%-]+@[\w.-]*…")
"""The beginning of an e-mail address."""
_QUOTED = re.compile(r"cannot be '(?P<value>[^'\n]{6,})' here")


def hide(text: str) -> str:
    """The text with an x for each letter and digit of what looks private; as long as before."""
    if not any(map(str.isdigit, text)) and "@" not in text:
        return text
    spans = [(start, end) for find in _FINDERS for start, end, _ in find(text)]
    spans += [found.span() for cut in (_CUT_KEY, _SHOWN_CUT) for found in cut.finditer(text)]
    spans += [found.span("value") for found in _QUOTED.finditer(text) if _made_up(found["value"])]
    for start, end in spans:
        text = text[:start] + re.sub(r"[^\W_]", "x", text[start:end]) + text[end:]
    return text
