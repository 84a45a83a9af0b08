"""What the English sets are made of: by name the alternatives, a line each, with slots in them."""

from __future__ import annotations

GRAMMAR = {
    "person": """Anna Petrova
John O'Neill
Maria García
Wei Zhang
Søren Lund
Chloé Dubois
Tom Baker
Aisha Khan
Luca Rossi
Emily Carter
Jürgen Weiß
Dmitri Volkov
Grace Kim
Oluwaseun Ade
Priya Nair
Mark van Dijk""",
    "city": """Berlin
São Paulo
Lyon
Austin
Manchester
Kraków
Oslo
Zürich
Toronto
Melbourne
Dublin
Porto
Cape Town
Nairobi""",
    "product": """AirPods Pro 2
the Bosch MUM5 mixer
a Kindle Paperwhite
the IKEA BILLY shelf
a Logitech MX Keys keyboard
the H&M winter coat
a Philips 3200 coffee machine
the Samsung Galaxy S24
a pair of Nike Pegasus 41
the LEGO 42115 set
a Dyson V8
the oak dining table
a cast-iron pan
the rain jacket
a garden hose
the USB-C hub""",
    "greeting": """Hello,
Hi there!
Good morning,
Dear support team,
Hey,
Good afternoon. {self}
To whom it may concern:
{self}""",
    "self": """My name is {person}.
I am a customer from {city}.
{person} here.
I have been with you for {small} years.
I am writing on behalf of my mother.
I bought from you before.""",
    "problem": """I ordered {product} on {date} and it has still not arrived.
{product} came with a scratch on the left side.
the parcel {tracking} has been stuck in {city} since {date}.
you charged me {price} twice for order {order}.
the discount code does not work at checkout, I tried it at {time} again.
the colour of {product} is not the one in the photo.
I cannot log in since the update to version {version}.
the courier left order {order} with a neighbour I do not know.
my invoice for {product} shows the wrong address.
the zipper broke after {small} days.
I received {product}, but I had ordered something else.
the app says "payment failed", although {price} left my account.
half of the screws are missing from the box.
the battery of {product} lasts less than {small} hours.
I would like to change the delivery address of order {order} to {city}.
the warranty card was not in the package.
your site shows an empty page when I open {url}.
somebody cancelled my subscription and it was not me.""",
    "detail": """I already restarted everything.
The price was {price}.
It is a present for {date}.
The seller does not answer.
I have kept the packaging.
There were {small} of them in the order.
I attach a photo (2 x 3 cm, sorry for the quality).
My colleague at R&D has the same trouble.
The status says "in transit" for {small} days.
This is the second time this year <3.
I paid by bank transfer at {time}.
My order number is {order}.
The barcode reads {ean}.
Nothing of the kind happened in {year}.
We live on the {small}th floor without a lift.
It used to be better in {city}.""",
    "context": "{aside}\n{detail} {aside}\n{aside} {detail}",
    "ask": """What can I do?
Please send a replacement.
Could you refund me?
When will it come?
How do I return it?
I hope for a quick answer.
Can somebody call the courier?
Please advise.
Is there anything you can do before {date}?
I'd rather keep it if you lower the price.
Thanks in advance!
Who is responsible here?""",
    "support_in": """{greeting} {problem} {context} {ask}
{problem} {context} {ask}
{greeting} {problem} {aside} {ask}
{greeting} {context} {problem} {context} {ask}""",
    "sorry": """We are sorry about that.
Thank you for writing to us.
Thanks for your patience.
We understand how annoying this is.
I apologise for the trouble.
Thank you for the details you gave.
That should not have happened.""",
    "remedy": """A replacement for {product} leaves our store on {date}.
The refund of {price} reaches your account within {small} working days.
I have asked the courier in {city} to look for the parcel.
Please print the return label at {url} and bring the box to any post office.
The second charge will be taken back by the bank in {small} days.
I have changed the address; you will see it in your account by {time}.
Please reinstall version {version} and sign in again.
The missing parts are on their way under number {tracking}.
We can offer you {percent} off if you decide to keep it.
Our engineers have found the cause, and the page works again.
Your warranty runs until {date} even without the card.
I forwarded the case to the workshop under number {order}.""",
    "closing": """Write to us if anything else comes up.
Have a good day.
We will keep you informed.
Kind regards from the team in {city}.
Best wishes, {person}.
You need not do anything else.
We hope to see you again.""",
    "support_out": """{sorry} {remedy} {closing}
{sorry} {remedy}
{sorry} {remedy} {remedy} {closing}
{remedy} {closing}""",
    "thing": """The hotel
This vacuum cleaner
The new season
Their customer service
The soup at {city} station
My flight to {city}
The audiobook
This phone case
The dentist on {ordinal} street
The update {version}
The museum
A weekend in {city}
The delivery
The second volume
The guitar course
The night train""",
    "praise": """exceeded everything I had hoped for
was worth every cent of {price}
made my week
works like a charm after {small} months
is the best I have had since {year}
was warm, quick and friendly
could not be better
surprised the whole family""",
    "blame": """was a waste of {price}
broke after {small} days
left me waiting until {time}
was cold, loud and dirty
is much worse than in {year}
never answered my messages
smelled of burnt plastic
disappointed all {small} of us""",
    "plain": """arrived on {date}
costs {price}
was opened in {year}
comes in {small} sizes
can be booked online
is next to the bus stop
weighs {small} kilograms
runs from {time} on""",
    "more": """We were there on {date}.
My wife thinks so, too.
I read about it at {url}.
It rained all day.
A friend from {city} told me about it.
We had booked {small} months before.
The box was green & white.
Parking was {price}.
I am {number} years old and have seen some.
The children wanted ice cream.
There was nobody at the desk at {time}.
{person} took the photos.""",
    "positive_in": """{thing} {praise}. {more} {aside}
{aside} {more} {thing} {praise}!
{thing} {praise}, and it {praise}. {more}""",
    "negative_in": """{thing} {blame}. {more} {aside}
{aside} {more} {thing} {blame}!
{thing} {blame}, and it {blame}. {more}""",
    "neutral_in": """{thing} {plain}. {more} {aside}
{aside} {more} {thing} {plain}.
{thing} {plain} and {plain}. {more}""",
    "order_in": """{person} from {city} orders {quantity} x {item} at {price}, delivery on {date}.
Please send {quantity} pieces of {item} to {person}, {city}; price {price}, by {date}.
On {date} we need {quantity} {item} in {city}. Contact: {person}. The offer was {price} each.
New order! Name: {person}. Town: {city}. Goods: {quantity} {item}. Price: {price}. Date: {date}.
{item} ({quantity} pcs, {price}) goes to {city} on {date}, says {person}. {detail}
I'm {person} and would take {quantity} {item} for {price} if they reach {city} by {date}. {ask}""",
    "item": """oak boards
desk lamps
LED bulbs E27
printer cartridges HP 305
paint rollers
office chairs
door handles
coffee filters
steel bolts M8x40
power strips
safety helmets
packs of A4 paper""",
    "place_news": """The council of {city}
The harbour of {city}
A school near {city}
The football club
The largest employer in town
The regional railway
A group of students
The water works
The city library
The weather service""",
    "did_news": """opened a new hall on {date}
spent {price} million on repairs
hired {number} people
closed two bridges until {date}
reported {percent} more visitors than in {year}
lost the case before the court in {city}
found a leak {number} metres below the ground
plans a festival with {number} artists
moved its office to {city}
changed the timetable for the first time since {year}
bought {small} electric buses
published its plans at {url}""",
    "add_news": """Neighbours had asked for it for years.
The work is to be finished in {small} months.
"We did what we could," said {person}.
Nobody was hurt.
The opposition called it a beginning.
It had been {number} in the year before.
The temperature rose to {small} °C.
Critics point to the costs: {price} per person.
The mayor was in {city} and could not be reached.
A decision is expected on {date}.
Tickets cost {price}.
According to {person}, this was long overdue.
Trains run every {number} minutes again.
The report has {number} pages.""",
    "news": "{place_news} {did_news}. {add_news}\n{place_news} {did_news}. {add_news} {add_news}\n"
    "On {date}, {place_news} {did_news}. {add_news}",
    "long_in": """Summarise the following text. {news} {news} {news} {news} {news}
{news} {news} {news} {news} {news} {news} Give a short summary.
What is this about? {news} {news} {news} {news}""",
    "long_out": """{place_news} {did_news}. {add_news}
{place_news} {did_news}, while {place_news} {did_news}.
In short: {place_news} {did_news}. {place_news} {did_news}.""",
    "dialog_system": """You are the assistant of a shop for garden tools.
Answer as a patient librarian.
You help customers of a bank and never ask for their PIN.
You are a travel agent. Be brief.""",
    "level": "INFO\nWARN\nERROR\nDEBUG\nFATAL",
    "unit_name": "nginx\npostgres\nkubelet\nauthd\nbilling-api\nsystemd\ncron\nredis_cache\nJVM",
    "network_log": """connection to {ip}:{port} timed out after {number} ms
dropped {number} packets on eth{digit} (<unknown> route)
DNS lookup for node-{number}.internal failed: NXDOMAIN
TLS handshake with {ip} failed: certificate expired on {isodate}
peer {mac} left the bridge br{digit}
HTTP 502 from upstream {ip}:{port}, {number} retries left""",
    "storage_log": """no space left on device /dev/sd{letter}{digit}, {percent} used
I/O error, dev nvme{digit}n1, sector {bignumber}
checksum mismatch in {path}: {sha}
volume {uuid} went read-only
fsync of {path} took {number} ms
cannot write {path}: quota of {number} GiB exceeded""",
    "auth_log": """login of user_{number} failed, {small} attempts
session {uuid} expired
token refresh for client {uuid} refused, scope <none>
sudo: user_{number} is not in the sudoers file
key fingerprint {sha} accepted for deploy_{number}
LDAP bind to {ip}:{port} rejected with code {digit}9""",
    "memory_log": """out of memory: killed process {port} (worker_{number})
GC pause of {number} ms, heap {percent}
List<String> grew to {bignumber} items
page allocation failure, order:{digit}, mode:0x{hex}
swap usage {percent}, {number} MiB free
leak suspected at 0x{hex}{hex}, {number} objects""",
    "config_log": """unknown option max_conn_{number} in {path}:{number}
could not parse {path}: expected ] at line {number}
deprecated setting worker_{small} is ignored since {version}
feature flag beta_{number} switched on by release {version}
missing section [db_{number}] in {path}
reloaded {path}, {small} changes, revision {sha}""",
    "log_head": "{stamp} {level} {unit_name}[{port}]:\n[{stamp}] {level} {unit_name} -\n"
    "{epoch} {unit_name} {level}:\n{level} {stamp} ({unit_name}, pid={port})",
    "log_ask": "\n\n\nWhich part of the system is it? \nClassify this line: ",
    "intent_status": """where is my parcel {tracking}?
{aside} what is the status of order {order}
has {product} been sent yet? I ordered it on {date}
it's {date} and nothing came. {context} where is it
can you see where order {order} is now? {context}""",
    "intent_cancel": """please cancel order {order}, {context}
I don't want {product} any more. {context} cancel it
{aside} stop the order from {date}, I ordered the wrong thing
can I still call off the purchase of {product} from {date}? {context}
cancel everything I bought at {time} today. {context}""",
    "intent_cost": """how much is shipping to {city} for {product}?
{aside} do you deliver to {city} for free above {price}
what does express delivery of {product} cost? {context}
is {price} for delivery to {city} per parcel or per item?
would {small} parcels to {city} cost more than one? {context}""",
    "intent_refund": """I want my {price} back for {product}
{aside} money for order {order} has not come back since {date}
how long does a refund of {price} take? {context}
I returned {product} on {date}, where's the money
who pays the return of {product}? {context}""",
}

TRANSLATION = {
    "who": "My brother|мой брат\nThe teacher|учитель\nOur neighbour|наш сосед\nHer friend|её друг\n"
    "The young doctor|молодой врач\nThe old captain|старый капитан\nA tourist|один турист\n"
    "The driver|водитель\nThe director of the factory|директор завода\nMy uncle|мой дядя",
    "did": "bought|купил\nfound|нашёл\nforgot|забыл\nsold|продал\nbrought|принёс\nlost|потерял\n"
    "painted|нарисовал\nsaw|увидел\nchose|выбрал\ndescribed|описал",
    "what": "an old map|старую карту\na red bicycle|красный велосипед\nthree books|три книги\n"
    "a letter|письмо\nan umbrella|зонт\na new phone|новый телефон\ntwo tickets|два билета\n"
    "a bottle of water|бутылку воды\na warm coat|тёплое пальто\na photograph|фотографию\n"
    "an iPhone 15|iPhone 15\na ThinkPad|ThinkPad",
    "where": "at the station|на вокзале\nin the park|в парке\nnear the bridge|возле моста\n"
    "in a small shop|в маленьком магазине\nat the airport|в аэропорту\nin the village|в деревне\n"
    "by the sea|у моря\nin the yard|во дворе\nat the market|на рынке\nin the library|в библиотеке",
    "when": "yesterday|вчера\non Monday|в понедельник\nin the morning|утром\nlast week|на прошлой "
    "неделе\nat five o'clock|в пять часов\na year ago|год назад\nin winter|зимой\nlate at night|"
    "поздно ночью\nbefore the holidays|перед праздниками\nin May|в мае",
    "then": "and was very happy|и был очень рад\nand told nobody|и никому не сказал\n"
    "and went home|и пошёл домой\nbut it started to rain|но начался дождь\n"
    "because he was in a hurry|потому что спешил\nalthough it was expensive|хотя это было дорого\n"
    "and thanked the seller|и поблагодарил продавца\nand called his wife|и позвонил жене",
}
"""Both languages at once, the English one first."""

LABELS = {
    "sentiment": {"positive_in": "positive", "negative_in": "negative", "neutral_in": "neutral"},
    "intents": {
        "intent_status": "order_status",
        "intent_cancel": "order_cancel",
        "intent_cost": "delivery_cost",
        "intent_refund": "refund",
    },
    "logs": {
        "network_log": "Network",
        "storage_log": "Storage",
        "auth_log": "Authentication",
        "memory_log": "Memory",
        "config_log": "Configuration",
    },
}

CAPITALS = (
    "France Paris|Italy Rome|Japan Tokyo|Norway Oslo|Kenya Nairobi|Peru Lima|Egypt Cairo|"
    "Canada Ottawa|Austria Vienna|Poland Warsaw|Greece Athens|Turkey Ankara|Chile Santiago|"
    "Cuba Havana|Ghana Accra|Nepal Kathmandu|Iran Tehran|Iraq Baghdad|Latvia Riga|Ireland Dublin|"
    "Portugal Lisbon|Finland Helsinki|Hungary Budapest|Bulgaria Sofia|Georgia Tbilisi|Qatar Doha"
)
QUESTIONS = {
    "capital": "What is the capital of {country}?\nWhich city is the capital of {country}?\n"
    "Name the capital of {country}.\nI am preparing a quiz: what's {country}'s capital?",
    "sum": "What is {a} plus {b}?\nAdd {a} and {b}.\n{a} + {b} = ?\nI had {a} apples and got {b} "
    "more. How many have I now?",
    "product": "What is {a} times {b}?\nMultiply {a} by {b}.\nHow many seats are there in {a} rows "
    "of {b}?",
    "grams": "How many grams are {a} kilograms and {b} grams?\nConvert {a} kg {b} g to grams.",
    "minutes": "How many minutes are {a} hours and {b} minutes?\nA film lasts {a} h {b} min. How "
    "long is that in minutes?",
    "compare": "Which is larger, {a} or {b}?\nIs {a} < {b}, or is it the other way round? Name the "
    "larger number.",
    "backwards": "Write the number {c} backwards.\nWhat is {c} read from right to left?",
}
ANSWERS = {"grams": "{} g", "minutes": "{} minutes"}
