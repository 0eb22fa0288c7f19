"""A backend without a model, for scheduling and faults.

Text is one token per character; a model that counts through the alphabet. It keeps a real
ledger of KV cells and refuses what llama.cpp would abort on, so that a wrong plan fails the test.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.engine.fake_backend import fake_info
from engine.config import EngineConfig
from engine.core import Cancel, EngineCore, Resume, Submit
from engine.errors import TemplateError
from engine.step import (
    Copy,
    Move,
    Restore,
    Save,
    SpecialTokens,
    State,
    StepPlan,
    StepResult,
    StepStatus,
    Trim,
    Work,
)
from engine.stream import TokenStream
from engine.text import TemplateProcess
from engine.types import ChatMessage, Priority, SamplingParams

EOG = 0
TILE = 64
PROCESS = TemplateProcess()  # for templates without a model
atexit.register(PROCESS.close)


class FakeBackend:
    """Implements `engine.step.Backend`.

    Attributes:
        kv: slot -> numbers of its cells; slots may share cells. cell: number -> token.
        bad_states: number of restores that will fail.
        statuses: outcomes of the next forward passes; OK when empty.
        partial: on PARTIAL, how many of a plan's work items were computed before the forward pass broke off.
        plans: every plan that was executed.
        row_s: what a prompt's token costs in a step of less than a tile; 0.001 in others.
        invalid: request ids whose work llama.cpp would refuse.
        streams, pending: in a split cache, what lies in each slot's part of the memory, and the copies of
            parts that the next forward pass makes before it computes.
    """

    def __init__(
        self,
        *,
        cells: int = 1024,
        context: int | None = None,
        partial_removal: bool = True,
        split: bool = False,
        token_bytes: int = 1,
        offloaded: bool = False,
        row_s: float = 0.001,
    ) -> None:
        self.row_s = row_s
        self.info = replace(
            fake_info(cells),
            kv_bytes_per_token=token_bytes,
            context_tokens=context or cells,
            trained_context=context or cells,
            partial_removal=partial_removal,
            split_cache=split,
            offloaded_layers=int(offloaded),
        )
        self.cells = cells
        self.kv: dict[int, list[int]] = {}
        self.cell: dict[int, int] = {}
        self.made = 0
        self.bad_states = 0
        self.statuses: list[StepStatus] = []
        self.partial = 0
        self.plans: list[StepPlan] = []
        self.invalid: set[int] = set()
        self.samplers: dict[int, SamplingParams] = {}
        self.script: dict[int, list[int]] = {}
        self.closed = False
        self.streams: dict[int, list[int]] = {}
        self.pending: list[tuple[int, int]] = []

    @property
    def used(self) -> int:
        return len({number for held in self.kv.values() for number in held})

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        return [ord(char) for char in text]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return b"" if token == EOG and not special else chr(token).encode()

    def is_eog(self, token: int) -> bool:
        return token == EOG

    def special_tokens(self) -> SpecialTokens:
        return SpecialTokens()

    def render(self, messages: Sequence[ChatMessage], **_: Any) -> str:
        if any(message.content == "refuse me" for message in messages):
            raise TemplateError("The model's chat template cannot render this chat: refused.")
        return "".join(message.content + chr(EOG) for message in messages)

    def constrain(self, params: SamplingParams) -> None:
        return None

    def prepare_sampler(self, params: SamplingParams) -> None:
        pass

    def open_sampler(
        self,
        request_id: int,
        params: SamplingParams,
        prompt: Sequence[int],
        constraint: object = None,
    ) -> None:
        assert params.seed is not None
        self.samplers[request_id] = params

    def change_sampler(self, request_id: int, params: SamplingParams, tokens: Sequence[int]) -> None:
        self.samplers[request_id] = params

    def close_sampler(self, request_id: int) -> None:
        del self.samplers[request_id]

    def use_threads(self, threads: int, sampling_threads: int) -> None:
        self.threads = threads

    def execute(self, plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
        assert not self.closed, "llama.cpp would compute on freed memory"
        self.plans.append(plan)
        saved: dict[str, State] = {}
        restored = self._move(plan.moves, saved)
        if not restored:
            return StepResult(StepStatus.LOST, saved=saved)
        if not plan.work:
            return StepResult(saved=saved)
        status = self.statuses.pop(0) if self.statuses else StepStatus.OK
        if self.invalid & {item.request_id for item in plan.work}:
            status = StepStatus.INVALID
        if status is StepStatus.OK and self.used + plan.tokens > self.cells:
            status = StepStatus.NO_KV
        if status is not StepStatus.INVALID:
            self._copy_streams()
        if status in (StepStatus.NO_KV, StepStatus.INVALID):
            return StepResult(status, saved=saved)
        done = plan.work if status is StepStatus.OK else plan.work[: self.partial]
        for item in done:
            held = self.kv.setdefault(item.slot, [])
            assert item.start == len(held), f"slot {item.slot}: position {item.start}, holds {len(held)}"
            held.extend(self._new_cells(item.tokens))
            self._write(item.slot, item.start, item.tokens)
        if status is not StepStatus.OK:
            return StepResult(status, saved=saved)
        if meanwhile is not None:
            meanwhile()
        sampled = {item.request_id: self._sample(item) for item in done if item.rows}
        for item in done:
            if item.drafts:
                wrong = len(item.drafts) + 1 - len(sampled[item.request_id])
                self.kv[item.slot] = self.kv[item.slot][: len(self.kv[item.slot]) - wrong]
        return StepResult(sampled=sampled, saved=saved, decode_s=self.seconds(plan))

    def seconds(self, plan: StepPlan) -> float:
        """Seconds that a forward pass is reported to take; a prompt's tokens cost `row_s` below a tile."""
        decodes, prefill, drafts = plan.shares
        token_s = self.row_s if decodes + prefill + drafts < TILE else 0.001
        return 0.010 + 0.001 * (decodes + drafts) + token_s * prefill

    def tokens(self, slot: int) -> list[int]:
        """What a slot holds."""
        return [self.cell[number] for number in self.kv.get(slot, [])]

    def _new_cells(self, tokens: Sequence[int]) -> list[int]:
        numbers = range(self.made, self.made + len(tokens))
        self.made += len(tokens)
        self.cell.update(zip(numbers, tokens, strict=True))
        return [*numbers]

    def _write(self, slot: int, start: int, tokens: Sequence[int]) -> None:
        self.streams.setdefault(slot, [])[start:] = tokens

    def _copy_streams(self) -> None:
        """Make the pending copies; then each slot's part of the memory must hold its tokens."""
        for source, slot in self.pending:
            self.streams[slot] = [*self.streams.get(source, [])]
        self.pending.clear()
        if self.info.split_cache:
            for slot, held in self.kv.items():
                assert self.streams.get(slot, [])[: len(held)] == self.tokens(slot), (
                    f"slot {slot} was overwritten"
                )

    def _move(self, moves: Sequence[Move], saved: dict[str, State]) -> bool:
        failed: set[int] = set()
        for move in moves:
            held = self.kv.get(move.slot, [])
            if move.slot in failed or (isinstance(move, Copy) and move.source in failed):
                failed.add(move.slot)
                continue
            match move:
                case Trim(slot, keep):
                    assert keep <= len(held)
                    assert self.info.partial_removal or keep == 0
                    self.kv[slot] = held[:keep]
                case Copy(source, slot, start, end):
                    there = self.kv[source]
                    assert self.info.partial_removal or (not held and (start, end) == (0, len(there)))
                    assert len(there) >= end > start
                    assert [self.cell[n] for n in held[:start]] == [self.cell[n] for n in there[:start]]
                    if self.info.split_cache:
                        assert len(held) <= end
                        self.kv[slot] = self._new_cells([self.cell[n] for n in there[:end]])
                        self.pending.append((source, slot))
                    else:
                        assert len(held) >= start
                        self.kv[slot] = held[:start] + there[start:end] + held[end:]
                case Save(slot, key, tokens):
                    assert self.tokens(slot) == [*tokens]
                    if slot in {copied for _, copied in self.pending}:
                        continue
                    saved[key] = b"".join(token.to_bytes(4, "little") for token in tokens)
                case Restore(slot, tokens, state):
                    assert not held
                    if slot in {part for copy in self.pending for part in copy}:
                        failed.add(slot)
                        continue
                    if self.bad_states:
                        self.bad_states -= 1
                        failed.add(slot)
                        continue
                    numbers = [state[i : i + 4] for i in range(0, len(state), 4)]
                    self.kv[slot] = self._new_cells([int.from_bytes(n, "little") for n in numbers])
                    assert len(self.kv[slot]) == tokens
                    self._write(slot, 0, self.tokens(slot))
        for slot in failed:
            self.kv[slot] = []
        return not failed

    def _sample(self, item: Work) -> tuple[int, ...]:
        """The tokens that follow, while the drafts are accepted."""
        sampled: list[int] = []
        for last, draft in zip(item.tokens[-item.rows :], (*item.drafts, None), strict=True):
            sampled.append(self._next(item.request_id, last))
            if sampled[-1] != draft or self.is_eog(sampled[-1]):
                break
        return tuple(sampled)

    def resident(self, slot: int) -> int:
        return len(self.kv.get(slot, []))

    def close(self) -> None:
        self.closed = True

    def _next(self, request_id: int, last: int) -> int:
        if scripted := self.script.get(request_id):
            return scripted.pop(0)
        return ord("a") if not ord("a") <= last < ord("z") else last + 1


class Bench:
    """A core on a fake backend, driven by hand: `submit`, `step`, `run`."""

    def __init__(self, **settings: Any) -> None:
        cells = settings.pop("cells", 1024)
        context = settings.pop("context", None)
        partial_removal = settings.pop("partial_removal", True)
        token_bytes = settings.pop("token_bytes", 1)
        offloaded = settings.pop("offloaded", False)
        row_s = settings.pop("row_s", 0.001)
        defaults: dict[str, Any] = {
            "max_sessions": 4,
            "cached_sessions": 4,
            "batch_tokens": 64,
            "speculation": "off",
            "kv_layout": "unified",
        }
        self.config = EngineConfig(model_path=Path("fake.gguf"), **(defaults | settings))
        self.backend = FakeBackend(
            cells=cells,
            context=context,
            partial_removal=partial_removal,
            split=self.config.split_cache,
            token_bytes=token_bytes,
            offloaded=offloaded,
            row_s=row_s,
        )
        self.core = EngineCore(self.config, self.backend)

    def submit(
        self,
        text: str,
        *,
        session_id: str | None = None,
        priority: Priority = Priority.NORMAL,
        system: str = "",
        **sampling: Any,
    ) -> TokenStream:
        """Queue a prompt of one token per character."""
        stream = TokenStream(asyncio.get_running_loop(), self.cancel, self.resume)
        messages = [ChatMessage("system", system)] if system else []
        messages.append(ChatMessage("user", text))
        prompt = self.core.encoder.encode(messages, session_id)
        self.core.post(
            Submit(
                stream=stream,
                tokens=prompt.tokens,
                head_tokens=prompt.head_tokens,
                turn_tokens=prompt.turn_tokens,
                sampling=SamplingParams(**({"max_tokens": 8} | sampling)),
                session_id=session_id,
                priority=priority,
                submitted=0.0,
            )
        )
        return stream

    def cancel(self, stream: TokenStream) -> None:
        self.core.post(Cancel(stream))

    def resume(self, stream: TokenStream) -> None:
        self.core.post(Resume(stream))

    def run(self, limit: int = 10_000) -> int:
        """Step until nothing is left to do; returns the number of steps."""
        for count in range(limit):
            if not self.core.step():
                return count
        raise AssertionError(f"still busy after {limit} steps")


async def read(stream: TokenStream) -> str:
    """All the text of a stream that has ended."""
    return "".join([chunk.text async for chunk in stream])
