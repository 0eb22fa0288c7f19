"""Many chats start with the same text: is it prefilled once or once each?

Eight chats share a system prompt that no cache holds, and all ask at the same time: the time until every one
has a first token, beside llama-server. And four candidate answers to one long prompt: the prompt tokens
really computed, over the length of the prompt.

    python bench/engine/prefixes.py --json
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench import cli
from bench.cli import Result, Setup
from bench.engine.llama_server import LlamaServer
from bench.engine.sides import Ours, Side, ask_all, config, question, text_of
from bench.ratios import Ratio
from bench.rounds import interleave
from engine import ChatMessage, Engine, GenerationRequest, SamplingParams, TokenStream

_ANSWER_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure; sizes in tokens."""

    sessions: int
    prompt_tokens: int
    candidates: int
    session_context: int


async def measure(setup: Setup, settings: Settings) -> Result:
    """The times until all have a first token, and the tokens that candidates cost."""
    context = settings.sessions * settings.session_context
    ours = config(setup, max_sessions=settings.sessions, context_tokens=context)
    async with (
        Engine(ours) as engine,
        LlamaServer(setup, slots=settings.sessions, context=context) as server,
    ):
        once = partial(_once, settings, engine)
        runs = {"ours": partial(once, Ours(engine)), "llama_server": partial(once, server)}
        label = f"{settings.sessions} chats, one system prompt:"
        times = await interleave(setup.limits, runs, lambda so_far: [compared(so_far)], label=label)
        shares = [await _candidates(settings, engine, number) for number in range(len(times["ours"]))]
    counts = {"sessions": settings.sessions, "prompt_tokens": settings.prompt_tokens}
    return setup.describe() | counts | summary(times, settings.candidates, shares)


async def _once(settings: Settings, engine: Engine, side: Side, number: int) -> float:
    """Seconds from the first request until the last chat has its first token."""
    chats = [
        [_system(settings, engine, f"shared {number}"), *question(chat, number)]
        for chat in range(settings.sessions)
    ]
    answers = await ask_all(side, chats, _ANSWER_TOKENS)
    await side.idle()
    return max(answer.marks[0][0] for answer in answers) - min(answer.sent for answer in answers)


def _system(settings: Settings, engine: Engine, seed: str) -> ChatMessage:
    return ChatMessage("system", text_of(settings.prompt_tokens, engine.count_tokens, seed))


async def _candidates(settings: Settings, engine: Engine, number: int) -> float:
    """Computed tokens over the prompt's; an answer of one token computes none of its own."""
    messages = [_system(settings, engine, f"candidates {number}"), *question(0, number)]
    sampling = SamplingParams(max_tokens=1, ignore_eos=True)
    request = GenerationRequest(messages=messages, sampling=sampling, n=settings.candidates)
    side = Ours(engine)
    await side.idle()
    before = engine.stats().computed_tokens
    streams = engine.candidates(request)
    await asyncio.gather(*(_drain(stream) for stream in streams))
    await side.idle()
    return (engine.stats().computed_tokens - before) / max(s.timings.prompt_tokens for s in streams)


async def _drain(stream: TokenStream) -> None:
    async for _ in stream:
        pass


def compared(times: Mapping[str, Sequence[float]]) -> Ratio:
    """Ours over llama-server's."""
    return Ratio.between(times["ours"], times["llama_server"])


def summary(times: Mapping[str, Sequence[float]], candidates: int, shares: Sequence[float]) -> Result:
    """Medians of the times, their ratio, and the share that candidates cost."""
    return {
        "ours_s": round(median(times["ours"]), 3),
        "llama_server_s": round(median(times["llama_server"]), 3),
        "candidates": candidates,
        **Ratio.of(shares).entry("candidates_ratio"),
        **compared(times).entry(),
    }


def show(result: Result) -> Iterator[str]:
    """Format the result as two lines."""
    r = result
    yield (
        f"{r['sessions']} chats, {r['prompt_tokens']} shared tokens, until all have a first token:"
        f" ours {r['ours_s']:.2f} s, llama-server {r['llama_server_s']:.2f} s, ratio {Ratio.read(r)}"
    )
    yield f"{r['candidates']} candidates of one prompt: computed {r['candidates_ratio']} of its tokens"


def main() -> None:
    """Measure and print."""
    parser = cli.parser(__doc__)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--session-context", type=int, default=2048, help="KV cells per session")
    args = parser.parse_args()
    settings = Settings(args.sessions, args.prompt_tokens, args.candidates, args.session_context)
    cli.run(args, partial(measure, settings=settings), show)


if __name__ == "__main__":
    main()
