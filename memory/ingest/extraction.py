"""Facts by a model: what it is asked, the grammar of its answer, and which of its spans are believed.

A model that is asked for facts invents some. So it may only point: each item names a message and the words in
it, and code checks that the person wrote these words there, in one sentence, as a statement of their own. The
words that are stored are the person's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

from memory.ingest.facts import Statement, may_state, own_sentences, statement_of
from memory.ports import FactExtractor
from memory.text import own_words
from memory.types import FactKind, Message

__all__ = ["accepted", "ask", "facts_grammar", "in_batches", "prompt_for_facts", "words_to_read"]

_ANSWER_TOKENS = 200  # some eight statements; small models repeat themselves until they are cut off
_BATCH = 6  # messages
_BATCH_CHARACTERS = 2400
_LEAST_WORDS = 3
_LEAST_OWN = 0.6  # of a span's letters: the rest may be a quoted name
_KINDS: tuple[FactKind, ...] = get_args(FactKind)

_PROMPT = """\
Below are numbered messages that a person wrote to an assistant. Find where the person states a fact about \
themselves, their family, pets, home, job or health (fact), what they like or want from every answer \
(preference), the tools they use (tool), the versions (version), their machines (machine), their projects \
(project), what they decided (decision), and their deadlines (deadline).
Copy the words of the statement exactly. Skip questions, tasks, quotations, stories, examples, hypotheses, \
and what is about somebody else. Most messages state nothing.

Example:
1: I live in Oslo and I use Vim. How do I fold lines?
2: Write a poem about a king.
3: My talk is on Monday!
Answer: [{"message":1,"span":"I live in Oslo","kind":"fact"},{"message":1,"span":"I use Vim","kind":"tool"},\
{"message":3,"span":"My talk is on Monday","kind":"deadline"}]

Messages:
"""
_GRAMMAR = r"""
root ::= "[]" | "[" fact ("," fact){0,7} "]"
fact ::= "{\"message\":" id ",\"span\":\"" char{4,120} "\",\"kind\":\"" kind "\"}"
char ::= [^"\\\x00-\x1f] | "\\\"" | "\\\\"
"""
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
_IDEOGRAPHIC_END = re.compile(r"[。！？]+")


def words_to_read(message: Message) -> str:
    """What of a message a model may look at: the person's own words."""
    return own_words(message.content, message.quoted) if message.role == "user" else ""


def in_batches(texts: Sequence[str]) -> Iterator[range]:
    """The places of the texts that one request asks about, batch by batch."""
    start = size = 0
    for place, text in enumerate(texts):
        if place > start and (place - start == _BATCH or size + len(text) > _BATCH_CHARACTERS):
            yield range(start, place)
            start, size = place, 0
        size += len(text)
    if texts:
        yield range(start, len(texts))


def ask(
    extractor: FactExtractor, texts: Sequence[str], cancelled: Callable[[], bool]
) -> list[list[Statement]]:
    """What a model finds in the texts of one batch. Raises as `FactExtractor.extract`."""
    answer = extractor.extract(
        prompt_for_facts(texts),
        grammar=facts_grammar(len(texts)),
        max_tokens=_ANSWER_TOKENS,
        cancelled=cancelled,
    )
    return accepted(answer, texts)


def prompt_for_facts(texts: Sequence[str]) -> str:
    """The request to an instruct model, as one user message; the texts are numbered from 1."""
    lines = "\n".join(f"{number}: {' '.join(text.split())}" for number, text in enumerate(texts, start=1))
    return f"{_PROMPT}{lines}\n\nAnswer with the JSON list only."


def facts_grammar(texts: int) -> str:
    """GBNF for the answer about n texts: a list of objects with `message`, `span` and `kind`."""
    numbers = " | ".join(f'"{number}"' for number in range(1, texts + 1))
    kinds = " | ".join(f'"{kind}"' for kind in _KINDS)
    return f"{_GRAMMAR}id ::= {numbers}\nkind ::= {kinds}\n"


def accepted(answer: str, texts: Sequence[str]) -> list[list[Statement]]:
    """For each text, the statements that the answer points at and that stand there as such."""
    found: list[list[Statement]] = [[] for _ in texts]
    for item in _items(answer):
        number, span, kind = item.get("message"), item.get("span"), item.get("kind")
        if type(number) is not int or not isinstance(span, str) or kind not in _KINDS:
            continue
        if 1 <= number <= len(texts) and (statement := _statement(texts[number - 1], span, kind)):
            kept = found[number - 1]
            if not any(statement.text in other.text or other.text in statement.text for other in kept):
                kept.append(statement)
    return found


def _items(answer: str) -> list[dict[str, Any]]:
    """The objects of the answer; of one that was cut off, those that are complete."""
    for text in (answer, answer[: answer.rfind("}") + 1] + "]"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            continue
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return []


def _statement(text: str, span: str, kind: FactKind) -> Statement | None:
    """The person's own words that a span repeats, if they can be a statement."""
    words = span.split()
    if len(_WORD.findall(span)) < _LEAST_WORDS or not words:
        return None
    masked, sentences = own_sentences(text)
    spans = [part for start, end in sentences for part in _parted(masked, start, end)]
    for match in re.finditer(r"\s+".join(map(re.escape, words)), text):
        for start, end in spans:
            if not (start <= match.start() and match.end() <= end):
                continue
            at = slice(match.start() - start, match.end() - start)
            sentence = masked[start:end]
            if _is_own(sentence[at], match.group()) and may_state(sentence, at.start, at.stop):
                return statement_of(match.group(), kind)
    return None


def _parted(masked: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Chinese and Japanese sentences, between which there is no blank."""
    for mark in _IDEOGRAPHIC_END.finditer(masked, start, end):
        yield start, mark.end()
        start = mark.end()
    if start < end:
        yield start, end


def _is_own(masked: str, span: str) -> bool:
    pairs = [(seen, letter) for seen, letter in zip(masked, span, strict=True) if not letter.isspace()]
    return sum(seen == letter for seen, letter in pairs) >= _LEAST_OWN * len(pairs)
