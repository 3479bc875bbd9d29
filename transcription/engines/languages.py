"""The languages Whisper knows, and the many ways in which people name them."""

from __future__ import annotations

import re
from typing import Final

# What has the language detected.
AUTO: Final = "auto"

# Whisper's code (yue since large-v3); codes of ISO 639-2 and 639-3 that mean the same,
# with retired ones; after the colon the names in English.
_TABLE: Final = """
af afr: afrikaans
am amh: amharic
ar ara arb arz apc ary acm: arabic, modern standard arabic
as asm: assamese
az aze azj azb: azerbaijani, azeri
ba bak: bashkir
be bel: belarusian, belorussian
bg bul: bulgarian
bn ben: bengali, bangla
bo bod tib: tibetan
br bre: breton
bs bos: bosnian
ca cat: catalan, valencian
cs ces cze: czech
cy cym wel: welsh
da dan: danish
de deu ger: german
el ell gre: greek, modern greek
en eng: english
es spa: spanish, castilian
et est ekk: estonian
eu eus baq: basque
fa fas per pes prs: persian, farsi, dari
fi fin: finnish
fo fao: faroese
fr fra fre: french
gl glg: galician
gu guj: gujarati
ha hau: hausa
haw: hawaiian
he heb iw: hebrew
hi hin: hindi
hr hrv: croatian
ht hat: haitian creole, haitian
hu hun: hungarian
hy hye arm: armenian
id ind in: indonesian
is isl ice: icelandic
it ita: italian
ja jpn: japanese
jw jv jav: javanese
ka kat geo: georgian
kk kaz: kazakh
km khm: khmer, cambodian
kn kan: kannada
ko kor: korean
la lat: latin
lb ltz: luxembourgish, letzeburgesch
ln lin: lingala
lo lao: lao, laotian
lt lit: lithuanian
lv lav lvs: latvian
mg mlg plt: malagasy
mi mri mao: maori
mk mkd mac: macedonian
ml mal: malayalam
mn mon khk: mongolian
mr mar: marathi
ms msa may zsm: malay
mt mlt: maltese
my mya bur: myanmar, burmese
ne nep npi: nepali
nl nld dut: dutch, flemish
nn nno: nynorsk, norwegian nynorsk
no nor nb nob: norwegian, bokmal, norwegian bokmal
oc oci: occitan
pa pan: punjabi, panjabi
pl pol: polish
ps pus pbt pbu: pashto, pushto
pt por: portuguese
ro ron rum mo: romanian, moldavian, moldovan
ru rus: russian
sa san: sanskrit
sd snd: sindhi
si sin: sinhala, sinhalese
sk slk slo: slovak
sl slv: slovenian, slovene
sn sna: shona
so som: somali
sq sqi alb als: albanian
sr srp: serbian
su sun: sundanese
sv swe: swedish
sw swa swh: swahili
ta tam: tamil
te tel: telugu
tg tgk: tajik
th tha: thai
tk tuk: turkmen
tl tgl fil: tagalog, filipino
tr tur: turkish
tt tat: tatar
uk ukr: ukrainian
ur urd: urdu
uz uzb uzn: uzbek
vi vie: vietnamese
yi yid ji ydd: yiddish
yo yor: yoruba
zh zho chi cmn: chinese, mandarin, mandarin chinese
yue: cantonese, cantonese chinese
"""

_ROWS: Final = [
    (codes.split(), [name.strip() for name in names.split(",")])
    for codes, _, names in (line.partition(":") for line in _TABLE.strip().splitlines())
]
LANGUAGE_CODES: Final = tuple(codes[0] for codes, _ in _ROWS)
_BY_TAG: Final = {tag: codes[0] for codes, _ in _ROWS for tag in codes}
_BY_NAME: Final = {name: codes[0] for codes, names in _ROWS for name in names}
# A tag that begins with a macrolanguage may name the language itself: zh-yue.
_EXTENDED: Final = {("zh", "yue"): "yue", ("no", "nno"): "nn"}
_TAG: Final = re.compile(r"[a-z]{2,3}([-_][a-z0-9]{1,8})*", re.ASCII)

# How a language may be written, for the OpenAPI document; case does not matter.
LANGUAGE_PATTERN: Final = (
    rf"^(({'|'.join(sorted(_BY_TAG))})([-_][A-Za-z0-9]{{2,8}}){{0,3}}"
    rf"|{'|'.join(sorted(_BY_NAME))})$"
)
# All that a model knows which was trained on English alone.
ENGLISH_ONLY: Final = ("en",)


def language_code(text: str) -> str | None:
    """Whisper's code of a language: by its code, BCP 47 tag, or name in English.

    What stands in a tag beside the language, such as script and region, makes no
    difference to Whisper.

    Returns:
        None if Whisper has no such language.
    """
    wanted = " ".join(text.casefold().split())
    if wanted in _BY_NAME:
        return _BY_NAME[wanted]
    if not _TAG.fullmatch(wanted):
        return None
    first, *rest = re.split("[-_]", wanted)
    code = _BY_TAG.get(first)
    if code and rest:
        return _EXTENDED.get((code, rest[0]), code)
    return code


def is_language(tag: str, *, code: str) -> bool:
    """Whether a file means one of Whisper's languages by a tag such as `eng`."""
    return language_code(tag) == code
