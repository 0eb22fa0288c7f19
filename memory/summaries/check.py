"""The text of a summary: the prompt for a small model, the check of its answer, and the fallback.

A small model invents, and often continues the conversation instead of summarising it. So sentences are
rejected that speak as a participant, or whose words are mostly not in the texts; if nothing is left, the
user's own sentences are used instead.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from memory.text import clean_title, clip, content_stems, quoted, split_sentences

__all__ = ["MIN_OVERLAP", "accepted", "excerpt", "prompt_for_summary"]

MIN_OVERLAP = 0.5
_MAX_REPETITION = 3.0  # words per distinct word; a model caught in a loop far exceeds it
_EXCERPT_SHARE = 3
_CHARACTERS_PER_TOKEN = 4
_SENTENCE_CHARACTERS = 120
_TELLING_WORDS = 3  # "Thanks, that was great!" has fewer
_LABEL = re.compile(
    r"(?i)^(?:(?:sure|okay|certainly)[,!.]?\s*)?(?:here(?:'s| is)[^:.]{0,60}:|(?:\w+\s+)?summary:)\s*"
)
_CONTROL = {"Cc", "Cs", "Co", "Cn"}
_SPEAKER = re.compile(r"(?i)\b(?:user|assistant|system)\s?:|^\w+:\s")
_DIALOGUE = re.compile(r"(?i)\b(?:i|i'm|i've|i'll|me|my|you|your|you're)\b|\?\W*$")


def prompt_for_summary(texts: Sequence[str]) -> str:
    """The request to a small instruct model, as one user message.

    The instruction is short and comes last: if it is longer, or precedes the texts, SmolLM2-135M replies to
    the conversation more often than it summarises it.
    """
    conversation = "\n".join(quoted(text) for text in texts)
    return f"{conversation}\n\nSummarize the conversation above in two short sentences."


def accepted(answer: str, texts: Sequence[str]) -> str | None:
    """The trustworthy sentences of a model's answer, as one paragraph; None if there are none.

    Rejects the whole answer if it contains control characters, control tokens or a speaker's label, if it
    repeats itself, or if it is not shorter than the texts. Otherwise keeps the sentences that report, and
    that share at least half of their content words with the texts.
    """
    text = _LABEL.sub("", " ".join(answer.split()))
    words = content_stems(text)
    if "<|" in text or _SPEAKER.search(text) or any(unicodedata.category(char) in _CONTROL for char in text):
        return None
    if len(words) > _MAX_REPETITION * len(set(words)):
        return None
    known = set(content_stems("\n".join(texts)))
    kept = [sentence for sentence in split_sentences(_whole(text)) if _reports(sentence, known)]
    summary = " ".join(kept)
    return summary if kept and len(summary) < len("\n".join(texts)) else None


def excerpt(user_texts: Sequence[str], texts: Sequence[str], max_tokens: int) -> str:
    """The first informative sentence of each text, at most a third of the length of the texts.

    Args:
        user_texts: what to quote from; if nothing in them is visible, the texts are quoted.
        texts: contain at least one visible character.
    """
    room = max(1, min(len("\n".join(texts)) // _EXCERPT_SHARE, max_tokens * _CHARACTERS_PER_TOKEN))
    kept: list[str] = []
    for sentence in _telling(user_texts) or _telling(texts):
        if kept and len(" ".join([*kept, sentence])) > room:
            break
        kept.append(sentence)
    return clip(" ".join(kept), room)


def _reports(sentence: str, known: set[str]) -> bool:
    words = content_stems(sentence)
    if not words or _DIALOGUE.search(sentence):
        return False
    return sum(word in known for word in words) >= MIN_OVERLAP * len(words)


def _telling(texts: Sequence[str]) -> list[str]:
    """The first informative sentence of each text; if no text has one, the first sentence of all."""
    sentences = [[line for line in map(clean_title, split_sentences(text)) if line] for text in texts]
    firsts = [next((one for one in some if _is_telling(one)), "") for some in sentences]
    chosen = [first for first in firsts if first] or [some[0] for some in sentences if some][:1]
    return [clip(first, _SENTENCE_CHARACTERS) for first in chosen]


def _is_telling(sentence: str) -> bool:
    return len(content_stems(sentence)) >= _TELLING_WORDS


def _whole(text: str) -> str:
    """The text without a last sentence that was cut off, if a complete one precedes it."""
    if text.endswith((".", "!", "?", "…", "。", '"', "”", ")")):
        return text
    end = max(text.rfind(mark) for mark in (". ", "! ", "? "))
    return text[: end + 1] if end > 0 else text
