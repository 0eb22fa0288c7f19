"""The benchmark of facts: what it reports of rules and of a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from bench.memory import facts


class Inventive:
    """Points at what stands in the first message, and at what nobody wrote."""

    model = "f"

    def extract(self, prompt: str, *, grammar: str, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        spans = ("I live in Utrecht", "The user lives in Utrecht", "the rules for residents")
        return json.dumps([{"message": 1, "span": span, "kind": "fact"} for span in spans])


def test_what_is_not_in_the_text_is_not_kept_and_wrong_words_count() -> None:
    result = facts.measured(Inventive())
    assert (result["messages"], result["labelled"]) == (200, 103)
    assert (result["kept"], result["right"], result["precision"], result["passed"]) == (2, 1, 0.5, False)
    assert result["unseen"]["messages"] == 100


def test_it_prints_one_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["facts.py", "--rules-only", "--json"])
    assert facts.main() == 0
    rules = json.loads(capsys.readouterr().out)["rules"]
    assert rules["precision"] >= 0.95
    assert rules["by_kind"]["tool"]["labelled"] > 5


def test_a_model_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["facts.py", "--model", "/nowhere.gguf"])
    assert facts.main() == 1
    assert "No model /nowhere.gguf" in capsys.readouterr().err
