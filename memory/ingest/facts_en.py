"""The phrasings in which people tell who they are and what they like, in English.

A rule is the opening of a statement and what must not follow it: the latter keeps out "I'm a bit tired"
and "I like your answer".
"""

from __future__ import annotations

import re

from memory.ingest.phrasing import ADVERB, CODE, I_AM, I_DO, MONTH, one_of, rule

__all__ = ["RULES", "slot_of"]

_MY = r"my\s+(?:\w+\s+)?"
_PLACE = r"(?:in|near|outside|at|on)\s+"
_RELATIVE = one_of(
    "wife husband partner spouse fianc[eé]e? girlfriend boyfriend mother mum mom father dad parents? "
    "sisters? brothers? siblings? twins? sons? daughters? kids? child children baby babies toddlers? "
    "grand(?:mother|father|ma|pa|parents|son|daughter|kids|child(?:ren)?) aunts? uncles? cousins? niece "
    "nephew dogs? cats? pupp(?:y|ies) kittens? horses? rabbits? hamsters? parrots? turtles? goldfish "
    "pets? flatmate roommate"
)
_BY_NAME = r"(?:\s+(?-i:[A-Z])\w+)?"  # "my sister Ines"
_CONDITION = one_of(
    "vegan vegetarian pescatarian (?:lactose|gluten)[-\\s]intolerant diabetic c(?:o?e)liac "
    "colou?r[-\\s]?blind deaf dyslexic autistic asthmatic (?:left|right)[-\\s]?handed married divorced "
    "widowed retired self-employed unemployed"
)
_PASSAGE = one_of("part bit thing_about line section option one version idea suggestion")
_KEEP = one_of("remember (?:keep|bear)_in_mind don't_forget do_not_forget make_a_note")
_KEEP_ELSEWHERE = (
    r"(?:(?:bitte\s+)?merke?\s+dir\s*(?:bitte)?(?:\s*[,:]\s*|\s+)(?:dass\s+|folgendes\s*:\s*)?"
    r"|(?:vergiss\s+nicht\s*,\s*dass\s+)"
    r"|(?:souviens-toi|retiens|rappelle-toi|n'oublie\s+pas)\s+(?:bien\s+)?(?:que\s+|qu'|:\s*)"
    r"|(?:recuerda|acuérdate\s+de|no\s+olvides)\s*(?:que\s+|:\s*)"
    r"|(?:ricorda(?:ti)?|non\s+dimenticare)\s*(?:che\s+|:\s*)"
    r"|(?:lembre-se|lembra-te|não\s+esqueça)\s*(?:de\s+)?(?:que\s+|:\s*)"
    r"|(?:onthoud?|vergeet\s+niet)\s*(?:dat\s+|:\s*)"
    r"|(?:请|請)?记住[，,：:]?\s*|запомни[,:]?\s+(?:что\s+)?)"
)
_INSTRUCTION = one_of(
    "answer reply respond use write give keep speak call show include explain ask address say format cite "
    "end avoid talk refer tell add round convert"
)
# What must not follow.
_REMARK = one_of(
    "the_(?-i:[a-z]\\w*) option version number variant first second third last next previous being "
    "my_(?:life|self|odds) "
    "to_(?:know|see|hear|ask|say|think|have|get|be|do|bother|admit|interrupt|break) "
    "to_(?:understand|find|thank|point|note|talk|mention|tell|go_with)"
)
_DEGREE = one_of("really very total complete such huge big bit little real actual just quite kind sort of")
_STATE = rf"(?:{_DEGREE}\s+)*" + one_of(
    "bit little lot few couple tad touch while mess idiot fool loser wreck failure moron disaster "
    "disgrace joke burden liar victim ghost zombie robot steps? minutes? hours? days? weeks? months? "
    "second third quarter hundred thousand million guest stranger visitor moment bad terrible horrible "
    "awful better worse good great nice different wee hair part mix bunch string number user root paid "
    "subscriber ai language_model bot expert_at"
)
_NOWHERE = one_of(
    "here there fear hope denial constant peace harmony pain sin poverty trouble charge love doubt "
    "my_(?:head|own|mind) "
    "the_(?:moment|past|present|future|now|middle|clouds|real|dark|day|night) "
    "the_(?:same|next|wrong|right|beginning|start|show|first|last|other|early|mid|late) "
    "an?_(?:world|society|bubble|dream|nightmare|simulation|time|age|constant) "
    "an?_(?:state|lie|place|way|fantasy|hurry|rush)"
)
_NO_WORK = one_of(
    "hard much fast well quickly long soon expected intended described though advertised silence progress "
    "theory general me us now least most first last other my_(?:case|favou?r) tandem parallel pairs order "
    "an?_(?:bit|while|few) free everyone night times? the_(?:moment|same|dark|time|best|other)"
)
_NO_NAME = one_of(
    "not hard difficult irrelevant unimportant important private secret confidential on in at spelled "
    "pronounced common rare unusual weird too very really so also an? the my your mud what none missing "
    "wrong misspelled always often like ok okay sorry done fine good back ready here by when from twice "
    "once with before after every each again without for to because if sure glad happy"
)
_NO_NICKNAME = one_of(
    "crazy stupid silly old back later when at on in tomorrow today tonight now asap an? if maybe again "
    "by paranoid na[iï]ve lazy weird biased anything whatever names what soon sometime out dumb cynical "
    "after before anytime once every for to from the about with"
)


RULES = (
    # Names
    rule(
        "fact",
        r"my\s+(?:(?:full|first|last|middle|real|given|family)\s+|nick|sur)?name(?:'s|\s+is)\s+",
        _NO_NAME,
        named=True,
    ),
    rule(
        "fact",
        r"(?:please\s+)?(?:you\s+(?:can|may)\s+)?(?:just\s+)?call\s+me\s+",
        _NO_NICKNAME,
        named=True,
    ),
    rule(
        "fact",
        r"(?:(?:my\s+)?friends|people|everyone|everybody)\s+calls?\s+me\s+",
        _NO_NICKNAME,
        named=True,
    ),
    rule(
        "fact",
        rf"{I_AM}(?=(?-i:[A-Z])\w+(?:\s+(?-i:[A-Z])\w+)?\s*(?:[,.!;)]|and\b|from\b|$))",
        _NO_NAME,
    ),
    rule(
        "fact",
        rf"my\s+(?!(?:\w+\s+){{0,2}}{CODE})(?:[\w'-]+\s+){{0,2}}?[\w-]+"
        r"(?:'s\s+name\s+is|\s+name\s+is|\s+is\s+(?:called|named))\s+",
        _NO_NAME,
        named=True,
    ),
    # What the user is
    rule("fact", rf"{I_AM}an?\s+(?=\w)", _STATE),
    rule("fact", rf"{I_AM}\d{{1,2}}(?:\s+years?\s+old\b|\s*(?=[.,!]|$|\s+and\b))"),
    rule("fact", rf"{I_AM}(?:allergic|intolerant)\s+to\s+"),
    rule("fact", rf"{I_AM}{_CONDITION}", r"\s+to\b"),
    rule("fact", rf"{_MY}(?:birthday|anniversary)\s+is\s+(?:on\s+|in\s+)?(?=(?:the\s+)?(?:\d|{MONTH}))"),
    rule("fact", rf"{I_DO}speak\s+", one_of("up out for to in with of about"), named=True),
    # Where, with whom, what for
    rule("fact", rf"{I_AM}(?:from|based\s+in|living\s+in)\s+", _NOWHERE, r"the\s+(?-i:[a-z])"),
    rule("fact", rf"{I_DO}(?:live|reside|grew\s+up)\s+{_PLACE}", _NOWHERE),
    rule(
        "fact",
        rf"{I_DO}live\s+(?:alone\b|with\s+(?=(?:my|an?|two|three|four|\d+)\s))",
        one_of("an?_(?:constant|lot)"),
    ),
    rule("fact", rf"i\s+was\s+(?:born|raised)\s+{_PLACE}", _NOWHERE),
    rule("fact", rf"(?:{I_DO}|i'?ve\s+(?:{ADVERB}\s+)*)moved\s+(?:to|from)\s+", _NOWHERE, named=True),
    rule("fact", rf"{I_DO}work\s+(?:(?:full|part)[- ]time\s+|remotely\s+)?(?:at|as|for|in)\s+", _NO_WORK),
    rule("fact", rf"{I_DO}(?:study|teach)\s+(?=\w)", one_of("for hard to at every an?_lot the")),
    # Family, pets
    rule(
        "fact",
        rf"(?:{I_DO}(?:have|own)|i've\s+got)\s+(?=(?:an?|no|one|two|three|four|five|six|\d{{1,2}})\s+"
        rf"(?:(?!{one_of('about with for from to of on in my your the friend question')})[\w'-]+\s+){{0,2}}?"
        rf"(?:{_RELATIVE}|allerg(?:y|ies)\b))",
        rf".*\b{CODE}",
    ),
    rule("fact", rf"{_MY}{_RELATIVE}{_BY_NAME}\s+(?:is|has\s+been)\s+{_CONDITION}", r"\s+to\b"),
    rule(
        "fact",
        rf"{_MY}{_RELATIVE}{_BY_NAME}\s+is\s+(?:(?:{ADVERB}\s+)*allergic\s+to\s+|from\s+(?=(?-i:[A-Z])))",
    ),
    rule("fact", rf"{_MY}{_RELATIVE}{_BY_NAME}\s+is\s+an?\s+", _STATE),
    rule(
        "fact",
        rf"{_MY}{_RELATIVE}{_BY_NAME}\s+(?:lives?\s+in|works?\s+(?:at|as|for|in))\s+",
        _NOWHERE,
        _NO_WORK,
    ),
    # Likes and dislikes
    rule(
        "preference",
        rf"{I_DO}(?:like|love|adore|enjoy|hate|dislike|detest|prefer)\s+(?=\w)(?!to\s*(?:\W|$))",
        _REMARK,
    ),
    rule(
        "preference",
        r"i\s+(?:really\s+|also\s+)?(?:don't|do\s+not|can't|cannot|never|no\s+longer)\s+"
        r"(?:eat|drink|like|enjoy|tolerate|stand)\s+",
        _REMARK,
        one_of("a_chance much up out by on"),
    ),
    rule(
        "preference",
        rf"my\s+(?:[\w-]+\s+)?favou?rite\s+(?!{_PASSAGE})"
        r"(?:[\w'-]+\s+){1,5}?(?:is|are)\s+",
    ),
    # Instructions for all answers
    rule(
        "preference",
        r"please\s+(?:do\s+)?(?:always|never|don't\s+ever|do\s+not\s+ever)\s+(?=\w)",
        one_of("mind"),
    ),
    rule("preference", rf"(?:always|never)\s+(?={_INSTRUCTION})", one_of("give_(?:up|in) say_never")),
    rule("preference", r"please\s+(?:don't|do\s+not)\s+call\s+me\s+"),
    rule(
        "preference",
        rf"{one_of('from_now_on going_forward in_(?:the_)?future')}\s*,?\s+(?:please\s+)?"
        rf"(?=(?:always|never|don't|do\s+not|{_INSTRUCTION})\b)",
    ),
    rule(
        None,
        rf"(?:please\s+)?(?:always\s+)?{_KEEP}"
        r"(?:\s+that\s+|(?:\s+(?:this|that|the\s+following))?\s*:\s*|\s+(?=(?:i|i'm|im|my|we)\b))(?=\w)",
        one_of("time day night guy girl movie song feeling scene episode the_user \\w+ing"),
    ),
    # The same request in other languages: what follows is kept as it is.
    rule(None, rf"{_KEEP_ELSEWHERE}(?=\w)"),
    rule("fact", rf"{I_DO}(?:own|drive|ride)\s+(?=(?:(?:an?|the|my)\s+)?(?-i:[A-Z])\w)"),
)


# What can be true once only: a newer statement replaces the older one.
_SLOTS = (
    (
        "home",
        rf"(?:{I_DO}(?:live|reside)\s+(?:in|near|outside)|{I_AM}(?:based|living)\s+in"
        rf"|(?:{I_DO}|i'?ve\s+(?:{ADVERB}\s+)*)moved\s+to)\s",
    ),
    ("workplace", rf"{I_DO}work\s+(?:(?:full|part)[- ]time\s+|remotely\s+)?(?:at|for)\s"),
    ("job", rf"{I_DO}work\s+(?:(?:full|part)[- ]time\s+|remotely\s+)?as\s"),
    ("age", rf"{I_AM}\d{{1,2}}(?:\s+years?\s+old\b|\s*(?=[.,!]|$))"),
    ("name", r"my\s+(?:full\s+)?name(?:'s|\s+is)\s"),
    ("nickname", r"(?:please\s+)?(?:you\s+(?:can|may)\s+)?(?:just\s+)?call\s+me\s"),
    ("birthday", r"my\s+birthday\s+is\s"),
)
_SLOT_PATTERNS = tuple((slot, re.compile(rf"(?i){pattern}")) for slot, pattern in _SLOTS)
_FAVOURITE = re.compile(r"(?i)my\s+((?:[\w-]+\s+)?favou?rite\s+(?:[\w'-]+\s+){1,4}?)is\s")
_OF_MINE = re.compile(
    r"(?i)my\s+((?:[\w'-]+\s+){1,3}?(?:code|number|address|password|size|plan|goal))\s+is\s"
)


def slot_of(statement: str) -> str | None:
    """What a statement tells, if only one such statement can hold at a time; None for all others."""
    for slot, pattern in _SLOT_PATTERNS:
        if pattern.match(statement):
            return slot
    named = _FAVOURITE.match(statement) or _OF_MINE.search(statement)
    return None if named is None else " ".join(named[1].casefold().replace("favourite", "favorite").split())
