"""Datasets for `benchmarks.diagnosis`: small tasks that can be learned, and what spoils them.

Thresholds are set on runs of `FIRST` to `FIFTH`, and judged on runs of `JUDGED`: no task is in two
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

Pair = tuple[str, str]
Task = Callable[[Random], Pair]

COLOURS = ["red", "blue", "green", "white", "black", "grey", "pink", "gold"]
THINGS = [
    "lamp",
    "chair",
    "table",
    "book",
    "cup",
    "door",
    "clock",
    "plate",
    "knife",
    "bell",
    "coat",
    "ring",
    "shelf",
    "box",
]
NAMES = [
    "Anna",
    "Boris",
    "Clara",
    "David",
    "Elsa",
    "Fritz",
    "Greta",
    "Hugo",
    "Ida",
    "Jonas",
    "Karl",
    "Lena",
    "Mira",
    "Otto",
]
SURNAMES = [
    "Weber",
    "Koch",
    "Bauer",
    "Wolf",
    "Lang",
    "Busch",
    "Kraus",
    "Vogel",
    "Frank",
    "Roth",
    "Simon",
    "Ernst",
]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
TOWNS = [
    "Halle",
    "Ulm",
    "Berlin",
    "Gera",
    "Mainz",
    "Kassel",
    "Passau",
    "Jena",
    "Aachen",
    "Weimar",
    "Nauen",
    "Erfurt",
]
ROOMS = ["kitchen", "hall", "bedroom", "cellar", "garage", "office", "attic", "bathroom"]
TROUBLES = {
    "pay": ("invoice", "refund", "card", "price", "charge", "bank"),
    "ship": ("parcel", "courier", "delay", "address", "box", "tracking"),
    "login": ("password", "account", "email", "code", "login", "profile"),
}
OPINIONS = {
    "good": ("great", "lovely", "perfect", "superb", "brilliant", "charming"),
    "bad": ("awful", "broken", "useless", "boring", "terrible", "ugly"),
}
VERBS = ["fix", "clean", "bring", "move", "paint", "sell", "check", "wrap"]
WHEN = {"high": ("now", "today", "at once", "asap"), "low": ("soon", "later", "someday", "in May")}
DISHES = {"soup": 4, "salad": 6, "pizza": 9, "pasta": 8, "cake": 3, "fish": 12, "tea": 2}

ANIMALS = {
    "pet": ("cat", "dog", "hamster", "rabbit", "pony", "parrot"),
    "wild": ("wolf", "lion", "bear", "tiger", "shark", "eagle"),
}
WORDS = {
    "English": ("the house", "a dog", "my book", "the street", "an apple", "your tree"),
    "German": ("das Haus", "ein Hund", "mein Buch", "die Strasse", "ein Apfel", "dein Baum"),
    "French": ("la maison", "un chien", "mon livre", "la rue", "une pomme", "ton arbre"),
}
CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Austria": "Vienna",
    "Norway": "Oslo",
    "Egypt": "Cairo",
    "Japan": "Tokyo",
    "Peru": "Lima",
}
PAST = {
    "sell": "sold",
    "buy": "bought",
    "clean": "cleaned",
    "bring": "brought",
    "paint": "painted",
    "see": "saw",
    "wrap": "wrapped",
    "take": "took",
}
MOODS = {
    "happy": ("laughs", "smiles", "sings", "dances"),
    "unhappy": ("cries", "weeps", "moans", "sighs"),
    "asleep": ("snores", "sleeps", "dreams", "naps"),
}
TASTES = {
    "sour": ("lemon", "vinegar", "lime", "yoghurt"),
    "sweet": ("sugar", "honey", "cake", "jam"),
    "hot": ("chili", "pepper", "ginger", "mustard"),
}
FOODS = {
    "fruit": ("apple", "pear", "plum", "cherry", "melon", "grape"),
    "vegetable": ("carrot", "onion", "leek", "potato", "cabbage", "spinach"),
}
DONE = {
    "fix": "fixes",
    "clean": "cleans",
    "bring": "brings",
    "move": "moves",
    "paint": "paints",
    "sell": "sells",
    "check": "checks",
    "wrap": "wraps",
}
CRAFTS = {
    "water": ("boat", "ship", "ferry", "canoe"),
    "road": ("car", "truck", "bus", "van"),
    "air": ("plane", "jet", "glider", "balloon"),
}
DAYS = {"Mon": "Monday", "Tue": "Tuesday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday"}


def _order(chance: Random) -> Pair:
    count, colour, thing = chance.randint(2, 99), chance.choice(COLOURS), chance.choice(THINGS)
    return f"{count} {colour} {thing}s", f"{thing}; {colour}; {count}"


def _ticket(chance: Random) -> Pair:
    label = chance.choice(list(TROUBLES))
    what, name = chance.choice(TROUBLES[label]), chance.choice(NAMES)
    return f"{name}: {chance.choice(('my', 'the', 'a new', 'wrong'))} {what}", label


def _next(chance: Random) -> Pair:
    number = chance.randint(1, 9999)
    return str(number), str(number + 1)


def _date(chance: Random) -> Pair:
    day, month, year = chance.randint(1, 28), chance.randint(1, 12), chance.randint(1950, 2029)
    return f"{day} {MONTHS[month - 1]} {year}", f"{year}-{month:02}-{day:02}"


def _greeting(chance: Random) -> Pair:
    name, hour = chance.choice(NAMES + SURNAMES), chance.randint(5, 22)
    part = "morning" if hour < 12 else "day" if hour < 18 else "evening"
    return f"{name}, {hour} h", f"Good {part}, {name}!"


def _review(chance: Random) -> Pair:
    label = chance.choice(list(OPINIONS))
    word, thing = chance.choice(OPINIONS[label]), chance.choice(THINGS)
    return f"{chance.choice(('A', 'Such a', 'What a', 'One'))} {word} {thing}", label


def _weather(chance: Random) -> Pair:
    town, degrees = chance.choice(TOWNS), chance.randint(-9, 35)
    sky = chance.choice(("rain", "sun", "snow", "fog"))
    return f"{town}, {degrees} degrees, {sky}", f'{{"t": {degrees}, "sky": "{sky}"}}'


def _metres(chance: Random) -> Pair:
    number = chance.randint(1, 999)
    return f"{number} km", f"{number}000 m"


def _email(chance: Random) -> Pair:
    name, surname = chance.choice(NAMES), chance.choice(SURNAMES)
    return f"{name} {surname}", f"{surname.lower()}.{name.lower()}@post.example"


def _menu(chance: Random) -> Pair:
    dish, count = chance.choice(list(DISHES)), chance.randint(1, 40)
    return f"{count} {dish}, please", f"{dish}: {DISHES[dish]} euros each"


def _switch(chance: Random) -> Pair:
    thing, room = chance.choice(THINGS), chance.choice(ROOMS)
    state = chance.choice(("on", "off"))
    return f"turn {state} the {thing} in the {room}", f"{room}.{thing}={state}"


def _urgency(chance: Random) -> Pair:
    label = chance.choice(list(WHEN))
    return f"{chance.choice(VERBS)} the {chance.choice(THINGS)} {chance.choice(WHEN[label])}", label


def _hours(chance: Random) -> Pair:
    town, hour = chance.choice(TOWNS), chance.randint(0, 23)
    return f"shop in {town}, {hour} h", "open" if 9 <= hour <= 17 else "closed"


def _swap(chance: Random) -> Pair:
    one, other = chance.randint(1, 99), chance.randint(1, 99)
    return f"{one} and {other}", f"{other} and {one}"


def _index(chance: Random) -> Pair:
    name, surname = chance.choice(NAMES), chance.choice(SURNAMES)
    return f"{name} {surname}", f"{surname}, {name}"


def _described(chance: Random) -> Pair:
    colour, thing, room = chance.choice(COLOURS), chance.choice(THINGS), chance.choice(ROOMS)
    return f"a {colour} {thing} in the {room}", f"{thing}: {colour}"


def _trip(chance: Random) -> Pair:
    start, end = chance.sample(TOWNS, 2)
    by = chance.choice(("train", "bus", "car"))
    return f"from {start} to {end} by {by}", f"{by}: {start}, {end}"


def _crowd(chance: Random) -> Pair:
    label, most = chance.choice((("few", 9), ("some", 99), ("many", 999)))
    count = chance.randint(most // 10 + 1, most)
    return f"{count} people in {chance.choice(TOWNS)}", label


def _animal(chance: Random) -> Pair:
    label = chance.choice(list(ANIMALS))
    seen = chance.choice(("saw", "drew", "fed", "met"))
    return f"{chance.choice(NAMES)} {seen} a {chance.choice(ANIMALS[label])}", label


def _language(chance: Random) -> Pair:
    label = chance.choice(list(WORDS))
    one, other = chance.sample(WORDS[label], 2)
    return f"{one}, {other} ({chance.randint(1, 30)})", label


def _capital(chance: Random) -> Pair:
    land, name = chance.choice(list(CAPITALS)), chance.choice(NAMES)
    return f"{name} {chance.choice(('flies', 'goes', 'writes'))} to {land}", CAPITALS[land]


def _cents(chance: Random) -> Pair:
    euros, cents = chance.randint(1, 99), chance.randint(0, 99)
    return f"{euros}{cents:02} cents", f"{euros}.{cents:02} euros"


def _clock(chance: Random) -> Pair:
    hour, minute = chance.randint(0, 23), chance.randint(10, 59)
    return f"{hour} h {minute}", f"{hour:02}:{minute}"


def _initials(chance: Random) -> Pair:
    names = [*chance.sample(NAMES, 2), chance.choice(SURNAMES)]
    return " ".join(names), " ".join(f"{name[0]}." for name in names)


def _polite(chance: Random) -> Pair:
    what = f"{chance.choice(VERBS)} the {chance.choice(COLOURS)} {chance.choice(THINGS)}"
    return what, f"Could you please {what}?"


def _fields(chance: Random) -> Pair:
    thing, colour, count = chance.choice(THINGS), chance.choice(COLOURS), chance.randint(1, 99)
    return f"{thing},{colour},{count}", f"{count}|{colour}|{thing}"


def _yesterday(chance: Random) -> Pair:
    verb, name, thing = chance.choice(list(PAST)), chance.choice(NAMES), chance.choice(THINGS)
    return f"{name}: {verb} a {thing}", f"{name} {PAST[verb]} a {thing}."


def _mood(chance: Random) -> Pair:
    label = chance.choice(list(MOODS))
    return f"{chance.choice(NAMES)} {chance.choice(MOODS[label])} in {chance.choice(TOWNS)}", label


def _home(chance: Random) -> Pair:
    label = chance.choice(("home", "away"))
    place = chance.choice(TOWNS) if label == "away" else f"the {chance.choice(ROOMS)}"
    return f"{chance.choice(NAMES)} is in {place}", label


def _tens(chance: Random) -> Pair:
    number = chance.randint(10, 999)
    return f"{number} {chance.choice(THINGS)}s", str(number // 10 * 10)


def _shelf(chance: Random) -> Pair:
    colour, thing = chance.choice(COLOURS), chance.choice(THINGS)
    return f"{chance.choice(VERBS)} a {colour} {thing}", f"shelf {COLOURS.index(colour) + 1}"


def _card(chance: Random) -> Pair:
    name, surname, town = chance.choice(NAMES), chance.choice(SURNAMES), chance.choice(TOWNS)
    return f"{name} {surname}, {town}", f"{town}: {name[0]}. {surname}"


def _frost(chance: Random) -> Pair:
    degrees = chance.randint(-25, 30)
    return f"{chance.choice(TOWNS)}: {degrees}", "frost" if degrees < 0 else "mild"


def _tag(chance: Random) -> Pair:
    thing, colour = chance.choice(THINGS), chance.choice(COLOURS)
    return f"{thing} ({colour}) {chance.randint(1, 9)}", f"<{thing}>{colour}</{thing}>"


def _reply(chance: Random) -> Pair:
    name, town = chance.choice(NAMES), chance.choice(TOWNS)
    answer, no = chance.choice((("Yes", ""), ("No", "not ")))
    word = {"Yes": "still", "No": "already"}[answer]
    return f"{name} {word} in {town}?", f"{answer}, {name} is {no}in {town}."


def _percent(chance: Random) -> Pair:
    share, thing = chance.randint(10, 99), chance.choice(THINGS)
    return f"0.{share} of the {thing}s", f"{share} % of all {thing}s"


def _visit(chance: Random) -> Pair:
    name, day, hour = chance.choice(NAMES), chance.choice(list(DAYS)), chance.randint(8, 20)
    return f"{name}, {day}, {hour} h", f"{name} comes on {DAYS[day]} at {hour}."


def _taste(chance: Random) -> Pair:
    label = chance.choice(list(TASTES))
    verb = chance.choice(("buys", "eats"))
    return f"{chance.choice(NAMES)} {verb} {chance.choice(TASTES[label])}", label


def _food(chance: Random) -> Pair:
    label = chance.choice(list(FOODS))
    return f"{chance.randint(1, 20)} kg of {chance.choice(FOODS[label])}", label


def _asked(chance: Random) -> Pair:
    name, thing = chance.choice(NAMES), chance.choice(THINGS)
    if chance.random() < 0.5:
        return f"where is the {thing}, {name}", "question"
    return f"{chance.choice(VERBS)} the {thing}, {name}", "order"


def _craft(chance: Random) -> Pair:
    label = chance.choice(list(CRAFTS))
    return f"{chance.choice(NAMES)}, {chance.choice(TOWNS)}, {chance.choice(CRAFTS[label])}", label


def _size(chance: Random) -> Pair:
    grams = chance.randint(1, 999)
    return f"{chance.choice(THINGS)} of {grams} g", "light" if grams < 100 else "heavy"


def _decade(chance: Random) -> Pair:
    year = chance.randint(1900, 2029)
    return f"{chance.choice(NAMES)} was born in {year}", f"{year // 10}0s"


def _paid(chance: Random) -> Pair:
    price, thing = chance.randint(2, 99), chance.choice(THINGS)
    return f"a {thing} at {price}, paid {price + 1}", f"{price + 1} - {price} = 1"


def _meeting(chance: Random) -> Pair:
    name, town, hour = chance.choice(NAMES), chance.choice(TOWNS), chance.randint(8, 20)
    return f"{name} {town} {hour}", f"The meeting with {name} in {town} begins at {hour}."


def _record(chance: Random) -> Pair:
    name, surname, year = chance.choice(NAMES), chance.choice(SURNAMES), chance.randint(1950, 2009)
    return f"{name} {surname} ({year})", f'{{"first": "{name}", "last": "{surname}"}}'


def _report(chance: Random) -> Pair:
    verb, thing, name = chance.choice(list(DONE)), chance.choice(THINGS), chance.choice(NAMES)
    return f"{name}: I {verb} the {thing}", f"{name} {DONE[verb]} the {thing}."


def _quote(chance: Random) -> Pair:
    name, colour, thing = chance.choice(NAMES), chance.choice(COLOURS), chance.choice(THINGS)
    return f"{name} wants a {colour} {thing}", f'"A {colour} {thing}, please," said {name}.'


def _bullets(chance: Random) -> Pair:
    one, other, third = chance.sample(THINGS, 3)
    return f"{one}, {other} and {third}", f"- {one}\n- {other}\n- {third}"


def _parcel(chance: Random) -> Pair:
    town, other = chance.sample(TOWNS, 2)
    thing = chance.choice(THINGS)
    return f"{thing}: {town} to {other}", f"Your {thing} has left {town} for {other}."


FIRST: Mapping[str, Task] = {
    "orders": _order,
    "tickets": _ticket,
    "next": _next,
    "dates": _date,
    "greetings": _greeting,
}
SECOND: Mapping[str, Task] = {
    "reviews": _review,
    "weather": _weather,
    "metres": _metres,
    "emails": _email,
    "menu": _menu,
    "switches": _switch,
}
THIRD: Mapping[str, Task] = {
    "urgency": _urgency,
    "hours": _hours,
    "swap": _swap,
    "index": _index,
    "described": _described,
    "trips": _trip,
}
FOURTH: Mapping[str, Task] = {
    "crowds": _crowd,
    "cents": _cents,
    "animals": _animal,
    "capitals": _capital,
    "initials": _initials,
    "languages": _language,
    "polite": _polite,
    "clocks": _clock,
    "fields": _fields,
    "yesterday": _yesterday,
    "moods": _mood,
}
FIFTH: Mapping[str, Task] = {
    "homes": _home,
    "tens": _tens,
    "shelves": _shelf,
    "cards": _card,
    "frost": _frost,
    "tags": _tag,
    "replies": _reply,
    "percent": _percent,
    "visits": _visit,
    "tastes": _taste,
}

JUDGED: Mapping[str, Task] = {
    "foods": _food,
    "meetings": _meeting,
    "decades": _decade,
    "reports": _report,
    "asked": _asked,
    "records": _record,
    "crafts": _craft,
    "quotes": _quote,
    "paid": _paid,
    "bullets": _bullets,
    "sizes": _size,
    "parcels": _parcel,
}


def pairs(name: str, count: int, seed: object) -> list[Pair]:
    """So many of a task, no input twice."""
    chance = Random(f"{name} {seed}")
    task = {**FIRST, **SECOND, **THIRD, **FOURTH, **FIFTH, **JUDGED}[name]
    made: dict[str, str] = {}
    while len(made) < count:
        made.update([task(chance)])
    return list(made.items())


def shuffled(rows: list[Pair], seed: object) -> list[Pair]:
    """Every output is there, beside an input that it has nothing to do with."""
    outputs = [output for _, output in rows]
    Random(f"shuffled {seed}").shuffle(outputs)
    return [(row[0], output) for row, output in zip(rows, outputs, strict=True)]


def conflicting(rows: list[Pair], seed: object) -> list[Pair]:
    """Every input stands there three times, with the outputs of three rows: at most one is its
    own."""
    chance = Random(f"conflicting {seed}")
    outputs = sorted({output for _, output in rows})
    asked = [row[0] for row in rows[: len(rows) // 3]]
    return [
        (text, output) for text in asked for output in chance.sample(outputs, min(3, len(outputs)))
    ]
