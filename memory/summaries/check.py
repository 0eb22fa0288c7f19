"""The text of a summary: the prompt for a small model, the check of its answer, and the fallback.

A small model invents, forgets names and numbers, and often continues the conversation instead of summarising
it. So sentences are rejected that speak as a participant, that name what the texts do not, or whose words are
mostly not in the texts. The user's own sentences fill the room that is left, those that state most first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from memory.text import clean_title, clip, content_stems, quoted, split_sentences

__all__ = ["MIN_OVERLAP", "accepted", "excerpt", "prompt_for_summary"]

MIN_OVERLAP = 0.5
_MAX_REPETITION = 3.0  # words per distinct word; a model caught in a loop far exceeds it
_EXCERPT_SHARE = 3
_CHARACTERS_PER_TOKEN = 4
_SENTENCE_CHARACTERS = 200
_SENTENCES = 500  # of a text: a document of a million words must not take seconds
_TOLD = 0.7  # of a sentence's words are in the summary: it tells nothing more
_TELLING_WORDS = 3  # "Thanks, that was great!" has fewer
_LABEL = re.compile(
    r"(?i)^(?:(?:sure|okay|certainly)[,!.]?\s*)?(?:here(?:'s| is)[^:.]{0,60}:|(?:\w+\s+)?summary:)\s*"
)
_DETAIL = re.compile(r"\d+|(?<=[^\s.!?] )[^\W\d_a-z]\w+")  # a number, or a name inside a sentence
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
    repeats itself, or if it is not shorter than the texts. Otherwise keeps the sentences that report, that
    share at least half of their content words with the texts, and whose names and numbers are all there.
    """
    text = _LABEL.sub("", " ".join(answer.split()))
    words = content_stems(text)
    if "<|" in text or _SPEAKER.search(text) or any(unicodedata.category(char) in _CONTROL for char in text):
        return None
    if len(words) > _MAX_REPETITION * len(set(words)):
        return None
    source = "\n".join(texts)
    known, folded = set(content_stems(source)), source.casefold()
    kept = [
        sentence
        for sentence in split_sentences(_whole(text))
        if _reports(sentence, known)
        and all(detail.casefold() in folded for detail in _DETAIL.findall(sentence))
    ]
    summary = " ".join(kept)
    return summary if kept and len(summary) < len("\n".join(texts)) else None


def excerpt(user_texts: Sequence[str], texts: Sequence[str], max_tokens: int, *, after: str = "") -> str:
    """What the texts state, at most a third of their length: the most informative sentence of each, then the
    next ones while there is room; in the order of the texts.

    Args:
        user_texts: what to quote from; if nothing in them is visible, the texts are quoted.
        texts: contain at least one visible character.
        after: a summary that stands first; what it tells is not quoted again.
    """
    room = max(1, min(len("\n".join(texts)) // _EXCERPT_SHARE, max_tokens * _CHARACTERS_PER_TOKEN))
    sentences = _telling(user_texts) or _telling(texts)
    told = set(content_stems(after))
    kept: list[tuple[int, int]] = []
    left = room - len(after)
    for text, place in _by_worth(sentences):
        sentence = sentences[text][place]
        if (length := len(sentence) + 1) <= left and not _is_told(sentence, told):
            kept.append((text, place))
            left -= length
        elif not (kept or after):
            return clip(sentence, room)
    return " ".join([*filter(None, [after]), *(sentences[text][place] for text, place in sorted(kept))])


def _is_told(sentence: str, told: set[str]) -> bool:
    words = content_stems(sentence)
    return bool(words) and sum(word in told for word in words) >= _TOLD * len(words)


def _reports(sentence: str, known: set[str]) -> bool:
    words = content_stems(sentence)
    if not words or _DIALOGUE.search(sentence):
        return False
    return sum(word in known for word in words) >= MIN_OVERLAP * len(words)


def _telling(texts: Sequence[str]) -> list[list[str]]:
    """The informative sentences of each text that has some; if none has, the first sentence of all."""
    lines = [[line for line in map(clean_title, split_sentences(text)) if line] for text in texts]
    telling = [
        [clip(line, _SENTENCE_CHARACTERS) for line in some[:_SENTENCES] if _is_telling(line)]
        for some in lines
    ]
    first = [[clip(some[0], _SENTENCE_CHARACTERS)] for some in lines if some][:1]
    return [some for some in telling if some] or first


def _is_telling(sentence: str) -> bool:
    return len(content_stems(sentence)) >= _TELLING_WORDS


def _by_worth(sentences: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    """Text and place of each sentence: the best of every text, then the second best ones, and so on."""
    worth = [[_worth(sentence) for sentence in some] for some in sentences]
    ranked = [sorted(range(len(some)), key=some.__getitem__, reverse=True) for some in worth]
    for order in range(max(map(len, ranked), default=0)):
        places = [(text, some[order]) for text, some in enumerate(ranked) if order < len(some)]
        yield from sorted(places, key=lambda at: worth[at[0]][at[1]], reverse=True)


def _worth(sentence: str) -> tuple[bool, int, int]:
    """How much a sentence states: a question nothing, else its names and numbers, then its words."""
    is_statement = not sentence.endswith(("?", "\uff1f", "\u061f"))
    return is_statement, len(_DETAIL.findall(sentence)), len(content_stems(sentence))


def _whole(text: str) -> str:
    """The text without a last sentence that was cut off, if a complete one precedes it."""
    if text.endswith((".", "!", "?", "…", "。", '"', "”", ")")):
        return text
    end = max(text.rfind(mark) for mark in (". ", "! ", "? "))
    return text[: end + 1] if end > 0 else text
