"""What the two fuzzers have in common: they turn actions into requests and keep the ledger."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from unittest import mock

from engine_tests.fuzz.audit import check_books, holds
from engine_tests.fuzz.ledger import Ledger, Request, prompt_of
from engine_tests.fuzz.model import FuzzBackend
from engine_tests.fuzz.program import (
    Action,
    Ask,
    Cancel,
    Fault,
    Fork,
    Form,
    LoseStates,
    Read,
    Setup,
)

from engine import ChatMessage, EngineConfig, Priority, SamplingParams, TokenStream
from engine.core import EngineCore
from engine.kv import Parking
from engine.kv.spill import SpillFile

__all__ = ["BLOCK_BYTES", "Asked", "Player", "small_limits"]

_HEADS = ("", "s" * 20, "s" * 20 + "t" * 30)  # the last of the four heads is the session's own
_OWN_HEAD = 24
BLOCK_BYTES = 256
_REFUSED = "refuse me"  # see `FakeBackend.render`


def small_limits(unread: int) -> ExitStack:
    """A context in which readers lag early, blocks on disk are small and short prefixes are long."""
    stack = ExitStack()
    stack.enter_context(mock.patch("engine.stream._MAX_UNREAD", unread))
    stack.enter_context(mock.patch("engine.stream._ROUND_S", 0.001))
    stack.enter_context(mock.patch("engine.kv.spill.BLOCK_BYTES", BLOCK_BYTES))
    stack.enter_context(mock.patch("engine.schedule.scheduler._DEEP", 16))
    return stack


@dataclass(frozen=True)
class Asked:
    """What is asked of an engine; see `Ask`."""

    messages: list[ChatMessage]
    session: str | None
    sampling: SamplingParams
    slow: bool
    priority: Priority = Priority.NORMAL
    n: int = 1
    form: Form = "messages"
    progress: bool = False

    @property
    def refused(self) -> bool:
        """Whether the chat template refuses it."""
        return any(message.content == _REFUSED for message in self.messages)


class Player(ABC):
    """Plays a program; the subclasses own the engine.

    Attributes:
        forgotten: session -> number of requests when it was last forgotten.

    Args:
        ordered: whether the engine gets requests in the order in which they are submitted.
    """

    def __init__(self, setup: Setup, *, ordered: bool = True) -> None:
        self.ordered = ordered
        self.setup = setup
        self.ledger = Ledger(setup.queue + setup.places, setup.places)
        self.chats: dict[str, Request] = {}
        self.forgotten: dict[str, int] = {}
        self._shrunk: list[Parking] = []
        self._beyond = 0  # places that the engine had before a change
        self._seeds = count(1)

    @property
    @abstractmethod
    def core(self) -> EngineCore:
        """The engine's core."""

    @property
    @abstractmethod
    def backend(self) -> FuzzBackend:
        """The engine's backend."""

    @abstractmethod
    def submit(self, asked: Asked) -> list[TokenStream]:
        """Hand a request for one or several answers to the engine."""

    def shrink(self, folder: Path | None) -> None:
        """Make a new engine, or one that was reloaded, as small as the setup says; while it rests."""
        parking = self.core.parking
        parking.limit(self.setup.ram)
        if parking not in self._shrunk:  # a reload may keep it, with what is parked
            self._shrunk = [parking]
            capacity, post = self.setup.blocks * BLOCK_BYTES, self.core.post
            parking._disk = SpillFile(folder, capacity, lambda: post(None))
        self.core.scheduler.cache.worth_parking = lambda tokens: (
            tokens >= 10 and self.core.parking.takes(4 * tokens)
        )

    def check_books(self) -> None:
        """Between two steps: the engine's books are right. Where a change has taken places away, the requests
        there go on to their ends."""
        check_books(self.core, self.backend)
        running = len(self.core.scheduler.running)
        self._beyond = min(self._beyond, running)
        assert running <= max(self.core.scheduler.limits.max_running, self._beyond)

    def changed(self, config: EngineConfig) -> None:
        """The engine has these settings now, or will have when it handles its next command."""
        self.ledger.most = min(self.ledger.most, config.max_sessions + config.max_queue)
        self._beyond = self.ledger.places
        self.ledger.places = max(self.ledger.places, config.max_sessions)

    def common(self, action: Action) -> None:
        """Do what needs no engine, or is the same for both."""
        match action:
            case Ask():
                self._ask(action)
            case Fork():
                self._fork(action)
            case Cancel(index, live) if requests := (self.ledger.live if live else self.ledger.requests):
                request = requests[index % len(requests)]
                request.cancelled = True
                request.stream.cancel()
            case Read(index) if slow := [each for each in self.ledger.live if each.slow]:
                slow[index % len(slow)].read_all()
            case Fault(status, times, partial, torn):
                self.backend.faults += [status] * times
                self.backend.partial, self.backend.torn = partial, torn
            case LoseStates(saves, restores):
                self.backend.bad_saves, self.backend.bad_states = saves, restores

    def read_fast(self) -> None:
        """Whoever does not lag takes what is there."""
        for request in self.ledger.live:
            if not request.slow:
                request.read_all()

    def check_forgotten(self) -> None:
        """Nothing is left of a forgotten session, once what was being answered has ended."""
        for session, known in self.forgotten.items():
            if not any(self._may_keep(number, session, known) for number in range(len(self.ledger.requests))):
                where = holds(self.core, self.backend, session)
                assert where is None, f"{session} was forgotten and is in {where}"

    def _may_keep(self, number: int, session: str, known: int) -> bool:
        """Whether a request may have text of a session that was forgotten after `known` requests."""
        request = self.ledger.requests[number]
        if request.life < self.ledger.life or ord(session) not in request.prompt:
            return False
        later, others = number >= known, request.session not in (None, session)
        return later or others or request.stream._outcome is None

    def _ask(self, ask: Ask) -> None:
        letter = ask.session or "N"
        messages = [ChatMessage("user", letter * ask.words + "xyz"[ask.words % 3])]
        known = self.chats.get(ask.session) if ask.session is not None else None
        if known is not None and not ask.fresh:
            messages = [*known.messages, ChatMessage("assistant", known.text), *messages]
        elif ask.head:
            head = _HEADS[ask.head] if ask.head < len(_HEADS) else letter * _OWN_HEAD
            messages.insert(0, ChatMessage("system", head))
        if ask.form == "tokens" and not ask.words:
            messages = []
        elif ask.form == "refused":
            messages = [*messages, ChatMessage("user", _REFUSED)]
        self._send(
            Asked(
                messages,
                ask.session,
                SamplingParams(
                    max_tokens=ask.limit,
                    stop=ask.stop,
                    ignore_eos=ask.ignore_eos,
                    grammar="root ::= [a-h]*" if ask.form == "constrained" else None,
                ),
                ask.slow,
                ask.priority,
                ask.n,
                ask.form,
                ask.progress,
            )
        )

    def _fork(self, fork: Fork) -> None:
        if not self.ledger.requests:
            return
        known = self.ledger.requests[fork.index % len(self.ledger.requests)]
        messages = [*known.messages]
        if fork.words:
            more = ChatMessage("user", (fork.session or "N") * fork.words)
            messages += [ChatMessage("assistant", known.text), more]
        if messages:
            self._send(Asked(messages, fork.session, SamplingParams(max_tokens=fork.limit), fork.slow))

    def _send(self, asked: Asked) -> None:
        first = next(self._seeds)
        asked = replace(asked, sampling=replace(asked.sampling, seed=first))
        room = self.backend.info.context_tokens
        crowd = len(self.ledger.live) if self.ordered else self.ledger.most
        for number, stream in enumerate(self.submit(asked)):
            request = Request(
                stream,
                prompt_of(asked.messages),
                asked.messages,
                None if number else asked.session,
                replace(asked.sampling, seed=first + number),
                crowd + number,
                room,
                asked.slow,
                self.ledger.life,
                refused=asked.refused,
            )
            self.ledger.add(request)
            if number:
                next(self._seeds)
            elif asked.session is not None and not request.refused:
                self.chats[asked.session] = request
