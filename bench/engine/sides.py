"""One way to ask our engine and llama-server, and the prompts to ask."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Protocol

from bench.cli import Setup, Sizes
from bench.engine.peers import Decoding
from bench.rounds import Marks
from engine import ChatMessage, Engine, EngineConfig, GenerationRequest, SamplingParams

__all__ = [
    "Answer",
    "Ours",
    "Prompt",
    "Side",
    "ask_all",
    "config",
    "decoding",
    "gather",
    "overall_rate",
    "question",
    "text_of",
    "until",
]

_COMMON = (
    "the of and a to in he was that it his her with as had for she not at but be on they have him which said"
    " from all this one were so you would an there been if what when who will more out do up into your them"
    " time some could then than other its over like now man me little two after these can only made where"
    " first before must any such our house way long day water night hand light sea wind stone road river"
)
_WORDS = _COMMON.split()

# A model without a template would stop at the next "User:", in the middle of a measurement.
_PLAIN = "{% for message in messages %}{{ message.content }}{% endfor %}"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat to answer.

    Args:
        messages: the chat.
        rendered: the chat through its template, for a side that needs it.
        session: the chat's id; llama-server keeps each slot's prompt in any case.
        sampling: how tokens are chosen; its limits do not count.
    """

    messages: Sequence[ChatMessage]
    rendered: str = ""
    session: str | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)


@dataclass(slots=True)
class Answer:
    """What a reader receives, filled as it reads; times are `perf_counter` readings in seconds."""

    sent: float = 0.0
    marks: Marks = field(default_factory=list)
    text: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens read so far."""
        return sum(count for _, count in self.marks)

    @property
    def ttft_s(self) -> float:
        """Seconds from the request to the first token."""
        return self.marks[0][0] - self.sent


class Side(Protocol):
    """Our engine or a peer, answering chats."""

    async def prepare(self, messages: Sequence[ChatMessage]) -> Prompt:
        """Do the work that is not timed."""

    async def ask(self, prompt: Prompt, max_tokens: int, answer: Answer) -> None:
        """Generate exactly `max_tokens` tokens into `answer`; cancelling the task ends the request."""

    async def idle(self) -> None:
        """Wait until no request is running."""


class Ours:
    """Our engine, measured where its user sees it: at the readers of the streams."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def prepare(self, messages: Sequence[ChatMessage]) -> Prompt:
        """Nothing: rendering and tokenising are part of what we time."""
        return Prompt(messages)

    async def ask(self, prompt: Prompt, max_tokens: int, answer: Answer) -> None:
        """See `Side`."""
        sampling = replace(prompt.sampling, max_tokens=max_tokens, ignore_eos=True)
        answer.sent = perf_counter()
        stream = self.engine.submit(
            GenerationRequest(messages=prompt.messages, sampling=sampling, session_id=prompt.session)
        )
        try:
            async for chunk in stream:
                answer.marks.append((perf_counter(), chunk.tokens))
                answer.text += chunk.text
        finally:
            if stream.finish_reason is None:
                stream.cancel()
        answer.prompt_tokens = stream.timings.prompt_tokens
        answer.cached_tokens = stream.timings.cached_tokens

    async def idle(self) -> None:
        """See `Side`."""
        await asyncio.sleep(0.2)  # live stats are up to 0.1 s old
        await until(self._at_rest)

    async def _at_rest(self) -> bool:
        stats = self.engine.stats()
        return not stats.active and not stats.waiting


def config(setup: Setup, **settings: Any) -> EngineConfig:
    """Our engine's settings for a comparison; no speculation unless asked for, since no peer does it."""
    common: dict[str, Any] = {"threads": setup.threads, "gpu_layers": setup.gpu_layers, "speculation": "off"}
    return EngineConfig(model_path=setup.model, **(common | settings))


async def decoding(setup: Setup, sizes: Sizes, sessions: int) -> tuple[EngineConfig, Decoding]:
    """Our engine set up to decode as fast as it can, and the same work for a peer."""
    ours = config(
        setup,
        max_sessions=sessions,
        cached_sessions=0,
        context_tokens=sessions * sizes.session_context,
        step_target_ms=60_000,
        chat_template=_PLAIN,
    )
    async with Engine(ours) as engine:
        prompt = engine.count_prompt(question(0, 0))
    return ours, Decoding(sessions, prompt, sizes.gen_tokens, ours.context_tokens)


async def ask_all(side: Side, chats: Sequence[Sequence[ChatMessage]], max_tokens: int) -> list[Answer]:
    """Ask all chats concurrently and read every answer to its end."""
    prompts = [
        replace(await side.prepare(messages), session=f"chat {number}")
        for number, messages in enumerate(chats)
    ]
    answers = [Answer() for _ in prompts]
    await gather(
        side.ask(prompt, max_tokens, answer) for prompt, answer in zip(prompts, answers, strict=True)
    )
    return answers


def overall_rate(answers: Sequence[Answer]) -> float:
    """Tokens per second from the first request to the last token, prompts included."""
    begin = min(answer.sent for answer in answers)
    end = max(answer.marks[-1][0] for answer in answers)
    return sum(answer.tokens for answer in answers) / (end - begin)


async def gather(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all concurrently; when one fails, cancel the others and raise its error."""
    try:
        async with asyncio.TaskGroup() as group:
            for item in work:
                group.create_task(item)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def until(met: Callable[[], Awaitable[bool]], every_s: float = 0.05) -> None:
    """Poll until a condition holds."""
    while True:
        if await met():
            return
        await asyncio.sleep(every_s)


def question(chat: int, number: int) -> list[ChatMessage]:
    """A short prompt for a long answer, different for each chat and round, so that no cache holds it."""
    return [
        ChatMessage("user", f"Number {number}.{chat}: tell me, as well as you can, a story about the sea.")
    ]


def text_of(tokens: int, count: Callable[[str], int], seed: str) -> str:
    """Random words of about `tokens` tokens, the same words for the same seed."""
    chosen = random.Random(seed).choices(_WORDS, k=tokens)
    low, high = 0, len(chosen)  # a word is at least a token, so `tokens` words suffice
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(" ".join(chosen[:middle])) <= tokens else (low, middle - 1)
    return " ".join(chosen[:low])
