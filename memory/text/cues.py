"""Words of a question that point to the past or to the person who asks, by language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from memory.text.languages import language_in

__all__ = ["Cues", "cues_of"]


@dataclass(frozen=True, slots=True)
class Cues:
    """What the words of a question say about where its answer may be.

    Args:
        recalls: it speaks of remembering, of an earlier time, or of what was said.
        past: it asks about something that is over.
        personal: it speaks of the person who asks, or of what is theirs.
    """

    recalls: bool
    past: bool
    personal: bool


# For each language: words of remembering and of earlier times; verbs in the past; the first person.
_SPACED = {
    "english": (
        r"remember|remind|last time|earlier|before|again|previous(?:ly)?|yesterday|ago"
        r"|last (?:night|week|month|year|spring|summer|autumn|fall|winter|\w+day)"
        r"|(?:did|have|had) (?:i|we|you)|(?:i|we|you) (?:said|told|mentioned|talked|discussed)",
        r"did|was|were",
        r"i|me|my|mine|we|our",
    ),
    "german": (
        r"erinner\w*|weißt du noch|letzte[nrs]? (?:mal|woche|monat|jahr|\w+tag)|früher|vorhin|vorher|neulich"
        r"|damals|gestern|(?:habe|hatte)n? (?:ich|wir)|hast du",
        r"war(?:en|st)?|hatte\w*|wurden?|gab|habe ich|haben wir|hast du",
        r"ich|mich|mir|mein\w*|wir|uns|unser\w*",
    ),
    "french": (
        r"souvien\w*|rappel\w*|dernière fois|hier|avant|auparavant|déjà|ai-je|avons-nous|as-tu",
        r"étai\w+|avai\w+|fut|furent|a été|ai-je|avons-nous|as-tu|a-t-(?:il|elle|on)",
        r"je|j|moi|me|mon|ma|mes|nous|notre|nos",
    ),
    "spanish": (
        r"recuerd\w*|acuerd\w*|última vez|ayer|antes|anterior(?:mente)?|dije|dijimos|dijiste",
        r"fue|fueron|era|eran|estaba\w*|había\w*|hubo|hizo|hice|tuvo",
        r"yo|me|mi|mis|nosotr[oa]s|nuestr\w*",
    ),
    "italian": (
        r"ricord\w*|ultima volta|ieri|prima|scors[oa]|ho detto|hai detto",
        r"era|erano|fu|furono|aveva\w*|è stat[oa]",
        r"io|mi|mi[oae]|miei|noi|nostr\w*",
    ),
    "portuguese": (
        r"lembr\w*|última vez|ontem|antes|anterior(?:mente)?|eu disse|você disse",
        r"foi|foram|era|eram|estava\w*|tinha\w*|houve|fez|fiz",
        r"eu|me|meus?|minhas?|nós|noss\w*",
    ),
    "dutch": (
        r"herinner\w*|vorige|laatste keer|gisteren|eerder|geleden|heb ik|hebben we",
        r"was|waren|had|hadden|werd(?:en)?|heb ik|hebben we",
        r"ik|mij|me|mijn|wij|we|ons|onze",
    ),
    "russian": (
        r"помни\w*|напомни\w*|прошл\w*|вчера|раньше|назад|говорил[аи]?|сказал[аи]?",
        r"был[аои]?|стал[аои]?|сделал[аи]?|говорил[аи]?|сказал[аи]?",
        r"я|меня|мне|мо[йяёеиюих]\w{0,2}|мы|нас|наш\w*",
    ),
}
_UNSPACED = {
    "chinese": (
        "记得|記得|提醒|上次|上周|上週|昨天|以前|之前|曾经|曾經|说过|說過|刚才|剛才",
        "了|过|過|当时|當時",
        "我",
    ),
    "japanese": ("覚え|前回|この前|昨日|以前|先週|言った|言って", "ました|だった|[いしっんち]た", "私|僕|俺"),
    "korean": ("기억|지난|어제|전에|아까|말했", "[았었였했]", "나는|내가|내 |저는|제 |우리"),
}


@lru_cache(maxsize=32)
def _patterns(language: str) -> tuple[re.Pattern[str], ...] | None:
    if language in _SPACED:
        return tuple(re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for words in _SPACED[language])
    return tuple(map(re.compile, _UNSPACED[language])) if language in _UNSPACED else None


def cues_of(question: str) -> Cues:
    """The cues of a question; none in a language that is not known here."""
    patterns = _patterns(language_in(question))
    if patterns is None:
        return Cues(False, False, False)
    return Cues(*(pattern.search(question) is not None for pattern in patterns))
