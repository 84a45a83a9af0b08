from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamerton.dataset.check import check
from kamerton.dataset.checks.privacy import hide
from kamerton.dataset.checks.registry import ROW_CHECKS
from kamerton.dataset.sources import inline_source, source_of
from tests.dataset.checks.looks import look_at_text

# Cut in two, so that nobody's scanner takes this file for a leak.
FOUND = {
    "K501": [
        "Пишите на ivan.petrov@mail.ru.",
        "почта: иван@почта.рф",
        "a.b+c@sub.domain.co.uk!",
        "<john@corp.io>",
    ],
    "K502": [
        "+7 916 123-45-67",
        "тел. 8 (916) 123-45-67",
        "8-800-555-35-35",
        "8 495 123 45 67",
        "+79161234567",
        "(495) 123-45-67",
        "call me at 415-555-2671",
        "(415) 555-2671",
        "+44 20 7946 0958",
        "+1 (415) 555-2671",
        "+33 1 23 45 67 89",
        "позвоните по номеру 89161234567",
        "phone: 4155552671",
        "89161234567 до шести",
        "7 912 345-67-89",
        "пишите wa.me/79123456789",
        "тел. 79123456789",
        "1-800-555-1234",
        "07700 900123",
        "00 49 30 1234 5678",
        "т. 555-35-35",
    ],
    "K503": [
        "4242 4242 4242 4242",
        "5555555555554444",
        "3782 822463 10005",
        "карта 4111-1111-1111-1111, до 12/25",
        "2200 0000 0000 0004",
        "4242\xa04242\xa04242\xa04242",
        "4242  4242  4242  4242",
        "2223003122003222",
    ],
    "K504": [
        "DE89370400440532013000",
        "GB29 NWBK 6016 1331 9268 19",
        "IBAN: FR14 2004 1010 0505 0001 3M02 606.",
        "de89 3704 0044 0532 0130 00",
        "GB29-NWBK-6016-1331-9268-19",
    ],
    "K505": [
        "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
        "key sk-" + "proj-abc123DEF456ghi789JKL",
        "ghp" + "_16C7e42F292c6912E7710c838347Ae178B4a",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "xoxb" + "-1234567890-abcdefGHIJ",
        "hf" + "_abcdefghijklmnopqrstuvwxyzABCDEF12",
        "eyJ" + "hbGciOiJIUzI1NiJ9.eyJ" + "zdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4fwpM",
        "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE1",
        "password=Qwerty123!",
        "пароль: Сол12нце",
        "DB_PASSWORD = 'hunter2hunter2'",
        "postgres://user:p4ssw0rd@db/x",
        '"api_key": "a1b2c3d4e5f6"',
        "Authorization: Bearer " + "T1iqSIweAP7M4Kbx8tgWyMGko1XOvX",
        "Authorization: Basic " + "YWxhZGRpbjpvcGVuc2VzYW1l",
        "https://hooks.slack.com/services/" + "T024BE7LD/B024BE7LE/abcdEFGH1234ijklMNOP5678",
        "AccountKey=" + "abcdEFGH1234ijklMNOP5678abcdEFGH1234ijklMNOP5678abcd+/==",
        "y0_" + "AgAAAABkLmNoPqRsTuVwXyZ0123456789abcd",
        "AQVN" + "abcdEFGH1234ijklMNOP5678qrstUVWX9012",
        "пароль от почты Qwe12345",
        "postgres://user:" + "password@host/base",
    ],
}
CLEAN = [
    "anna@example.com and test@localhost",
    "@username, user@host, git@github",
    "2024-01-15 12:34:56.789 INFO pid=4155552671 took 415.555 ms",
    "2024-01-15T10:00:00+00:00",
    "order 20240115123456, id 1234567890123456",
    "ИНН 7707083893, счёт 40702810900000012345",
    "+100 500 000 рублей, 8 800 рублей",
    "192.168.100.101:8080 → 10.0.0.1, call 10.20.130.140",
    "ISBN 978-3-16-148410-0",
    "550e8400-e29b-41d4-a716-446655440000",
    "1.234.567,89 and 1,234,567.89",
    "call 2024-05-01 12:30, call 911, tel aviv 2024",
    "4242 4242 4242 4241",
    "DE89370400440532013001, AB12 CDEF 3456 7890",
    "Пароль: забыли его?",
    "password: required; the token is invalid; token: <your-token>",
    "password reset 2024, token count: 128000",
    "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "Bearer authentication_of_every_single_request",
    "Штрихкод 4656735680188",
    "51000000000008, 51000000000000008, 22210000000000003",  # As long as no card is.
    "token = get_token_v2(user)",
    "password = hashlib.sha256(x)",
    "self.token = tokens[12]",
    "token = tok2vec, token => Utf8Token",
    "api_key = config['key1']",
    "secret_key=process.env.KEY2",
    "token: v1.2.3",
    "password=$PASSWORD1",
    "api_key=YOUR_API_KEY_1",
    "secret = os.environ['SECRET2']",
    "DE89 3704 0044 0532 0130 01 and 1234 0044 0532 0130",
    "from 12:00 49 30 12 34 56, том 7 912 страниц, и т. 12-34",
]
SECRETS = {
    "mail": "ivan.petrov@mail.ru",
    "phone": "+7 912 345-67-89",
    "phone with hard spaces": "8\xa0(912)\xa0345-67-89",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "key": "ghp" + "_abcdefghijklmnopqrstuvwxyz0123456789",
    "password": "password: hunter2xyz!",
}
SHOWN_BY = [
    "<img alt={}>",
    '<a href="mailto:{}">x</a>',
    "**{}**",
    "# {}",
    "# {} and what follows after it in a very long heading",
    "[{}](https://a.b)",
    "x {}\ufffd",
    "Ð¿Ñ€Ð¸Ð²ÐµÑ‚ {} Ð¿Ñ€Ð¸Ð²ÐµÑ‚",
    "<|{}|>",
    "&nbsp;{}",
]


def telling(secret: str) -> str:
    """The part of a secret that must be seen nowhere."""
    return secret.removeprefix("password: ")[-9:]


def said_of(rows: list[dict[str, object]]) -> str:
    findings = check(inline_source(rows)).findings
    assert findings
    return " ".join([f.message + " ".join(h.detail for h in f.hits) for f in findings])


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("context", SHOWN_BY)
def test_no_other_check_shows_a_secret(context: str, secret: str) -> None:
    rows: list[dict[str, object]] = [
        {"text_input": f"What is {at} and {7 * at}?", "output": f"It is {8 * at}."}
        for at in range(1, 40)
    ]
    rows[5]["output"] = "So: " + "\n" + context.format(secret)
    said = said_of(rows)
    assert telling(secret) not in said
    if not secret.startswith("password"):
        assert secret[:9] not in said


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_no_label_shows_a_secret(secret: str) -> None:
    rows: list[dict[str, object]] = [
        {"text_input": f"Строка вопроса {at}", "output": secret if at % 10 else "нет ответа"}
        for at in range(200)
    ]
    rows[3]["output"] = secret + " "
    assert telling(secret) not in said_of(rows)


@pytest.mark.parametrize("secret", ["ivan.petrov@mail.ru", SECRETS["key"], "hunter2xyz!"])
def test_no_unreadable_row_shows_a_secret(secret: str) -> None:
    assert secret not in said_of([{"messages": [{"role": secret, "content": "x"}]}])
    if secret != "hunter2xyz!":
        assert secret not in said_of([{secret: "x"}])
        with_head = source_of(io.BytesIO(f"{secret},b\nc,d\n".encode()), "data.csv")
        assert all(secret not in finding.message for finding in check(with_head).findings)


def test_hiding_keeps_all_else() -> None:
    text = "Пишите на ivan@mail.ru до 12:30, заказ 123."
    assert hide(text) == "Пишите на xxxx@xxxx.xx до 12:30, заказ 123."
    assert hide("5210 characters, at most 5000") == "5210 characters, at most 5000"


@pytest.mark.parametrize(("code", "text"), [(c, t) for c, texts in FOUND.items() for t in texts])
def test_what_looks_private_is_found_and_never_repeated(code: str, text: str) -> None:
    [hit] = look_at_text(code, text)
    assert hit.detail
    whole = re.sub(r"\W", "", text)
    shown = max(re.findall(r"\w+", hit.detail.split("(")[0]), key=len, default="")
    assert len(shown) <= max(4, len(whole) // 3) or shown not in whole


@pytest.mark.parametrize("code", FOUND)
@pytest.mark.parametrize("text", CLEAN)
def test_plain_numbers_dates_and_words_are_left_alone(code: str, text: str) -> None:
    assert not look_at_text(code, text)


@given(st.text(max_size=300))
def test_no_text_is_too_odd(text: str) -> None:
    for code in ROW_CHECKS:
        look_at_text(code, text)
    assert len(hide(text)) == len(text)


@pytest.mark.parametrize(
    "piece", ["1 ", "a@", "+1-", "<", "[a](", "**a", "password: ", "DE00 ", "-"]
)
def test_no_text_takes_long(piece: str) -> None:
    """Time grows with the text, not with its square."""
    import time

    text = (piece * 40_000)[:40_000]
    start = time.perf_counter()
    for code in ROW_CHECKS:
        look_at_text(code, text)
    assert time.perf_counter() - start < 2
