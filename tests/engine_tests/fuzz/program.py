"""Random programs: how the engine is set up, and what its users and its hardware do to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from hypothesis import strategies as st

from engine import EngineConfig, Priority
from engine.step import StepStatus

__all__ = [
    "SESSIONS",
    "Action",
    "Ask",
    "Bomb",
    "Cancel",
    "Change",
    "DiskFault",
    "DiskWork",
    "Fault",
    "Focus",
    "Forget",
    "Fork",
    "Form",
    "LoseStates",
    "Read",
    "Reload",
    "Setup",
    "Step",
    "actions",
    "setups",
]

Form: TypeAlias = Literal["messages", "constrained", "text", "tokens", "refused"]

SESSIONS = ("A", "B", "C", "D", "E")  # each also the letter that its messages are made of


@dataclass(frozen=True)
class Setup:
    """An engine's configuration, small enough that everything runs out.

    Args:
        cells: of one sequence; in a unified cache also of all together.
        offloaded: whether the model is on a GPU, so that readers are told while the next step is computed.
        ram, blocks: room for parked states: bytes in RAM, blocks on disk.
        unread: tokens after which a reader lags; batch: tokens of a step.
        fast_disk: whether the disk is done with every job before the next step.
    """

    layout: Literal["unified", "split"]
    places: int
    cached: int
    cells: int
    queue: int
    cuts: bool
    offloaded: bool
    speculation: Literal["auto", "on", "off"]
    ram: int
    blocks: int
    unread: int
    batch: int
    fast_disk: bool

    def all_cells(self, config: EngineConfig) -> int:
        """Cells of all sequences together."""
        return self.cells * config.sequences if config.split_cache else self.cells

    def config(self, folder: Path | None) -> EngineConfig:
        """The engine's settings."""
        return EngineConfig(
            model_path=Path("fake.gguf"),
            max_sessions=self.places,
            cached_sessions=self.cached,
            max_queue=self.queue,
            batch_tokens=self.batch,
            kv_layout=self.layout,
            speculation=self.speculation,
            parked_ram_mib=1 if self.ram else 0,
            parked_disk_mib=1 if self.blocks else 0,
            parked_folder=folder,
        )


@dataclass(frozen=True)
class Ask:
    """A turn of a chat.

    Args:
        fresh: whether it starts the chat anew.
        n: answers; form: how the prompt is given: `constrained` with a grammar (which a fake model ignores),
            `refused` so that the chat template refuses it.
    """

    session: str | None
    head: int
    words: int
    fresh: bool
    limit: int | None
    stop: tuple[str, ...]
    ignore_eos: bool
    priority: Priority
    slow: bool
    n: int
    form: Form
    progress: bool


@dataclass(frozen=True)
class Fork:
    """A request that continues, or repeats, what an earlier one said and was answered."""

    index: int
    session: str | None
    words: int
    limit: int | None
    slow: bool


@dataclass(frozen=True)
class Step:
    """Let the engine do some steps."""

    count: int


@dataclass(frozen=True)
class Cancel:
    """Cancel one of the requests, of those that live or of all."""

    index: int
    live: bool


@dataclass(frozen=True)
class Read:
    """A slow reader takes what is there."""

    index: int


@dataclass(frozen=True)
class Forget:
    """Forget a session."""

    session: str


@dataclass(frozen=True)
class Focus:
    """Look at a session."""

    session: str | None


@dataclass(frozen=True)
class Change:
    """Other settings for the running engine; another layout, or more places than it has sequences, need a
    reload."""

    layout: Literal["unified", "split"]
    places: int
    queue: int
    speculation: Literal["auto", "on", "off"]
    drafts: int

    def applied(self, config: EngineConfig) -> EngineConfig:
        """The settings changed."""
        return replace(
            config,
            kv_layout=self.layout,
            max_sessions=self.places,
            max_queue=self.queue,
            speculation=self.speculation,
            draft_tokens=self.drafts,
        )


@dataclass(frozen=True)
class Reload:
    """Close the engine with all its streams open, and start another."""


@dataclass(frozen=True)
class Fault:
    """The next forward pass fails; of PARTIAL some items and some tokens of the next were computed."""

    status: StepStatus
    times: int
    partial: int
    torn: int


@dataclass(frozen=True)
class LoseStates:
    """The next states cannot be saved, or not be restored."""

    saves: int
    restores: int


@dataclass(frozen=True)
class DiskFault:
    """The next such job on the disk fails."""

    kind: Literal["write", "read", "damage"]


@dataclass(frozen=True)
class DiskWork:
    """The disk does some jobs."""

    count: int


@dataclass(frozen=True)
class Bomb:
    """The next call of a method of the backend raises, which ends the engine thread."""

    method: Literal["execute", "moves", "open_sampler", "close_sampler", "resident"]


Action: TypeAlias = (
    Ask
    | Fork
    | Step
    | Cancel
    | Read
    | Forget
    | Focus
    | Change
    | Reload
    | Fault
    | LoseStates
    | DiskFault
    | DiskWork
    | Bomb
)

_WHO = st.sampled_from((None, *SESSIONS))
_INDEX = st.integers(0, 30)
_WORDS = st.sampled_from((6, 40, 150)).flatmap(lambda most: st.integers(0, most))
_LIMIT = st.one_of(st.none(), st.integers(1, 8), st.integers(1, 60))
_STOP = st.sampled_from(((), (), (), ("ha",), ("cde", "gh"), ("abcdefgh",), ("zz",)))


def setups() -> st.SearchStrategy[Setup]:
    """Any setup."""
    return st.builds(
        Setup,
        layout=st.sampled_from(("unified", "split")),
        places=st.integers(1, 4),
        cached=st.integers(0, 3),
        cells=st.integers(96, 400),
        queue=st.sampled_from((0, 2, 8, 24)),
        cuts=st.booleans(),
        offloaded=st.booleans(),
        speculation=st.sampled_from(("on", "off", "auto")),
        ram=st.sampled_from((500, 800, 300, 1 << 20, 0)),
        blocks=st.sampled_from((64, 8, 0)),
        unread=st.sampled_from((1024, 3, 12)),
        batch=st.sampled_from((32, 64)),
        fast_disk=st.booleans(),
    )


def actions(*, most: int) -> st.SearchStrategy[list[Action]]:
    """A program of at most so many actions."""
    ask: st.SearchStrategy[Action] = st.builds(
        Ask,
        session=_WHO,
        head=st.integers(0, 3),
        words=_WORDS,
        fresh=st.sampled_from((False, False, False, True)),
        limit=_LIMIT,
        stop=_STOP,
        ignore_eos=st.booleans(),
        priority=st.sampled_from(Priority),
        slow=st.booleans(),
        n=st.sampled_from((1, 1, 1, 2, 3)),
        form=st.sampled_from((*["messages"] * 6, "constrained", "text", "tokens", "refused")),
        progress=st.booleans(),
    )
    fork: st.SearchStrategy[Action] = st.builds(
        Fork, index=_INDEX, session=_WHO, words=_WORDS, limit=_LIMIT, slow=st.booleans()
    )
    step: st.SearchStrategy[Action] = st.builds(Step, count=st.sampled_from((1, 2, 5, 20)))
    users: list[st.SearchStrategy[Action]] = [
        st.builds(Cancel, index=_INDEX, live=st.booleans()),
        st.builds(Read, index=_INDEX),
        st.builds(Forget, session=st.sampled_from(SESSIONS)),
        st.builds(Focus, session=_WHO),
    ]
    change: st.SearchStrategy[Action] = st.builds(
        Change,
        layout=st.sampled_from(("unified", "split")),
        places=st.integers(1, 4),
        queue=st.sampled_from((0, 2, 24)),
        speculation=st.sampled_from(("on", "off", "auto")),
        drafts=st.sampled_from((1, 6, 30)),
    )
    statuses = (StepStatus.PARTIAL, StepStatus.PARTIAL, StepStatus.NO_KV, StepStatus.INVALID)
    hardware: list[st.SearchStrategy[Action]] = [
        st.builds(
            Fault,
            status=st.sampled_from(statuses),
            times=st.sampled_from((1, 1, 2, 3)),
            partial=st.integers(0, 3),
            torn=st.integers(0, 4),
        ),
        st.builds(LoseStates, saves=st.integers(0, 2), restores=st.integers(0, 4)),
        st.builds(DiskFault, kind=st.sampled_from(("write", "read", "damage"))),
        st.builds(DiskWork, count=st.integers(1, 3)),
    ]
    ends: st.SearchStrategy[Action] = st.one_of(
        st.just(Reload()),
        st.builds(
            Bomb, method=st.sampled_from(("execute", "moves", "open_sampler", "close_sampler", "resident"))
        ),
    )
    weights = [
        (step, 12),
        (ask, 10),
        (fork, 2),
        (change, 1),
        *((user, 2) for user in users),
        (st.one_of(hardware), 3),
    ]
    # `one_of` drops what it has already; and a failing program shrinks towards the first kind.
    kinds = st.sampled_from([kind for kind, weight in weights for _ in range(weight)]).flatmap(_same)
    some = st.lists(kinds, max_size=most // 4)
    many = st.lists(kinds, min_size=most // 2, max_size=most)
    once = st.lists(ends, max_size=1)  # or most lives would be too short to run out of anything
    return st.builds(_join, some | many | many, once, some)


def _same(kind: st.SearchStrategy[Action]) -> st.SearchStrategy[Action]:
    return kind


def _join(*parts: list[Action]) -> list[Action]:
    return [action for part in parts for action in part]
