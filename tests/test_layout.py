"""The shape of the code: rooms, doors, who may import what, and that `__all__` tells the truth."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from import_graph import (
    PACKAGES,
    ROOT,
    circles,
    defined_in,
    imports,
    is_package,
    module_graph,
    modules,
    room,
    room_graph,
)

from stevemin_chat.chats import Chat

MOST_FILES = 20
CHANGING = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "setdefault", "sort", "update"}


def folders() -> list[str]:
    """The rooms and the folders inside them, by dotted name."""
    return [name for name in modules() if is_package(name) and "." in name]


def importers(package: str) -> list[str]:
    """The files of the program that import a foreign package, anywhere."""
    return [
        str(path.relative_to(ROOT))
        for name, path in modules().items()
        if not is_bench(name) and any(each.owner.partition(".")[0] == package for each in imports(name))
    ]


def is_bench(module: str) -> bool:
    return module.partition(".")[0] == "bench"


def public(module: str) -> tuple[str, ...]:
    return tuple(getattr(importlib.import_module(module), "__all__", ()))


def loaded_by(statement: str) -> set[str]:
    """Modules that a fresh interpreter holds after one statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not circles(module_graph())


def test_no_rooms_import_each_other_in_a_circle() -> None:
    assert not circles(room_graph())


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_a_name_from_a_door_counts_as_its_module() -> None:
    assert defined_in("engine", "EngineConfig") == "engine.config"
    assert defined_in("engine", "Engine") == "engine.engine", "a name that the door loads at its first use"


def test_rooms_are_entered_by_their_doors() -> None:
    """From another room, only a name in the `__all__` of a room's `__init__` may be imported."""
    wrong = [
        f"{module}: from {owner} import {name}"
        for module in modules()
        for owner, name in imports(module)
        if owner in modules() and not may_enter(module, owner, name)
    ]
    assert not wrong


def may_enter(module: str, owner: str, name: str) -> bool:
    if is_bench(module) and not is_bench(owner):
        return True  # a benchmark measures parts, too
    if module == "stevemin_chat.__main__" or (is_package(owner) and name in public(owner)):
        return True
    full = f"{owner}.{name}" if f"{owner}.{name}" in modules() else owner
    if room(full) == room(module) or module == room(full).partition(".")[0]:
        return True  # at home, or a package's own door
    return full.count(".") < 2 and not (is_package(owner) and full == owner)


def test_modules_borrow_only_what_is_public() -> None:
    wrong = [
        f"{module}: {name} is not in the __all__ of {owner}"
        for module in modules()
        for owner, name in imports(module)
        if owner in modules() and name and f"{owner}.{name}" not in modules() and name not in public(owner)
    ]
    assert not wrong


def test_all_is_accurate() -> None:
    """What `__all__` names exists, once, and is not private."""
    wrong = []
    for name in modules():
        if name.endswith("__main__"):  # importing it would start the application
            continue
        module, names = importlib.import_module(name), public(name)
        wrong += [f"{name}.{each}" for each in names if not hasattr(module, each) or each.startswith("_")]
        wrong += [f"{name}.{each} twice" for each, count in Counter(names).items() if count > 1]
    assert not wrong


def test_every_room_says_what_it_owns() -> None:
    wrong = []
    for name in folders():
        doc = ast.get_docstring(ast.parse(modules()[name].read_text(encoding="utf-8"))) or ""
        has_door = hasattr(importlib.import_module(name), "__all__")
        if len(doc.split()) < 12 or (room(name) == name and not has_door):
            wrong.append(name)
    assert not wrong


def test_no_folder_is_crowded() -> None:
    files = Counter(
        path.parent.relative_to(ROOT)
        for top in (*PACKAGES, "scripts", "tests")
        for path in (ROOT / top).rglob("*.py")
        if ".peers" not in path.parts
    )
    assert [str(folder) for folder, count in files.items() if count > MOST_FILES] == []


@pytest.mark.parametrize("package", ["engine", "memory"])
def test_the_parts_below_load_no_screen_and_no_command_line(package: str) -> None:
    loaded = loaded_by(f"import {package}")
    assert package in loaded
    assert not loaded & {"textual", "rich", "typer", "click", "stevemin_chat"}


def test_engine_and_memory_do_not_load_each_other() -> None:
    assert "memory" not in loaded_by("import engine")
    assert not loaded_by("import memory") & {"engine", "llama_cpp"}


@pytest.mark.parametrize(
    ("package", "only"),
    [
        ("llama_cpp", ["engine/llama/lib.py"]),
        ("sqlite3", ["memory/storage/backup.py", "memory/storage/database.py"]),
        ("chromadb", ["memory/vectors/workers/index.py"]),
        ("huggingface_hub", ["stevemin_chat/models/hub.py"]),
        ("pynvml", []),
    ],
)
def test_one_importer_each(package: str, only: list[str]) -> None:
    assert importers(package) == only


def test_nvml_is_named_in_one_file() -> None:
    naming = [name for name, path in modules().items() if '"pynvml"' in path.read_text("utf-8")]
    assert naming == ["engine.devices"]


def test_dependencies_point_downwards() -> None:
    below = {"engine": {"memory", "stevemin_chat"}, "memory": {"engine", "stevemin_chat"}}
    wrong = [
        f"{module}: {owner}"
        for module in modules()
        for owner, _ in imports(module)
        if owner.partition(".")[0] in below.get(module.partition(".")[0], ())
    ]
    assert not wrong


def changed_in(source: str) -> set[str]:
    """Attributes of others that a module sets, deletes or changes in place; those of `self` are its own."""
    changed: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        target: ast.AST | None = None
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            target = node
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            target = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            target = node.func.value if node.func.attr in CHANGING else None
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) != "self":
            changed.add(target.attr)
    return changed


def test_each_field_of_a_chat_is_changed_in_one_file() -> None:
    """A field is known by its name: no attribute of another class, changed from outside, may be called so."""
    owners: dict[str, set[str]] = {}
    for module, path in modules().items():
        if module.startswith("stevemin_chat."):
            for name in changed_in(path.read_text(encoding="utf-8")):
                owners.setdefault(name, set()).add(module)
    changing = [owners.get(field.name, set()) for field in dataclasses.fields(Chat)]
    assert set().union(*changing) == {"stevemin_chat.chats.answering", "stevemin_chat.chats.chats"}
    assert max(map(len, changing)) == 1


def test_changes_of_attributes_are_found() -> None:
    source = "a.b = 1; a.c += 1; a.d, x = 1, 2; del a.e; a.f[0] = 1; a.g.append(1); self.a.h = 1"
    assert changed_in(source) == set("bcdefgh")
    assert changed_in("self.b = a.c; b = a.d[0]; a.e.index(1); c[0] = 1; c.append(a.f)") == set()


def test_test_folders_shadow_no_package() -> None:
    folders = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir()}
    assert not folders & {*PACKAGES, "bench", "bootstrap"}
