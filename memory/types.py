"""Frozen values that cross the memory's border: what the store holds. Times are UTC in ISO 8601."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final, Literal

__all__ = [
    "HEAD",
    "KEEP",
    "Document",
    "Entity",
    "EntityKind",
    "Fact",
    "FactKind",
    "Forgotten",
    "Head",
    "Imported",
    "Keep",
    "Message",
    "Origin",
    "Passage",
    "PromptSources",
    "QuoteOrigin",
    "Quoted",
    "ReplyStatus",
    "Role",
    "Scope",
    "SessionRecord",
    "Sources",
    "Speaker",
    "Status",
    "Summary",
    "Turn",
    "cited",
]


Role = Literal["system", "user", "assistant"]
Speaker = Role | Literal["document"]
Status = Literal["complete", "streaming", "cancelled", "interrupted", "failed"]
ReplyStatus = Literal["complete", "cancelled", "failed"]
FactKind = Literal["fact", "preference", "tool", "version", "machine", "project", "decision", "deadline"]
EntityKind = Literal["kin", "tool", "machine", "project", "name"]
Scope = Literal["session", "project", "everywhere"]
QuoteOrigin = Literal["pasted", "piped"]
Sources = Literal["all", "chats", "documents"]


class Head(Enum):
    """Stands for the last message of a session's current branch."""

    HEAD = "head"


class Keep(Enum):
    """Stands for a value that stays as it is."""

    KEEP = "keep"


HEAD: Final = Head.HEAD
KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One chat.

    Args:
        id: eight hexadecimal digits.
        updated_at: the last activity: a message was added, or a reply ended.
        model, strategy, system_prompt: this session's own choice; None follows the settings.
        message_count: all messages of the tree, those of other branches included.
        head_id: the last message of the current branch; None while the session is empty.
        off_record: nothing of it enters long-term memory.
        project: the folder it belongs to.
        scope: how far its memory reaches, in both directions: two sessions see each other's messages if
            the scope of each includes the other.
    """

    id: str
    title: str
    created_at: str
    updated_at: str
    model: str | None = None
    strategy: str | None = None
    system_prompt: str | None = None
    message_count: int = 0
    head_id: str | None = None
    off_record: bool = False
    project: str | None = None
    scope: Scope = "everywhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of the tree.

    Args:
        parent_id: the message it answers or follows; None starts a branch.
        content: the text as the user or the model wrote it, control characters included.
        status: "streaming" while a live process writes it, "interrupted" if that process died.
        finish_reason, timings, error: how a reply ended.
        sources: of a reply; None if unknown.
        forgotten: its text was erased for good; only its place in the tree is left.
        quoted: the parts of a user's message that are not the person's own words, in order.
    """

    id: str
    session_id: str
    parent_id: str | None
    role: Role
    content: str
    status: Status
    created_at: str
    model: str | None = None
    finish_reason: str | None = None
    timings: Mapping[str, Any] | None = None
    error: str | None = None
    forgotten: bool = False
    sources: PromptSources | None = None
    quoted: tuple[Quoted, ...] = ()


@dataclass(frozen=True, slots=True)
class Quoted:
    """A part of a message that its author did not write.

    Args:
        start, end: characters of the content.
        origin: how it got into the message.
    """

    start: int
    end: int
    origin: QuoteOrigin


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSources:
    """What the prompt of a reply drew on besides its chat's newest messages, and what its question taught.

    Ids stay when what they name is forgotten.

    Args:
        strategy: the context strategy.
        memories: ids of the older messages that were quoted, from any chat.
        facts: ids of the facts in the profile; summaries: of those that were shown.
        learned: ids of the facts that the question stated.
        documents: passages of documents that were quoted, as "docs/memory.md:12-30".
        instructions: those of the memories and documents that tell a model what to do, in words that are not
            the person's.
    """

    strategy: str
    memories: tuple[str, ...] = ()
    facts: tuple[int, ...] = ()
    summaries: tuple[int, ...] = ()
    learned: tuple[int, ...] = ()
    documents: tuple[str, ...] = ()
    instructions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as the chat template receives it."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A searchable excerpt of one message or document; a long one has several.

    Args:
        id: row number in the store, and id in the vector index.
        message_id, session_id: empty for a document.
        at: when the message was written, or the document read.
        previous: the passage right before it on its branch, or in its section of a document.
        origin: how it got into the message; None for its author's own words.
        file: the document's path; None for a message.
        first_line, last_line: where it stands in the file; in a PDF, the page.
        name: the document's path as it is shown.
        of_use_at: when a finished reply last drew on its message, or the user pinned what it states.
    """

    id: int
    message_id: str
    session_id: str
    role: Speaker
    text: str
    at: str
    previous: int | None = None
    origin: QuoteOrigin | None = None
    file: str | None = None
    first_line: int | None = None
    last_line: int | None = None
    name: str = ""
    of_use_at: str | None = None

    @property
    def whole(self) -> str:
        """What it is an excerpt of: the session or the file."""
        return self.session_id if self.file is None else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file that was added, or one of an added folder.

    Args:
        path: absolute; name: as it is shown and quoted.
        root: what the user added: this file, a folder or a pattern.
        project: the folder whose chats may see it; None: all chats.
        bytes: 0 if unknown.
        passages: how many of it a search can find.
        note: why it is left out, or what is wrong with it; None if all is well.
    """

    id: int
    path: str
    name: str
    root: str
    project: str | None
    bytes: int
    indexed_at: str
    passages: int
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The document as plain JSON values."""
        return asdict(self)


def cited(name: str, first_line: int | None, last_line: int | None) -> str:
    """Where a passage of a document stands: "docs/memory.md:12-30", or "paper.pdf:p3"."""
    if first_line is None:
        return name
    if name.lower().endswith(".pdf"):
        return f"{name}:p{first_line}"
    return f"{name}:{first_line}" if last_line in (None, first_line) else f"{name}:{first_line}-{last_line}"


@dataclass(frozen=True, slots=True)
class Summary:
    """A short account of some older messages of one session.

    Args:
        level: 0 summarises messages, 1 summaries of level 0, and so on.
        sources: ids of the messages it stands for, oldest first.
    """

    id: int
    session_id: str
    level: int
    text: str
    sources: tuple[str, ...]
    created_at: str


@dataclass(frozen=True, slots=True)
class Entity:
    """Someone or something that facts name.

    Args:
        name: as a fact spells it; for a relative or a pet what they are: "sister", "dog".
        kind: "name" for a proper name of which no fact tells what it names.
    """

    name: str
    kind: EntityKind


@dataclass(frozen=True, slots=True)
class Fact:
    """Something known about the user, in every session.

    Args:
        text: the user's own words.
        kind: what it tells; "fact" is whatever is of no other kind.
        sources: ids of the messages that state it, oldest first; none when the user wrote it into the
            profile.
        pinned: goes into every prompt.
        edited: the user has reworded it.
        stated_at: when it was stated last.
        until: when a newer statement took its place; None while it holds.
        day: the day that "next Tuesday" in its words means, in the time zone of the machine on which it was
            stated; `memory.text.day_meant` tells its form. None if it names none that depends on the day.
        entities: whom and what it names.
    """

    id: int
    text: str
    kind: FactKind
    sources: tuple[str, ...]
    pinned: bool
    edited: bool
    created_at: str
    stated_at: str
    until: str | None = None
    day: str | None = None
    entities: tuple[Entity, ...] = ()

    @property
    def dated_text(self) -> str:
        """The words, and the day that they mean: "The deadline is next Tuesday (2026-12-08)"."""
        return self.text if self.day is None else f"{self.text} ({self.day_words})"

    @property
    def day_words(self) -> str:
        """The day, or the first and the last of a week; empty without one."""
        return (self.day or "").replace("/", " to ")

    @property
    def message_id(self) -> str | None:
        """The message that stated it last, if any."""
        return self.sources[-1] if self.sources else None

    def to_json(self) -> dict[str, Any]:
        """The fact as plain JSON values."""
        lists = {"sources": list(self.sources), "entities": [asdict(entity) for entity in self.entities]}
        return asdict(self) | lists | {"message_id": self.message_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a memory comes from, and what was derived from it.

    Args:
        message: the source of a fact, or the message itself; None for a fact that the user wrote.
        facts, summaries: derived from the message.
        related: of a fact, the others that name the same, the newest first.
        passages, embedded: how many passages of the message a search can find, and how many of those
            have a vector.
        instructions: what is quoted in the message tells a model what to do.
    """

    item: Fact | Message
    message: Message | None = None
    session: SessionRecord | None = None
    facts: tuple[Fact, ...] = ()
    summaries: tuple[Summary, ...] = ()
    passages: int = 0
    embedded: int = 0
    instructions: bool = False
    related: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was erased.

    Args:
        messages: ids of the erased messages, replies to forgotten messages included.
        facts, summaries, passages: how many were removed with them.
        sessions: ids of the chats that held the messages; their KV caches must go too.
        pending: another process has the vector index open and will remove the vectors; no search finds
            them any more.
    """

    messages: tuple[str, ...] = ()
    facts: int = 0
    summaries: int = 0
    passages: int = 0
    sessions: tuple[str, ...] = ()
    pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import of long-term memory added.

    Args:
        sessions, messages, facts, summaries: how many are new here.
        known: messages, facts and summaries that were here already.
        left_out: those that were forgotten here, or belong to a chat that is off the record here.
    """

    sessions: int
    messages: int
    facts: int
    summaries: int
    known: int = 0
    left_out: int = 0
