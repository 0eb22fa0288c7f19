"""The recall benchmark on a conversation of a few turns, by keywords; the real one takes the embedder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.cli import BenchError
from bench.memory import locomo, recall


def conversation() -> dict[str, Any]:
    def turn(number: int, speaker: str, text: str, **more: str) -> dict[str, str]:
        return {"dia_id": f"D1:{number}", "speaker": speaker, "text": text} | more

    return {
        "sample_id": "c1",
        "conversation": {
            "speaker_a": "Ada",
            "speaker_b": "Bob",
            "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [
                turn(1, "Ada", "I bought a red canoe."),
                turn(2, "Bob", "Where will you paddle?", blip_caption="a lake at dawn"),
                turn(3, "Ada", "On the lake behind our house."),
            ],
        },
        "qa": [
            {"question": "What was bought?", "evidence": ["D1:1"], "category": 4},
            {"question": "Which canoe is red?", "evidence": ["D1:1", "D9:9"], "category": 1},
            {"question": "Nobody answers this.", "evidence": ["D"], "category": 5},
        ],
    }


def test_a_conversation_is_read_with_dates_and_captions(tmp_path: Path) -> None:
    file = tmp_path / "locomo.json"
    file.write_text(json.dumps([conversation()]))
    [read] = locomo.load(file)
    [turns] = read.sessions
    assert turns[0].at == "2023-05-08T13:56:00Z"
    said = locomo.Spoken("D1:2", "assistant", "Where will you paddle? [shares a lake at dawn]", turns[0].at)
    assert turns[1] == said
    assert [question.evidence for question in read.questions] == [{"D1:1"}, {"D1:1"}]


def test_the_whole_path_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "locomo.json"
    file.write_text(json.dumps([conversation()]))
    result = recall.measure(locomo.load(file), meaning=False)
    assert result["questions"] == 2
    assert result["recall"]["@5"] == 100.0
    assert result["found_at_tokens"]["512"] == 100.0
    assert (result["at_tokens"]["512"], result["at_prompt_tokens"]["2048"], result["gated"]) == (
        100.0,
        100.0,
        0.0,
    )
    assert result["at_tokens_interval"]["512"] == [100.0, 100.0]
    assert result["by_category"] == {"1": 100.0, "4": 100.0}
    assert result["unrelated_injected"] == 0.0
    assert "2 questions, by keywords only" in "\n".join(recall.show(result))


@pytest.mark.parametrize("text", ["", "[]]", "[1]", '[{"qa": []}]'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(BenchError, match="is not a LoCoMo file"):
        locomo.load(file)
