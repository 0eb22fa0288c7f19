"""Where a memory comes from, in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stevemin_chat.recall.lookup import SHORT_ID
from stevemin_chat.recall.words import added_words, derived_lines, fact_marks
from stevemin_chat.text import minute, speaker

if TYPE_CHECKING:
    from memory import Fact, Message, Origin

__all__ = ["origin_as_json", "origin_lines"]

_EXCERPT = 600  # characters of a message; --json shows all


def origin_as_json(origin: Origin) -> dict[str, Any]:
    """Everything as plain values; `type` says whether `id` names a fact or a message."""
    kind = "fact" if _is_fact(origin) else "message"
    return {"id": origin.item.id, "type": kind} | asdict(origin)


def origin_lines(origin: Origin) -> Iterator[str]:
    """The origin as lines of text."""
    fact = _fact_of(origin)
    if fact is not None:
        yield f"{fact.id}  {fact.text} ({', '.join([fact.kind, *fact_marks(fact)])})"
        yield ""
    if origin.message is None:
        assert fact is not None
        yield added_words(fact)
        return
    yield _where(origin, origin.message)
    yield ""
    words = fact.text if fact is not None else ""
    text = "(forgotten)" if origin.message.forgotten else _excerpt(origin.message.content, words)
    yield from (f"    {line}".rstrip() for line in text.splitlines())
    yield ""
    yield "Derived from this:"
    yield from (f"    {line}" for line in derived_lines(origin, ids=True))


def _where(origin: Origin, message: Message) -> str:
    who = speaker(message.role).capitalize()
    chat = f' in "{origin.session.title}" ({origin.session.id})' if origin.session is not None else ""
    return f"{who}, {minute(message.created_at)} UTC,{chat}, message {message.id[:SHORT_ID]}:"


def _excerpt(text: str, words: str) -> str:
    """The text around `words`, or its beginning."""
    text = text.strip()
    if len(text) <= _EXCERPT:
        return text
    start = max(0, text.find(words) - (_EXCERPT - len(words)) // 2)
    start = min(start, len(text) - _EXCERPT)
    end = start + _EXCERPT
    return f"{'…' if start else ''}{text[start:end].strip()}{'…' if end < len(text) else ''}"


def _fact_of(origin: Origin) -> Fact | None:
    from memory import Fact

    return origin.item if isinstance(origin.item, Fact) else None


def _is_fact(origin: Origin) -> bool:
    return _fact_of(origin) is not None
