"""The text of a summary: the question to a small model, the check of its answer, and what to do without.

A small model invents, and often goes on with the conversation instead of summing it up. So sentences whose
words are mostly not in the texts, or that speak as one of the two would, are refused; if nothing is left,
the person's own sentences are kept instead.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from memory.text import clean_title, clip, content_stems, quoted, split_sentences

__all__ = ["MIN_OVERLAP", "accepted", "excerpt", "prompt_for_summary"]

MIN_OVERLAP = 0.5
_MAX_REPETITION = 3.0  # words per distinct word; a model that is caught in a loop goes far beyond
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
    """What to ask a small instruct model, as one user message.

    The instruction comes last and is short: with a longer one, or before the texts, SmolLM2-135M answers the
    conversation more often than it sums it up.
    """
    conversation = "\n".join(quoted(text) for text in texts)
    return f"{conversation}\n\nSummarize the conversation above in two short sentences."


def accepted(answer: str, texts: Sequence[str]) -> str | None:
    """What of a model's answer is fit to be kept, as one paragraph; None if nothing is.

    The whole answer is refused if it has control characters, marks of a chat template or of a speaker, if it
    goes round in circles, or if it is not shorter than the texts. Of the rest those sentences are kept that
    report, and of whose content words at least half are in the texts.
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
    """The first telling sentence of each text, a third of the texts at most.

    Args:
        user_texts: what to quote from; the texts themselves where nothing is visible in these.
        texts: at least one visible character.
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
    """The first sentence of each text that says something; of texts without one, the first of all."""
    sentences = [[line for line in map(clean_title, split_sentences(text)) if line] for text in texts]
    firsts = [next((one for one in some if _is_telling(one)), "") for some in sentences]
    chosen = [first for first in firsts if first] or [some[0] for some in sentences if some][:1]
    return [clip(first, _SENTENCE_CHARACTERS) for first in chosen]


def _is_telling(sentence: str) -> bool:
    return len(content_stems(sentence)) >= _TELLING_WORDS


def _whole(text: str) -> str:
    """Without a last sentence that was cut off, if there is a whole one before it."""
    if text.endswith((".", "!", "?", "…", "。", '"', "”", ")")):
        return text
    end = max(text.rfind(mark) for mark in (". ", "! ", "? "))
    return text[: end + 1] if end > 0 else text
