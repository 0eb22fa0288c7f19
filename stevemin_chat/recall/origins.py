"""Where a memory comes from, in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stevemin_chat.recall.lookup import SHORT_ID
from stevemin_chat.text import count, minute, one_line, speaker

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
        marks = [fact.kind, *(mark for mark in ("pinned", "edited") if getattr(fact, mark))]
        yield f"{fact.id}  {fact.text} ({', '.join(marks)})"
        yield ""
    if origin.message is None:
        assert fact is not None
        yield f"You added it to your profile on {minute(fact.created_at)} UTC."
        return
    yield _where(origin, origin.message)
    yield ""
    words = fact.text if fact is not None else ""
    text = "(forgotten)" if origin.message.forgotten else _excerpt(origin.message.content, words)
    yield from (f"    {line}".rstrip() for line in text.splitlines())
    yield ""
    yield from _made(origin)


def _where(origin: Origin, message: Message) -> str:
    who = speaker(message.role).capitalize()
    chat = f' in "{origin.session.title}" ({origin.session.id})' if origin.session is not None else ""
    return f"{who}, {minute(message.created_at)} UTC,{chat}, message {message.id[:SHORT_ID]}:"


def _made(origin: Origin) -> Iterator[str]:
    """What was derived from the message."""
    if not (origin.facts or origin.summaries or origin.passages):
        yield "Nothing is derived from it."
        return
    yield "Derived from this:"
    for fact in origin.facts:
        yield f"    {fact.kind} {fact.id}: {fact.text}"
    for summary in origin.summaries:
        yield f"    summary of {count(len(summary.sources), 'message')}: {one_line(summary.text)}"
    if origin.passages:
        vectors = f"{origin.embedded or 'none'} with a vector"
        yield f"    {count(origin.passages, 'passage')} for search, {vectors}"


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
