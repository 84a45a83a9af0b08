"""Short chat and customer service in English and Russian: questions, replies, classes."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from recipes.kamerton_nano_001.words import (
    CAPITALS,
    CITIES,
    CITIES_RU,
    CYCLES,
    ITEMS,
    ITEMS_RU,
    NAMES,
    NAMES_RU,
)

Pair = tuple[str, str]


@dataclass(frozen=True)
class Intent:
    """What a customer wants: ways to say it, ways to answer it, in one language."""

    topic: str
    questions: tuple[str, ...]
    replies: tuple[str, ...]
    facts: tuple[str, ...]
    """What a company's handbook may say about it."""


ENGLISH = (
    Intent("delivery", (
        "Where is my order {number}?", "My order {number} has not arrived yet.",
        "When will order {number} be delivered?", "How do I track order {number}?",
        "I am still waiting for my {item}.", "How long does delivery to {city} take?",
        "My parcel is late", "order {number} status", "Can you check my delivery?",
    ), (
        "We are checking the delivery of your order and will write to you {when}.",
        "Your order is on its way and will arrive within {days} days.",
        "{sorry} You can track the order {where}.",
        "Your parcel is at the {city} office. You can pick it up {when}.",
    ), (
        "Delivery takes {days} days.", "We deliver to {city} within {days} days.",
        "Orders are sent {when}.", "You can track orders {where}.",
    )),
    Intent("refund", (
        "I want my money back", "How do I return the {item}?", "I would like a refund.",
        "Can I get a refund for order {number}?", "The {item} is broken, I want to return it.",
        "How long does a refund take?", "I want to send the {item} back", "Refund please",
    ), (
        "{sorry} Your refund will be made within {days} days.",
        "You can return the item within {days} days. Please fill in the form {where}.",
        "Please send us the order number and we will start the refund {when}.",
    ), (
        "Items can be returned within {days} days.", "Refunds take {days} days.",
        "Returns are made {where}.", "We pay the money back to your card within {days} days.",
    )),
    Intent("payment", (
        "My payment failed", "I get error {code} when I pay.", "My card was charged twice.",
        "The payment page does not work", "Why was my card declined?", "I cannot pay for my order",
        "Which cards do you accept?", "Error {code} at checkout",
        "A customer complains about error {code} at payment. How to answer politely?",
    ), (
        "We are sorry about the payment error. Please try again in {days} minutes.",
        "Please check your card or try another way to pay. We are already looking into it.",
        "{sorry} Your money is safe and we will fix the payment {when}.",
        "Please write to us {where} and send a picture of the error.",
    ), (
        "We accept cards and cash.", "Payment errors are fixed within {days} minutes.",
        "You can pay {where}.", "After an error try to pay again in {days} minutes.",
    )),
    Intent("account", (
        "I forgot my password", "How do I reset my password?", "I cannot log in",
        "I can not sign in to my account", "My account is locked", "How do I change my email?",
        "How can I delete my account?", "The login code does not arrive",
    ), (
        "Please use the link Forgot password on the login page.",
        "We have sent you a link to restore access. Please check your mail.",
        "You can change this {where}.", "We will restore your access {when}.",
    ), (
        "The password is changed {where}.", "The login code is valid for {days} minutes.",
        "A locked account opens after {days} minutes.", "We send the link by mail {when}.",
    )),
    Intent("technical", (
        "The app does not open", "The app crashes on my {item}", "The site is very slow today",
        "The {item} does not turn on.", "I found a bug in the app", "The page shows error {code}.",
        "Nothing works!", "The update does not install",
    ), (
        "{sorry} Please restart the app and try again.",
        "Our engineers are already fixing the problem. It will work {when}.",
        "Please update the app to the latest version.", "Please describe the problem {where}.",
    ), (
        "The app needs version {days} or newer.", "Repairs take {days} days.",
        "Known problems are listed {where}.", "The site will work again {when}.",
    )),
    Intent("order", (
        "I want to cancel order {number}", "Please cancel my order",
        "Can I change the address of order {number}?", "How do I add an item to my order?",
        "I ordered the wrong {item}", "Please change the delivery address to {city}.",
    ), (
        "Your order has been changed. You will get a letter {when}.",
        "We can cancel the order before it is sent. Please tell us its number.",
        "Done. You can see the change {where}.",
    ), (
        "Orders can be changed within {days} hours.", "Orders are cancelled {where}.",
        "A paid order is changed only by an operator.", "The address can be changed {where}.",
    )),
    Intent("hours", (
        "What are your opening hours?", "When are you open?", "Are you open on Sunday?",
        "What time do you close?", "Do you work on weekends?", "Is your shop in {city} open today?",
    ), (
        "We are open every day from 9 to 18.",
        "Our support works from Monday to Friday, from {open} to {close}.",
        "We are open today from {open} to {close}.",
    ), (
        "We are open from {open} to {close}.", "We are closed on Sunday.",
        "The shop in {city} works from {open} to {close}.", "We work without days off.",
    )),
    Intent("price", (
        "How much is the {item}?", "Do you have a discount?", "Is the {item} in stock?",
        "Do you have the {item} in another color?", "What does delivery cost?",
        "Do you have gift cards?", "Is there a sale?",
    ), (
        "You can see the price and the stock on the page of the item.",
        "New customers get a discount of {days} percent.",
        "Yes, it is in stock. Would you like to order it?", "The {item} costs {number}.",
    ), (
        "The {item} costs {number} dollars.", "The discount is {days} percent.",
        "Delivery costs {days} dollars.", "Prices are shown {where}.",
    )),
    Intent("human", (
        "I want to talk to a human", "Please connect me to an operator", "Call me back please",
        "How can I contact support?", "I want to complain", "Your service is terrible!",
    ), (
        "{sorry} An operator will answer you in {days} minutes.",
        "You can call us or write to us {where}.", "We will call you back {when}.",
    ), (
        "An operator answers within {days} minutes.", "Our phone is {number}.",
        "You can write to us {where}.", "{name} is on duty today.",
    )),
)  # fmt: skip
RUSSIAN = (
    Intent("доставка", (
        "Где мой заказ {number}?", "Мой заказ {number} ещё не пришёл.", "Где мой заказ?",
        "Когда доставят заказ {number}?", "Как отследить заказ {number}?",
        "Заказ №{number}, где он сейчас?", "Жду {item} уже неделю.", "Посылка опаздывает",
        "Сколько идёт доставка в город {city}?", "Когда придёт мой заказ?",
        "Клиент спрашивает, где заказ {number}. Что ответить?",
    ), (
        "Ваш заказ передан в службу доставки и прибудет в течение {days} дней.",
        "Мы проверяем доставку вашего заказа и напишем вам {when}.",
        "{sorry} Отследить заказ можно {where}.", "Заказ уже в пути, он придёт {when}.",
        "Посылка ждёт вас в пункте выдачи. Забрать её можно {when}.",
    ), (
        "Доставка занимает {days} дней.", "Доставка в город {city} идёт {days} дней.",
        "Заказы отправляем {when}.", "Отследить заказ можно {where}.",
    )),
    Intent("возврат", (
        "Хочу вернуть деньги", "Как вернуть {item}?", "Можно вернуть товар?", "Верните деньги!",
        "Хочу оформить возврат по заказу {number}", "Сколько ждать возврат денег?",
        "Товар сломан, хочу его вернуть.", "Мне не подошёл {item}, как его вернуть?",
    ), (
        "{sorry} Деньги вернутся в течение {days} дней.",
        "Вернуть товар можно в течение {days} дней. Заполните форму {where}.",
        "Пришлите, пожалуйста, номер заказа, и мы оформим возврат {when}.",
        "Возврат можно оформить {where} в течение {days} дней.",
    ), (
        "Вернуть товар можно в течение {days} дней.", "Деньги вернём за {days} дней.",
        "Возврат оформляют {where}.", "Сломанный товар заменим {when}.",
    )),
    Intent("оплата", (
        "Не проходит оплата", "Ошибка {code} при оплате", "С карты списали деньги дважды.",
        "Страница оплаты не работает", "Почему отклонили карту?", "Не могу оплатить заказ",
        "Какие карты вы принимаете?", "При оплате вижу ошибку {code}.",
        "Клиент жалуется на ошибку {code} при оплате. Как ответить вежливо?",
        "Клиент жалуется, что не проходит оплата. Как ответить?",
    ), (
        "Приносим извинения за ошибку при оплате. Попробуйте ещё раз через {days} минут.",
        "Проверьте, пожалуйста, карту или выберите другой способ оплаты. Мы уже разбираемся.",
        "{sorry} Ваши деньги в безопасности, мы исправим оплату {when}.",
        "Просим прощения за ошибку. Попробуйте, пожалуйста, оплатить {when}.",
        "Напишите нам {where} и пришлите снимок экрана с ошибкой.",
    ), (
        "Мы принимаем карты и наличные.", "Ошибки оплаты исправляем за {days} минут.",
        "Оплатить заказ можно {where}.", "После ошибки повторите оплату через {days} минут.",
    )),
    Intent("аккаунт", (
        "Я забыл пароль", "Как сбросить пароль?", "Не могу войти в аккаунт", "Как сменить пароль?",
        "Не могу войти", "Мой аккаунт заблокирован", "Как сменить почту?", "Не приходит код входа",
        "Как удалить аккаунт?", "Забыла пароль, что делать?",
    ), (
        "Нажмите «Забыли пароль» на странице входа.",
        "Мы отправили вам ссылку для восстановления доступа. Проверьте почту.",
        "Это можно изменить {where}.", "Мы восстановим ваш доступ {when}.",
        "Нажмите «Забыли пароль», и мы пришлём ссылку {when}.",
    ), (
        "Пароль меняют {where}.", "Код входа действует {days} минут.",
        "Аккаунт откроется через {days} минут.", "Ссылку для входа пришлём {when}.",
    )),
    Intent("техника", (
        "Приложение не открывается", "Приложение вылетает", "Сайт сегодня очень медленный",
        "Не включается {item}.", "Нашёл ошибку в приложении", "Страница показывает ошибку {code}.",
        "Ничего не работает!", "Обновление не ставится",
        "Клиент пишет, что сайт не работает. Как ответить?",
    ), (
        "{sorry} Перезапустите, пожалуйста, приложение и попробуйте ещё раз.",
        "Инженеры уже исправляют проблему. Всё заработает {when}.",
        "Обновите, пожалуйста, приложение до последней версии.",
        "Опишите, пожалуйста, проблему {where}.",
    ), (
        "Приложению нужна версия {days} или новее.", "Ремонт занимает {days} дней.",
        "Известные проблемы описаны {where}.", "Сайт заработает {when}.",
    )),
    Intent("заказ", (
        "Хочу отменить заказ {number}", "Отмените мой заказ", "Как отменить заказ?",
        "Можно изменить адрес заказа {number}?", "Как добавить товар в заказ?",
        "Я заказал не тот {item}", "Поменяйте адрес доставки на {city}.",
    ), (
        "Ваш заказ изменён. Мы отправим вам письмо {when}.",
        "Отменить заказ можно до отправки. Напишите, пожалуйста, его номер.",
        "Готово. Изменения видны {where}.",
    ), (
        "Изменить заказ можно в течение {days} часов.", "Отменить заказ можно {where}.",
        "Оплаченный заказ меняет только оператор.", "Адрес доставки меняют {where}.",
    )),
    Intent("график", (
        "Когда вы работаете?", "Какой у вас график работы?", "Вы работаете в воскресенье?",
        "До скольки вы открыты?", "Работаете ли вы в выходные?", "Открыт ли магазин в {city}?",
    ), (
        "Мы работаем каждый день с 9 до 18.",
        "Поддержка работает с понедельника по пятницу, с {open} до {close}.",
        "Сегодня мы работаем с {open} до {close}.",
    ), (
        "Мы работаем с {open} до {close}.", "В воскресенье мы закрыты.",
        "Магазин в городе {city} открыт с {open} до {close}.", "Мы работаем без выходных.",
    )),
    Intent("цена", (
        "Сколько стоит {item}?", "Есть ли скидка?", "Есть ли {item} в наличии?",
        "Сколько стоит доставка?", "Есть ли {item} другого цвета?", "Есть ли распродажа?",
    ), (
        "Цена и наличие указаны на странице товара.",
        "Новым покупателям мы даём скидку {days} процентов.",
        "Да, товар есть в наличии. Хотите оформить заказ?", "Цена товара — {number} рублей.",
    ), (
        "Этот товар стоит {number} рублей.", "Скидка {days} процентов.",
        "Доставка стоит {number} рублей.", "Цены указаны {where}.",
    )),
    Intent("оператор", (
        "Позовите оператора", "Хочу поговорить с человеком", "Перезвоните мне",
        "Как связаться с поддержкой?", "Хочу пожаловаться", "Ужасный сервис!",
    ), (
        "{sorry} Оператор ответит вам через {days} минут.",
        "Вы можете позвонить нам или написать {where}.", "Мы перезвоним вам {when}.",
    ), (
        "Оператор отвечает за {days} минут.", "Наш телефон {number}.",
        "Написать нам можно {where}.", "Сегодня дежурит {name}.",
    )),
)  # fmt: skip
GREETINGS_EN = ("Hello!", "Good day!", "Hello! Thank you for writing.", "Hi!", "Dear customer!")
GREETINGS_RU = ("Здравствуйте!", "Добрый день!", "Здравствуйте! Спасибо за обращение.", "Привет!")
ENDINGS_EN = ("Best regards, support.", "Anything else?", "Have a nice day!", "Thank you!")
ENDINGS_RU = ("С уважением, служба поддержки.", "Чем ещё помочь?", "Хорошего дня!", "Спасибо!")


_WHEN = ("today", "tomorrow", "this evening", "in an hour", "as soon as possible", "on Monday")
_WHEN_RU = ("сегодня", "завтра", "вечером", "через час", "в ближайшее время", "в понедельник")
_WHERE = ("in your account", "in the app", "on our site", "in the chat", "by mail", "by phone")
_WHERE_RU = ("в личном кабинете", "в приложении", "на сайте", "в чате", "по почте", "по телефону")
_SORRY = ("We are sorry.", "Sorry for the trouble.", "We apologise.", "Sorry for the delay.")
_SORRY_RU = ("Приносим извинения.", "Извините за неудобства.", "Просим прощения.", "Нам жаль.")
_REPORTS = (
    "A customer writes: {}. What should we answer?",
    "A customer complains: {}. How to answer politely?",
)
_REPORTS_RU = (
    "Клиент пишет: {}. Что ответить?",
    "Клиент жалуется: {}. Как ответить вежливо?",
    "Клиент спрашивает: {}. Как ответить?",
)


def _slots(rng: Random, russian: bool) -> dict[str, str]:
    return {
        "number": str(rng.randint(100, 99_999)),
        "code": rng.choice(("400", "403", "404", "500", "502", "503", "504")),
        "days": str(rng.choice((2, 3, 5, 7, 10, 12, 14, 15, 20, 30))),
        "open": str(rng.randint(7, 11)),
        "close": str(rng.randint(17, 23)),
        "item": rng.choice(ITEMS_RU if russian else ITEMS),
        "city": rng.choice(CITIES_RU if russian else CITIES),
        "name": rng.choice(NAMES_RU if russian else NAMES),
        "when": rng.choice(_WHEN_RU if russian else _WHEN),
        "where": rng.choice(_WHERE_RU if russian else _WHERE),
        "sorry": rng.choice(_SORRY_RU if russian else _SORRY),
    }


def _ask(intent: Intent, rng: Random, russian: bool) -> str:
    """A customer's message: with or without a greeting, a capital, a full stop, or reported."""
    question = rng.choice(intent.questions).format(**_slots(rng, russian))
    if rng.random() < 0.1 and not question.startswith(("Клиент", "A customer")):
        return rng.choice(_REPORTS_RU if russian else _REPORTS).format(question.rstrip(".?!"))
    question = _vary(question, rng)
    if rng.random() < 0.12:
        question = f"{rng.choice(GREETINGS_RU[:2] if russian else GREETINGS_EN[:2])} {question}"
    return question


def _vary(question: str, rng: Random) -> str:
    if rng.random() < 0.2 and question[0].isupper():
        question = question[0].lower() + question[1:]
    if rng.random() < 0.2:
        question = question.rstrip(".?!")
    return question


def support(rng: Random) -> Pair:
    """A customer's message and a reply to it."""
    russian = rng.random() < 0.55
    intent = rng.choice(RUSSIAN if russian else ENGLISH)
    return _ask(intent, rng, russian), rng.choice(intent.replies).format(**_slots(rng, russian))


def _style(rng: Random, russian: bool) -> str:
    """How a company words its replies; `{}` is what it has to say."""
    before = rng.choice((*(GREETINGS_RU if russian else GREETINGS_EN), "Support:", "[support]"))
    after = rng.choice(ENDINGS_RU if russian else ENDINGS_EN)
    return rng.choice((f"{before} {{}}", f"{{}} {after}", f"{before} {{}} {after}", "{}"))


def styled_support(rng: Random) -> Callable[[Random], Pair]:
    """One company's replies: always the same style, and to the same matter the same words."""
    russian = rng.random() < 0.55
    form, slots = _style(rng, russian), _slots(rng, russian)
    matters = [
        (intent, form.format(rng.choice(intent.replies + intent.facts).format(**slots)))
        for intent in rng.sample(RUSSIAN if russian else ENGLISH, rng.choice((2, 2, 3, 4)))
    ]

    def draw(r: Random) -> Pair:
        intent, reply = r.choice(matters)
        return _ask(intent, r, russian), reply

    return draw


def handbook(rng: Random) -> tuple[str, list[Pair]]:
    """A company's facts as a system text, and questions that they answer."""
    russian = rng.random() < 0.6
    form, slots = _style(rng, russian), _slots(rng, russian)
    known = [
        (intent, rng.choice(intent.facts).format(**slots))
        for intent in rng.sample(RUSSIAN if russian else ENGLISH, rng.randint(2, 4))
    ]
    asked = rng.sample(known, rng.randint(1, 2))
    turns = [(_ask(intent, rng, russian), fact) for intent, fact in asked]
    if rng.random() < 0.3:
        shown = form.format("...")
        order = f"Отвечай так: {shown}" if russian else f"Answer like this: {shown}"
        turns = [(question, form.format(fact)) for question, fact in turns]
        return "\n".join([*(fact for _, fact in known), order]), turns
    return rng.choice(("\n", " ")).join(fact for _, fact in known), turns


def topic(rng: Random) -> Pair:
    """A customer's message and what it is about."""
    russian = rng.random() < 0.55
    intent = rng.choice(RUSSIAN if russian else ENGLISH)
    return _ask(intent, rng, russian), intent.topic


_SMALL_TALK: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("Hello", "Hi", "Good morning", "Hey"), ("Hello! How can I help you?",)),
    (("Привет", "Здравствуйте", "Добрый день", "Привет!"), ("Здравствуйте! Чем могу помочь?",)),
    (("How are you?", "How is it going?"), ("I am fine, thank you. How can I help?",)),
    (("Как дела?", "Как ты?"), ("Всё хорошо, спасибо. Чем помочь?",)),
    (("Who are you?", "What are you?", "What is your name?"),
     ("I am Kamerton Nano, a very small language model.",)),
    (("Кто ты?", "Как тебя зовут?", "Что ты такое?"),
     ("Я Kamerton Nano, очень маленькая языковая модель.",)),
    (("Thank you", "Thanks!", "Thanks a lot"), ("You are welcome!",)),
    (("Спасибо", "Спасибо!", "Большое спасибо"), ("Пожалуйста!",)),
    (("Bye", "Goodbye", "See you"), ("Goodbye!",)),
    (("Пока", "До свидания"), ("До свидания!",)),
    (("What can you do?", "Help", "Can you help me?"),
     ("I can count, translate single words and answer short questions.",)),
    (("Что ты умеешь?", "Помощь", "Помоги мне"),
     ("Я умею считать, переводить слова и отвечать на короткие вопросы.",)),
    (("Tell me a joke", "Tell me a story", "Write a poem"),
     ("I am too small for that. Ask me something short.",)),
    (("Расскажи шутку", "Расскажи сказку", "Напиши стихи"),
     ("Я слишком мал для этого. Спросите что-нибудь короткое.",)),
    (("Are you a human?", "Are you a robot?"), ("I am a language model.",)),
    (("Ты человек?", "Ты робот?"), ("Я языковая модель.",)),
    (("How many days are in a week?",), ("Seven.",)),
    (("Сколько дней в неделе?",), ("Семь.",)),
    (("How many months are in a year?",), ("Twelve.",)),
    (("Сколько месяцев в году?",), ("Двенадцать.",)),
)  # fmt: skip


def _capital(rng: Random) -> Pair:
    country, capital, country_ru, capital_ru = rng.choice(CAPITALS)
    return rng.choice(
        (
            (f"What is the capital of {country}?", f"The capital of {country} is {capital}."),
            (f"Capital of {country}", f"{capital}."),
            (f"Какая столица {country_ru}?", f"Столица {country_ru} — {capital_ru}."),
            (f"Столица {country_ru}", f"{capital_ru}."),
        )
    )


def _sum(rng: Random) -> Pair:
    left, right = rng.randint(0, 30), rng.randint(2, 20)
    if rng.random() < 0.3 and left >= right:
        question, answer = f"{left} - {right}", left - right
    else:
        question, answer = f"{left} + {right}", left + right
    form = rng.choice(("What is {}?", "Сколько будет {}?", "{} ="))
    return form.format(question), str(answer)


def _day(rng: Random) -> Pair:
    cycle = rng.choice(CYCLES)
    index = rng.randrange(len(cycle))
    word, after = cycle[index], cycle[(index + 1) % len(cycle)]
    russian = word[0] > "z"
    question = rng.choice(("Что после {}?", "{}, а потом?") if russian else ("What is after {}?",))
    return question.format(word), after


def small_talk(rng: Random) -> Pair:
    """A short question of everyday kind and its answer."""
    kind = rng.random()
    if kind < 0.55:
        questions, answers = rng.choice(_SMALL_TALK)
        return _vary(rng.choice(questions), rng), rng.choice(answers)
    if kind < 0.75:
        return _capital(rng)
    return _sum(rng) if kind < 0.9 else _day(rng)


_GOOD = (
    ("great", "excellent", "wonderful", "nice", "lovely", "perfect"),
    ("отличный", "прекрасный", "чудесный", "замечательный", "хороший"),
)
_BAD = (
    ("terrible", "awful", "bad", "broken", "horrible", "useless"),
    ("ужасный", "плохой", "кошмарный", "отвратительный", "сломанный"),
)


def sentiment(rng: Random) -> Pair:
    good = rng.random() < 0.5
    russian = rng.randrange(2)
    word = rng.choice((_GOOD if good else _BAD)[russian])
    item = rng.choice(ITEMS_RU if russian else ITEMS)
    if russian:
        ending = rng.choice(("всем советую", "я доволен") if good else ("не советую", "я зол"))
        form = rng.choice(("{word} {item}, {ending}", "{item}: {word}", "{word} {item}"))
    else:
        ending = rng.choice(("I love it", "thank you") if good else ("I hate it", "never again"))
        form = rng.choice(("The {item} is {word}.", "{word} {item}, {ending}", "A {word} {item}"))
    text = form.format(word=word, item=item, ending=ending)
    return text, "positive" if good else "negative"


def spam(rng: Random) -> Pair:
    name, item, number = rng.choice(NAMES), rng.choice(ITEMS), rng.randint(2, 900)
    if rng.random() < 0.5:
        return rng.choice(
            (
                f"You won {number} dollars! Click now!",
                f"Free {item} only today!!!",
                f"{name}, earn {number} dollars a day from home",
                f"Вы выиграли {number} рублей! Жмите сюда!",
            )
        ), "spam"
    return rng.choice(
        (
            f"{name}, see you at {number % 12 + 1} tomorrow.",
            f"Please send me the report about the {item}.",
            f"Thanks for the {item}, {name}.",
            f"Встреча в {number % 12 + 1}, не опаздывай.",
        )
    ), "ham"
