"""Word tables of the corpus: sequences, dictionary, labels, places."""

# ruff: noqa: SIM905 - lists of words read best as sentences

WEEKDAYS_EN = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
WEEKDAYS_RU = "понедельник вторник среда четверг пятница суббота воскресенье".split()
MONTHS_EN = (
    "January February March April May June July August September October November December"
).split()
MONTHS_RU = (
    "январь февраль март апрель май июнь июль август сентябрь октябрь ноябрь декабрь"
).split()
ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "абвгдежзийклмнопрстуфхцчшщ",
)
ROMAN_LETTERS = "IVXLCDM"
CYCLES = (WEEKDAYS_EN, WEEKDAYS_RU, MONTHS_EN, MONTHS_RU)

DICTIONARY: tuple[tuple[str, str, str], ...] = tuple(
    (english, russian, category)
    for category, pairs in {
        "animal": "cat кошка,dog собака,horse лошадь,cow корова,bear медведь,wolf волк,fish рыба,"
        "bird птица,mouse мышь,lion лев,sheep овца,goat коза,duck утка,fox лиса",
        "food": "bread хлеб,milk молоко,apple яблоко,cheese сыр,meat мясо,soup суп,tea чай,"
        "sugar сахар,salt соль,butter масло,egg яйцо,honey мёд,rice рис,water вода",
        "color": "red красный,blue синий,green зелёный,white белый,black чёрный,yellow жёлтый",
        "body": "hand рука,head голова,eye глаз,ear ухо,nose нос,leg нога,heart сердце,hair волосы",
        "family": "mother мать,father отец,brother брат,sister сестра,son сын,daughter дочь",
        "home": "house дом,door дверь,window окно,table стол,chair стул,bed кровать,lamp лампа,"
        "book книга,key ключ,clock часы,room комната,garden сад",
        "nature": "sun солнце,moon луна,star звезда,sea море,river река,forest лес,snow снег,"
        "rain дождь,wind ветер,fire огонь,tree дерево,flower цветок,mountain гора",
        "transport": "car машина,train поезд,ship корабль,bus автобус,plane самолёт,boat лодка",
    }.items()
    for english, russian in (pair.split() for pair in pairs.split(","))
)
CATEGORIES_RU = {
    "animal": "животное", "food": "еда", "color": "цвет", "body": "тело", "family": "семья",
    "home": "дом", "nature": "природа", "transport": "транспорт",
}  # fmt: skip
ANTONYMS = tuple(
    (pair.split()[0], pair.split()[1])
    for pair in (
        "big small,hot cold,new old,good bad,long short,day night,up down,left right,fast slow,"
        "open closed,rich poor,strong weak,hard easy,early late,full empty,light dark,high low,"
        "happy sad,clean dirty,dry wet,большой маленький,горячий холодный,новый старый,"
        "хороший плохой,день ночь,быстрый медленный,сильный слабый,лёгкий тяжёлый,богатый бедный,"
        "длинный короткий,высокий низкий,чистый грязный,полный пустой,светлый тёмный"
    ).split(",")
)

LABEL_PAIRS = tuple(
    (pair.split("/")[0], pair.split("/")[1])
    for pair in (
        "Подозрительная/Нормальная,подозрительная/нормальная,Подозрительные/Нормальные,"
        "suspicious/normal,Suspicious/Normal,SUSPICIOUS/NORMAL,fraud/ok,FRAUD/LEGIT,yes/no,Yes/No,"
        "да/нет,Да/Нет,true/false,1/0,A/B,positive/negative,good/bad,spam/ham,alert/pass,"
        "block/allow,Блокировать/Пропустить,high/low,риск/норма,опасно/безопасно,плохо/хорошо,"
        "мошенничество/обычная,X/Y,red/green,accept/reject,принять/отклонить,anomaly/normal,"
        "hot/cold,Срочно/Обычно,urgent/routine"
    ).split(",")
)

CAPITALS = tuple(
    (row.split("|")[0], row.split("|")[1], row.split("|")[2], row.split("|")[3])
    for row in (
        "France|Paris|Франции|Париж,Germany|Berlin|Германии|Берлин,Italy|Rome|Италии|Рим,"
        "Spain|Madrid|Испании|Мадрид,Russia|Moscow|России|Москва,Japan|Tokyo|Японии|Токио,"
        "China|Beijing|Китая|Пекин,India|New Delhi|Индии|Нью-Дели,Egypt|Cairo|Египта|Каир,"
        "Greece|Athens|Греции|Афины,Poland|Warsaw|Польши|Варшава,Austria|Vienna|Австрии|Вена,"
        "Norway|Oslo|Норвегии|Осло,Sweden|Stockholm|Швеции|Стокгольм,"
        "Finland|Helsinki|Финляндии|Хельсинки,Turkey|Ankara|Турции|Анкара,"
        "Portugal|Lisbon|Португалии|Лиссабон,Canada|Ottawa|Канады|Оттава,"
        "Brazil|Brasilia|Бразилии|Бразилиа,Armenia|Yerevan|Армении|Ереван,"
        "Georgia|Tbilisi|Грузии|Тбилиси,Kazakhstan|Astana|Казахстана|Астана,"
        "Hungary|Budapest|Венгрии|Будапешт,England|London|Англии|Лондон"
    ).split(",")
)
NAMES = "Anna Ivan Maria Peter Olga John Kate Max Nina Tom Elena Oleg Sofia Alex Dina Leo".split()
NAMES_RU = "Анна Иван Мария Пётр Ольга Олег Елена Максим Нина Павел София Алексей Дина".split()
CITIES = "Paris Berlin Rome Madrid Moscow Tokyo London Oslo Vienna Prague Kazan Omsk".split()
CITIES_RU = "Москва Казань Омск Пермь Самара Томск Сочи Тула Минск Алматы".split()
ITEMS = "phone laptop lamp chair coat bag camera watch book tablet printer router".split()
ITEMS_RU = "телефон ноутбук чайник стул рюкзак принтер монитор кабель кофе плащ".split()
