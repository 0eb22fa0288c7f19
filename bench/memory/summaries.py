"""What summaries keep, and what they invent.

None of the texts is part of this project: the chats are LongMemEval's (Wu et al., ICLR 2025), `--data FILE`.
Each chat that holds evidence is stored, leaves the prompt as a whole, and is summarised by the application's
own pipeline (`memory/summaries/`: plan, request, check, fallback). No model judges the result:

- A *fact* is a turn that the set names as evidence. Its *terms* are the content words and numbers of the
  question and its answer that stand in the one sentence of the turn that has most of them. Evidence with
  fewer than two terms is skipped. A fact is kept if the summaries of its chat have at least 80% of its terms.
- A sentence of a summary is *unsupported* if it has a number or a name (a capital letter inside the sentence)
  that the chat does not have, or if no two adjacent sentences of the chat hold half of its content words. The
  application's own check counts words anywhere in the texts, and neither names nor numbers.

`--model`: `starter` is the model that comes along; `stub` copies the start of what it is to summarise; `none`
is an application without a model, which quotes the person.

    python bench/memory/summaries.py --data longmemeval.json --model none,stub,starter --chats 60 --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.cli import BenchError, find_model, note
from bench.rounds import percent
from engine import Engine, EngineConfig
from memory import Memory, Summarizer, TokenCounter
from memory.summaries import Consolidator
from memory.text import content_stems, split_sentences
from stevemin_chat.recall import EngineCounter, EngineSummarizer

__all__ = ["Chat", "Copying", "Fact", "is_unsupported", "measure", "read_chats", "terms_of"]

MODELS = ("none", "stub", "starter")
_KEPT = 0.8
_TERMS = 2
_SUPPORT = 0.5
_CHARACTERS_PER_TOKEN = 4
_HISTORY_TOKENS = 4_096
_NAME = re.compile(r"(?<=[^\s.!?:\u201c\"] )[A-Z][\w'\u2019]+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve"
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS.split())}


@dataclass(frozen=True, slots=True)
class Fact:
    """What a turn states that a question asks for, as the terms of one of its sentences."""

    terms: frozenset[str]

    def share_in(self, text: str) -> float:
        """Of its terms, those that a text has."""
        return len(self.terms & terms_of(text)) / len(self.terms)


@dataclass(slots=True)
class Chat:
    """A chat, role and text of each turn, and the facts in it."""

    name: str
    turns: Sequence[tuple[str, str]]
    facts: list[Fact] = field(default_factory=list)


class Copying:
    """A `memory.Summarizer` without a model: the start of the texts, without the speakers."""

    def summarise(self, texts: Sequence[str], *, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        """See `memory.Summarizer`."""
        bare = " ".join(text.partition(": ")[2] for text in texts)
        return bare[: max_tokens * _CHARACTERS_PER_TOKEN]


def terms_of(text: str) -> frozenset[str]:
    """Stems of the content words, numbers as digits."""
    return frozenset(_DIGITS.get(stem, stem) for stem in content_stems(_with_digits(text)))


def is_unsupported(sentence: str, source: str) -> bool:
    """Whether a chat's text does not say what a sentence of its summary says; see above."""
    lower = source.lower()
    named = [name.lower().removesuffix("'s").removesuffix("\u2019s") for name in _NAME.findall(sentence)]
    numbers = set(_NUMBER.findall(_with_digits(sentence)))
    if not all(name in lower for name in named) or not numbers <= set(_NUMBER.findall(_with_digits(source))):
        return True
    words = terms_of(sentence)
    places = [terms_of(one) for one in split_sentences(source)]
    pairs = [first | second for first, second in pairwise(places)] or places
    return bool(words) and max((len(words & pair) for pair in pairs), default=0) < _SUPPORT * len(words)


def read_chats(data: Path, *, half: int | None = None) -> list[Chat]:
    """The chats with facts, in the set's order.

    Args:
        half: 0 or 1: every second one only, so that what was tried on one half is measured on the other.

    Raises:
        BenchError: it is no such file.
    """
    try:
        document = json.loads(data.read_text(encoding="utf-8"))
        chats = {
            one["id"]: Chat(one["id"], [(turn["role"], turn["content"]) for turn in one["turns"]])
            for one in document["sessions"]
        }
        for question in document["questions"]:
            wanted = terms_of(f"{question['question']} {question['answer']}")
            for chat, turn in question["evidence_turns"]:
                if len(fact := _fact(chats[chat].turns[turn][1], wanted).terms) >= _TERMS:
                    chats[chat].facts.append(Fact(fact))
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BenchError(f"{data} is not such a set: {error}") from error
    found = [chat for chat in chats.values() if chat.facts]
    return found if half is None else found[half::2]


def _fact(turn: str, wanted: frozenset[str]) -> Fact:
    return Fact(max((terms_of(one) & wanted for one in split_sentences(turn)), key=len, default=frozenset()))


def measure(
    chats: Sequence[Chat], counter: TokenCounter, summarizer: Summarizer | None, seconds: float = inf
) -> dict[str, float | int]:
    """Summarise all chats; the shares of facts kept and of sentences unsupported, in percent.

    Args:
        seconds: begin no other chat after so long.
    """
    shares: list[float] = []
    unsupported: list[bool] = []
    lengths: list[float] = []
    start = perf_counter()
    for chat in takewhile(lambda _: perf_counter() < start + seconds, chats):
        summary = _summary(chat, counter, summarizer)
        source = "\n".join(text for _, text in chat.turns)
        shares += [fact.share_in(summary) for fact in chat.facts]
        unsupported += [is_unsupported(sentence, source) for sentence in split_sentences(summary)]
        note(f"{chat.name}: {perf_counter() - start:.0f} s")
        lengths.append(counter.count_text(summary) / counter.count_text(source))
    return {
        "chats": len(lengths),
        "facts": len(shares),
        "facts_kept": percent(share >= _KEPT for share in shares),
        "terms_kept": percent(shares),
        "sentences": len(unsupported),
        "unsupported": percent(unsupported) if unsupported else 0.0,
        "length": percent(lengths),
        "seconds_each": round((perf_counter() - start) / len(lengths), 2),
    }


def _summary(chat: Chat, counter: TokenCounter, summarizer: Summarizer | None) -> str:
    """What the application keeps of a chat that has left the prompt."""
    with tempfile.TemporaryDirectory() as folder, Memory(Path(folder) / "chats.db") as memory:
        session = memory.create_session(chat.name).id
        for role, text in chat.turns:
            memory.add_message(session, "user" if role == "user" else "assistant", text)
        newest = memory.add_message(session, "user", "Thanks.").id  # the only one that is still in the prompt
        parts = memory._components
        consolidator = Consolidator(parts.database, parts.transcript, parts.summaries)
        made = []
        while one := consolidator.run_next(
            session,
            window_starts=[newest],
            history_tokens=_HISTORY_TOKENS,
            counter=counter,
            summarizer=summarizer,
            cancelled=lambda: False,
        ):
            made.append(one)
        return "\n".join(one.text for one in made if one.level == 0)


async def run(
    chats: Sequence[Chat], models: Sequence[str], seconds: float = inf, threads: int = 0
) -> dict[str, Any]:
    """Measure each model, for so many seconds each; the starter counts the tokens for all."""
    config = EngineConfig(
        model_path=find_model("starter"), max_sessions=1, context_tokens=2_048, threads=threads
    )
    async with AsyncExitStack() as opened:
        engine = await opened.enter_async_context(Engine(config))
        makers: Mapping[str, Summarizer | None] = {
            "none": None,
            "stub": Copying(),
            "starter": EngineSummarizer(engine, asyncio.get_running_loop()),
        }
        results = {}
        for model in models:
            counter, maker = EngineCounter(engine), makers[model]
            results[model] = await asyncio.to_thread(measure, chats, counter, maker, seconds)
            note(f"{model}: {results[model]}")
        return results


def show(results: Mapping[str, Any]) -> Iterator[str]:
    """The results as a table."""
    names = ("facts_kept", "terms_kept", "unsupported", "length", "seconds_each")
    yield f"{'':10}" + "".join(f"{name:>14}" for name in names)
    for model, result in results.items():
        yield f"{model:10}" + "".join(f"{result[name]:>14}" for name in names)


def _with_digits(text: str) -> str:
    return re.sub(r"[A-Za-z]+", lambda word: _DIGITS.get(word.group().lower(), word.group()), text)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a LongMemEval file")
    parser.add_argument("--model", default="none,stub,starter", help="of none, stub, starter (default: all)")
    parser.add_argument("--chats", type=int, help="only the first n")
    parser.add_argument("--minutes", type=float, default=inf, help="begin no other chat after so long")
    parser.add_argument("--threads", type=int, default=0, help="of the engine; 1 on a busy machine")
    parser.add_argument("--half", type=int, choices=(0, 1), help="every second chat only")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    args = parser.parse_args()
    models = args.model.split(",")
    if unknown := set(models) - set(MODELS):
        parser.error(f"no model {', '.join(sorted(unknown))}; there are {', '.join(MODELS)}")
    try:
        chats = read_chats(args.data, half=args.half)[: args.chats]
        if not chats:
            raise BenchError(f"{args.data} has no chats to summarise.")
        results = asyncio.run(run(chats, models, 60 * args.minutes, args.threads))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(results, indent=1) if args.json else "\n".join(show(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
