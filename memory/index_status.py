"""How far the search by meaning is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["IndexState", "IndexStatus"]


class IndexState(StrEnum):
    """What a search by meaning can do now."""

    OFF = "off"  # nothing embeds here
    STARTING = "starting"
    INDEXING = "indexing"  # serves what it has
    READY = "ready"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How far the index is.

    Args:
        embedded, passages: how many passages have a vector, of how many.
        reason: a sentence, when it is unavailable.
    """

    state: IndexState
    embedded: int = 0
    passages: int = 0
    reason: str | None = None
