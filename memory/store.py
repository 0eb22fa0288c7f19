"""`Memory`: the one door to everything that is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from memory.consolidate import Consolidator
from memory.counting import CachedCounter
from memory.cuts import ContextCuts
from memory.database import Database
from memory.errors import CounterMissing
from memory.facts import Facts
from memory.intake import Intake
from memory.inventory import Inventory
from memory.long_term import LongTermMemory
from memory.migrations import migrate
from memory.passages import Passages
from memory.ports import Embedder, Summarizer, TokenCounter, VectorIndex
from memory.recall import Ranked
from memory.scopes import Scopes
from memory.search import Search
from memory.sessions import Sessions
from memory.settings import Settings
from memory.strategies import ContextInput, find_strategy
from memory.summaries import Summaries
from memory.text import title_from
from memory.transcript import Transcript
from memory.types import (
    HEAD,
    KEEP,
    AssembledContext,
    Budget,
    Head,
    Keep,
    Message,
    Recall,
    ReplyStatus,
    Role,
    Scope,
    SessionRecord,
    Summary,
)
from memory.vectors import IndexStatus, PassageVectors

__all__ = ["Memory"]

_RECALLED = 50  # the most that a strategy has to choose from

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
        self._chroma_url = chroma_url
        self._counter = CachedCounter(counter) if counter is not None else None
        self._database = Database(self.path)
        self._sessions = Sessions(self._database)
        self._transcript = Transcript(self._database, self._sessions)
        self._cuts = ContextCuts(self._database)
        self._summaries = Summaries(self._database)
        self._facts = Facts(self._database)
        self._passages = Passages(self._database)
        self._vectors = PassageVectors(
            self._database, self._passages, embedder=embedder, open_index=self._open_index
        )
        self._scopes = Scopes(self._database)
        self._search = Search(self._database, self._passages, self._vectors, self._scopes)
        self._consolidator = Consolidator(self._database, self._transcript, self._summaries)
        self._settings = Settings(self._database)
        self._intake = self._make_intake()
        self.long_term = self._make_long_term(remembering)
        try:
            self._call(migrate, self._database)
            if self._call(lambda: self._settings.purge_due):  # a process was killed while it was forgetting
                self.long_term.purge()
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
        return self._counter.counter if self._counter is not None else None

    @counter.setter
    def counter(self, counter: TokenCounter | None) -> None:
        self._counter = CachedCounter(counter) if counter is not None else None

    def close(self) -> None:
        """Wait for running work and close all files. Calling it twice is fine."""
        self._vectors.close()
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
        return self._call(self._sessions.create, title, model, strategy, project)

    def sessions(self) -> list[SessionRecord]:
        """All sessions, newest activity first."""
        return self._call(self._sessions.all)

    def session(self, id_or_title: str) -> SessionRecord:
        """By id, title (in any case) or the unique start of an id. Raises `SessionNotFound`."""
        return self._call(self._sessions.require, id_or_title)

    def find_session(self, id_or_title: str) -> SessionRecord | None:
        """`session`, with None where there is none."""
        return self._call(self._sessions.find, id_or_title)

    def rename_session(self, session_id: str, title: str) -> SessionRecord:
        """Raises `SessionNotFound`, `InvalidTitle`."""
        return self._call(self._sessions.rename, session_id, title)

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
            self._sessions.set,
            session_id,
            model=model,
            strategy=strategy,
            system_prompt=system_prompt,
            scope=scope,
        )
        if isinstance(off_record, Keep) or off_record == record.off_record:
            return record
        self.long_term.set_off_record(session_id, off_record)
        return self._call(self._sessions.get, session_id)

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
        self._vectors.wake()
        return message

    def begin_reply(
        self, session_id: str, *, parent_id: str | Head | None = HEAD, model: str | None = None
    ) -> Message:
        """An empty reply with status "streaming"; it becomes the head. Raises as `add_message`."""
        recorded = self.long_term.remembering
        return self._call(self._transcript.begin_reply, session_id, parent_id, model, recorded=recorded)

    def update_reply(self, message_id: str, content: str) -> None:
        """Keep a streaming reply's text so far; an ended one stays as it is. Raises `MessageNotFound`."""
        self._call(self._transcript.update_reply, message_id, content)

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
        self._vectors.wake()

    def message(self, message_id: str) -> Message:
        """One message. Raises `MessageNotFound`."""
        return self._call(self._transcript.get, message_id)

    def messages(self, session_id: str, *, head: str | None = None) -> list[Message]:
        """A branch from the root to `head`, by default the session's.

        Raises:
            SessionNotFound, MessageNotFound.
        """
        return self._call(self._transcript.branch, session_id, head)

    def siblings(self, message_id: str) -> list[Message]:
        """The versions of a message, itself included, oldest first. Raises `MessageNotFound`."""
        return self._call(self._transcript.siblings, message_id)

    def select_branch(self, message_id: str) -> Message:
        """Make the branch through a message the current one; returns its end. Raises `MessageNotFound`."""
        return self._call(self._transcript.select_branch, message_id)

    def recover_interrupted(self) -> int:
        """Mark streaming replies whose process died as "interrupted"; returns how many."""
        return self._call(self._transcript.recover_interrupted)

    # Long-term memory

    def start_indexing(self) -> None:
        """Load the embedder, if there is one, and keep the vectors up to date in the background.

        The first search, or the first prompt of a strategy that searches, does the same.
        """
        self._vectors.start()

    def index_status(self) -> IndexStatus:
        """How far the search by meaning is; never blocks."""
        return self._vectors.status

    def search(
        self, question: str, *, limit: int = 10, gated: bool = False, session_id: str | None = None
    ) -> list[Recall]:
        """What was said about something, the best first.

        Args:
            gated: find nothing for a message that wants nothing out of the past, as a prompt does.
            session_id: search only what this session may hear of; None: all sessions.
        """
        self._vectors.start()
        find = self._search.recall if gated else self._search.find
        found = find(question, session_id)
        return [_recall(ranked, self._counter) for ranked in found[:limit]]

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
        chosen = find_strategy(strategy)
        remembering = self.long_term.remembering
        searches = chosen.searches and remembering
        if searches:
            self._vectors.start()
        counter = self._counter
        if counter is None:
            raise CounterMissing
        record = self._call(self._sessions.get, session_id)
        messages = self._call(self._transcript.branch, session_id, head or record.head_id)
        cuts = self._call(self._cuts.made_for, session_id, strategy, budget.tokens)
        asked = query or next((item.content for item in reversed(messages) if item.role == "user"), "")
        given = ContextInput(
            messages=tuple(messages),
            budget=budget,
            counter=counter,
            system_prompt=record.system_prompt if record.system_prompt is not None else system_prompt,
            cuts=frozenset(cuts),
            cut_summaries=cuts,
            query=asked,
            recalls=self._recalls(asked, session_id, counter, messages[-1] if messages else None)
            if searches
            else (),
            summaries=self._summaries_of(messages) if chosen.summarises else (),
            profile=self.long_term.facts(session_id=session_id)
            if remembering and (chosen.searches or chosen.summarises)
            else (),
            load=load,
        )
        # Counting waits for the engine: on this thread, so that no other session's write has to wait.
        assembly = chosen.assemble(given)
        if assembly.cut is not None:
            self._call(
                self._cuts.remember, session_id, strategy, assembly.cut, budget.tokens, assembly.cut_summary
            )
        return assembly.context

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
        chosen = find_strategy(strategy)
        counter = self._counter
        if counter is None:
            raise CounterMissing
        if not chosen.summarises:
            return None
        cuts = self._call(self._cuts.made_for, session_id, strategy, budget.tokens)
        return self._consolidator.run_next(
            session_id,
            cuts=cuts,
            history_tokens=int(budget.tokens * chosen.history_share),
            counter=counter,
            summarizer=self.summarizer,
            cancelled=cancelled,
        )

    def _add(
        self, session_id: str, role: Role, content: str, parent_id: str | Head | None, at: str | None
    ) -> Message:
        recorded = self.long_term.remembering
        with self._database.atomic():
            message = self._transcript.add(session_id, role, content, parent_id, at, recorded=recorded)
            self._intake.enter(message)
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
            self._transcript.finish_reply(message_id, content, status, finish_reason, timings, error)
            self._passages.add(message_id)

    def _delete(self, session_id: str) -> list[int]:
        with self._database.atomic():
            passages = self._passages.of_session(session_id)
            self._sessions.delete(session_id)
            self._settings.purge_due = self._settings.purge_due or bool(passages)
            return passages

    def _recalls(
        self, question: str, session_id: str, counter: CachedCounter, asking: Message | None
    ) -> tuple[Recall, ...]:
        """What the past has to say to a question; not the question itself."""
        found = self._search.recall(question, session_id)[: _RECALLED + 1]
        asked = asking.id if asking is not None else None
        return tuple(_recall(item, counter) for item in found if item.passage.message_id != asked)

    def _summaries_of(self, messages: Sequence[Message]) -> tuple[Summary, ...]:
        return tuple(self._call(self._summaries.on_branch, [message.id for message in messages]))

    def _open_index(self, embedder: Embedder) -> VectorIndex:
        from memory.index import open_index  # numpy, and what stands behind it: not before it is wanted

        return open_index(
            self._vectors_folder, embedder=embedder.name, dimension=embedder.dimension, url=self._chroma_url
        )

    @property
    def _vectors_folder(self) -> Path:
        return self.path.parent / "vectors"

    def _make_intake(self) -> Intake:
        return Intake(
            self._database,
            sessions=self._sessions,
            transcript=self._transcript,
            passages=self._passages,
            facts=self._facts,
            summaries=self._summaries,
            settings=self._settings,
        )

    def _make_long_term(self, remembering: bool | None) -> LongTermMemory:
        return LongTermMemory(
            self._database,
            transcript=self._transcript,
            passages=self._passages,
            facts=self._facts,
            summaries=self._summaries,
            intake=self._intake,
            settings=self._settings,
            scopes=self._scopes,
            vectors=self._vectors,
            inventory=Inventory(self._database, self._facts, self._summaries, self._vectors_folder),
            remembering=remembering,
        )

    def _call(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.call(work, *args, **kwargs)


def _recall(ranked: Ranked, counter: TokenCounter | None) -> Recall:
    passage = ranked.passage
    return Recall(
        message_id=passage.message_id,
        score=ranked.score,
        tokens=counter.count_text(passage.text) if counter is not None else 0,
        session_id=passage.session_id,
        role=passage.role,
        part=passage.id,
        at=passage.at,
        text=passage.text,
        signals=ranked.signals,
    )
