"""Figures of one poll, as the status line, the panel and a waiting reply need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine import Engine, EngineStats, RequestStats
    from stevemin_chat.chats import Chat

__all__ = ["Figures"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known now.

    Args:
        stats: of the engine; None while no model is loaded.
        request: the visible chat's request that is in the engine.
        last: timings of the visible chat's last reply.
        context: tokens the visible chat uses, and the most it may; None while no model is loaded.
    """

    stats: EngineStats | None = None
    request: RequestStats | None = None
    last: Mapping[str, Any] | None = None
    context: tuple[int, int] | None = None

    @classmethod
    def read(cls, engine: Engine | None, chat: Chat | None) -> Figures:
        """Poll the engine; costs nothing."""
        replies = [entry for entry in (chat.entries or []) if entry.timings] if chat else []
        last = replies[-1].timings if replies else None
        if engine is None:
            return cls(last=last)
        stats = engine.stats()
        record = chat.record if chat else None
        request = next((r for r in stats.requests if record and r.session_id == record.id), None)
        return cls(stats, request, last, (_used(request, last), engine.info.context_tokens))


def _used(request: RequestStats | None, last: Mapping[str, Any] | None) -> int:
    if request is not None:
        return request.prompt_tokens + request.completion_tokens
    return int(last.get("prompt_tokens", 0) + last.get("completion_tokens", 0)) if last else 0
