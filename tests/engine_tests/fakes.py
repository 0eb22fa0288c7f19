"""A backend without a model, for scheduling and faults.

Text is one token per character; a model that always goes on counting through the alphabet. It keeps a real
ledger of KV cells and refuses what llama.cpp would abort on, so that a wrong plan fails the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import Any

from engine.backend import ModelInfo
from engine.config import EngineConfig
from engine.core import EngineCore, Submit
from engine.errors import TemplateError
from engine.step import StepPlan, StepResult, StepStatus
from engine.stream import TokenStream
from engine.types import ChatMessage, SamplingParams

EOG = 0


class FakeBackend:
    """Implements `engine.backend.Backend`.

    Attributes:
        kv: slot -> tokens in its cache.
        statuses: outcomes of the next forwards; OK when empty.
        partial: on PARTIAL, how many of a plan's work items were computed before the forward broke off.
        plans: every plan that was executed.
        invalid: request ids whose work llama.cpp would refuse.
    """

    def __init__(
        self, *, cells: int = 1024, context: int | None = None, partial_removal: bool = True
    ) -> None:
        self.info = ModelInfo(
            name="fake",
            description="fake",
            path=Path("fake.gguf"),
            context_tokens=context or cells,
            kv_cells=cells,
            trained_context=context or cells,
            vocab_size=0x110000,
            size_bytes=1,
            parameters=1,
            kv_bytes_per_token=1,
            layer_count=1,
            offloaded_layers=0,
            template_name="gguf",
            partial_removal=partial_removal,
        )
        self.cells = cells
        self.kv: dict[int, list[int]] = {}
        self.statuses: list[StepStatus] = []
        self.partial = 0
        self.plans: list[StepPlan] = []
        self.invalid: set[int] = set()
        self.samplers: dict[int, SamplingParams] = {}
        self.script: dict[int, list[int]] = {}
        self.closed = False

    @property
    def used(self) -> int:
        return sum(len(tokens) for tokens in self.kv.values())

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        return [ord(char) for char in text]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return b"" if token == EOG and not special else chr(token).encode()

    def is_eog(self, token: int) -> bool:
        return token == EOG

    def render(self, messages: SequenceOf[ChatMessage]) -> str:
        if any(message.content == "refuse me" for message in messages):
            raise TemplateError("The model's chat template cannot render this chat: refused.")
        return "".join(message.content + chr(EOG) for message in messages)

    def open_sampler(self, request_id: int, params: SamplingParams, prompt: SequenceOf[int]) -> None:
        assert params.seed is not None
        self.samplers[request_id] = params

    def close_sampler(self, request_id: int) -> None:
        del self.samplers[request_id]

    def execute(self, plan: StepPlan) -> StepResult:
        self.plans.append(plan)
        for trim in plan.trims:
            assert trim.keep <= len(self.kv.get(trim.slot, []))
            assert self.info.partial_removal or trim.keep == 0
            self.kv[trim.slot] = self.kv.get(trim.slot, [])[: trim.keep]
        if not plan.work:
            return StepResult()
        status = self.statuses.pop(0) if self.statuses else StepStatus.OK
        if self.invalid & {item.request_id for item in plan.work}:
            status = StepStatus.INVALID
        if status is StepStatus.OK and self.used + plan.tokens > self.cells:
            status = StepStatus.NO_KV
        if status in (StepStatus.NO_KV, StepStatus.INVALID):
            return StepResult(status)
        done = plan.work if status is StepStatus.OK else plan.work[: self.partial]
        for item in done:
            held = self.kv.setdefault(item.slot, [])
            assert item.start == len(held), f"slot {item.slot}: position {item.start}, holds {len(held)}"
            held.extend(item.tokens)
        if status is not StepStatus.OK:
            return StepResult(status)
        return StepResult(
            sampled={w.request_id: self._next(w.request_id, w.tokens[-1]) for w in done if w.sample}
        )

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
        defaults = {"max_sessions": 4, "cached_sessions": 4, "batch_tokens": 64, "prefill_tokens": 32}
        self.backend = FakeBackend(cells=cells, context=context, partial_removal=partial_removal)
        self.config = EngineConfig(model_path=Path("fake.gguf"), **(defaults | settings))
        self.core = EngineCore(self.config, self.backend)

    def submit(self, text: str, *, session_id: str | None = None, **sampling: Any) -> TokenStream:
        """Queue a prompt of one token per character."""
        stream = TokenStream(asyncio.get_running_loop(), self.cancel)
        params = SamplingParams(**({"max_tokens": 8} | sampling))
        tokens = self.core.encoder.encode([ChatMessage("user", text)], session_id)
        self.core.post(Submit(stream, tokens, params, session_id, 0.0))
        return stream

    def cancel(self, stream: TokenStream) -> None:
        from engine.core import Cancel

        self.core.post(Cancel(stream))

    def run(self, limit: int = 10_000) -> int:
        """Step until nothing is left to do; returns the number of steps."""
        for count in range(limit):
            if not self.core.step():
                return count
        raise AssertionError(f"still busy after {limit} steps")


async def read(stream: TokenStream) -> str:
    """All the text of a stream that has ended."""
    return "".join([chunk.text async for chunk in stream])
