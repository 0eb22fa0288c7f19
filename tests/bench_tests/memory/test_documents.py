"""The benchmark of documents on a few passages, by words; the real one takes the embedder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.cli import BenchError
from bench.memory import documents


def data(**wrong: str) -> dict[str, Any]:
    subjects = ("canoe", "glider", "tram", "ferry", "balloon", "zeppelin", "scooter")
    passages = [
        {"id": f"p{number}", "text": f"The {name} was built in Porto.\nIt is still used."}
        for number, name in enumerate(subjects)
    ]
    questions = [
        {"passage": wrong.get(name, f"p{number}"), "question": f"Where was the {name} built?"}
        for number, name in enumerate(subjects)
    ]
    return {"langs": {"en": {"passages": passages, "questions": questions}}}


def test_the_lines_of_the_first_hit_are_compared(tmp_path: Path) -> None:
    file = tmp_path / "xquad.json"
    file.write_text(json.dumps(data()))
    result = documents.measure(file, meaning=False)
    assert (result["files"], result["passages"], result["questions"]) == (2, 7, 7)
    assert (result["at_1"], result["at_5"], result["timeouts"]) == (100.0, 100.0, 0)


def test_a_wrong_passage_is_no_hit(tmp_path: Path) -> None:
    file = tmp_path / "xquad.json"
    file.write_text(json.dumps(data(canoe="p6")))
    assert documents.measure(file, meaning=False)["at_1"] == 85.7


def test_other_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(BenchError, match="XQuAD"):
        documents.measure(tmp_path / "x.json", meaning=False)
