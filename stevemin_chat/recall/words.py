"""Long-term memory in words: indexing progress, what was derived from what, what forgetting deletes, and the
report of a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from memory import Fact, IndexState
from memory.search import contributions
from stevemin_chat.recall.lookup import INSTRUCTIONS, SHORT_ID
from stevemin_chat.text import clip, count, day, listing, minute, one_line, percent, sanitize, speaker

if TYPE_CHECKING:
    from memory import (
        ContextReport,
        Dropped,
        Forgotten,
        IndexStatus,
        LayerReport,
        Message,
        Origin,
        Recall,
        Scope,
    )
    from stevemin_chat.recall.lookup import Explanation

__all__ = [
    "SCOPE_WORDS",
    "DropGroup",
    "added_words",
    "bar",
    "derived_lines",
    "drop_groups",
    "fact_marks",
    "foreign_words",
    "forget_question",
    "forgotten_words",
    "headline",
    "index_hint",
    "index_words",
    "layer_units",
    "off_record_question",
    "origin_as_json",
    "origin_lines",
    "reason_words",
    "score_words",
    "source_lines",
]


# In the order of menus, each with what it means.
SCOPE_WORDS: dict[Scope, tuple[str, str]] = {
    "everywhere": ("everywhere", "shares memories with all chats of this scope"),
    "project": ("this project", "shares memories with chats of the same folder"),
    "session": ("this chat", "shares memories with no other chat"),
}

_NOTABLE = 64  # passages without a vector; a few are normal for a moment after each message
_NOT_ALL = 0.99  # what is still under way is not at 100%
_QUOTE = 60  # cells of a message that is to be forgotten
_EXCERPT = 600  # characters of a message; --json shows all


def index_words(status: IndexStatus) -> str:
    """How search works at the moment, in one line."""
    if status.state is IndexState.UNAVAILABLE and status.switching:
        return f"the embedding model cannot be changed: {sanitize(status.reason or 'it failed.')}"
    if status.state is IndexState.UNAVAILABLE:
        return f"search by words only: {sanitize(status.reason or 'the index is not available.')}"
    if status.switching:
        done = f"{status.embedded:,} of {count(status.passages, 'passage')}"
        return f"changing the embedding model: {done}"
    if status.state is IndexState.INDEXING and status.embedded < status.passages:
        return f"search by meaning: {status.embedded:,} of {count(status.passages, 'passage')}"
    if status.state in (IndexState.READY, IndexState.INDEXING):
        return f"search by meaning: ready, {count(status.passages, 'passage')}"
    if status.state is IndexState.STARTING:
        return "search by words; search by meaning is starting"
    return "search by words"


def index_hint(status: IndexStatus) -> str:
    """`indexing 12%` while much is missing, else nothing."""
    missing = status.passages - status.embedded
    if status.state is not IndexState.INDEXING or missing < _NOTABLE:
        return ""
    what = "changing embedder" if status.switching else "indexing"
    return f"{what} {percent(min(_NOT_ALL, status.embedded / status.passages))}"


def fact_marks(fact: Fact) -> list[str]:
    """What the person did with a fact and how long it held: `pinned`, `edited`, `until 2026-04-11`."""
    marks = [mark for mark in ("pinned", "edited") if getattr(fact, mark)]
    return marks if fact.until is None else [*marks, f"until {day(fact.until)}"]


def added_words(fact: Fact) -> str:
    """Where a fact comes from that no message states."""
    return f"You added it to your profile on {minute(fact.created_at)} UTC."


def derived_lines(origin: Origin, *, ids: bool = False) -> Iterator[str]:
    """What was derived from a message, one line each.

    Args:
        ids: name the facts' ids, as commands take them.
    """
    for fact in origin.facts:
        yield f"{fact.kind}{f' {fact.id}' if ids else ''}: {one_line(fact.dated_text)}"
    for summary in origin.summaries:
        yield f"summary of {count(len(summary.sources), 'message')}: {one_line(summary.text)}"
    if origin.passages:
        vectors = f"{origin.embedded:,} with a vector" if origin.embedded else "none with a vector yet"
        yield f"{count(origin.passages, 'passage')} in the search index, {vectors}"
    if not (origin.facts or origin.summaries or origin.passages):
        yield "nothing"


def _link_lines(origin: Origin) -> Iterator[str]:
    """Whom and what a fact names, and the other facts that name the same."""
    if isinstance(origin.item, Fact) and origin.item.entities:
        yield ""
        yield f"It names {listing([one_line(entity.name) for entity in origin.item.entities])}."
        for fact in origin.related:
            yield f"    see {fact.kind} {fact.id}: {one_line(fact.dated_text)}"


def foreign_words(origin: Origin) -> str:
    """What of a message is not the person's own; empty where all of it is."""
    if origin.message is None or not origin.message.quoted:
        return ""
    how = listing(sorted({part.origin for part in origin.message.quoted}))
    characters = sum(part.end - part.start for part in origin.message.quoted)
    warning = f" It {INSTRUCTIONS} to the model." if origin.instructions else ""
    return f"Not your own words: {count(characters, 'character')}, {how}.{warning}"


def source_lines(message: Message) -> Iterator[str]:
    """What the prompt of a reply drew on, and what its question taught, one line each."""
    if (sources := message.sources) is None:
        return
    if sources.memories:
        quoted = ", ".join(item[:SHORT_ID] for item in sources.memories)
        yield f"{count(len(sources.memories), 'memory')} quoted, from {quoted}"
    if sources.documents:
        named = ", ".join(map(one_line, sources.documents))
        yield f"{count(len(sources.documents), 'passage')} of documents quoted: {named}"
    if sources.instructions:
        warned = ", ".join(
            one_line(item) if item in sources.documents else item[:SHORT_ID] for item in sources.instructions
        )
        yield f"{INSTRUCTIONS} to the model, in words that are not yours: {warned}"
    for noun, numbers in (("fact", sources.facts), ("summary", sources.summaries)):
        if numbers:
            yield f"{count(len(numbers), noun)} shown: {', '.join(map(str, numbers))}"
    if sources.learned:
        yield f"{count(len(sources.learned), 'fact')} remembered: {', '.join(map(str, sources.learned))}"
    used = (sources.memories, sources.documents, sources.facts, sources.summaries, sources.learned)
    if not any(used):
        yield "nothing but its chat"


def origin_as_json(origin: Origin) -> dict[str, Any]:
    """Everything as plain values; `type` says whether `id` names a fact or a message."""
    kind = "fact" if isinstance(origin.item, Fact) else "message"
    return {"id": origin.item.id, "type": kind} | asdict(origin)


def origin_lines(origin: Origin) -> Iterator[str]:
    """Where a memory comes from, and what was derived from it, as lines of text."""
    fact = origin.item if isinstance(origin.item, Fact) else None
    if fact is not None:
        yield f"{fact.id}  {fact.dated_text} ({', '.join([fact.kind, *fact_marks(fact)])})"
        yield ""
    if origin.message is None:
        assert fact is not None
        yield added_words(fact)
        yield from _link_lines(origin)
        return
    yield _where(origin, origin.message)
    if fact is not None and len(fact.sources) > 1:
        yield f"{count(len(fact.sources) - 1, 'earlier message')} said so, too."
    yield ""
    words = fact.text if fact is not None else ""
    text = "(forgotten)" if origin.message.forgotten else _excerpt(origin.message.content, words)
    yield from (f"    {line}".rstrip() for line in text.splitlines())
    yield ""
    if foreign := foreign_words(origin):
        yield foreign
        yield ""
    yield "Derived from this:"
    yield from (f"    {line}" for line in derived_lines(origin, ids=True))
    yield from _link_lines(origin)
    if origin.message.sources is not None:
        yield ""
        yield "Its prompt drew on:"
        yield from (f"    {line}" for line in source_lines(origin.message))


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


def _made_words(origin: Origin) -> str:
    """What was derived from a message: `2 facts and 1 summary`; empty where nothing was."""
    made = {"fact": len(origin.facts), "summary": len(origin.summaries)}
    return listing([count(number, noun) for noun, number in made.items() if number])


def forget_question(explanation: Explanation) -> str:
    """Asks before something is forgotten, and names what is deleted."""
    origin = explanation.origin
    if isinstance(origin.item, Fact):
        kept = " The message it comes from stays." if origin.message is not None else ""
        return f"Forget “{clip(origin.item.text, _QUOTE)}”?{kept}"
    message = origin.item
    answer = " and the answer to it" if _answered(explanation, message) else ""
    made = _made_words(origin)
    also = f" Derived from it and deleted, too: {made}." if made else ""
    what = f"“{clip(message.content, _QUOTE)}” ({speaker(message.role)}, {day(message.created_at)}){answer}"
    return f"Forget {what}?{also} This cannot be undone."


def off_record_question(facts: int) -> str:
    """Asks before a chat goes off the record, which deletes facts for good.

    Args:
        facts: how many facts of the profile come from this chat.
    """
    them, come = ("it", "comes") if facts == 1 else ("them", "come")
    return (
        f"Take this chat off the record? {count(facts, 'fact')} of your profile {come} from it and will be"
        f" deleted, with any changes you made to {them}. The chat stays."
    )


def forgotten_words(forgotten: Forgotten, *, names: int = 0, drafts: int = 0, erased: bool = True) -> str:
    """What forgetting has deleted, in one line.

    Args:
        erased: whether its bytes are gone; else another program reads the database.
        names: chats whose title or system prompt was dropped.
        drafts: drafts that were.
    """
    deleted = {
        "message": len(forgotten.messages),
        "fact": forgotten.facts,
        "summary": forgotten.summaries,
        "passage": forgotten.passages,
        "draft": drafts,
    }
    parts = [count(number, noun) for noun, number in deleted.items() if number]
    if names:
        parts.append(f"titles and system prompts of {count(names, 'chat')}")
    if not parts:
        return "There is nothing to forget."
    later = " The open chat deletes their vectors within a minute, or else the next one does."
    still = (
        " Another program is reading the database: until it is done, their bytes stay in the database's log;"
        " they are erased then, or when stevemin starts again."
    )
    words = f"Forgotten: {listing(parts)}."
    return words + (later if forgotten.pending else "") + ("" if erased else still)


def _answered(explanation: Explanation, message: Message) -> bool:
    return message.role == "user" and any(
        item.parent_id == message.id and item.role == "assistant" and not item.forgotten
        for item in explanation.around
    )


_EIGHTHS = " ▏▎▍▌▋▊▉"
_NOUNS = {"profile": "fact", "memories": "recall", "template": ""}
_FOCUS = {
    "past": "question about the past",
    "follow-up": "follow-up question",
}


@dataclass(frozen=True, slots=True)
class DropGroup:
    """What was left out for one reason.

    Args:
        tokens: of all its items together.
    """

    reason: str
    items: int
    tokens: int


def headline(report: ContextReport) -> str:
    """Strategy, size, and the kind of question that the strategy saw."""
    parts = [
        report.strategy,
        f"{report.tokens:,} of {report.budget_tokens:,} tokens",
        f"{report.reply_tokens:,} reserved for the answer" if report.reply_tokens else "",
        _FOCUS.get(report.focus or "", ""),
    ]
    return " · ".join(part for part in parts if part)


def layer_units(layer: LayerReport) -> str:
    """What a layer holds: `12 messages`, `3 facts`; empty for the template's own text."""
    noun = _NOUNS.get(layer.name, "message")
    return count(layer.messages, noun) if noun and layer.messages else ""


def bar(share: float, width: int) -> str:
    """A share of 1 in blocks, to an eighth of a cell; more than 0 always shows."""
    eighths = min(8 * width, max(round(8 * width * share), int(share > 0)))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


_REASONS = {
    "words": "same words",
    "words before": "follows the same words",
    "words two before": "follows the same words",
    "meaning": "close in meaning",
    "meaning before": "next to something close in meaning",
    "meaning after": "next to something close in meaning",
    "coverage around": "most of the question's words around it",
    "session meaning": "from a chat about this",
    "session coverage": "from a chat about this",
    "speaker": "said by the one asked about",
    "date": "from the time asked about",
    "answer": "answers a question",
    "time": "says when",
    "first": "opened its chat",
    "of use": "was of use lately",
}
_MOST_REASONS = 3


def reason_words(recall: Recall, now: datetime) -> str:
    """Why it was recalled, the main reasons first: `same words · close in meaning · said 3 days ago`."""
    strong = [name for name, part in contributions(recall.signals) if part > 0 and name in _REASONS]
    named = list(dict.fromkeys(_REASONS[name] for name in strong))[:_MOST_REASONS]
    if recall.file is not None:  # nobody said it
        return " · ".join(words.replace("chat", "file") for words in named)
    return " · ".join([*named, *_said(recall.at, now)])


def score_words(recall: Recall) -> str:
    """A recall's score as the sum of its signals, the largest first."""
    whole = "chat" if recall.file is None else "file"
    words = [(name.replace("session", whole), part) for name, part in contributions(recall.signals)]
    named = " ".join(f"{'-' if part < 0 else '+'} {name} {abs(part):.1f}" for name, part in words)
    total = f" = {named.removeprefix('+ ')}" if named else ""
    return f"score {recall.score:.1f}{total}"


def _said(at: str, now: datetime) -> Iterator[str]:
    """How long ago, in words; nothing if the time is unknown."""
    if not at:
        return
    moment = datetime.fromisoformat(at)
    days = (now.date() - moment.astimezone(now.tzinfo).date()).days
    if days < 1:
        yield "said today"
    elif days == 1:
        yield "said yesterday"
    else:
        for length, noun in ((365, "year"), (30, "month"), (7, "week"), (1, "day")):
            if days >= 2 * length:
                yield f"said {days // length} {noun}s ago"
                return


def drop_groups(dropped: Iterable[Dropped]) -> list[DropGroup]:
    """Group by reason, the largest group first."""
    groups: dict[str, list[int]] = {}
    for item in dropped:
        groups.setdefault(item.reason, []).append(item.tokens)
    found = [DropGroup(reason, len(tokens), sum(tokens)) for reason, tokens in groups.items()]
    return sorted(found, key=lambda group: -group.items)
