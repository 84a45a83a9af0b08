from __future__ import annotations

import pytest

from tests.dataset.checks.looks import look, look_at_text

FOUND = {
    "K402": [
        "Привет<br>мир",
        "<p>Hello there</p>",
        "a&nbsp;b",
        "Tom &amp; Jerry",
        "&laquo;Да&raquo;",
        "it&#39;s",
        '<div class="x">text',
        "<a href='http://x.org'>here",
        "жирный<b>текст</b>",
        "<!-- later -->",
    ],
    "K403": [
        "It is **important** to know.",
        "это **важно**",
        "# Заголовок\nтекст",
        "text\n```python\nx = 1\n```",
        "see [the page](https://example.org/a)",
        "* one\n* two",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "the chart ![](chart.png) shows it",
        "цена ~~старая~~ новая",
    ],
    "K404": [
        "РџСЂРёРІРµС‚, РєР°Рє РґРµР»Р°?",
        "ÐŸÑ€Ð¸Ð²ÐµÑ‚, ÐºÐ°Ðº Ð´ÐµÐ»Ð°?",
        "cafÃ© crÃ¨me",
        "itâ€™s fine",
        "Ð\x9fÑ\x80Ð¸Ð²ÐµÑ\x82",
        "потеряна \ufffd буква",
        "price 5 â‚¬",
        "Ìû ïîïðîñèëè êóðüåðà íàéòè ïîñûëêó",
        "Старый ïðèâåò капитан",
        "wc -l СЃРєРѕСЂРѕ",
    ],
    "K405": [
        "a\u200bb",
        "\ufeffтекст",
        "пере\u00adнос",
        "при\x07вет",
        "\x1b[31mred",
        "a\u202eb",
        "right \u200f to left",
        "слово\u200d",
        "a\u200cb",
        "hidden\U000e0041\U000e0042",
    ],
    "K406": [
        "<start_of_turn>user",
        "hello<|im_end|>",
        "[INST] hello [/INST]",
        "конец</s>",
        "<|eot_id|>",
        "### Response:\nok",
        "<bos>привет",
        "<｜end▁of▁sentence｜>",
        "<<SYS>> be kind",
    ],
}
CLEAN = [
    "a < b && c > d",
    "List<String> names = new ArrayList<>();",
    "fn first<T>(items: &[T]) -> &T",
    "Use <input> and <label> as placeholders, <name>.",
    "`<br>` breaks a line",
    "AT&T; R&D",
    "5 * 3 * 2 = 30",
    "snake_case and __init__ and C#",
    "1. one\n2. two\n- three",
    "#hashtag",
    "array[0](x)",
    "Ça a été naïf, Ångström, Ärger, Škoda",
    "Съешь ещё этих мягких булок, ёж! Цена — 5 €, 20 °C ±1, «СССР»",
    "Її європейський ґанок",
    "Њујорк, Љубљана, Ђорђе",
    "РІСІ, РФ, СССР, Рік, Сёстры",
    "Hääääää? Jääää, déjà créée, ÄÖÜß, SÃO PAULO, în România",
    "~~~ 5 ~~ 6",
    "👨‍👩‍👧 ❤️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 👍🏽",
    "می‌خواهم",
    "क्‍ष",
    "שלום \u200fworld",
    "日本語、テスト。",
    "line\r\n\tindented",
    "[ERROR] [main] failed",
    "<think> maybe",
]


@pytest.mark.parametrize(("code", "text"), [(c, t) for c, texts in FOUND.items() for t in texts])
def test_left_overs_are_found(code: str, text: str) -> None:
    [hit] = look_at_text(code, text)
    assert hit.field == "output"
    assert hit.detail and hit.detail.isprintable() and len(hit.detail) < 100


@pytest.mark.parametrize("code", FOUND)
@pytest.mark.parametrize("text", CLEAN)
def test_what_only_looks_like_it_is_left_alone(code: str, text: str) -> None:
    assert not look_at_text(code, text)


def test_both_sides_are_looked_at() -> None:
    hits = look("K402", ("<br>", "ok"), ("ok", "ok"), ("ok", "<br>"))
    assert [(hit.number, hit.field) for hit in hits] == [(1, "text_input"), (3, "output")]


@pytest.mark.parametrize(
    ("code", "asking", "answer"),
    [
        ("K402", "Оберни в HTML: привет", "<p>привет</p>"),
        ("K402", "Put it into bold tags", "<b>it</b>"),
        ("K402", "Make a page", "<!DOCTYPE html><p>Hello</p>"),
        ("K403", "Сделай разметку: важно", "**важно**"),
        ("K403", "Write code that prints 1", "```python\nprint(1)\n```"),
    ],
)
def test_what_the_input_asks_for_is_no_left_over(code: str, asking: str, answer: str) -> None:
    assert not look(code, (asking, answer))
    if "DOCTYPE" not in answer:
        assert look(code, ("Скажи это", answer))


def test_the_tokenizers_own_marks_are_found() -> None:
    assert not look("K406", ("a", "see <my_mark> here"))
    assert look("K406", ("a", "see <my_mark> here"), special=frozenset({"<my_mark>"}))


def test_the_character_is_named() -> None:
    assert look_at_text("K405", "a\u200bb")[0].detail == "U+200B, zero width space"
    assert look_at_text("K405", "a\x07b")[0].detail == "U+0007, a control character"
