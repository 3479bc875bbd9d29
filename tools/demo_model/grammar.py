"""A small parallel grammar: sentences that mean the same in each language.

Run it to see some of them. Word i of a slot means the same in every language, so one
choice of pattern and words is one meaning, and its translation is known.
"""

from __future__ import annotations

import argparse
import random

LANGUAGES = ("en", "es", "zh")

Sentence = dict[str, str]  # language to text, one meaning

SLOTS: dict[str, dict[str, list[str]]] = {
    "weekday": {
        "en": [
            "Monday",
            "Tuesday",
            "Wednesday",
            "Thursday",
            "Friday",
            "Saturday",
            "Sunday",
        ],
        "es": [
            "lunes",
            "martes",
            "miércoles",
            "jueves",
            "viernes",
            "sábado",
            "domingo",
        ],
        "zh": ["星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期天"],
    },
    "number": {
        "en": [
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
        ],
        "es": [
            "dos",
            "tres",
            "cuatro",
            "cinco",
            "seis",
            "siete",
            "ocho",
            "nueve",
            "diez",
            "once",
            "doce",
        ],
        "zh": ["两", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二"],
    },
    "name": {
        "en": [
            "Anna",
            "David",
            "Maria",
            "Peter",
            "Lucas",
            "Sofia",
            "Emma",
            "Thomas",
            "Laura",
            "Daniel",
        ],
        "es": [
            "Ana",
            "David",
            "María",
            "Pedro",
            "Lucas",
            "Sofía",
            "Emma",
            "Tomás",
            "Laura",
            "Daniel",
        ],
        "zh": [
            "安娜",
            "大卫",
            "玛丽亚",
            "彼得",
            "卢卡斯",
            "索菲亚",
            "艾玛",
            "托马斯",
            "劳拉",
            "丹尼尔",
        ],
    },
    "city": {
        "en": [
            "London",
            "Paris",
            "Berlin",
            "Madrid",
            "Rome",
            "Tokyo",
            "Beijing",
            "Vienna",
            "Lisbon",
            "Dublin",
        ],
        "es": [
            "Londres",
            "París",
            "Berlín",
            "Madrid",
            "Roma",
            "Tokio",
            "Pekín",
            "Viena",
            "Lisboa",
            "Dublín",
        ],
        "zh": [
            "伦敦",
            "巴黎",
            "柏林",
            "马德里",
            "罗马",
            "东京",
            "北京",
            "维也纳",
            "里斯本",
            "都柏林",
        ],
    },
    "weather": {
        "en": [
            "it is sunny",
            "it is raining",
            "it is snowing",
            "it is cold",
            "it is hot",
            "it is windy",
        ],
        "es": [
            "hace sol",
            "está lloviendo",
            "está nevando",
            "hace frío",
            "hace calor",
            "hace viento",
        ],
        "zh": ["天气晴朗", "正在下雨", "正在下雪", "天气很冷", "天气很热", "风很大"],
    },
    "animal": {
        "en": [
            "the dog",
            "the cat",
            "the horse",
            "the bird",
            "the mouse",
            "the cow",
            "the lion",
            "the fish",
        ],
        "es": [
            "el perro",
            "el gato",
            "el caballo",
            "el pájaro",
            "el ratón",
            "la vaca",
            "el león",
            "el pez",
        ],
        "zh": ["狗", "猫", "马", "鸟", "老鼠", "奶牛", "狮子", "鱼"],
    },
    "place": {
        "en": [
            "in the garden",
            "in the kitchen",
            "in the school",
            "in the forest",
            "in the house",
            "in the river",
            "in the street",
            "in the library",
        ],
        "es": [
            "en el jardín",
            "en la cocina",
            "en la escuela",
            "en el bosque",
            "en la casa",
            "en el río",
            "en la calle",
            "en la biblioteca",
        ],
        "zh": [
            "在花园里",
            "在厨房里",
            "在学校里",
            "在森林里",
            "在房子里",
            "在河里",
            "在街上",
            "在图书馆里",
        ],
    },
    "food": {
        "en": [
            "apples",
            "oranges",
            "eggs",
            "potatoes",
            "tomatoes",
            "bananas",
            "cakes",
            "lemons",
        ],
        "es": [
            "manzanas",
            "naranjas",
            "huevos",
            "patatas",
            "tomates",
            "plátanos",
            "pasteles",
            "limones",
        ],
        "zh": ["苹果", "橙子", "鸡蛋", "土豆", "西红柿", "香蕉", "蛋糕", "柠檬"],
    },
    "colour": {
        "en": ["red", "blue", "green", "yellow", "white", "black", "grey", "brown"],
        "es": [
            "rojo",
            "azul",
            "verde",
            "amarillo",
            "blanco",
            "negro",
            "gris",
            "marrón",
        ],
        "zh": ["红色", "蓝色", "绿色", "黄色", "白色", "黑色", "灰色", "棕色"],
    },
    "activity": {
        "en": [
            "is reading a book",
            "is cooking dinner",
            "is writing a letter",
            "is listening to music",
            "is playing football",
            "is drinking coffee",
            "is learning to swim",
            "is watching television",
        ],
        "es": [
            "está leyendo un libro",
            "está preparando la cena",
            "está escribiendo una carta",
            "está escuchando música",
            "está jugando al fútbol",
            "está tomando café",
            "está aprendiendo a nadar",
            "está viendo la televisión",
        ],
        "zh": [
            "在看书",
            "在做晚饭",
            "在写信",
            "在听音乐",
            "在踢足球",
            "在喝咖啡",
            "在学游泳",
            "在看电视",
        ],
    },
}

PATTERNS: list[Sentence] = [
    {
        "en": "Today is {weekday} and {weather}.",
        "es": "Hoy es {weekday} y {weather}.",
        "zh": "今天是{weekday}，{weather}。",
    },
    {
        "en": "{Animal} is {place}.",
        "es": "{Animal} está {place}.",
        "zh": "{animal}{place}。",
    },
    {
        "en": "I would like {number} {food}, please.",
        "es": "Quisiera {number} {food}, por favor.",
        "zh": "请给我{number}个{food}。",
    },
    {
        "en": "{name} {activity}.",
        "es": "{name} {activity}.",
        "zh": "{name}{activity}。",
    },
    {
        "en": "The train to {city} leaves at {number} o'clock.",
        "es": "El tren a {city} sale a las {number}.",
        "zh": "去{city}的火车{number}点出发。",
    },
    {
        "en": "{name} lives in {city}.",
        "es": "{name} vive en {city}.",
        "zh": "{name}住在{city}。",
    },
    {
        "en": "My car is {colour}.",
        "es": "Mi coche es {colour}.",
        "zh": "我的汽车是{colour}的。",
    },
    {
        "en": "We will meet on {weekday} in {city}.",
        "es": "Nos vemos el {weekday} en {city}.",
        "zh": "我们{weekday}在{city}见面。",
    },
    {
        "en": "Good morning, my name is {name}.",
        "es": "Buenos días, me llamo {name}.",
        "zh": "早上好，我叫{name}。",
    },
    {
        "en": "Where is {animal}?",
        "es": "¿Dónde está {animal}?",
        "zh": "{animal}在哪里？",
    },
    {
        "en": "Yesterday I was in {city} with {name}.",
        "es": "Ayer estuve en {city} con {name}.",
        "zh": "昨天我和{name}在{city}。",
    },
    {
        "en": "Thank you very much and goodbye.",
        "es": "Muchas gracias y adiós.",
        "zh": "非常感谢，再见。",
    },
    {
        "en": "The meeting begins on {weekday} at {number} o'clock.",
        "es": "La reunión empieza el {weekday} a las {number}.",
        "zh": "会议{weekday}{number}点开始。",
    },
    {
        "en": "{name} has bought {number} {food}.",
        "es": "{name} ha comprado {number} {food}.",
        "zh": "{name}买了{number}个{food}。",
    },
]


def sentence(rng: random.Random) -> Sentence:
    """Draw one meaning: its text in every language of LANGUAGES."""
    pattern = rng.choice(PATTERNS)
    chosen = {slot: rng.randrange(len(words["en"])) for slot, words in SLOTS.items()}
    texts = {}
    for language in LANGUAGES:
        words = {slot: SLOTS[slot][language][i] for slot, i in chosen.items()}
        # "{Animal}" begins a sentence, "{animal}" stands inside one.
        animal = words["animal"]
        words["Animal"] = animal[:1].upper() + animal[1:]
        texts[language] = pattern[language].format(**words)
    return texts


def main() -> None:
    """Print some sentences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=6, help="sentences to print")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    for _ in range(options.count):
        print("\n".join(sentence(rng).values()), end="\n\n")


if __name__ == "__main__":
    main()
