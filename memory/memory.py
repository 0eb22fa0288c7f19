"""`Memory`: the one door to everything that is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from memory.components import open_components
from memory.context import CachedCounter, find_strategy
from memory.documents import MemoryDocuments
from memory.long_term import LongTermMemory
from memory.ports import Embedder, FactExtractor, Reranker, Summarizer, TokenCounter
from memory.reports import AssembledContext, Budget, IndexStatus, Recall
from memory.search import to_recall
from memory.storage import migrate
from memory.text import title_from
from memory.types import (
    HEAD,
    KEEP,
    Head,
    Keep,
    Message,
    PromptSources,
    Quoted,
    ReplyStatus,
    Role,
    Scope,
    SessionRecord,
    Sources,
    Summary,
)

__all__ = ["Memory"]


class Memory:
    """Sessions, their messages, and the prompts assembled from them.

    Every method may be called from any thread and blocks until it is done; what it wrote is committed
    when it returns. Event loops call it through `asyncio.to_thread`.

    Args:
        path: the SQLite file, whose missing folders are created. ":memory:" keeps everything in memory:
            no file is written, all is gone at `close`, and search goes by keywords only, whatever the
            embedder.
        counter: counts tokens as the loaded model does; may be set later.
        summarizer: writes summaries; None makes excerpts. May be set later.
        extractor: looks for facts in what was said, once it has passed a check; None leaves that to rules.
            May be set later.
        embedder: finds meanings besides words, once `start_indexing` was called; an index of the vectors is
            in the folder "vectors" beside the file. If it is another one than before, the former answers
            until all passages have a vector of the new one.
        reranker: puts the best of what a search found into its own order.
        reopen_embedder: makes the former embedder of its recipe; None if it is not here any more.
        no_embedder: why there is no embedder although one is wanted, as a sentence.
        chroma_url: of a Chroma server (http://host:port) that indexes the vectors instead.
        remembering: overrides the stored setting for this process; None follows the setting.

    Attributes:
        long_term: the profile, sources, forgetting.
        documents: files that are searched beside what was said.

    Raises (every method):
        StoreUnavailable: the file cannot be opened, read or written, or belongs to another program.
        DiskFull: there is no room left.
    """

    title_from = staticmethod(title_from)

    def __init__(
        self,
        path: Path | str,
        *,
        counter: TokenCounter | None = None,
        summarizer: Summarizer | None = None,
        extractor: FactExtractor | None = None,
        embedder: Embedder | None = None,
        reranker: Reranker | None = None,
        reopen_embedder: Callable[[str], Embedder | None] = lambda recipe: None,
        no_embedder: str | None = None,
        chroma_url: str | None = None,
        remembering: bool | None = None,
    ) -> None:
        self.path = Path(path)
        self.summarizer = summarizer
        self.extractor = extractor
        components = self._components = open_components(
            path,
            embedder,
            chroma_url,
            reranker=reranker,
            reopen_embedder=reopen_embedder,
            no_embedder=no_embedder,
        )
        self._database = components.database
        self._call = components.database.call
        self._contexts = components.contexts
        self.counter = counter
        self.long_term = LongTermMemory(components, remembering=remembering)
        self.documents = MemoryDocuments(components, self.long_term.clear_traces)
        try:
            self._call(migrate, self._database)
            self._call(components.facts.link_older)
            self.long_term.finish_purge()  # an earlier process may have died while it was forgetting
        except BaseException:
            self.close()
            raise
        components.analysis.start()

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
        """Wait for running work and close all files. Safe to call twice."""
        self.long_term.keep_counts()
        self._components.reordering.close()
        self._components.vectors.close()
        self._components.analysis.close()
        self._components.eraser.close()
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
        """Create a session; without a title, its first question names it.

        Args:
            project: the folder it belongs to.

        Raises:
            InvalidTitle, UnknownStrategy.
        """
        if strategy is not None:
            find_strategy(strategy)
        return self._call(self._components.sessions.create, title, model, strategy, project)

    def sessions(self) -> list[SessionRecord]:
        """All sessions, newest activity first."""
        return self._call(self._components.sessions.all)

    def session(self, id_or_title: str) -> SessionRecord:
        """By id, by title (ignoring case) or by a unique prefix of an id. Raises `SessionNotFound`."""
        return self._call(self._components.sessions.require, id_or_title)

    def find_session(self, id_or_title: str) -> SessionRecord | None:
        """As `session`, but None if nothing matches."""
        return self._call(self._components.sessions.find, id_or_title)

    def rename_session(self, session_id: str, title: str) -> SessionRecord:
        """Raises `SessionNotFound`, `InvalidTitle`."""
        return self._call(self._components.sessions.rename, session_id, title)

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
            off_record: True deletes this session's memories and keeps the rest of it out of long-term
                memory; False remembers all of it.

        Raises:
            SessionNotFound, UnknownStrategy.
        """
        if isinstance(strategy, str):
            find_strategy(strategy)
        record = self._call(
            self._components.sessions.set,
            session_id,
            model=model,
            strategy=strategy,
            system_prompt=system_prompt,
            scope=scope,
        )
        if isinstance(off_record, Keep) or off_record == record.off_record:
            return record
        self.long_term.set_off_record(session_id, off_record)
        return self._call(self._components.sessions.get, session_id)

    def delete_session(self, session_id: str) -> None:
        """Delete a session for good: its text is overwritten in every file. Raises `SessionNotFound`."""
        self.long_term.clear_traces(self._call(self._components.ingest.delete_session, session_id))

    # Messages

    def add_message(
        self,
        session_id: str,
        role: Role,
        content: str,
        *,
        parent_id: str | Head | None = HEAD,
        at: str | None = None,
        quoted: Sequence[Quoted] = (),
    ) -> Message:
        """Add a finished message, by default after the session's head; it becomes the head.

        Args:
            parent_id: another message, to start a sibling branch (an edit); None starts at the root.
            at: when it was written (UTC, ISO 8601), for imported messages; now by default.
            quoted: the parts of it that are not the person's own words, in order. They state no facts, and
                a recall quotes them as a source.

        Raises:
            ValueError: the quoted parts overlap, or lie outside the text.
            SessionNotFound, MessageNotFound: no such session, or the parent is not one of its messages.
        """
        recorded = self.long_term.remembering
        message = self._call(
            self._components.ingest.add_message, session_id, role, content, parent_id, at, recorded, quoted
        )
        self._components.vectors.wake()
        return message

    def begin_reply(
        self,
        session_id: str,
        *,
        parent_id: str | Head | None = HEAD,
        model: str | None = None,
        sources: PromptSources | None = None,
    ) -> Message:
        """Add an empty reply with status "streaming"; it becomes the head. Raises as `add_message`.

        Args:
            sources: what its prompt drew on (`ContextReport.sources`); the facts that the question stated
                are added.
        """
        recorded = self.long_term.remembering
        return self._call(
            self._components.ingest.begin_reply, session_id, parent_id, model, sources, recorded
        )

    def update_reply(self, message_id: str, content: str) -> None:
        """Store a streaming reply's text so far; an ended reply stays as it is. Raises `MessageNotFound`."""
        self._call(self._components.transcript.update_reply, message_id, content)

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
        """Store a reply's final text and how it ended. Raises `MessageNotFound`."""
        self._call(
            self._components.ingest.finish_reply, message_id, content, status, finish_reason, timings, error
        )
        self._components.vectors.wake()

    def message(self, message_id: str) -> Message:
        """One message. Raises `MessageNotFound`."""
        return self._call(self._components.transcript.get, message_id)

    def messages(self, session_id: str, *, head: str | None = None) -> list[Message]:
        """A branch from the root to `head`, by default the session's.

        Raises:
            SessionNotFound, MessageNotFound.
        """
        return self._call(self._components.transcript.branch, session_id, head)

    def siblings(self, message_id: str) -> list[Message]:
        """The versions of a message, itself included, oldest first. Raises `MessageNotFound`."""
        return self._call(self._components.transcript.siblings, message_id)

    def select_branch(self, message_id: str) -> Message:
        """Switch to the branch through a message; returns its last message. Raises `MessageNotFound`."""
        return self._call(self._components.transcript.select_branch, message_id)

    def recover_interrupted(self) -> int:
        """Mark the streaming replies of dead processes as "interrupted"; returns how many."""
        return self._call(self._components.transcript.recover_interrupted)

    # Long-term memory

    def start_indexing(self) -> None:
        """Load the embedder, if there is one, and keep the vectors up to date in the background.

        The first search, or the first prompt whose strategy searches, does the same.
        """
        self._components.vectors.start()

    def load_embedder(self) -> None:
        """Load the embedder that answers searches, unless it is loaded. Raises `EmbedderUnavailable`."""
        self._components.vectors.load()

    def index_status(self) -> IndexStatus:
        """Indexing progress; never blocks."""
        return self._components.vectors.status

    def search(
        self,
        question: str,
        *,
        limit: int = 10,
        gated: bool = False,
        session_id: str | None = None,
        sources: Sources = "all",
    ) -> list[Recall]:
        """Excerpts of earlier messages and of documents that may answer a question, best first.

        Args:
            gated: return nothing for a message that needs nothing from the past, as a prompt does.
            session_id: search only what this session may see; None: all sessions.
            sources: what to search.
        """
        search = self._components.search
        if gated:
            return search.recall(question, session_id, sources=sources).recalls(self._contexts.counter, limit)
        found = search.find(question, session_id, sources)
        return [to_recall(item, self._contexts.counter) for item in found[:limit]]

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
        """Assemble the prompt for the next reply, with a report on what is in it.

        Args:
            query: what to search the past for; the newest question by default. Strategies that do not
                search ignore it.
            head: the message to answer; the session's head by default.
            system_prompt: used when the session has none of its own ("" counts as its own: none).
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
        """Write the summary that the session's next prompts need most; blocks until the summariser is done.

        Args:
            strategy, budget: as for `build_context`.
            cancelled: polled while it works; once true, nothing is kept.

        Returns:
            None when there is nothing to do, when it was cancelled, or for a strategy without summaries.

        Raises:
            CounterMissing: no model is loaded.
            UnknownStrategy, SessionNotFound.
        """
        return self._contexts.consolidate(
            session_id, strategy=strategy, budget=budget, summarizer=self.summarizer, cancelled=cancelled
        )

    def read_facts(self, *, cancelled: Callable[[], bool]) -> int | None:
        """Let the extractor look for facts in the newest messages that it has not read; blocks until it is
        done.

        Only the person's own words are read, and none while nothing is remembered.

        Args:
            cancelled: polled while it works; once true, nothing is kept.

        Returns:
            How many messages were read; None when there is nothing to do, when it was cancelled, or when the
            model has not passed `LongTermMemory.check_extractor`.
        """
        if self.extractor is None or not self.long_term.remembering:
            return None
        return self._components.reader.run_next(self.extractor, cancelled)
