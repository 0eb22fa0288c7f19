"""How near texts come that have nothing to do with each other, in this store and with this embedding model.

A cosine by itself says little. Two unrelated English sentences reach 0.03 with all-MiniLM-L6-v2, two Russian
ones, which it cannot read, 0.7; and the more a store holds, the nearer the nearest passage is by chance. So
general tasks, which need no memory, are searched for in the store: what is hardly nearer than they come is
not near.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from threading import Lock, Thread

from memory.errors import StoreError
from memory.ports import Embedder

__all__ = ["PROBES", "Calibration"]

_log = logging.getLogger(__name__)

_UNREADABLE = 0.16  # mean cosine of unrelated texts: the model does not tell texts of this language apart
_GROWTH = 1.5  # measured again when the store has grown so much


@dataclass(frozen=True, slots=True)
class _Measured:
    """The median of the probes' best cosines, None if they say nothing; the size of the store then."""

    baseline: float | None
    passages: int


class Calibration:
    """Measures, in the background, once for each language that is asked in. Any thread.

    Args:
        embedder: None: nothing is ever measured.
        nearest: the cosine of the passage nearest to a text; None if it cannot be found now.
    """

    def __init__(self, embedder: Embedder | None, nearest: Callable[[str], float | None]) -> None:
        self._embedder = embedder
        self._nearest = nearest
        self._measured: dict[str, _Measured] = {}
        self._busy = Lock()

    def baseline(self, language: str, passages: int) -> float | None:
        """The cosine that unrelated texts of a language reach; None if it is unknown, now or for good.

        Args:
            passages: how many the store holds now.
        """
        known = self._measured.get(language)
        if self._embedder is None or language not in PROBES:
            return None
        if known is None or passages > _GROWTH * known.passages:
            self._start(self._embedder, language, passages)
        return known.baseline if known is not None else None

    def measure(self, embedder: Embedder, language: str, passages: int) -> None:
        """Measure one language now; takes about as long as ten searches."""
        probes = PROBES[language]
        try:
            vectors = embedder.embed(probes)
            products = vectors @ vectors.T
            mutual = float(products.sum() - products.trace()) / (len(probes) * (len(probes) - 1))
            cosines = [self._nearest(probe) for probe in probes] if mutual < _UNREADABLE else []
        except StoreError as error:
            _log.warning("The embedding model could not be calibrated: %s", error)
            return
        found = [cosine for cosine in cosines if cosine is not None]
        if len(found) == len(cosines):  # else the index was busy: the next question tries again
            self._measured[language] = _Measured(median(found) if found else None, passages)

    def _start(self, embedder: Embedder, language: str, passages: int) -> None:
        if not embedder.ready or not self._busy.acquire(blocking=False):
            return

        def run() -> None:
            try:
                self.measure(embedder, language, passages)
            finally:
                self._busy.release()

        Thread(target=run, name="memory-calibration", daemon=True).start()


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
