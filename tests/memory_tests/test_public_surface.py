"""What `import memory` offers, and what it must not load."""

from __future__ import annotations

import inspect
import os
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
    strangers = {"textual", "rich", "engine", "stevemin_chat", "llama_cpp", "pydantic"}
    heavy = {"chromadb", "numpy", "psutil", "sentence_transformers", "snowballstemmer", "sqlite3", "torch"}
    late = {"memory.memory", "memory.storage", "memory.context"}  # they come with `Memory`
    code = f"import sys; import memory; print(*sorted({strangers | heavy | late!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )
    assert done.stdout.strip() == ""


def test_a_store_opens_without_anything_heavy(tmp_path: Path) -> None:
    heavy = {"chromadb", "numpy", "psutil", "sentence_transformers", "torch"}
    code = (
        "import sys; from memory import Memory; memory = Memory(sys.argv[1]);"
        "memory.add_message(memory.create_session().id, 'user', 'hi'); memory.close();"
        f"print(*sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "chats.db")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == ""
