"""One way to ask our engine and llama-server, so that each benchmark is written once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Protocol

from bench.cli import Setup
from bench.rounds import Marks
from engine import ChatMessage, Engine, EngineConfig, GenerationRequest, SamplingParams

__all__ = ["Answer", "Ours", "Prompt", "Side", "ask_all", "config", "gather", "until"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat to answer.

    Args:
        messages: the chat.
        rendered: the same through the chat template, where a side wants it so.
        session: whose chat it is; llama-server's slots keep what they have read in any case.
    """

    messages: SequenceOf[ChatMessage]
    rendered: str = ""
    session: str | None = None


@dataclass(slots=True)
class Answer:
    """What a reader saw, filled while it reads; times are readings of `perf_counter`, in seconds."""

    sent: float = 0.0
    marks: Marks = field(default_factory=list)
    prompt_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens read so far."""
        return sum(count for _, count in self.marks)

    @property
    def ttft_s(self) -> float:
        """Seconds from the request to the first token."""
        return self.marks[0][0] - self.sent


class Side(Protocol):
    """Something that answers chats."""

    async def prepare(self, messages: SequenceOf[ChatMessage]) -> Prompt:
        """Do what is not to be timed."""

    async def ask(self, prompt: Prompt, max_tokens: int, answer: Answer) -> None:
        """Generate exactly `max_tokens` tokens into `answer`; cancelling the task ends the request."""

    async def idle(self) -> None:
        """Wait until nothing is being computed."""


class Ours:
    """Our engine, measured where its user sees it: at the readers of the streams."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def prepare(self, messages: SequenceOf[ChatMessage]) -> Prompt:
        """Nothing: rendering and tokenising are part of what we time."""
        return Prompt(messages)

    async def ask(self, prompt: Prompt, max_tokens: int, answer: Answer) -> None:
        """See `Side`."""
        sampling = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
        answer.sent = perf_counter()
        stream = self.engine.submit(
            GenerationRequest(messages=prompt.messages, sampling=sampling, session_id=prompt.session)
        )
        try:
            async for chunk in stream:
                answer.marks.append((perf_counter(), chunk.tokens))
        finally:
            if stream.finish_reason is None:
                stream.cancel()
        answer.prompt_tokens = stream.timings.prompt_tokens

    async def idle(self) -> None:
        """See `Side`."""
        await asyncio.sleep(0.2)  # the live fields of the statistics are a tenth of a second old at most
        await until(self._at_rest)

    async def _at_rest(self) -> bool:
        stats = self.engine.stats()
        return not stats.active and not stats.waiting


def config(setup: Setup, **settings: Any) -> EngineConfig:
    """Settings of our engine for a comparison: nothing guessed ahead, since no peer does that."""
    common: dict[str, Any] = {"threads": setup.threads, "gpu_layers": setup.gpu_layers, "speculation": "off"}
    return EngineConfig(model_path=setup.model, **(common | settings))


async def ask_all(side: Side, chats: SequenceOf[SequenceOf[ChatMessage]], max_tokens: int) -> list[Answer]:
    """Ask all chats at once and read all answers to their ends."""
    prompts = [
        replace(await side.prepare(messages), session=f"chat {number}")
        for number, messages in enumerate(chats)
    ]
    answers = [Answer() for _ in prompts]
    await gather(
        side.ask(prompt, max_tokens, answer) for prompt, answer in zip(prompts, answers, strict=True)
    )
    return answers


async def gather(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all at once; when one fails, end the others and raise its error."""
    try:
        async with asyncio.TaskGroup() as group:
            for item in work:
                group.create_task(item)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def until(met: Callable[[], Awaitable[bool]], every_s: float = 0.05) -> None:
    """Wait for a condition."""
    while True:
        if await met():
            return
        await asyncio.sleep(every_s)
