"""Which language a text is in, as far as stemming needs to know, and the stems of its words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from functools import lru_cache
from typing import Any

__all__ = ["FUNCTION_WORDS", "language_in", "language_of", "script_of", "stem"]

# The most frequent words of each language that the Latin script writes, by Snowball's name for it. They tell
# languages apart, and they carry no question's meaning.
_WORDS = {
    "english": (
        "the of and to in is was that it for you with on are this have be not what where who how do did "
        "does my your i we he she they his her as at by from or an will can would about there which when"
    ),
    "german": (
        "der die das und ist nicht ich du er sie es wir ein eine einen einem einer mit von zu den dem des "
        "im in auf für wie was wer wo wann warum welche welcher welches hat haben hatte war sind mein "
        "meine dein deine auch als an bei nach aus um dass oder wird wurde kann über sich so noch nur mir "
        "mich dir dich welchen welchem wen wem wessen wofür womit worin worauf worüber wozu wovon wodurch "
        "woran wogegen wohin woher viel viele diese dieser dieses diesen diesem werden wurden"
    ),
    "french": (
        "le la les de des du un une et est pas je tu il elle nous vous que qui où quand comment quel "
        "quelle quels quelles dans sur pour avec mon ma mes ton ta ce cette au aux en ne se sont été a ai "
        "par plus ou mais son sa ses leur combien pourquoi"
    ),
    "spanish": (
        "el la los las de del un una y es no yo tú que qué quién dónde cuándo cómo cuál en con por para "
        "mi mis tu su sus se al lo está son fue ha como más pero o me te hay muy cuántos cuánto"
    ),
    "italian": (
        "il lo la gli le di del della dei un una e è non io tu che chi dove quando come quale in con per "
        "mio mia suo sua si al da sono ha ho nel nella più ma o mi ti quanto quanti"
    ),
    "portuguese": (
        "o os as de do da dos das um uma e é não eu que quem onde quando como qual em com por para meu "
        "minha seu sua se ao no na são foi mais mas ou me te você está quantos"
    ),
    "dutch": (
        "de het een en is niet ik je jij hij zij wij van in op met voor te dat die wat wie waar wanneer "
        "hoe welke mijn jouw zijn heeft hebben had was ook als aan bij naar uit om of er wordt kan door "
        "dan"
    ),
    "swedish": (
        "och är inte jag du han hon vi ni det den en ett som på för med av till att vad vem var när hur "
        "vilken min mitt din har hade om från eller ska kan så de sig"
    ),
    "danish": (
        "og er ikke jeg du han hun vi det den en et som på for med af til at hvad hvem hvor hvornår "
        "hvordan hvilken min mit din har havde om fra eller skal kan så de sig"
    ),
    "norwegian": (
        "og er ikke jeg du han hun vi det den en et som på for med av til å hva hvem hvor når hvordan "
        "hvilken min mitt din har hadde om fra eller skal kan så de seg"
    ),
    "finnish": (
        "ja on ei minä sinä hän me te he se että mikä kuka missä milloin miten minun sinun oli ovat olen "
        "kuin mutta tai myös jos"
    ),
    "turkish": (
        "ve bir bu ne kim nerede nasıl için ile mi mı değil ben sen o biz benim senin var yok olarak daha "
        "çok gibi hangi kaç"
    ),
    "hungarian": (
        "a az és nem egy hogy mi ki hol mikor hogyan van volt én te ő is ez meg melyik milyen de vagy"
    ),
    "romanian": (
        "și este nu un o de la în cu pe pentru care ce cine unde când cum mea meu sunt a fost mai dar sau"
    ),
}
FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_LANGUAGES_OF: dict[str, list[str]] = {}
for _language, _some in FUNCTION_WORDS.items():
    for _word in _some:
        _LANGUAGES_OF.setdefault(_word, []).append(_language)

# Other scripts: the language that most of what they write is in. Where that is wrong, as for Ukrainian, both
# sides of a search are wrong in the same way.
_SCRIPTS = (
    (0x0370, 0x03FF, "greek"),
    (0x1F00, 0x1FFF, "greek"),
    (0x0400, 0x052F, "russian"),
    (0x0530, 0x058F, "armenian"),
    (0x0600, 0x06FF, "arabic"),
    (0x0900, 0x097F, "hindi"),
    (0x0B80, 0x0BFF, "tamil"),
)
_ENOUGH = 2  # function words


def language_of(words: Collection[str]) -> str:
    """The language of text in the Latin script, by its function words; English if they do not tell.

    Args:
        words: in lower case, with their accents.
    """
    found: dict[str, int] = {}
    for word in words:
        for language in _LANGUAGES_OF.get(word, ()):
            found[language] = found.get(language, 0) + 1
    best = max(found, key=lambda language: found[language], default="english")
    return best if found.get(best, 0) >= _ENOUGH and found[best] > found.get("english", 0) else "english"


def script_of(word: str) -> str | None:
    """The language whose stemmer suits the script of a word; "" if there is none, None for Latin."""
    code = ord(word[0])
    if code < 0x250 or 0x1E00 <= code <= 0x1EFF:
        return None
    return next((language for first, last, language in _SCRIPTS if first <= code <= last), "")


_UNSPACED = (
    ("japanese", re.compile(r"[\u3041-\u30ff]")),  # before Chinese, whose characters Japanese uses, too
    ("korean", re.compile(r"[\uac00-\ud7a3]")),
    ("chinese", re.compile(r"[\u4e00-\u9fff]")),
    ("thai", re.compile(r"[\u0e00-\u0e7f]")),
)
_LETTERS = re.compile(r"[^\W\d_]+")


def language_in(text: str) -> str:
    """The language that a text seems to be in, in any script; "" for a script that is not known here."""
    for language, letters in _UNSPACED:
        if letters.search(text):
            return language
    words = _LETTERS.findall(text.casefold())
    scripts = Counter(script_of(word) for word in words)
    script = max(scripts, key=lambda script: scripts[script], default=None)
    return language_of(words) if script is None else script


@lru_cache(maxsize=100_000)
def stem(word: str, language: str) -> str:
    """The stem of a lower-case word; the word itself in a language without a stemmer."""
    stemmer = _stemmer(language)
    return word if stemmer is None else str(stemmer.stemWord(word))


@lru_cache(maxsize=32)
def _stemmer(language: str) -> Any:
    import snowballstemmer  # loads the stemmers of 30 languages

    return snowballstemmer.stemmer(language) if language in snowballstemmer.algorithms() else None
