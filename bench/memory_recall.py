"""Recall of long-term memory on LoCoMo: are the turns that answer a question among those brought back?

Each conversation is entered turn by turn, with its dates, into a store of its own; every question is a
search. The whole path is measured: SQLite, FTS5, the real embedder in its process, the real Chroma. An answer
is not generated: "recall" is the share of a question's evidence turns among the first k recalls, or among
the recalls that fit a number of tokens, averaged over the questions.

The data (LoCoMo, Maharana et al., ACL 2024; CC BY-NC 4.0) is not part of this project.

    python bench/memory_recall.py --data locomo.json --json
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean, quantiles
from time import perf_counter, sleep
from typing import Any

from bench.cli import note
from bench.errors import BenchError
from bench.models import find_model
from engine import EngineConfig
from memory import IndexState, Memory, Recall, Turn

_AT = (5, 10, 25, 50)
_TOKENS = (512, 1024, 2048)
_RESAMPLES = 2000
_UNRELATED = Path(__file__).with_name("unrelated_prompts.txt")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the turns that answer it."""

    text: str
    category: int
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Two people's chat: sessions of (turn id, role, text), each with the time it took place."""

    name: str
    sessions: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """How one question fared: recall by k and by tokens, and the seconds its search took."""

    conversation: str
    category: int
    at: dict[int, float]
    tokens: dict[int, float]
    seconds: float


def load(path: Path) -> list[Conversation]:
    """The conversations of a LoCoMo file.

    Raises:
        BenchError: it is not one.
    """
    try:
        return [_conversation(item) for item in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} is not a LoCoMo file: {error}") from error


def _conversation(item: dict[str, Any]) -> Conversation:
    chat, sessions, known = item["conversation"], [], set()
    number = 1
    while turns := chat.get(f"session_{number}"):
        said = tuple((turn["dia_id"], _role(turn, chat), _text(turn)) for turn in turns)
        known |= {name for name, _, _ in said}
        sessions.append((_time(chat[f"session_{number}_date_time"]), said))
        number += 1
    asked = (
        Question(str(qa["question"]), qa["category"], frozenset(qa.get("evidence", ())) & known)
        for qa in item["qa"]
    )
    return Conversation(item["sample_id"], tuple(sessions), tuple(q for q in asked if q.evidence))


def _role(turn: dict[str, Any], chat: dict[str, Any]) -> str:
    return "user" if turn["speaker"] == chat["speaker_a"] else "assistant"


def _text(turn: dict[str, Any]) -> str:
    caption = f" [shares {turn['blip_caption']}]" if turn.get("blip_caption") else ""
    return f"{turn['speaker']}: {turn['text']}{caption}"


def _time(text: str) -> str:
    moment = datetime.strptime(re.sub(r"\s+", " ", text), "%I:%M %p on %d %B, %Y")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def enter(memory: Memory, conversation: Conversation) -> dict[str, str]:
    """Store a conversation; turn ids by message id."""
    turn_of: dict[str, str] = {}
    for at, turns in conversation.sessions:
        session = memory.create_session(at)
        for name, role, text in turns:
            message = memory.add_message(session.id, role, text, at=at)  # type: ignore[arg-type]
            turn_of[message.id] = name
    return turn_of


def wait_for_index(memory: Memory) -> None:
    """Until every passage has its vector.

    Raises:
        BenchError: that is impossible.
    """
    memory.start_indexing()
    while (status := memory.index_status()).state is not IndexState.READY:
        if status.state in (IndexState.UNAVAILABLE, IndexState.OFF):
            raise BenchError(f"There is no search by meaning: {status.reason}")
        sleep(0.05)


def ask(memory: Memory, name: str, question: Question, turn_of: dict[str, str]) -> Score:
    """One question."""
    start = perf_counter()
    recalls = memory.search(question.text, limit=400)
    seconds = perf_counter() - start
    turns = list(dict.fromkeys(turn_of[recall.message_id] for recall in recalls))
    at = {k: _found(turns[:k], question) for k in _AT}
    tokens = {t: _found([turn_of[r.message_id] for r in _fitting(recalls, t)], question) for t in _TOKENS}
    return Score(name, question.category, at, tokens, seconds)


def _found(turns: Sequence[str], question: Question) -> float:
    return len(question.evidence.intersection(turns)) / len(question.evidence)


def _fitting(recalls: Sequence[Recall], tokens: int) -> Iterator[Recall]:
    for recall in recalls:
        if recall.tokens <= tokens:
            tokens -= recall.tokens
            yield recall


def summary(scores: Sequence[Score]) -> dict[str, Any]:
    """Means, with 95 % intervals from resampling whole conversations and, within them, questions."""
    by_category: dict[int, list[float]] = defaultdict(list)
    for score in scores:
        by_category[score.category].append(score.at[10])
    return {
        "questions": len(scores),
        "recall": {f"@{k}": _percent([score.at[k] for score in scores]) for k in _AT},
        "recall_interval": _interval(scores),
        "at_tokens": {str(t): _percent([score.tokens[t] for score in scores]) for t in _TOKENS},
        "by_category": {str(c): _percent(values) for c, values in sorted(by_category.items())},
        "search_ms_p95": round(1e3 * quantiles([score.seconds for score in scores], n=20)[-1], 1),
    }


def _percent(values: Sequence[float]) -> float:
    return round(100 * mean(values), 1)


def _interval(scores: Sequence[Score]) -> list[float]:
    chance = random.Random(0)
    chats: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        chats[score.conversation].append(score.at[10])
    names = sorted(chats)
    means = []
    for _ in range(_RESAMPLES):
        drawn = [
            chance.choices(chats[name], k=len(chats[name])) for name in chance.choices(names, k=len(names))
        ]
        means.append(mean(value for values in drawn for value in values))
    cuts = quantiles(means, n=40)
    return [round(100 * cuts[0], 1), round(100 * cuts[-1], 1)]


def gate(memory: Memory) -> float:
    """The share of unrelated prompts that would get memories."""
    prompts = [line for line in _UNRELATED.read_text(encoding="utf-8").splitlines() if line.strip()]
    return sum(bool(memory.search(prompt, gated=True)) for prompt in prompts) / len(prompts)


def measure(conversations: Sequence[Conversation], *, meaning: bool) -> dict[str, Any]:
    """Everything."""
    from memory.embedder import WorkerEmbedder

    counter = StarterTokens()
    scores: list[Score] = []
    injected: list[float] = []
    for conversation in conversations:
        with tempfile.TemporaryDirectory() as folder:
            embedder = WorkerEmbedder(threads=2) if meaning else None
            with Memory(Path(folder) / "chats.db", counter=counter, embedder=embedder) as memory:
                turn_of = enter(memory, conversation)
                if meaning:
                    wait_for_index(memory)
                scores += [ask(memory, conversation.name, q, turn_of) for q in conversation.questions]
                injected.append(gate(memory))
        own = [score.at[10] for score in scores if score.conversation == conversation.name]
        note(f"{conversation.name}: {_percent(own)} @10")
    return summary(scores) | {"unrelated_injected": round(mean(injected), 3), "meaning": meaning}


class StarterTokens:
    """Counts with the starter model's tokenizer; a `memory.TokenCounter`."""

    def __init__(self) -> None:
        from engine.llama import LlamaBackend

        model = find_model("starter")
        small = EngineConfig(model_path=model, max_sessions=1, cached_sessions=0, context_tokens=512)
        self._backend = LlamaBackend(small)

    def count_text(self, text: str) -> int:
        return len(self._backend.tokenize(text))

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        return sum(self.count_text(message.content) for message in messages)


def show(result: dict[str, Any]) -> Iterator[str]:
    """The result in a few lines."""
    low, high = result["recall_interval"]
    yield f"{result['questions']} questions, by keywords{' and meaning' if result['meaning'] else ' only'}"
    yield (
        "recall    "
        + "   ".join(f"{k} {v}" for k, v in result["recall"].items())
        + f"   (@10: {low} to {high})"
    )
    yield "in tokens " + "   ".join(f"{t}: {v}" for t, v in result["at_tokens"].items())
    yield "@10 by category " + "   ".join(f"{c}: {v}" for c, v in result["by_category"].items())
    yield f"unrelated prompts that get memories: {result['unrelated_injected']:.1%}"
    yield f"a search takes at most {result['search_ms_p95']} ms in 19 of 20 cases, its embedding included"


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
