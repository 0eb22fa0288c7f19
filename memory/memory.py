"""`Memory`: the one door to everything that is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from memory.components import open_parts
from memory.context.builder import ContextBuilder, as_recall
from memory.context.counting import CachedCounter
from memory.context.strategies import find_strategy
from memory.long_term import LongTermMemory
from memory.ports import Embedder, Summarizer, TokenCounter
from memory.storage.schema import migrate
from memory.text.analyser import title_from
from memory.types import (
    HEAD,
    KEEP,
    AssembledContext,
    Budget,
    Head,
    IndexStatus,
    Keep,
    Message,
    Recall,
    ReplyStatus,
    Role,
    Scope,
    SessionRecord,
    Summary,
)

__all__ = ["Memory"]

P = ParamSpec("P")
T = TypeVar("T")


class Memory:
    """Sessions, their messages, and the prompts made of them.

    Every method may be called from any thread and blocks until it is done; what it wrote is committed
    when it returns. Event loops call it through `asyncio.to_thread`.

    Args:
        path: the SQLite file; missing folders are created.
        counter: counts tokens as the loaded model does; may be set later.
        summarizer: says in short what texts say; None makes excerpts. May be set later.
        embedder: makes the search find meanings besides words, once `start_indexing` was called; the
            vectors lie in the folder "vectors" beside the file.
        chroma_url: of a Chroma server (http://host:port) that has the vectors instead.
        remembering: for this process, whatever the store says; None follows the store.

    Attributes:
        long_term: the profile, where things come from, forgetting.

    Raises (every method):
        StoreUnavailable: the file cannot be opened, read or written, or is not one of ours.
        DiskFull: there is no room left.
    """

    title_from = staticmethod(title_from)

    def __init__(
        self,
        path: Path,
        *,
        counter: TokenCounter | None = None,
        summarizer: Summarizer | None = None,
        embedder: Embedder | None = None,
        chroma_url: str | None = None,
        remembering: bool | None = None,
    ) -> None:
        self.path = Path(path)
        self.summarizer = summarizer
        parts = self._parts = open_parts(self.path, embedder, chroma_url)
        self._database = parts.database
        self._contexts = ContextBuilder(parts)
        self.counter = counter
        self.long_term = LongTermMemory(parts, remembering=remembering)
        try:
            self._call(migrate, self._database)
            self.long_term.finish_purge()  # a process may have been killed while it was forgetting
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def counter(self) -> TokenCounter | None:
        """Counts tokens as the loaded model does; set it again when the model changes."""
        wrapped = self._contexts.counter
        return wrapped.counter if wrapped is not None else None

    @counter.setter
    def counter(self, counter: TokenCounter | None) -> None:
        self._contexts.counter = CachedCounter(counter) if counter is not None else None

    def close(self) -> None:
        """Wait for running work and close all files. Calling it twice is fine."""
        self._parts.vectors.close()
        self._database.close()

    # Sessions

    def create_session(
        self,
        title: str | None = None,
        *,
        model: str | None = None,
        strategy: str | None = None,
        project: str | None = None,
    ) -> SessionRecord:
        """A new session; without a title its first question names it.

        Args:
            project: the folder it belongs to.

        Raises:
            InvalidTitle, UnknownStrategy.
        """
        if strategy is not None:
            find_strategy(strategy)
        return self._call(self._parts.sessions.create, title, model, strategy, project)

    def sessions(self) -> list[SessionRecord]:
        """All sessions, newest activity first."""
        return self._call(self._parts.sessions.all)

    def session(self, id_or_title: str) -> SessionRecord:
        """By id, title (in any case) or the unique start of an id. Raises `SessionNotFound`."""
        return self._call(self._parts.sessions.require, id_or_title)

    def find_session(self, id_or_title: str) -> SessionRecord | None:
        """`session`, with None where there is none."""
        return self._call(self._parts.sessions.find, id_or_title)

    def rename_session(self, session_id: str, title: str) -> SessionRecord:
        """Raises `SessionNotFound`, `InvalidTitle`."""
        return self._call(self._parts.sessions.rename, session_id, title)

    def set_session(
        self,
        session_id: str,
        *,
        model: str | Keep | None = KEEP,
        strategy: str | Keep | None = KEEP,
        system_prompt: str | Keep | None = KEEP,
        scope: Scope | Keep = KEEP,
        off_record: bool | Keep = KEEP,
    ) -> SessionRecord:
        """Change a session's own choices; None follows the settings.

        Args:
            scope: see `SessionRecord`.
            off_record: True takes out of long-term memory what has entered from this session, and lets
                nothing more in; False lets all of it in.

        Raises:
            SessionNotFound, UnknownStrategy.
        """
        if isinstance(strategy, str):
            find_strategy(strategy)
        record = self._call(
            self._parts.sessions.set,
            session_id,
            model=model,
            strategy=strategy,
            system_prompt=system_prompt,
            scope=scope,
        )
        if isinstance(off_record, Keep) or off_record == record.off_record:
            return record
        self.long_term.set_off_record(session_id, off_record)
        return self._call(self._parts.sessions.get, session_id)

    def delete_session(self, session_id: str) -> None:
        """Remove a session for good: its text is overwritten in every file. Raises `SessionNotFound`."""
        self.long_term.clear_traces(self._call(self._delete, session_id))

    # Messages

    def add_message(
        self,
        session_id: str,
        role: Role,
        content: str,
        *,
        parent_id: str | Head | None = HEAD,
        at: str | None = None,
    ) -> Message:
        """Add a finished message, by default after the session's head; it becomes the head.

        Args:
            parent_id: another message makes a sibling branch (an edit); None starts from the root.
            at: when it was written (UTC, ISO 8601), for messages that come from elsewhere; now by default.

        Raises:
            SessionNotFound, MessageNotFound: no such session, or the parent is not one of its messages.
        """
        message = self._call(self._add, session_id, role, content, parent_id, at)
        self._parts.vectors.wake()
        return message

    def begin_reply(
        self, session_id: str, *, parent_id: str | Head | None = HEAD, model: str | None = None
    ) -> Message:
        """An empty reply with status "streaming"; it becomes the head. Raises as `add_message`."""
        recorded = self.long_term.remembering
        return self._call(self._parts.transcript.begin_reply, session_id, parent_id, model, recorded=recorded)

    def update_reply(self, message_id: str, content: str) -> None:
        """Keep a streaming reply's text so far; an ended one stays as it is. Raises `MessageNotFound`."""
        self._call(self._parts.transcript.update_reply, message_id, content)

    def finish_reply(
        self,
        message_id: str,
        content: str,
        *,
        status: ReplyStatus,
        finish_reason: str | None = None,
        timings: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        """Keep a reply's final text and how it ended. Raises `MessageNotFound`."""
        self._call(self._finish, message_id, content, status, finish_reason, timings, error)
        self._parts.vectors.wake()

    def message(self, message_id: str) -> Message:
        """One message. Raises `MessageNotFound`."""
        return self._call(self._parts.transcript.get, message_id)

    def messages(self, session_id: str, *, head: str | None = None) -> list[Message]:
        """A branch from the root to `head`, by default the session's.

        Raises:
            SessionNotFound, MessageNotFound.
        """
        return self._call(self._parts.transcript.branch, session_id, head)

    def siblings(self, message_id: str) -> list[Message]:
        """The versions of a message, itself included, oldest first. Raises `MessageNotFound`."""
        return self._call(self._parts.transcript.siblings, message_id)

    def select_branch(self, message_id: str) -> Message:
        """Make the branch through a message the current one; returns its end. Raises `MessageNotFound`."""
        return self._call(self._parts.transcript.select_branch, message_id)

    def recover_interrupted(self) -> int:
        """Mark streaming replies whose process died as "interrupted"; returns how many."""
        return self._call(self._parts.transcript.recover_interrupted)

    # Long-term memory

    def start_indexing(self) -> None:
        """Load the embedder, if there is one, and keep the vectors up to date in the background.

        The first search, or the first prompt of a strategy that searches, does the same.
        """
        self._parts.vectors.start()

    def index_status(self) -> IndexStatus:
        """How far the search by meaning is; never blocks."""
        return self._parts.vectors.status

    def search(
        self, question: str, *, limit: int = 10, gated: bool = False, session_id: str | None = None
    ) -> list[Recall]:
        """What was said about something, the best first.

        Args:
            gated: find nothing for a message that wants nothing out of the past, as a prompt does.
            session_id: search only what this session may hear of; None: all sessions.
        """
        self._parts.vectors.start()
        find = self._parts.search.recall if gated else self._parts.search.find
        found = find(question, session_id)
        return [as_recall(ranked, self._contexts.counter) for ranked in found[:limit]]

    # Context

    def build_context(
        self,
        session_id: str,
        *,
        query: str | None = None,
        budget: Budget,
        strategy: str = "hierarchical",
        head: str | None = None,
        system_prompt: str | None = None,
        load: float = 0.0,
    ) -> AssembledContext:
        """The prompt for the next reply, with an account of what is in it.

        Args:
            query: what to search the past for; strategies that do not search ignore it.
            head: the message to answer; the session's head by default.
            system_prompt: used when the session has none of its own ("" is its own: none).
            load: how busy the engine is, from 0 to 1; `adaptive` sends less when it is.

        Raises:
            CounterMissing: no model is loaded.
            UnknownStrategy: no strategy has this name.
            BudgetTooSmall: what must be sent does not fit.
            SessionNotFound, MessageNotFound: no such session, or no such head in it.
        """
        return self._contexts.build(
            session_id,
            query=query,
            budget=budget,
            strategy=strategy,
            head=head,
            system_prompt=system_prompt,
            load=load,
            remembering=self.long_term.remembering,
        )

    def consolidate(
        self, session_id: str, *, strategy: str, budget: Budget, cancelled: Callable[[], bool]
    ) -> Summary | None:
        """Make the summary that the session's next prompts need most; takes as long as the summariser.

        Args:
            strategy, budget: as for `build_context`.
            cancelled: asked again and again; once it says yes, nothing is kept.

        Returns:
            None when there is nothing to do, when it was cancelled, or for a strategy without summaries.

        Raises:
            CounterMissing: no model is loaded.
            UnknownStrategy, SessionNotFound.
        """
        return self._contexts.consolidate(
            session_id, strategy=strategy, budget=budget, summarizer=self.summarizer, cancelled=cancelled
        )

    def _add(
        self, session_id: str, role: Role, content: str, parent_id: str | Head | None, at: str | None
    ) -> Message:
        recorded = self.long_term.remembering
        with self._database.atomic():
            message = self._parts.transcript.add(session_id, role, content, parent_id, at, recorded=recorded)
            self._parts.intake.enter(message)
            return message

    def _finish(
        self,
        message_id: str,
        content: str,
        status: ReplyStatus,
        finish_reason: str | None,
        timings: Mapping[str, Any] | None,
        error: str | None,
    ) -> None:
        with self._database.atomic():
            self._parts.transcript.finish_reply(message_id, content, status, finish_reason, timings, error)
            self._parts.passages.add(message_id)

    def _delete(self, session_id: str) -> list[int]:
        with self._database.atomic():
            passages = self._parts.passages.of_session(session_id)
            self._parts.sessions.delete(session_id)
            self._parts.settings.purge_due = self._parts.settings.purge_due or bool(passages)
            return passages

    def _call(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.call(work, *args, **kwargs)
