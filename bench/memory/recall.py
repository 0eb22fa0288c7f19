"""Recall of long-term memory on LoCoMo: are the turns that answer a question among those brought back?

Each conversation is stored turn by turn, with its dates, in a store of its own; every question is asked in a
new chat. The whole path is measured: SQLite, FTS5, the real embedder in its process, the real Chroma, the
gate, the strategy. No answer is generated: recall is the share of a question's evidence turns that come back,
averaged over the questions.

- `recall`: among the first k that the search finds, the gate aside.
- `at_tokens`: quoted by `hierarchical` when its memories may take n tokens, headings, dates and speakers
  included, and nothing where the gate is shut. `found_at_tokens` counts the texts that the search finds
  instead: the difference is the cost of quoting and of the gate.
- `at_prompt_tokens`: quoted by `hierarchical` when the whole prompt of a new chat may take n tokens.
- `timeouts`: searches that fell back to keywords because the vectors did not answer in time; must be 0.

    python bench/memory/recall.py --set locomo --data locomo.json --json

The other sets, and what is measured on them, are in `bench.memory.sets`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, quantiles
from time import perf_counter
from typing import Any

from bench.cli import BenchError, note
from bench.memory import sets
from bench.memory.locomo import Conversation, Question, load
from bench.memory.store import Fallbacks, StarterTokens, record, wait_for_index
from bench.rounds import interval, percent
from memory import Budget, Memory, Message, Recall, TokenCounter
from memory.context import ContextInput, HierarchicalStrategy, Shares

AT = (5, 10, 25, 50)
TOKENS = (512, 1024, 2048)
PROMPTS = (2048, 4096, 8192)
_MOST = 400
_CHOICE = 50  # recalls that a strategy chooses from, in `Memory.build_context`
_UNRELATED = Path(__file__).with_name("unrelated_prompts.txt")


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one question.

    Args:
        at: recall among the first k recalls; found: among those whose texts fit n tokens.
        quoted: in the prompt of `hierarchical` when its memories may take n tokens.
        in_prompt: the same when the whole prompt may take n tokens; empty unless asked for.
        gated: nothing was quoted because the question seems to need nothing from the past.
        seconds: the search took.
    """

    conversation: str
    category: int
    at: Mapping[int, float]
    found: Mapping[int, float]
    quoted: Mapping[int, float]
    in_prompt: Mapping[int, float]
    gated: bool
    seconds: float


class Questions:
    """Asks about a conversation that a memory holds.

    Args:
        name_of: the turns' names by message id.
        prompts: whether to build whole prompts, too.
    """

    def __init__(
        self, memory: Memory, name_of: Mapping[str, str], counter: TokenCounter, *, prompts: bool = True
    ) -> None:
        self._memory = memory
        self._name_of = name_of
        self._counter = counter
        self._prompts = PROMPTS if prompts else ()
        self._chat = memory.create_session("questions").id
        memory.set_session(self._chat, off_record=True)  # or one question would find another

    def ask(self, conversation: str, question: Question) -> Answer:
        """One question, in a new chat."""
        start = perf_counter()
        recalls = self._memory.search(question.text, limit=_MOST)
        seconds = perf_counter() - start
        asked = self._memory.add_message(self._chat, "user", question.text, parent_id=None)
        shown = self._memory.search(question.text, limit=_CHOICE, gated=True)
        names = list(dict.fromkeys(self._names(recalls)))
        return Answer(
            conversation,
            question.category,
            at={k: question.share(names[:k]) for k in AT},
            found={n: question.share(self._names(_fitting(recalls, n))) for n in TOKENS},
            quoted={n: question.share(self._names(self._quoted(asked, shown, n))) for n in TOKENS},
            in_prompt={n: question.share(self._names(self._built(n))) for n in self._prompts},
            gated=not shown,
            seconds=seconds,
        )

    def _quoted(self, asked: Message, recalls: Sequence[Recall], tokens: int) -> Sequence[Recall]:
        strategy = HierarchicalStrategy(Shares(memories=1.0, most_memories=tokens))
        given = ContextInput(
            messages=(asked,), budget=Budget(4 * tokens), counter=self._counter, recalls=tuple(recalls)
        )
        return strategy.assemble(given).context.report.recalls

    def _built(self, tokens: int) -> Sequence[Recall]:
        built = self._memory.build_context(self._chat, strategy="hierarchical", budget=Budget(tokens))
        return built.report.recalls

    def _names(self, recalls: Iterable[Recall]) -> list[str]:
        return [self._name_of[recall.message_id] for recall in recalls]


def _fitting(recalls: Iterable[Recall], tokens: int) -> Iterator[Recall]:
    for recall in recalls:
        if recall.tokens <= tokens:
            tokens -= recall.tokens
            yield recall


def measure(conversations: Sequence[Conversation], *, meaning: bool) -> dict[str, Any]:
    """Ask every question; without `meaning`, search by keywords only."""
    counter = StarterTokens()
    answers: list[Answer] = []
    injected: list[float] = []
    with Fallbacks() as fallbacks:
        for conversation in conversations:
            own, unrelated = _one(conversation, counter, meaning=meaning)
            note(f"{conversation.name}: {percent(answer.at[10] for answer in own)} @10")
            answers += own
            injected.append(unrelated)
    unrelated_injected = round(mean(injected), 3)
    about = {"unrelated_injected": unrelated_injected, "meaning": meaning, "timeouts": fallbacks.count}
    return summary(answers) | about


def _one(conversation: Conversation, counter: TokenCounter, *, meaning: bool) -> tuple[list[Answer], float]:
    """The answers, and the share of unrelated prompts that get memories."""
    from memory.vectors import WorkerEmbedder

    with tempfile.TemporaryDirectory() as folder:
        embedder = WorkerEmbedder(threads=2) if meaning else None
        with Memory(Path(folder) / "chats.db", counter=counter, embedder=embedder) as memory:
            name_of = record(memory, conversation.sessions)
            if meaning:
                wait_for_index(memory)
            questions = Questions(memory, name_of, counter)
            answers = [questions.ask(conversation.name, question) for question in conversation.questions]
            return answers, _injected(memory)


def _injected(memory: Memory) -> float:
    prompts = [line for line in _UNRELATED.read_text(encoding="utf-8").splitlines() if line.strip()]
    return mean(bool(memory.search(prompt, gated=True)) for prompt in prompts)


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Means over the questions, in percent, with 95% intervals from resampling whole conversations."""
    by_category: dict[int, list[float]] = defaultdict(list)
    for answer in answers:
        by_category[answer.category].append(answer.at[10])
    return {
        "questions": len(answers),
        "recall": {f"@{k}": percent(answer.at[k] for answer in answers) for k in AT},
        "recall_interval": _interval(answers, lambda answer: answer.at[10]),
        **_by_tokens("at_tokens", answers, lambda answer: answer.quoted, TOKENS),
        **_by_tokens("at_prompt_tokens", answers, lambda answer: answer.in_prompt, PROMPTS),
        **_by_tokens("found_at_tokens", answers, lambda answer: answer.found, TOKENS),
        "gated": round(mean(answer.gated for answer in answers), 3),
        "by_category": {str(c): percent(values) for c, values in sorted(by_category.items())},
        "search_ms_p95": round(1e3 * quantiles([answer.seconds for answer in answers], n=20)[-1], 1),
    }


def _by_tokens(
    name: str, answers: Sequence[Answer], part: Callable[[Answer], Mapping[int, float]], sizes: Iterable[int]
) -> dict[str, Any]:
    values = {n: partial(_value, part, n) for n in sizes}
    return {
        name: {str(n): percent(map(value, answers)) for n, value in values.items()},
        f"{name}_interval": {str(n): _interval(answers, value) for n, value in values.items()},
    }


def _value(part: Callable[[Answer], Mapping[int, float]], tokens: int, answer: Answer) -> float:
    return part(answer)[tokens]


def _interval(answers: Iterable[Answer], value: Callable[[Answer], float]) -> list[float]:
    groups: dict[str, list[float]] = defaultdict(list)
    for answer in answers:
        groups[answer.conversation].append(value(answer))
    return interval(groups)


def show(result: dict[str, Any]) -> Iterator[str]:
    """The result in a few lines."""
    low, high = result["recall_interval"]
    yield f"{result['questions']} questions, by keywords{' and meaning' if result['meaning'] else ' only'}"
    yield f"recall                 {_row(result['recall'])}   (@10: {low} to {high})"
    yield f"quoted in tokens       {_row(result['at_tokens'])}"
    yield f"found in tokens        {_row(result['found_at_tokens'])}"
    yield f"quoted in prompts of   {_row(result['at_prompt_tokens'])}"
    yield f"@10 by category        {_row(result['by_category'])}"
    yield f"questions that get no memories: {result['gated']:.1%}"
    yield f"unrelated prompts that get memories: {result['unrelated_injected']:.1%}"
    yield f"a search takes at most {result['search_ms_p95']} ms in 19 of 20 cases, its embedding included"


def _row(values: Mapping[str, float]) -> str:
    return "   ".join(f"{name}: {value}" for name, value in values.items())


def main() -> int:
    """Measure and print."""
    parser = _parser()
    args = parser.parse_args()
    if args.set == "intrusion" and args.prompts is None:
        parser.error("--set intrusion needs --prompts FILE")
    meaning = not args.keywords_only
    try:
        if args.set == "locomo":
            result = measure(load(args.data), meaning=meaning)
        elif args.set == "longmemeval":
            result = sets.longmemeval(args.data, meaning=meaning)
        elif args.set == "xquad":
            result = sets.xquad(args.data, meaning=meaning)
        else:
            result = sets.intrusion(args.data, args.prompts, meaning=meaning)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    as_lines = show(result) if args.set == "locomo" and not args.json else [json.dumps(result, indent=1)]
    print("\n".join(as_lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = ("locomo", "longmemeval", "xquad", "intrusion")
    parser.add_argument("--set", choices=names, default="locomo", help="the kind of data (default: locomo)")
    parser.add_argument("--data", type=Path, required=True, help="the data file; LongMemEval's for intrusion")
    parser.add_argument("--prompts", type=Path, help="the unrelated prompts, for intrusion")
    parser.add_argument("--keywords-only", action="store_true", help="search without embeddings")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    return parser


if __name__ == "__main__":
    sys.exit(main())
