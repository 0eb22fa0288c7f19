"""Classifies a question: does it point to the past, or to what was said just now?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from memory.context.base import ContextInput
from memory.reports import Recall

__all__ = ["Focus", "asks", "focus_of", "last_question"]

Focus = Literal["past", "follow-up", "plain"]

_PAST = re.compile(
    r"""\b(?:
        remember | recall | remind\s+me | previously | earlier | yesterday | ago
      | last\s+(?:time|night|week|weekend|month|year|spring|summer|autumn|fall|winter|\w+day)
      | the\s+other\s+(?:day|week|time)
      | when\s+(?:did|was|were) | how\s+long\s+ago | what\s+was\s+(?:my|our|the\s+name)
      | (?:did|have|had)\s+(?:i|we|you)\s+(?:ever\s+|already\s+)?
        (?:say|said|tell|told|mention\w*|talk\w*|discuss\w*|decide\w*|agree\w*)
      | (?:i|we|you)\s+(?:once\s+|already\s+|had\s+)?(?:said|told|mentioned|talked|discussed|decided|agreed)
      | (?:january|february|april|june|july|august|september|october|november|december)
      | (?:in|of|since|until|last)\s+(?:march|may)
      | (?:march|may)\s+\d{1,2} | \d{1,2}(?:st|nd|rd|th)?\s+(?:march|may)
      | (?:19|20)\d\d-[01]\d(?:-[0-3]\d)? | in\s+(?:19|20)\d\d
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_FOLLOW_UP = re.compile(
    r"(?:and|but|so|then|why|also|or|ok|okay|yes|no|sure|thanks|really|more|continue|again|shorter|longer"
    r"|go on|go ahead|keep going|what about|how about|how so|how come|what else|which one)\b",
    re.IGNORECASE,
)
_SPEAKER = r"(?:[^\W\d_][\w.-]{0,30}:\s+)?"  # of an imported chat
_ASKS = re.compile(
    rf"""\? | ^\s*{_SPEAKER}(?:who|whom|whose|what|when|where|why|how|which | is|are|am|was|were|do|does|did
      | have|has|had|can|could|may|might|will|would|shall|should)\b
      | (?:^\s*{_SPEAKER}|[.!,;:]\s+) (?:(?:and|so|then|now|please|just)\s+)*
      (?:ask|compare|continue|correct|describe|draft|explain|find|fix|give|go\s+on|guess|help|list|make|name
      | plan|prepare|quote|read|recommend|remind|repeat|rewrite|say|search|show|sort|suggest|sum
      | summari[sz]e|tell|translate|try|use|write)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_SHORT = 8  # words
_BARE = 2  # words: "the second?" means nothing by itself
_NAMED = 0.75  # share of a question's words, by weight, that occur around one passage


def last_question(given: ContextInput) -> str:
    """The user's newest message; in a branch without one, the search query."""
    asked = (message.content for message in reversed(given.messages) if message.role == "user")
    return next(asked, given.query or "")


def asks(message: str) -> bool:
    """Whether a message asks for something, in English."""
    return bool(_ASKS.search(message) or _PAST.search(message))


def focus_of(question: str, recalls: Sequence[Recall]) -> Focus:
    """What the answer must draw on, judged by English words.

    "past": the question points back ("remember", "last time", "when did", a date) or names an old topic,
    which a recall with a high "coverage around" signal reveals. "follow-up": it is short and continues
    ("and then?", "why?"). "plain": neither.
    """
    if _PAST.search(question):
        return "past"
    words = len(question.split())
    if words <= _BARE or (words <= _SHORT and _FOLLOW_UP.match(question.strip())):
        return "follow-up"
    if any(recall.signals.get("coverage around", 0.0) >= _NAMED for recall in recalls):
        return "past"
    return "plain"
