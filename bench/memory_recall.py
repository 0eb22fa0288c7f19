"""Recall of long-term memory on LoCoMo: are the turns that answer a question among those brought back?

Each conversation is entered turn by turn, with its dates, into a store of its own; every question is asked
in a new chat. The whole path is measured: SQLite, FTS5, the real embedder in its process, the real Chroma,
the gate, the strategy. An answer is not generated: recall is the share of a question's evidence turns that
are there, averaged over the questions.

- `recall`: among the first k that the search finds, the gate apart.
- `at_tokens`: quoted by `hierarchical` when its memories may take so many tokens, with all that is spent on
  headings, dates and speakers, and nothing where the gate is shut. `found_at_tokens` counts the texts of
  what the search finds instead: what quoting and the gate cost is the difference.
- `at_prompt_tokens`: quoted by `hierarchical` when the whole prompt of a new chat may take so many.

    python bench/memory_recall.py --data locomo.json --json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

from bench.cli import note
from bench.errors import BenchError
from bench.intervals import interval, percent
from bench.memory_data import Conversation, load
from bench.memory_questions import AT, PROMPTS, TOKENS, Answer, Questions
from bench.memory_store import StarterTokens, enter, wait_for_index
from memory import Memory, TokenCounter

_UNRELATED = Path(__file__).with_name("unrelated_prompts.txt")


def measure(conversations: Sequence[Conversation], *, meaning: bool) -> dict[str, Any]:
    """Everything. Without `meaning` as before the embedder is ready."""
    counter = StarterTokens()
    answers: list[Answer] = []
    injected: list[float] = []
    for conversation in conversations:
        own, unrelated = _one(conversation, counter, meaning=meaning)
        note(f"{conversation.name}: {percent(answer.at[10] for answer in own)} @10")
        answers += own
        injected.append(unrelated)
    return summary(answers) | {"unrelated_injected": round(mean(injected), 3), "meaning": meaning}


def _one(conversation: Conversation, counter: TokenCounter, *, meaning: bool) -> tuple[list[Answer], float]:
    """The answers, and the share of unrelated prompts that would get memories."""
    from memory.vectors import WorkerEmbedder

    with tempfile.TemporaryDirectory() as folder:
        embedder = WorkerEmbedder(threads=2) if meaning else None
        with Memory(Path(folder) / "chats.db", counter=counter, embedder=embedder) as memory:
            name_of = enter(memory, conversation.sessions)
            if meaning:
                wait_for_index(memory)
            questions = Questions(memory, name_of, counter)
            answers = [questions.ask(conversation.name, question) for question in conversation.questions]
            return answers, _injected(memory)


def _injected(memory: Memory) -> float:
    prompts = [line for line in _UNRELATED.read_text(encoding="utf-8").splitlines() if line.strip()]
    return mean(bool(memory.search(prompt, gated=True)) for prompt in prompts)


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Means over the questions, in percent, with 95 % intervals from resampling whole conversations."""
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a LoCoMo file")
    parser.add_argument("--keywords-only", action="store_true", help="as before the embedder is ready")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    args = parser.parse_args()
    try:
        result = measure(load(args.data), meaning=not args.keywords_only)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(result, indent=1) if args.json else "\n".join(show(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
