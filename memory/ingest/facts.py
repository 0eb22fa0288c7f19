"""Extracts facts and preferences from what the user wrote, without a model.

A small model that is asked for facts invents them, and then remembers its own inventions. So this module
only finds sentences in which users state something about themselves in plain words, and keeps those words.
It prefers missing a fact to recording a wrong one: questions, quotations, code, pasted text, role play and
hypotheses yield nothing. English only, but for what is asked to be remembered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from memory.ingest import facts_en, facts_work
from memory.ingest.facts_en import slot_of
from memory.ingest.phrasing import Match, match_rules, one_of
from memory.text import clean_title, clip, own_words, sentence_spans, title_key
from memory.types import FactKind, Message

__all__ = [
    "STATEMENT_CHARACTERS",
    "Statement",
    "extract_statements",
    "may_state",
    "own_sentences",
    "statement_of",
    "statements_in",
]

STATEMENT_CHARACTERS = 160
_RULES = (*facts_work.RULES, *facts_en.RULES)
_PASTED_CHARACTERS = 2000  # nobody types that much about themselves at once


@dataclass(frozen=True, slots=True)
class Statement:
    """Something the user stated about themselves, in their own words.

    Args:
        slot: see `memory.ingest.facts_en.slot_of`.
    """

    text: str
    kind: FactKind
    slot: str | None = None


def extract_statements(message: Message) -> tuple[Statement, ...]:
    """What a message states about the user who wrote it; nothing if a model or a program wrote it.

    Takes messages as they are stored, never a prompt: memories quoted in a prompt must not be learned
    again. What the user pasted or piped in states nothing.
    """
    return statements_in(own_words(message.content, message.quoted)) if message.role == "user" else ()


def statements_in(text: str) -> tuple[Statement, ...]:
    """What a text states about its author, each statement once, in order."""
    found: dict[str, Statement] = {}
    masked, sentences = own_sentences(text)
    for start, end in sentences:
        match = _statement(masked[start:end])
        if match is not None:
            statement = statement_of(text[start + match.start : start + match.end], match.kind)
            found.setdefault(title_key(statement.text), statement)
    return tuple(found.values())


def statement_of(words: str, kind: FactKind) -> Statement:
    """A statement in these words, as one line."""
    line = clean_title(words).rstrip(" ,;:-\u2013—")
    return Statement(clip(line, STATEMENT_CHARACTERS), kind, slot_of(line))


def own_sentences(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text with all but the author's own speech blanked out, positions kept, and where its sentences are.

    Of a text that is too long to be typed, or that gives the model material to work on, there are none.
    """
    if len(text) - text.count("\n") > _PASTED_CHARACTERS:
        return text, []
    masked = _mask(text)
    spans = list(sentence_spans(masked))
    return masked, [] if any(_MATERIAL.match(masked, start, end) for start, end in spans) else spans


def may_state(sentence: str, start: int, end: int) -> bool:
    """Whether a part of a masked sentence can be a statement of its author's: it asks nothing, and nothing in
    the sentence makes it a hypothesis, a joke, or somebody else's."""
    if _NOT_MEANT.search(sentence):
        return False
    clauses, asks = _clauses(sentence)
    is_question = _is_question(sentence)
    if is_question and (not asks or end > asks[-1] or clauses[-1][0] != asks[-1]):
        return False
    own = max(before for before, first in clauses if first <= start or not before)
    if own in asks or any(start < ask < end for ask in asks):
        return False
    not_own = _NOT_OWN.search(sentence)
    return not_own is None or not_own.end() > start


def _clauses(sentence: str) -> tuple[list[tuple[int, int]], list[int]]:
    """Where the clauses start, each with its mark and without it, and the former of those that ask."""
    clauses = [(0, 0), *(mark.span() for mark in _CLAUSE.finditer(sentence))]
    return clauses, [before for before, start in clauses if _ASK.match(sentence, start)]


def _is_question(sentence: str) -> bool:
    return sentence.rstrip(" \"')_*»”").endswith(("?", "？", "؟"))


def _statement(sentence: str) -> Match | None:
    """The first clause that states something, up to where the sentence starts to ask."""
    clauses, asks = _clauses(sentence)
    if (_is_question(sentence) and clauses[-1][0] not in asks) or _NOT_MEANT.search(sentence):
        return None
    not_own = _NOT_OWN.search(sentence)
    for before, start in clauses:
        if before in asks or (not_own is not None and not_own.end() <= start):
            continue
        end = next((ask for ask in asks if ask > start), len(sentence))
        lead = _LEAD.match(sentence, start, end)
        match = match_rules(_RULES, sentence, lead.end() if lead else start, end)
        if match is not None:
            return match
    return None


def _mask(text: str) -> str:
    """The text with everything but the author's own speech blanked out; positions do not move."""
    for pattern in (_FENCED, *_LINES, *_QUOTED):
        text = pattern.sub(_blot, text)
    return text.replace("\u2019", "'").replace("\r", "\n").replace("\t", " ")


def _blot(match: re.Match[str]) -> str:
    # A quoted word may be a name, so an underscore stands for it; lines and blocks belong to no sentence.
    return re.sub(r"[^\n]", "_" if match.re in _QUOTED else " ", match.group())


_FENCED = re.compile(r"(?s)(```|~~~).*?(?:\1|\Z)")
_SPEAKER = one_of("user assistant human me you bot system")
_NO_SPEAKER = one_of(
    "note fyi ps btw quick_(?:one|question) remember reminder context background about me info important "
    "also hi hello hey ok please merke? bitte retiens souviens-toi rappelle-toi recuerda ricorda(?:ti)? "
    "lembra-te onthoud? запомни"
)
_LINES = (
    re.compile(r"(?m)^(?: {4}|\t|[ ]*[>|\[]).*$"),  # code, quotations, tables, dated lines of a transcript
    # "Ana: I live in Porto"
    re.compile(
        rf"(?m)^[ ]*(?!(?i:{_NO_SPEAKER}))"
        rf"(?:[A-Z][\w.-]*(?: [\w.-]+){{0,2}}|(?i:{_SPEAKER}))\s?:\s.*$"
    ),
)
_QUOTED = (
    re.compile(r"`[^`\n]*`"),
    re.compile(r'"[^"\n]*"|“[^”\n]*”|«[^»\n]*»|„[^“”"\n]*[“”"]'),
    re.compile(r"(?<!\w)['\u2018](?:[^'\u2018\u2019\n]|(?<=\w)['\u2019](?=\w))+['\u2019](?!\w)"),
)
# Tasks on a text that is not about the user, and role play.
_POLITE = one_of(
    "please kindly now ok okay hi hello (?:can|could|would|will)_you help_me to let's let_us "
    "i_(?:need|want)_(?:you_)?to i'd_like_(?:you_)?to"
)
_TEXT_TASK = one_of(
    "translate summari[sz]e re-?write rephrase paraphrase proof-?read spell-?check classify continue "
    "how_(?:do|would|can)_(?:you|i|we)_(?:say|spell|write|pronounce) role-?play play_the_role "
    "pretend imagine suppose let(?:'s|_us)_play dear how_(?:many|old) who_is_\\w+er act_as "
    "you(?:_are|'re)_(?:now_)?an?"
)
_CORRECTED = one_of(
    "grammar spelling sentences? text e?-?mail paragraph essay letter translation dialogue story poem bio"
)
_INVENTED = one_of("story stories poems? songs? lyrics dialogues? novel scripts? scenes? monologues? raps?")
_MATERIAL = re.compile(
    rf"(?i)(?:{_POLITE}[\s,]+)*?(?:{_TEXT_TASK}"
    rf"|{one_of('correct fix edit improve check polish complete finish')}\s+"
    rf"(?:{one_of('the this these my following a grammar of')}\s+)*{_CORRECTED}"
    rf"|{one_of('write make_up compose create invent')}\s+(?:[\w-]+\s+){{0,6}}?{_INVENTED})"
)
_QUESTION = (
    "what how who where when why which can could do does did is are am was were would should shall "
    "will may any"
)
_STANDING = one_of("always never do_always remember call keep_in bear_in don't do_not make_a_note note")
_REQUEST = "give tell show help explain suggest recommend find list write make_me"
_ALWAYS = "call always never remember"
_CLAUSE = re.compile(
    r"(?i)(?<!now on)(?<!future)(?<!forward)[,;:\u2013—]+\s+(?:(?:and|but|so|then)\s+)?|\s-+\s"
    r"|\s+(?:and|but|because|since|as|so|although|though|while)\s+"
    rf"(?={one_of(f'i i.m im i.ve my we we.re we.ve our the_deadline please {_ALWAYS} {_QUESTION}')})"
)
_ASK = re.compile(
    rf"(?i)(?:(?:so|and|but|then|now|anyway)\s+)?(?:(?!do(?:n't|\s+not)\b){one_of(f'{_QUESTION} {_REQUEST}')}"
    rf"|please\b(?!\s+{_STANDING}))"
)
# Before a statement, these make it someone else's, or no statement at all.
_NOT_OWN = re.compile(
    r"(?i)\b"
    + one_of(
        "if unless whether imagine suppos(?:e|ing) pretend assum(?:e|ing) let's_say says? said saying "
        "tells told telling thinks? thought claim(?:s|ed|ing)? writes wrote reads heard believes? "
        "believed asks asked wish wonder dream(?:t|ed|s)? hypothetically would could might examples? "
        "character story poem song lyrics novel sentence phrase quote e\\.g translate means like titled "
        "called joke"
    )
)
_NOT_MEANT = re.compile(
    r"(?i)\b"
    + one_of(
        "in_(?:this|that|the|my)_(?:scenario|story|game|role-?play|example|hypothetical|dream|novel) "
        "hypothetically just_kidding jk lol haha for_(?:example|instance) lorem_ipsum"
    )
)
_LEAD = re.compile(
    r"(?i)(?:\s|[-*•]\s|"
    + one_of(
        "hi hello hey there ok okay well so yes yeah yep no nope oh and but also plus because since as "
        "btw fyi ps actually anyway honestly although though while thanks thank_you please_note(?:_that)? "
        "note(?:_that)? by_the_way just_so_you_know for_(?:context|the_record|your_information) about_me "
        "context background i_should_(?:mention|say|add)(?:_that)?"
    )
    + r"[\s,:!\u2013—-]*)*"
)
