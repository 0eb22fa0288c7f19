"""One chat: the path from a typed message to a stored reply. Knows no screen.

send → message stored → context assembled → reply begun in the store → engine → chunks out, text stored → end
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Set
from contextlib import aclosing, contextmanager
from dataclasses import asdict, replace
from typing import cast

from engine.types import (
    ChatMessage,
    FinishReason,
    GenerationRequest,
    Timings,
    TokenChunk,
)
from memory import (
    AssembledContext,
    ContextReport,
    Memory,
    PromptSources,
    Quoted,
    QuoteOrigin,
    ReplyStatus,
    StoreError,
    Turn,
)
from stevemin_chat.base import ChatAppError
from stevemin_chat.chats.ports import SessionSettings, TextSource, TextStream
from stevemin_chat.chats.reply_writer import ReplyWriter, undisturbed
from stevemin_chat.text import quoted_in

__all__ = [
    "ChatError",
    "ChatSession",
    "EmptyMessage",
    "NothingToAnswer",
    "SessionBusy",
]

_log = logging.getLogger(__name__)

_FLUSH_INTERVAL_S = 0.4  # with the write itself, about twice a second


class ChatError(ChatAppError):
    """Base of what a chat refuses before it asks the engine."""


class SessionBusy(ChatError):
    """A reply is still being written in this chat."""


class EmptyMessage(ChatError):
    """A message without text."""


class NothingToAnswer(ChatError):
    """There is no user message to answer."""


class ChatSession:
    """Sends messages and stores the replies.

    Lives on one event loop. `source` and `settings` may be replaced between two messages.

    Attributes:
        busy: a reply is under way.
        last_context, last_prompt: what the model was given for the latest reply.
        last_sources: what its prompt drew on, as it is stored with the reply.
        last_timings, finish_reason: how that reply ended; None before it does.
        user_message_id, reply_id: the messages of the latest exchange.
    """

    def __init__(
        self,
        session_id: str,
        *,
        memory: Memory,
        source: TextSource,
        settings: SessionSettings,
        flush_interval_s: float = _FLUSH_INTERVAL_S,
    ) -> None:
        self.session_id = session_id
        self.source = source
        self.settings = settings
        self.busy = False
        self.last_context: ContextReport | None = None
        self.last_prompt: tuple[Turn, ...] = ()
        self.last_sources: PromptSources | None = None
        self.last_timings: Timings | None = None
        self.finish_reason: FinishReason | None = None
        self.user_message_id: str | None = None
        self.reply_id: str | None = None
        self._memory = memory
        self._flush_interval_s = flush_interval_s
        self._stream: TextStream | None = None
        self._writer: ReplyWriter | None = None
        self._cancelled = False

    @property
    def text(self) -> str:
        """The latest reply's text so far, as the model wrote it."""
        return self._writer.text if self._writer is not None else ""

    def cancel(self) -> None:
        """Stop the reply soon and keep its text; does nothing while idle."""
        if not self.busy:
            return
        self._cancelled = True
        if self._stream is not None:
            self._stream.cancel()

    def forget(self, message_ids: Set[str]) -> None:
        """Drop what the model was given for the latest reply if it quotes one of these messages."""
        if self.last_context is not None and self.last_context.quotes(message_ids):
            self.last_context, self.last_prompt = None, ()

    async def send(self, text: str, *, answer: bool = True) -> AsyncGenerator[TokenChunk, None]:
        """Store a message, then stream the reply and store it as it grows.

        Close the generator, or cancel the task that reads it, to stop: the text so far is kept.

        Args:
            text: a `Typed` one knows what was pasted or piped into it.
            answer: False stores the message and ends as a cancelled reply does, before the prompt is made.

        Raises:
            SessionBusy: a reply is still under way in this chat.
            EmptyMessage: there is nothing to send.
            StoreError: nothing was sent, or the end of the reply could not be stored (`text` still has it).
            EngineError: the reply failed; its text so far is stored with status "failed".
        """
        if not text.strip():
            raise EmptyMessage("There is nothing to send: the message is empty.")
        with self._working():
            self._cancelled = not answer
            await undisturbed(asyncio.to_thread(self._add_message, text))
            async with aclosing(self._reply()) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def regenerate(self) -> AsyncGenerator[TokenChunk, None]:
        """Stream one more reply to the last user message; the replies it has stay.

        Raises:
            NothingToAnswer: the branch has no user message; otherwise as `send`.
        """
        with self._working():
            branch = await asyncio.to_thread(self._memory.messages, self.session_id)
            question = next((item for item in reversed(branch) if item.role == "user"), None)
            if question is None or question.forgotten:
                raise NothingToAnswer("There is no message to answer yet.")
            self.user_message_id = question.id
            async with aclosing(self._reply()) as chunks:
                async for chunk in chunks:
                    yield chunk

    @contextmanager
    def _working(self) -> Iterator[None]:
        if self.busy:
            raise SessionBusy("This chat is still answering. Wait for the answer, or stop it.")
        self.busy = True
        self.last_timings = self.finish_reason = self._writer = None
        self.user_message_id = self.reply_id = self.last_sources = None
        self._cancelled = False
        try:
            yield
        finally:
            self._stream = None
            self.busy = False

    async def _reply(self) -> AsyncGenerator[TokenChunk, None]:
        settings = self.settings
        if not self._cancelled:
            context = await asyncio.to_thread(self._build_context, settings)
            self.last_context, self.last_prompt = context.report, context.messages
        if self._cancelled:
            self.finish_reason = FinishReason.CANCELLED
            return
        try:
            await undisturbed(asyncio.to_thread(self._begin_reply, settings.model, context.report))
            writer = self._open_writer()
            request = _request(self.session_id, context, settings)
            stream = self._submit(request)
            async for chunk in stream:
                writer.append(chunk.text)
                yield chunk
            self.finish_reason = _reason(stream.finish_reason, request, settings)
        except BaseException as exc:
            await self._give_up(exc)
            raise
        await self._finish()

    async def _give_up(self, exc: BaseException) -> None:
        """Store the text of a reply that an exception ends; the caller raises that exception."""
        left = isinstance(exc, (asyncio.CancelledError, GeneratorExit))
        if left:
            self.finish_reason = FinishReason.CANCELLED
            if self._stream is not None:
                self._stream.cancel()
        try:
            await self._finish(None if left else str(exc) or type(exc).__name__)
        except StoreError as store_error:
            _log.warning("the end of a reply could not be stored", exc_info=store_error)
            exc.add_note(str(store_error))

    async def _finish(self, error: str | None = None) -> None:
        if self.reply_id is None:
            return
        writer = self._open_writer()
        if self._stream is not None and self._stream.finish_reason is not None:
            self.last_timings = self._stream.timings
        status: ReplyStatus = "complete" if error is None else "failed"
        if self.finish_reason is FinishReason.CANCELLED:
            status = "cancelled"
        await writer.finish(
            status,
            finish_reason=self.finish_reason,
            timings=asdict(self.last_timings) if self.last_timings is not None else None,
            error=error,
        )

    def _submit(self, request: GenerationRequest) -> TextStream:
        self._stream = self.source.submit(request)
        if self._cancelled:  # while the empty reply was stored
            self._stream.cancel()
        return self._stream

    def _open_writer(self) -> ReplyWriter:
        if self._writer is None:
            assert self.reply_id is not None
            self._writer = ReplyWriter(self._memory, self.reply_id, interval_s=self._flush_interval_s)
        return self._writer

    # The rest runs on a thread. It sets the ids itself: a task that is cancelled while it
    # waits for the thread gets no result, though the message is stored.

    def _add_message(self, text: str) -> None:
        quoted = [Quoted(start, end, cast(QuoteOrigin, origin)) for start, end, origin in quoted_in(text)]
        message = self._memory.add_message(self.session_id, "user", str(text), quoted=quoted)
        self.user_message_id = message.id

    def _begin_reply(self, model: str, report: ContextReport) -> None:
        reply = self._memory.begin_reply(
            self.session_id, parent_id=self.user_message_id, model=model, sources=report.sources
        )
        self.reply_id, self.last_sources = reply.id, reply.sources

    def _build_context(self, settings: SessionSettings) -> AssembledContext:
        return self._memory.build_context(
            self.session_id,
            budget=settings.budget,
            strategy=settings.strategy,
            head=self.user_message_id,
            system_prompt=settings.system_prompt,
            load=self.source.load,
        )


def _request(session_id: str, context: AssembledContext, settings: SessionSettings) -> GenerationRequest:
    left = settings.context_tokens - context.report.tokens
    wanted = settings.sampling.max_tokens
    return GenerationRequest(
        messages=[ChatMessage(turn.role, turn.content) for turn in context.messages],
        sampling=replace(settings.sampling, max_tokens=left if wanted is None else min(wanted, left)),
        session_id=session_id,
    )


def _reason(
    reason: FinishReason | None, request: GenerationRequest, settings: SessionSettings
) -> FinishReason | None:
    # The person set no such limit: the context is full.
    ours = request.sampling.max_tokens != settings.sampling.max_tokens
    return FinishReason.CONTEXT if reason is FinishReason.LENGTH and ours else reason
