"""What `import memory` offers, and what it must not load."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import memory
from memory import errors


def test_every_public_name_exists_and_is_listed_once() -> None:
    assert len(memory.__all__) == len(set(memory.__all__))
    for name in memory.__all__:
        assert hasattr(memory, name), name


def test_every_error_is_public_and_in_the_tree_at_the_top() -> None:
    assert errors.__doc__ is not None
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, Exception):
            assert issubclass(kind, memory.StoreError)
            assert name in memory.__all__
            assert name in errors.__doc__


def test_importing_it_loads_no_screen_no_engine_and_nothing_heavy() -> None:
    unwanted = {"textual", "rich", "engine", "stevemin_chat", "llama_cpp", "numpy", "pydantic", "chromadb"}
    code = f"import sys; import memory; print(*sorted({unwanted!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == ""
