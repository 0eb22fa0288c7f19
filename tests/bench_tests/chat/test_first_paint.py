"""The benchmark of the first paint, with programs that only pretend to draw."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.chat import first_paint
from bench.cli import BenchError
from bench.ratios import Limits

DRAWS = """
import os, pathlib, time
pathlib.Path(os.environ["STEVEMIN_HOME"], "pid").write_text(str(os.getpid()))
print("Message, or", flush=True)
time.sleep(600)
"""


def test_a_program_is_timed_until_the_prompt_and_then_ended(tmp_path: Path) -> None:
    assert first_paint.first_paint(("-c", DRAWS), tmp_path) > 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_program_that_ends_without_a_prompt_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="ended before it drew anything: No screen"):
        first_paint.first_paint(("-c", "print('No screen')"), tmp_path)


def test_both_sides_run_in_each_round_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def paint(command: Sequence[str], home: Path) -> float:
        assert "/no/such.gguf" in (home / "config" / "config.toml").read_text(), "no model is loaded"
        ran.append("chat" if command[0] == "-m" else "bare")
        return 0.6 if command[0] == "-m" else 0.4

    monkeypatch.setattr(first_paint, "first_paint", paint)
    result = first_paint.measure(Limits(2))
    ratio = {"ratio": 1.5, "spread": [1.5, 1.5], "rounds": 2}
    assert result == {"chat_s": 0.6, "bare_s": 0.4} | ratio
    assert ran == ["chat", "bare", "bare", "chat", "chat", "bare"]
    told = "first paint: 0.6 s, bare Textual 0.4 s, ratio 1.500 (1.500 to 1.500), 2 rounds"
    assert [*first_paint.show(result)] == [told]
