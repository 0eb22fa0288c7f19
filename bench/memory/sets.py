"""Recall on sets other than LoCoMo: chats with a model, passages in several languages, unrelated prompts.

None is part of this project. Everything is stored in one memory, and no answer is generated: a search is good
if it ranks the chats, turns or passages that the set names as evidence, and a prompt that needs no memory is
left alone. A search finds passages; here a message counts once, where its best passage ranks.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

from bench.cli import BenchError, Result, note
from bench.memory.locomo import Spoken
from bench.memory.store import Fallbacks, StarterTokens, record, wait_for_index
from bench.rounds import percent
from memory import Budget, Memory, TokenCounter

__all__ = ["intrusion", "longmemeval", "xquad"]

_CHATS = (5, 10)
_HITS = (1, 5, 10)
_MOST = 400  # passages of a search: enough for ten chats
_PROMPT_TOKENS = 4096
_LONG_PROMPT_TOKENS = 6144


def longmemeval(data: Path, *, meaning: bool) -> Result:
    """LongMemEval (Wu et al., ICLR 2025): are the chats and turns that answer a question among the first k?

    `session_all` wants all of the chats: `pooled` ranks the whole set, `haystack48` the question's own 48.
    `in_prompt` tells which share of the evidence turns a prompt of 6,144 tokens quotes, and how many tokens
    all its quotations take.
    """
    document = _read(data, "sessions", "questions")
    pooled: dict[int, list[float]] = defaultdict(list)
    haystack: dict[int, list[float]] = defaultdict(list)
    turns: dict[int, list[float]] = defaultdict(list)
    by_type: dict[str, list[float]] = defaultdict(list)
    quoted: list[float] = []
    tokens: list[int] = []
    with _stored(_chats(document["sessions"]), meaning=meaning) as store:
        asked = [question for question in document["questions"] if question["evidence_sessions"]]
        for question in asked:
            ignored = set(question["ignore_sessions"])
            found = [name for name in store.search(question["question"]) if _chat(name) not in ignored]
            chats = list(dict.fromkeys(map(_chat, found)))
            own = [chat for chat in chats if chat in set(question["haystack48"])]
            evidence = set(question["evidence_sessions"])
            answers = {f"{chat}#{turn}" for chat, turn in question["evidence_turns"]}
            for k in _CHATS:
                pooled[k].append(evidence <= set(chats[:k]))
                haystack[k].append(evidence <= set(own[:k]))
                if answers:
                    turns[k].append(len(answers & set(found[:k])) / len(answers))
            if answers:
                names, size = store.quoted(question["question"], _LONG_PROMPT_TOKENS)
                quoted.append(len(answers & set(names)) / len(answers))
                tokens.append(size)
            by_type[question["type"]].append(pooled[5][-1])
    return {
        "questions": len(asked),
        "session_all": {"pooled": _at(pooled), "haystack48": _at(haystack)},
        "turn": _at(turns),
        "in_prompt": {"evidence": percent(quoted), "tokens": round(mean(tokens), 1)},
        "by_type": {name: percent(values) for name, values in sorted(by_type.items())},
        "timeouts": store.timeouts,
    }


def xquad(data: Path, *, meaning: bool) -> Result:
    """XQuAD (Artetxe et al., ACL 2020): is the passage that answers a question among the first k?

    `gated` is the share of questions for which a prompt would get no memories.
    """
    languages = _read(data, "langs")["langs"]
    hit: dict[str, dict[str, float]] = {}
    gated: dict[str, float] = {}
    timeouts = 0
    for language, part in languages.items():
        chats = [[_spoken(passage["id"], "user", passage["text"])] for passage in part["passages"]]
        with _stored(chats, meaning=meaning) as store:
            ranks = [(store.search(asked["question"]), asked["passage"]) for asked in part["questions"]]
            shut = [not store.memory.search(asked["question"], gated=True) for asked in part["questions"]]
        hit[language] = {f"@{k}": percent(passage in found[:k] for found, passage in ranks) for k in _HITS}
        gated[language] = round(mean(shut), 3)
        timeouts += store.timeouts
        note(f"{language}: {hit[language]}")
    return {"hit": hit, "gated": gated, "timeouts": timeouts}


def intrusion(data: Path, prompts: Path, *, meaning: bool) -> Result:
    """The share of prompts that get memories though none needs any, each in a new chat.

    Args:
        data: a LongMemEval file, whose chats the memory holds.
        prompts: JSON lines with `turns`, of which the first is asked.
    """
    try:
        lines = prompts.read_text(encoding="utf-8").splitlines()
        texts = [str(json.loads(line)["turns"][0]) for line in lines if line.strip()]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BenchError(f"{prompts} is not a file of prompts: {error}") from error
    counts, tokens = [], []
    with _stored(_chats(_read(data, "sessions")["sessions"]), meaning=meaning) as store:
        for text in texts:
            names, size = store.quoted(text, _PROMPT_TOKENS)
            counts.append(len(names))
            tokens.append(size)
    some = [number for number in counts if number]
    return {
        "prompts": len(texts),
        "with_memories": round(len(some) / len(texts), 3),
        "memories_each": round(mean(some), 1) if some else 0.0,
        "tokens_each": round(mean(size for size in tokens if size), 1) if any(tokens) else 0.0,
        "timeouts": store.timeouts,
    }


class _Store:
    """A filled memory, and the names of its messages."""

    def __init__(self, memory: Memory, name_of: dict[str, str], fallbacks: Fallbacks) -> None:
        self.memory = memory
        self._name_of = name_of
        self._fallbacks = fallbacks

    @property
    def timeouts(self) -> int:
        """Searches that fell back to keywords."""
        return self._fallbacks.count

    def search(self, text: str) -> list[str]:
        """The names of the messages found, best first."""
        found = self.memory.search(text, limit=_MOST)
        return list(dict.fromkeys(self._name_of[recall.message_id] for recall in found))

    def quoted(self, text: str, prompt_tokens: int) -> tuple[list[str], int]:
        """Which messages the prompt of a new chat quotes, and the tokens that this takes."""
        chat = self.memory.create_session("prompt").id
        self.memory.set_session(chat, off_record=True)  # or one prompt would find another
        self.memory.add_message(chat, "user", text)
        report = self.memory.build_context(chat, budget=Budget(prompt_tokens)).report
        names = [self._name_of[recall.message_id] for recall in report.recalls]
        return names, sum(layer.tokens for layer in report.layers if layer.name == "memories")


@contextmanager
def _stored(chats: Iterable[Sequence[Spoken]], *, meaning: bool) -> Iterator[_Store]:
    from memory.vectors import WorkerEmbedder

    counter: TokenCounter = StarterTokens()
    embedder = WorkerEmbedder(threads=2) if meaning else None
    with (
        tempfile.TemporaryDirectory() as folder,
        Fallbacks() as fallbacks,
        Memory(Path(folder) / "chats.db", counter=counter, embedder=embedder) as memory,
    ):
        name_of = record(memory, chats)
        if meaning:
            wait_for_index(memory)
        yield _Store(memory, name_of, fallbacks)


def _chats(sessions: Iterable[dict[str, Any]]) -> list[list[Spoken]]:
    return [
        [
            _spoken(f"{chat['id']}#{number}", turn["role"], turn["content"], f"{chat['date']}T12:00:00Z")
            for number, turn in enumerate(chat["turns"])
        ]
        for chat in sessions
    ]


def _spoken(name: str, role: str, text: str, at: str = "2024-01-01T12:00:00Z") -> Spoken:
    return Spoken(name, "user" if role == "user" else "assistant", text, at)


def _chat(name: str) -> str:
    return name.partition("#")[0]


def _at(values: dict[int, list[float]]) -> dict[str, float]:
    return {f"@{k}": percent(found) for k, found in values.items()}


def _read(path: Path, *keys: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if missing := [key for key in keys if key not in document]:
            raise ValueError(f"it has no {' and no '.join(missing)}")
    except (OSError, ValueError, TypeError) as error:
        raise BenchError(f"{path} is not such a set: {error}") from error
    return document
