"""The sets besides LoCoMo, with a few chats each and by keywords; the real ones take the embedder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.cli import BenchError
from bench.memory import sets

ROOT = Path(__file__).parents[3]
SAID = {
    "boat": ["I bought a red canoe in Bristol.", "The canoe needs a new paddle."],
    "music": ["My daughter plays the cello.", "Her cello teacher lives in Leeds."],
    "garden": ["The tomatoes are ripe.", "I planted the tomatoes in April."],
}


def write(folder: Path, document: object) -> Path:
    file = folder / "data.json"
    file.write_text(json.dumps(document))
    return file


def chats() -> list[dict[str, Any]]:
    return [
        {"id": name, "date": "2023-05-20", "turns": [{"role": "user", "content": text} for text in texts]}
        for name, texts in SAID.items()
    ]


def question(text: str, evidence: list[str], turns: list[tuple[str, int]], **more: Any) -> dict[str, Any]:
    usual = {"type": "single-session-user", "ignore_sessions": [], "haystack48": list(SAID)}
    return {"question": text, "evidence_sessions": evidence, "evidence_turns": turns} | usual | more


def test_chats_and_turns_of_longmemeval(tmp_path: Path) -> None:
    asked = [
        question("Where did I buy the canoe?", ["boat"], [("boat", 0)]),
        question("Who plays the cello?", ["music"], [("music", 0), ("music", 1)], type="multi-session"),
        question("What did I never mention?", [], []),
        question("Which tomatoes are ripe?", ["garden"], [("garden", 0)], haystack48=["boat"]),
        question("Where is the canoe?", ["music"], [], ignore_sessions=["music"]),
    ]
    result = sets.longmemeval(write(tmp_path, {"sessions": chats(), "questions": asked}), meaning=False)
    assert result["questions"] == 4, "one has no evidence"
    assert result["session_all"]["pooled"]["@5"] == 75.0, "an ignored chat is not found"
    assert result["session_all"]["haystack48"]["@5"] == 50.0, "and one is not in its haystack"
    assert result["turn"] == {"@5": 100.0, "@10": 100.0}
    assert result["by_type"] == {"multi-session": 100.0, "single-session-user": 66.7}
    assert result["timeouts"] == 0


def test_passages_of_xquad(tmp_path: Path) -> None:
    passages = [{"id": name, "text": " ".join(texts)} for name, texts in SAID.items()]
    questions = [
        {"passage": "boat", "question": "Where was the canoe bought?"},
        {"passage": "music", "question": "Where are the tomatoes?"},
    ]
    file = write(tmp_path, {"langs": {"en": {"passages": passages, "questions": questions}}})
    result = sets.xquad(file, meaning=False)
    assert result["hit"]["en"]["@1"] == 50.0
    assert 0.0 <= result["gated"]["en"] <= 1.0


def test_prompts_that_need_no_memory(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    texts = ["Sort this list.", "Was it in Bristol that I bought the red canoe?"]
    prompts.write_text("".join(json.dumps({"turns": [text]}) + "\n" for text in texts))
    result = sets.intrusion(write(tmp_path, {"sessions": chats()}), prompts, meaning=False)
    assert (result["prompts"], result["with_memories"]) == (2, 0.5)
    assert result["memories_each"] >= 1
    assert result["tokens_each"] > 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sessions": []}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(BenchError, match="is not such a set"):
        sets.longmemeval(file, meaning=False)


def test_intrusion_needs_prompts(tmp_path: Path) -> None:
    script = ROOT / "bench" / "memory" / "recall.py"
    command = [sys.executable, str(script), "--set", "intrusion", "--data", "x.json"]
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "--set intrusion needs --prompts FILE" in done.stderr
