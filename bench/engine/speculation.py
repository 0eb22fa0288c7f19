"""Whole answers with speculation on, beside llama-server: on a mix of prompts, and where an answer copies.

Our engine drafts where it finds a gain ("auto"); llama-server decodes token by token. The mix asks for
stories, lists, code and summaries, with the default sampling. The rewriting asks for a text again, greedily,
and for a tenth less than all of it, after an example of how that is done. Answers that loop are left out with
what the other side answered in the same round, since a loop is easily guessed; so are rewritings of which
less than 80% is copied.

    python bench/engine/speculation.py --json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import cli
from bench.cli import BenchError, Result, Setup
from bench.engine.llama_server import LlamaServer
from bench.engine.sides import Answer, Ours, Side, config, gather
from bench.ratios import Ratio
from bench.rounds import interleave
from engine import ChatMessage, Engine, SamplingParams

_TASKS = Path(__file__).with_name("tasks.json")
_COPIED = 0.8  # least share of a rewriting that is copied
_RUN = 3  # words in a row that count as copied
_SETS = ("mix", "rewriting")


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure; sizes in tokens.

    Args:
        gen_tokens: length of an answer of the mix.
    """

    prompts: tuple[str, ...]
    sessions: tuple[int, ...]
    gen_tokens: int
    session_context: int


@dataclass(frozen=True, slots=True)
class Task:
    """What to ask.

    Args:
        copied: the text that the answer has to copy; empty if it may say anything.
        tokens: length of the answer.
    """

    messages: tuple[ChatMessage, ...]
    copied: str
    tokens: int
    sampling: SamplingParams


class Wave(NamedTuple):
    """Answers that were asked for at the same time.

    Args:
        sound: none of them loops, or fails to copy what it should.
    """

    tokens: int
    seconds: float
    sound: bool


class Run(tuple[Wave, ...]):
    """All waves of one side in one round."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{_speed(self):.1f} tokens/s"


async def measure(setup: Setup, settings: Settings) -> Result:
    """Measure every set of prompts with every number of chats."""
    rows = [await _row(setup, settings, name, n) for name in settings.prompts for n in settings.sessions]
    return setup.describe() | {"rows": rows}


async def _row(setup: Setup, settings: Settings, prompts: str, sessions: int) -> Result:
    context = sessions * settings.session_context
    ours = config(setup, max_sessions=sessions, context_tokens=context, kv_layout="split", speculation="auto")
    async with Engine(ours) as engine, LlamaServer(setup, slots=sessions, context=context) as server:
        tasks = read_tasks(prompts, settings.gen_tokens, engine.count_tokens)
        once = partial(_once, tasks, sessions)
        runs = {"ours": partial(once, Ours(engine)), "llama_server": partial(once, server)}
        label = f"{prompts}, {sessions} sessions:"
        waves = await interleave(setup.limits, runs, lambda so_far: [compared(so_far)], label=label)
        stats = engine.stats()
    drafts = {"drafted": stats.drafted_tokens, "accepted": stats.accepted_tokens}
    return {"prompts": prompts, "sessions": sessions} | summary(waves) | drafts


def read_tasks(prompts: str, gen_tokens: int, count: Callable[[str], int]) -> list[Task]:
    """The tasks of a set.

    Args:
        count: the tokens of a text.
    """
    tasks = json.loads(_TASKS.read_text(encoding="utf-8"))[prompts]
    if prompts == "mix":
        asked = ["\n\n".join(part for part in (task["ask"], task.get("text")) if part) for task in tasks]
        return [Task((ChatMessage("user", ask),), "", gen_tokens, SamplingParams()) for ask in asked]
    # A small model copies once the chat has shown it how.
    ask, example = f"{tasks['ask']}\n\n", tasks["example"]
    shown = ChatMessage("user", ask + example), ChatMessage("assistant", example)
    greedy = SamplingParams(temperature=0)
    return [
        Task((*shown, ChatMessage("user", ask + text)), text, count(text) * 9 // 10, greedy)
        for text in tasks["texts"]
    ]


async def _once(tasks: Sequence[Task], sessions: int, side: Side, number: int) -> Run:
    waves = []
    for begin in range(0, len(tasks), sessions):
        waves.append(await _wave(tasks[begin : begin + sessions], side, f"{number}.{begin}"))
        await side.idle()
    return Run(waves)


async def _wave(tasks: Sequence[Task], side: Side, number: str) -> Wave:
    prompts = []
    for at, task in enumerate(tasks):
        first, *rest = task.messages
        fresh = replace(first, content=f"Request {number}.{at}. {first.content}")  # no cache holds it
        prompt = await side.prepare([fresh, *rest])
        prompts.append(replace(prompt, session=f"chat {at}", sampling=task.sampling))
    answers = [Answer() for _ in tasks]
    asked = zip(prompts, tasks, answers, strict=True)
    await gather(side.ask(prompt, task.tokens, answer) for prompt, task, answer in asked)
    end = max(answer.marks[-1][0] for answer in answers)
    seconds = end - min(answer.sent for answer in answers)
    good = all(sound(answer.text, task.copied) for task, answer in zip(tasks, answers, strict=True))
    return Wave(sum(answer.tokens for answer in answers), seconds, good)


def sound(answer: str, copied: str) -> bool:
    """Whether an answer counts: it does not loop, and copies what it should."""
    return not loops(answer.split()) and (not copied or copied_share(answer, copied) >= _COPIED)


def loops(words: Sequence[str]) -> bool:
    """Whether some words are said three times in a row, or twice if they are six or more."""
    for length in range(1, len(words) // 2 + 1):
        times = 2 if length >= 6 else 3
        for begin in range(len(words) - times * length + 1):
            said = words[begin : begin + length]
            following = range(begin + length, begin + times * length, length)
            if all(words[place : place + length] == said for place in following):
                return True
    return False


def copied_share(answer: str, text: str) -> float:
    """The share of an answer's words that are copied from a text in its order, three or more in a row."""
    words = answer.split()
    blocks = SequenceMatcher(None, text.split(), words, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size >= _RUN) / max(1, len(words))


def speeds(ours: Sequence[Wave], peer: Sequence[Wave]) -> tuple[float, float]:
    """Tokens per second of both sides in one round, over the waves that are sound on both.

    Raises:
        BenchError: there is none.
    """
    kept = [pair for pair in zip(ours, peer, strict=True) if pair[0].sound and pair[1].sound]
    if not kept:
        raise BenchError("All answers of a round loop, or copy too little: use another model.")
    mine, other = zip(*kept, strict=True)
    return _speed(mine), _speed(other)


def _speed(waves: Sequence[Wave]) -> float:
    return sum(wave.tokens for wave in waves) / sum(wave.seconds for wave in waves)


def compared(waves: Mapping[str, Sequence[Sequence[Wave]]]) -> Ratio:
    """Ours over llama-server's."""
    return Ratio.between(*zip(*map(speeds, waves["ours"], waves["llama_server"]), strict=True))


def summary(waves: Mapping[str, Sequence[Sequence[Wave]]]) -> Result:
    """Medians of the speeds, their ratio, and the share of the waves that were sound on both sides."""
    ours, peer = zip(*map(speeds, waves["ours"], waves["llama_server"]), strict=True)
    pairs = [
        a.sound and b.sound
        for mine, other in zip(waves["ours"], waves["llama_server"], strict=True)
        for a, b in zip(mine, other, strict=True)
    ]
    return {
        "ours_tps": round(median(ours), 1),
        "llama_server_tps": round(median(peer), 1),
        "kept_share": round(sum(pairs) / len(pairs), 3),
        **compared(waves).entry(),
    }


def show(result: Result) -> Iterator[str]:
    """Format the rows as a table."""
    yield f"{'prompts':10} {'sessions':>8} {'ours':>8} {'server':>8}   tokens/s; ratio; sound answers"
    for r in result["rows"]:
        both = f"{r['prompts']:10} {r['sessions']:8} {r['ours_tps']:8} {r['llama_server_tps']:8}"
        hits = f"{r['accepted']} of {r['drafted']} drafts accepted"
        yield f"{both}   {Ratio.read(r)}; {r['kept_share']:.0%}; {r['rounds']} rounds, {hits}"


def main() -> None:
    """Measure and print."""
    parser = cli.parser(__doc__)
    parser.add_argument("--prompts", nargs="+", choices=_SETS, default=_SETS)
    parser.add_argument("--sessions", type=cli.counts, default=(1,))
    parser.add_argument("--gen-tokens", type=int, default=96)
    parser.add_argument("--session-context", type=int, default=2048, help="KV cells per session")
    args = parser.parse_args()
    settings = Settings(tuple(args.prompts), args.sessions, args.gen_tokens, args.session_context)
    cli.run(args, partial(measure, settings=settings), show)


if __name__ == "__main__":
    main()
