"""Everything that can go wrong in the memory, as one tree.

    StoreError
    ├── StoreUnavailable     the database cannot be opened, read or written
    │   ├── BackupDamaged    a copy of the database is damaged
    │   └── StoreInUse       another process has the database open
    ├── DiskFull             there is no room left for the database
    ├── SessionNotFound      no session has this id or title
    ├── MessageNotFound      no message has this id
    ├── InvalidTitle         a title without a visible character
    ├── FactNotFound         no fact has this number
    ├── MemoryNotFound       no fact or message has this id
    ├── DocumentNotFound     no file has this path, or no document this number
    ├── InvalidFact          a fact without a visible character
    ├── InvalidImport        a document that is no export of the memory
    ├── SummaryCancelled     the caller cancelled a summary
    ├── ExtractionCancelled  the caller cancelled a search for facts
    ├── EmbedderUnavailable  texts cannot be embedded now
    │   └── TextRefused      one text crashes the embedding model
    ├── RerankerUnavailable  passages cannot be reranked now
    ├── KeywordIndexDamaged  the keyword index has to be made anew
    ├── IndexUnavailable     the vector index cannot be read or written
    └── ContextError         a prompt cannot be assembled
        ├── CounterMissing   no model is loaded, so tokens cannot be counted
        ├── UnknownStrategy  no context strategy has this name
        └── BudgetTooSmall   what must be sent does not fit

The messages are complete sentences that can be shown to the user, to whom a session is a chat.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

__all__ = [
    "BackupDamaged",
    "BudgetTooSmall",
    "ContextError",
    "CounterMissing",
    "DiskFull",
    "DocumentNotFound",
    "EmbedderUnavailable",
    "ExtractionCancelled",
    "FactNotFound",
    "IndexUnavailable",
    "InvalidFact",
    "InvalidImport",
    "InvalidTitle",
    "KeywordIndexDamaged",
    "MemoryNotFound",
    "MessageNotFound",
    "RerankerUnavailable",
    "SessionNotFound",
    "StoreError",
    "StoreInUse",
    "StoreUnavailable",
    "SummaryCancelled",
    "TextRefused",
    "UnknownStrategy",
]


class StoreError(Exception):
    """Base class of every error that the memory raises on purpose."""


class StoreUnavailable(StoreError):
    """The database cannot be opened, read or written."""


class BackupDamaged(StoreUnavailable):
    """A copy of the database is damaged, or the database that was to be copied."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} is damaged: it cannot be used as a backup.")


class StoreInUse(StoreUnavailable):
    """Another process has the database open.

    Attributes:
        process: its id.
    """

    def __init__(self, path: Path, process: int) -> None:
        self.path = path
        self.process = process
        super().__init__(
            f"stevemin is running (process {process}) and has {path} open. Close it and try again."
        )


class KeywordIndexDamaged(StoreError):
    """The keyword index is damaged, but it can be made anew from the passages."""


class DiskFull(StoreError):
    """There is no room left for the database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"The disk is full: {path} cannot be written. Free some space and try again.")


class SessionNotFound(StoreError):
    """No session has this id or title.

    Attributes:
        wanted: what was asked for.
        nearest: the most similar title or id, if any is close.
    """

    def __init__(self, wanted: str, known: Sequence[str] = ()) -> None:
        self.wanted = wanted
        folded = {name.casefold(): name for name in reversed(known)}
        close = difflib.get_close_matches(wanted.casefold(), folded, n=1)
        self.nearest = folded[close[0]] if close else None
        hint = f" Did you mean {self.nearest!r}?" if self.nearest else ""
        super().__init__(f"No chat {wanted!r}.{hint}")


class MessageNotFound(StoreError):
    """No message has this id; its session may have been deleted."""

    def __init__(self, message_id: str) -> None:
        self.message_id = message_id
        super().__init__(f"No message {message_id!r}; its chat may have been deleted.")


class InvalidTitle(StoreError):
    """A title without a visible character."""


class FactNotFound(StoreError):
    """No fact has this number; it may have been forgotten with its message."""

    def __init__(self, fact_id: int) -> None:
        self.fact_id = fact_id
        super().__init__(f"No fact {fact_id}; it may have been forgotten with its message.")


class MemoryNotFound(StoreError):
    """No fact or message has this id, or the ids of several messages start with it."""

    def __init__(self, item_id: str, *, several: bool = False) -> None:
        self.item_id = item_id
        if several:
            text = f"Several message ids start with {item_id!r}; type more of the id."
        else:
            text = f"No memory has the id {item_id!r}."
        super().__init__(text)


class DocumentNotFound(StoreError):
    """There is no such file or folder to add, or no such document."""


class InvalidFact(StoreError):
    """A fact without a visible character."""

    def __init__(self) -> None:
        super().__init__("A fact needs at least one visible character.")


class InvalidImport(StoreError):
    """A document that is no export of the memory, or contradicts what is stored."""

    @classmethod
    def at(cls, place: str, what: str) -> InvalidImport:
        """`at("facts[3].text", "must be a string")`."""
        return cls(f"{place} {what}.")


class SummaryCancelled(StoreError):
    """The caller cancelled the summary."""

    def __init__(self) -> None:
        super().__init__("The summary was cancelled.")


class ExtractionCancelled(StoreError):
    """The caller cancelled the search for facts."""

    def __init__(self) -> None:
        super().__init__("The search for facts was cancelled.")


class EmbedderUnavailable(StoreError):
    """Texts cannot be embedded now; search falls back to keywords."""


class TextRefused(EmbedderUnavailable):
    """One text of a list crashed the embedding model twice; the others may be fine.

    Attributes:
        row: its index in the list.
    """

    def __init__(self, row: int, reason: str) -> None:
        self.row = row
        super().__init__(f"The embedding model failed twice on one text: {reason}.")


class RerankerUnavailable(StoreError):
    """Passages cannot be reranked now; their order stays as it is."""


class IndexUnavailable(StoreError):
    """The vector index cannot be read or written; search falls back to keywords."""


class ContextError(StoreError):
    """A prompt cannot be assembled."""


class CounterMissing(ContextError):
    """No model is loaded, so tokens cannot be counted."""

    def __init__(self) -> None:
        super().__init__("No model is loaded, so the prompt cannot be measured. Load a model first.")


class UnknownStrategy(ContextError):
    """No context strategy has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"Unknown context strategy {name!r}. Choose one of: {', '.join(known)}.")


class BudgetTooSmall(ContextError):
    """What must be sent does not fit into the budget.

    Attributes:
        needed: tokens that the prompt needs.
        available: the limit.
    """

    def __init__(self, what: str, needed: int, available: int, advice: str) -> None:
        self.needed = needed
        self.available = available
        super().__init__(f"{what} {needed:,} tokens; the limit is {available:,}. {advice}")
