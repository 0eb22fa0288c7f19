"""Everything that can go wrong in the memory, as one tree.

    StoreError
    ├── StoreUnavailable     the database cannot be opened, read or written
    ├── DiskFull             there is no room left where the database lies
    ├── SessionNotFound      no session has this id or title
    ├── MessageNotFound      no message has this id
    ├── InvalidTitle         a title without a visible character
    ├── FactNotFound         no fact has this number
    ├── MemoryNotFound       nothing remembered has this id
    ├── InvalidFact          a fact without a visible character
    ├── SummaryCancelled     the making of a summary was broken off
    ├── EmbedderUnavailable  texts cannot be turned into vectors now
    │   └── TextRefused      one of them ends the embedding model
    ├── IndexUnavailable     the vector index cannot be read or written
    └── ContextError         a prompt cannot be put together
        ├── CounterMissing   no model is loaded, so tokens cannot be counted
        ├── UnknownStrategy  no context strategy has this name
        └── BudgetTooSmall   what must be sent does not fit

The messages are complete sentences, fit to be shown to a person.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

__all__ = [
    "BudgetTooSmall",
    "ContextError",
    "CounterMissing",
    "DiskFull",
    "EmbedderUnavailable",
    "FactNotFound",
    "IndexUnavailable",
    "InvalidFact",
    "InvalidTitle",
    "MemoryNotFound",
    "MessageNotFound",
    "SessionNotFound",
    "StoreError",
    "StoreUnavailable",
    "SummaryCancelled",
    "TextRefused",
    "UnknownStrategy",
]


class StoreError(Exception):
    """Base of every error the memory raises on purpose."""


class StoreUnavailable(StoreError):
    """The database cannot be opened, read or written."""


class DiskFull(StoreError):
    """There is no room left where the database lies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"The disk is full: {path} cannot be written. Free some space and try again.")


class SessionNotFound(StoreError):
    """No session has this id or title.

    Attributes:
        wanted: what was asked for.
        nearest: the title or id that comes closest, if one does.
    """

    def __init__(self, wanted: str, known: Sequence[str] = ()) -> None:
        self.wanted = wanted
        folded = {name.casefold(): name for name in reversed(known)}
        close = difflib.get_close_matches(wanted.casefold(), folded, n=1)
        self.nearest = folded[close[0]] if close else None
        hint = f" Did you mean {self.nearest!r}?" if self.nearest else ""
        super().__init__(f"There is no session {wanted!r}.{hint}")


class MessageNotFound(StoreError):
    """No message has this id; its session may have been deleted."""

    def __init__(self, message_id: str) -> None:
        self.message_id = message_id
        super().__init__(f"There is no message {message_id!r}; its session may have been deleted.")


class InvalidTitle(StoreError):
    """A title without a visible character."""


class FactNotFound(StoreError):
    """No fact has this number; it may have been forgotten with its message."""

    def __init__(self, fact_id: int) -> None:
        self.fact_id = fact_id
        super().__init__(f"There is no fact {fact_id}; it may have been forgotten with its message.")


class MemoryNotFound(StoreError):
    """Neither a fact nor a message has this id, or several messages begin with it."""

    def __init__(self, item_id: str, *, several: bool = False) -> None:
        self.item_id = item_id
        if several:
            text = f"Several messages begin with {item_id!r}; give more of the id."
        else:
            text = f"Nothing remembered has the id {item_id!r}."
        super().__init__(text)


class InvalidFact(StoreError):
    """A fact without a visible character."""

    def __init__(self) -> None:
        super().__init__("A fact needs at least one visible character.")


class SummaryCancelled(StoreError):
    """The making of a summary was broken off, as its caller wanted."""

    def __init__(self) -> None:
        super().__init__("The summary was not finished because it was cancelled.")


class EmbedderUnavailable(StoreError):
    """Texts cannot be turned into vectors now; search goes on by keywords."""


class TextRefused(EmbedderUnavailable):
    """One text of a list ended the embedding model twice; the others may be fine.

    Attributes:
        row: its place in the list.
    """

    def __init__(self, row: int, reason: str) -> None:
        self.row = row
        super().__init__(f"The embedding model failed twice on one text: {reason}.")


class IndexUnavailable(StoreError):
    """The vector index cannot be read or written; search goes on by keywords."""


class ContextError(StoreError):
    """A prompt cannot be put together."""


class CounterMissing(ContextError):
    """No model is loaded, so tokens cannot be counted."""

    def __init__(self) -> None:
        super().__init__("The context cannot be measured because no model is loaded. Load a model first.")


class UnknownStrategy(ContextError):
    """No context strategy has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"There is no context strategy {name!r}. Choose one of: {', '.join(known)}.")


class BudgetTooSmall(ContextError):
    """What must be sent does not fit into the budget.

    Attributes:
        needed: tokens that the prompt takes.
        available: tokens that it may take.
    """

    def __init__(self, what: str, needed: int, available: int, advice: str) -> None:
        self.needed = needed
        self.available = available
        super().__init__(f"{what} {needed:,} tokens, but the prompt may take {available:,}. {advice}")
