"""Which summaries stand for which part of a branch. Pure: values in, values out.

A message that says nothing (a system message, which is always sent, an empty reply, a forgotten message)
may lie between the sources of a summary; any other message may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from memory.types import Role, Summary

__all__ = ["cover", "gaps", "says_something"]


def says_something(role: Role, content: str) -> bool:
    """Whether a message has a place among the sources of a summary."""
    return role != "system" and any(char.isprintable() and not char.isspace() for char in content)


def gaps(
    sources: Sequence[str], branch: Sequence[str], positions: Mapping[str, int]
) -> tuple[str, ...] | None:
    """The ids of the branch that lie between the sources; None if these are not on it in this order.

    Args:
        positions: where each id of `branch` stands.
    """
    places = [positions.get(source, -1) for source in sources]
    if not places or min(places) < 0 or any(one >= other for one, other in pairwise(places)):
        return None
    taken = set(places)
    return tuple(branch[place] for place in range(places[0], places[-1]) if place not in taken)


def cover(summaries: Iterable[Summary], message_ids: Sequence[str]) -> tuple[Summary, ...]:
    """Summaries for these messages, oldest first, no message in two of them.

    A rolled-up summary goes before its parts, but only if all that it stands for is among the messages.
    So a strategy passes the messages that it leaves out: what reaches into the window is then told by the
    parts that do not.

    Args:
        summaries: valid on the branch, as `Summaries.on_branch` gives them.
        message_ids: a part of the branch, oldest first.
    """
    positions = {message_id: place for place, message_id in enumerate(message_ids)}
    fitting = [item for item in summaries if all(source in positions for source in item.sources)]
    taken: set[str] = set()
    chosen = []
    # Among equals the newest: it was made because the older ones did not fit this branch.
    for item in sorted(fitting, key=lambda item: (-item.level, -len(item.sources), -item.id)):
        if taken.isdisjoint(item.sources):
            taken.update(item.sources)
            chosen.append(item)
    return tuple(sorted(chosen, key=lambda item: positions[item.sources[0]]))
