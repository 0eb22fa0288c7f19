"""How near texts come that have nothing to do with each other, in this store and with this embedding model.

A cosine by itself says little. Two unrelated English sentences reach 0.09 with all-MiniLM-L6-v2, two Chinese
ones, which it cannot read, 0.64, and with other models all texts reach 0.7; and the more a store holds, the
nearer the nearest passage is by chance. So general tasks, which need no memory, are compared with each other
and searched for in the store. What is hardly nearer than they come is not near, and a model's unit of
nearness is how much nearer a text comes to itself than to others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from threading import Lock, Thread

from memory.errors import StoreError
from memory.ports import Embedder

__all__ = ["PROBES", "Calibration", "spread", "unknown_languages"]

_log = logging.getLogger(__name__)

_REFERENCES = ("english", "chinese")  # a model knows one of these, or is measured by the language itself
_KNOWN = 0.85  # of the spread that the model has in a language which it knows
_LEAST = 0.05  # a model with less tells nothing apart
_UNIT = 0.913  # the spread of all-MiniLM-L6-v2 in English, with which the gate's weights were learned
_GROWTH = 1.5  # measured again when the store has grown so much


@dataclass(frozen=True, slots=True)
class _Measured:
    """The median of the probes' best cosines, None if they say nothing; the model's unit of nearness; the
    size of the store then."""

    baseline: float | None
    unit: float
    passages: int


class Calibration:
    """Measures, in the background, once for each language that is asked in. Any thread.

    Args:
        answering: the embedder whose vectors answer searches; None: nothing is measured.
        nearest: the cosine of the passage nearest to a text; None if it cannot be found now.
    """

    def __init__(
        self, answering: Callable[[], Embedder | None], nearest: Callable[[str], float | None]
    ) -> None:
        self._answering = answering
        self._nearest = nearest
        self._spreads: dict[tuple[str, str], float] = {}
        self._measured: dict[tuple[str, str], _Measured] = {}
        self._busy = Lock()

    def closeness(self, cosine: float, language: str, passages: int) -> float | None:
        """How much nearer something is than unrelated texts of a language come; None if that is unknown, now
        or for good.

        Args:
            cosine: of a question in the language and the passage nearest to it.
            passages: how many the store holds now.

        Returns:
            A difference of cosines, as all-MiniLM-L6-v2 would have it.
        """
        embedder = self._answering() if language in PROBES else None
        if embedder is None:
            return None
        known = self._measured.get((embedder.name, language))
        if known is None or passages > _GROWTH * known.passages:
            self._start(embedder, language, passages)
        if known is None or known.baseline is None:
            return None
        return (cosine - known.baseline) * _UNIT / known.unit

    def trust(self, language: str) -> float:
        """How far nearness says what belongs together, from 0 to 1: as far as the model tells texts of the
        language apart, compared with its best; 1 for a language that it knows, or that is not measured yet.
        """
        embedder = self._answering() if language in PROBES else None
        known = self._measured.get((embedder.name, language)) if embedder is not None else None
        if embedder is None or known is None or known.baseline is not None:
            return 1.0
        return max(self._spreads[embedder.name, language] / known.unit, 0.0) if known.unit > 0 else 0.0

    def measure(self, embedder: Embedder, language: str, passages: int) -> None:
        """Measure one language now; takes about as long as twenty searches."""
        try:
            spreads = {each: self._spread(embedder, each) for each in {*_REFERENCES, language}}
            readable = _knows(spreads[language], spreads.values())
            cosines = [self._nearest(probe) for probe in PROBES[language]] if readable else []
        except StoreError as error:
            _log.warning("The embedding model could not be calibrated: %s", error)
            return
        found = [cosine for cosine in cosines if cosine is not None]
        if len(found) == len(cosines):  # else the index was busy: the next question tries again
            baseline = median(found) if found else None
            measured = _Measured(baseline, max(spreads.values()), passages)
            self._measured[embedder.name, language] = measured

    def _spread(self, embedder: Embedder, language: str) -> float:
        key = embedder.name, language
        if key not in self._spreads:
            self._spreads[key] = spread(embedder, language)
        return self._spreads[key]

    def _start(self, embedder: Embedder, language: str, passages: int) -> None:
        if not embedder.ready or not self._busy.acquire(blocking=False):
            return

        def run() -> None:
            try:
                self.measure(embedder, language, passages)
            finally:
                self._busy.release()

        Thread(target=run, name="memory-calibration", daemon=True).start()


def spread(embedder: Embedder, language: str) -> float:
    """How much nearer texts of a language come to themselves than to others, as a difference of cosines.

    Raises:
        EmbedderUnavailable
    """
    probes = PROBES[language]
    products = embedder.embed(probes, query=True) @ embedder.embed(probes).T
    same = float(products.trace()) / len(probes)
    return same - float(products.sum() - products.trace()) / (len(probes) * (len(probes) - 1))


def unknown_languages(embedder: Embedder, languages: Iterable[str]) -> set[str]:
    """Those of some languages whose texts a model cannot tell apart; those without probes are left out.

    Raises:
        EmbedderUnavailable
    """
    asked = set(languages) & PROBES.keys()
    spreads = {each: spread(embedder, each) for each in {*_REFERENCES, *asked}}
    return {each for each in asked if not _knows(spreads[each], spreads.values())}


def _knows(of_language: float, spreads: Collection[float]) -> bool:
    """Whether a model tells texts of a language apart.

    Args:
        of_language: its spread there.
        spreads: those in several languages, one of which it knows.
    """
    return of_language >= max(_KNOWN * max(spreads), _LEAST)


# The same eight tasks in each language, from different walks of life.
PROBES: Mapping[str, Sequence[str]] = {
    "english": (
        "Write a short poem about the sea.",
        "What is the capital of Australia?",
        "How does a refrigerator work?",
        "Translate this sentence into French: the door is open.",
        "What is seventeen times twenty-three?",
        "Write a function that sorts a list of numbers.",
        "Why is the sky blue?",
        "Draft a polite email that declines an invitation.",
    ),
    "german": (
        "Schreib ein kurzes Gedicht über das Meer.",
        "Was ist die Hauptstadt von Australien?",
        "Wie funktioniert ein Kühlschrank?",
        "Übersetze diesen Satz ins Französische: Die Tür ist offen.",
        "Was ist siebzehn mal dreiundzwanzig?",
        "Schreib eine Funktion, die eine Liste von Zahlen sortiert.",
        "Warum ist der Himmel blau?",
        "Entwirf eine höfliche E-Mail, die eine Einladung ablehnt.",
    ),
    "french": (
        "Écris un court poème sur la mer.",
        "Quelle est la capitale de l'Australie ?",
        "Comment fonctionne un réfrigérateur ?",
        "Traduis cette phrase en anglais : la porte est ouverte.",
        "Combien font dix-sept fois vingt-trois ?",
        "Écris une fonction qui trie une liste de nombres.",
        "Pourquoi le ciel est-il bleu ?",
        "Rédige un courriel poli pour décliner une invitation.",
    ),
    "spanish": (
        "Escribe un poema corto sobre el mar.",
        "¿Cuál es la capital de Australia?",
        "¿Cómo funciona un frigorífico?",
        "Traduce esta frase al inglés: la puerta está abierta.",
        "¿Cuánto es diecisiete por veintitrés?",
        "Escribe una función que ordene una lista de números.",
        "¿Por qué el cielo es azul?",
        "Redacta un correo amable para rechazar una invitación.",
    ),
    "italian": (
        "Scrivi una breve poesia sul mare.",
        "Qual è la capitale dell'Australia?",
        "Come funziona un frigorifero?",
        "Traduci questa frase in inglese: la porta è aperta.",
        "Quanto fa diciassette per ventitré?",
        "Scrivi una funzione che ordina una lista di numeri.",
        "Perché il cielo è blu?",
        "Scrivi un'email cortese per rifiutare un invito.",
    ),
    "portuguese": (
        "Escreve um poema curto sobre o mar.",
        "Qual é a capital da Austrália?",
        "Como funciona um frigorífico?",
        "Traduz esta frase para inglês: a porta está aberta.",
        "Quanto é dezessete vezes vinte e três?",
        "Escreve uma função que ordene uma lista de números.",
        "Por que o céu é azul?",
        "Redige um e-mail educado para recusar um convite.",
    ),
    "dutch": (
        "Schrijf een kort gedicht over de zee.",
        "Wat is de hoofdstad van Australië?",
        "Hoe werkt een koelkast?",
        "Vertaal deze zin in het Frans: de deur is open.",
        "Hoeveel is zeventien keer drieëntwintig?",
        "Schrijf een functie die een lijst getallen sorteert.",
        "Waarom is de lucht blauw?",
        "Schrijf een beleefde e-mail om een uitnodiging af te slaan.",
    ),
    "russian": (
        "Напиши короткое стихотворение про море.",
        "Какой город — столица Австралии?",
        "Как работает холодильник?",
        "Переведи это предложение на французский: дверь открыта.",
        "Сколько будет семнадцать умножить на двадцать три?",
        "Напиши функцию, которая сортирует список чисел.",
        "Почему небо голубое?",
        "Составь вежливое письмо, чтобы отказаться от приглашения.",
    ),
    "chinese": (
        "写一首关于大海的短诗。",
        "澳大利亚的首都是哪里？",
        "冰箱是怎么工作的？",
        "把这句话翻译成法语：门开着。",
        "十七乘以二十三等于多少？",
        "写一个给数字列表排序的函数。",
        "天空为什么是蓝色的？",
        "写一封婉拒邀请的礼貌邮件。",
    ),
    "japanese": (
        "海についての短い詩を書いてください。",
        "オーストラリアの首都はどこですか。",
        "冷蔵庫はどのように動きますか。",
        "この文をフランス語に訳してください：ドアは開いています。",
        "十七かける二十三はいくつですか。",
        "数のリストを並べ替える関数を書いてください。",
        "空はなぜ青いのですか。",
        "招待を丁寧に断るメールを書いてください。",
    ),
    "korean": (
        "바다에 대한 짧은 시를 써 줘.",
        "호주의 수도는 어디야?",
        "냉장고는 어떻게 작동해?",
        "이 문장을 프랑스어로 번역해 줘: 문이 열려 있다.",
        "십칠 곱하기 이십삼은 얼마야?",
        "숫자 목록을 정렬하는 함수를 작성해 줘.",
        "하늘은 왜 파란색이야?",
        "초대를 정중히 거절하는 이메일을 써 줘.",
    ),
}
