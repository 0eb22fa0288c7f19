"""The first token of a warm chat, beside one forward pass of its new tokens with nothing around it.

The chat's past is in the KV cache, a new message arrives, and nothing else runs. Ours is the time from the
request to the reader: rendering, tokenising, the way to the engine's thread and back are part of it. The
forward pass is that of `bare`, in a process of its own, of as many tokens behind as many in the cache.

    python bench/engine/warm.py --json
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from bench import cli
from bench.cli import Result, Setup
from bench.engine.peers import bare_passes
from bench.engine.sides import Answer, Ours, config, text_of
from bench.ratios import Ratio
from bench.rounds import interleave
from engine import ChatMessage, Engine


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure; sizes in tokens.

    Args:
        messages: how many are asked in a round; the median counts.
    """

    past_tokens: int
    message_tokens: int
    messages: int
    context: int


async def measure(setup: Setup, settings: Settings) -> Result:
    """Medians of both times, and their ratio."""
    ours = config(setup, context_tokens=settings.context)
    async with Engine(ours) as engine:
        chat = _Chat(engine, settings)
        await chat.ask("past")
        usual = await chat.ask("usual")
        cached, fresh = usual.cached_tokens, usual.prompt_tokens - usual.cached_tokens

        async def alone(number: int) -> float:
            found = await bare_passes(setup, cached=cached, rows=[fresh], context=settings.context)
            return found[0] / 1e3

        runs = {"ours": chat.first_token, "alone": alone}
        label = f"{fresh} tokens behind {cached}:"
        times = await interleave(setup.limits, runs, lambda so_far: [compared(so_far)], label=label)
    return setup.describe() | {"cached_tokens": cached, "new_tokens": fresh} | summary(times)


class _Chat:
    """A chat whose last message is another each time, so that the same tokens stay in the cache."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._side = Ours(engine)
        self._engine = engine
        self._settings = settings
        past = text_of(settings.past_tokens, engine.count_tokens, "past")
        self._past = [ChatMessage("user", past), ChatMessage("assistant", "I see. And what happened then?")]

    async def ask(self, seed: str) -> Answer:
        """Ask for one token."""
        text = text_of(self._settings.message_tokens, self._engine.count_tokens, seed)
        prompt = replace(await self._side.prepare([*self._past, ChatMessage("user", text)]), session="warm")
        answer = Answer()
        await self._side.ask(prompt, 1, answer)
        return answer

    async def first_token(self, number: int) -> float:
        """The median of some messages' times to first token; a first one wakes up threads and caches."""
        answers = [await self.ask(f"{number}.{at}") for at in range(self._settings.messages + 1)]
        return median(answer.ttft_s for answer in answers[1:])


def compared(times: Mapping[str, Sequence[float]]) -> Ratio:
    """Ours over the forward pass."""
    return Ratio.between(times["ours"], times["alone"])


def summary(times: Mapping[str, Sequence[float]]) -> Result:
    """Medians of both times, and their ratio."""
    return {f"{side}_ms": round(median(some) * 1e3, 2) for side, some in times.items()} | compared(
        times
    ).entry()


def show(result: Result) -> Iterator[str]:
    """Format the result as two lines."""
    r = result
    yield f"{r['new_tokens']} new tokens behind {r['cached_tokens']} in the cache, first token after:"
    times = f"ours {r['ours_ms']} ms, one forward pass {r['alone_ms']} ms"
    yield f"{times}, ratio {Ratio.read(r)}, {r['rounds']} rounds"


def main() -> None:
    """Measure and print."""
    parser = cli.parser(__doc__)
    parser.add_argument("--past-tokens", type=int, default=1000)
    parser.add_argument("--message-tokens", type=int, default=48)
    parser.add_argument("--messages", type=int, default=5)
    parser.add_argument("--context", type=int, default=4096, help="KV cells")
    args = parser.parse_args()
    settings = Settings(args.past_tokens, args.message_tokens, args.messages, args.context)
    cli.run(args, partial(measure, settings=settings), show)


if __name__ == "__main__":
    main()
