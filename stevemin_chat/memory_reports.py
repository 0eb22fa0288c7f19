"""What the commands of `stevemin memory` report: what is gone, what is on, how much there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stevemin_chat.units import human_bytes

if TYPE_CHECKING:
    from memory import Forgotten, MemoryStats, SessionRecord

__all__ = ["counted", "gone_in_words", "stats_rows", "switched_in_words"]

_ONE = {"messages": "message", "facts": "fact", "summaries": "summary", "passages": "passage"}


def counted(**numbers: int) -> str:
    """`counted(messages=1, facts=2)` → "1 message and 2 facts"; what is zero is left out."""
    parts = [
        f"{number:,} {_ONE[name] if number == 1 else name}" for name, number in numbers.items() if number
    ]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def gone_in_words(gone: Forgotten) -> str:
    """One line for what was forgotten."""
    what = counted(
        messages=len(gone.messages), facts=gone.facts, summaries=gone.summaries, passages=gone.passages
    )
    if not what:
        return "There is nothing to forget."
    later = (
        " The open chat takes the vectors out within a minute, else the next one does."
        if gone.pending
        else ""
    )
    return f"Gone for good: {what}.{later}"


def switched_in_words(session: SessionRecord | None, remembering: bool) -> str:
    """One line for what it means that remembering is on or off.

    Args:
        session: as it is now; None is everywhere.
        remembering: anything at all.
    """
    if session is None and remembering:
        return "Remembering is on. What was said while it was off is not remembered."
    if session is None:
        return "Remembering is off: nothing new is remembered and nothing is recalled. What is there stays."
    if session.off_record:
        return (
            f"{session.title!r} is off the record: nothing of it is remembered, and what was remembered is "
            "taken out. The chat stays."
        )
    still = "" if remembering else " Remembering is off everywhere, though: stevemin memory on"
    return f"{session.title!r} is on the record: what was said in it is remembered.{still}"


def stats_rows(found: MemoryStats) -> list[tuple[str, str]]:
    """Labels and values for a person."""
    return [
        ("Chats", f"{found.sessions:,}, {found.off_record:,} off the record"),
        ("Messages", f"{found.messages:,} remembered, {found.forgotten:,} forgotten"),
        ("Passages", f"{found.passages:,}, {found.embedded:,} with a vector"),
        ("Facts", f"{found.facts:,}, {found.pinned:,} pinned"),
        ("Summaries", f"{found.summaries:,}"),
        ("On disk", f"{human_bytes(found.database_bytes)} chats, {human_bytes(found.index_bytes)} vectors"),
        ("Search by meaning", _index_in_words(found)),
    ]


def _index_in_words(found: MemoryStats) -> str:
    if found.index.reason:
        return found.index.reason
    if found.embedded == found.passages:
        return "finds all" if found.passages else "has nothing to find yet"
    return f"finds {found.embedded:,} passages; the others get vectors while a chat is open"
