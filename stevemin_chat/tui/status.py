"""One poll of the engine, as the status line, the stats panel and a waiting reply show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine import EngineClosed

if TYPE_CHECKING:
    from engine import Engine, EngineStats, RequestStats
    from engine.devices import DeviceReading
    from stevemin_chat.chats import Chat

__all__ = ["Status"]


@dataclass(frozen=True, slots=True)
class Status:
    """What is known now.

    Args:
        model: the model's name, or what is being loaded.
        strategy: context strategy of the visible chat.
        hint: work under way besides answers; empty when there is none.
        stats: of the engine; None while no model is loaded.
        request: the visible chat's request in the engine.
        last: timings of the visible chat's last reply.
        context: tokens that the visible chat uses, and the limit; None while no engine can answer.
        titles: of all stored chats, by session id.
        devices: RAM and GPUs; None before the first reading.
    """

    model: str = ""
    strategy: str = ""
    hint: str = ""
    stats: EngineStats | None = None
    request: RequestStats | None = None
    last: Mapping[str, Any] | None = None
    context: tuple[int, int] | None = None
    titles: Mapping[str, str] = field(default_factory=dict)
    devices: DeviceReading | None = None

    @classmethod
    def read(cls, engine: Engine | None, chat: Chat | None, **known: Any) -> Status:
        """Poll the engine; costs next to nothing.

        Args:
            known: the fields that come from neither the engine nor the chat.
        """
        replies = [entry for entry in (chat.entries or []) if entry.timings] if chat else []
        last = replies[-1].timings if replies else None
        if engine is None:
            return cls(last=last, **known)
        stats = engine.stats()
        record = chat.record if chat else None
        request = next((r for r in stats.requests if record and r.session_id == record.id), None)
        try:
            context = (_used(request, last), engine.info.context_tokens)
        except EngineClosed:  # or crashed: its chats remain, to be read and to wait for another model
            context = None
        return cls(stats=stats, request=request, last=last, context=context, **known)


def _used(request: RequestStats | None, last: Mapping[str, Any] | None) -> int:
    if request is not None:
        return request.prompt_tokens + request.completion_tokens
    return int(last.get("prompt_tokens", 0) + last.get("completion_tokens", 0)) if last else 0
