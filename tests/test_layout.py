"""The shape of the code: who may import what, and that `__all__` tells the truth."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "memory", "stevemin_chat")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
MODULES = [path for path in SOURCES if path.name != "__main__.py"]  # importing it would start the application


def imports(path: Path) -> set[str]:
    """Top-level names of every module that a file imports anywhere, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def importers(module: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in SOURCES if module in imports(path)]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def borrowed(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) for each `from module import name` of ours in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in PACKAGES:
            yield from ((node.module, alias.name) for alias in node.names)


def is_submodule(owner: str, name: str) -> bool:
    folder = getattr(importlib.import_module(owner), "__path__", None)
    return folder is not None and importlib.util.find_spec(f"{owner}.{name}") is not None


def is_public(owner: str, name: str) -> bool:
    return name in getattr(importlib.import_module(owner), "__all__", ())


def loaded_by(statement: str) -> set[str]:
    """Modules that a fresh interpreter holds after one statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("package", ["engine", "memory"])
def test_the_parts_below_load_no_screen_and_no_command_line(package: str) -> None:
    loaded = loaded_by(f"import {package}")
    assert package in loaded
    assert not loaded & {"textual", "rich", "typer", "click", "stevemin_chat"}


def test_engine_and_memory_do_not_load_each_other() -> None:
    assert "memory" not in loaded_by("import engine")
    assert not loaded_by("import memory") & {"engine", "llama_cpp"}


@pytest.mark.parametrize(
    ("module", "only"),
    [
        ("llama_cpp", "engine/llama/lib.py"),
        ("sqlite3", "memory/storage/database.py"),
        ("pynvml", None),
        ("chromadb", "memory/vectors/collections.py"),
    ],
)
def test_one_importer_each(module: str, only: str | None) -> None:
    assert importers(module) == ([only] if only else [])


def test_nvml_is_named_in_one_file() -> None:
    naming = [str(path.relative_to(ROOT)) for path in SOURCES if '"pynvml"' in path.read_text("utf-8")]
    assert naming == ["engine/devices.py"]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("engine", {"memory", "stevemin_chat"}), ("memory", {"engine", "stevemin_chat"})],
)
def test_dependencies_point_downwards(package: str, forbidden: set[str]) -> None:
    wrong = [path for path in (ROOT / package).rglob("*.py") if imports(path) & forbidden]
    assert not wrong


def test_all_is_accurate() -> None:
    """What `__all__` names exists, once, and is not private."""
    wrong = []
    for path in MODULES:
        module = importlib.import_module(module_name(path))
        names = getattr(module, "__all__", [])
        wrong += [f"{path}: {name}" for name in names if not hasattr(module, name) or name.startswith("_")]
        wrong += [f"{path}: {name} twice" for name, count in Counter(names).items() if count > 1]
    assert not wrong


def test_modules_borrow_only_what_is_public() -> None:
    wrong = [
        f"{path}: {name} is not in the __all__ of {owner}"
        for path in SOURCES
        for owner, name in borrowed(path)
        if name not in getattr(importlib.import_module(owner), "__all__", ())
        and not is_submodule(owner, name)
    ]
    assert not wrong


def test_test_folders_shadow_no_package() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert not folders & {*PACKAGES, "bootstrap"}
