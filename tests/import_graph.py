"""The import graph of our packages, read from the sources.

Imports inside functions and under TYPE_CHECKING count. A name taken from a door (a package's `__init__`)
counts as an import of the module that defines it, so that a circle through a door is a circle.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "memory", "stevemin_chat", "bench")

Graph = Mapping[str, set[str]]


class Import(NamedTuple):
    """`from owner import name`, or `import owner` with an empty name."""

    owner: str
    name: str


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name; a package's is its `__init__`."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {module_name(path): path for path in paths if ".peers" not in path.parts}  # llama.cpp's sources


@cache
def imports(module: str) -> list[Import]:
    """Everything a module imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [Import(node.module, alias.name) for alias in node.names]
    return found


def is_package(module: str) -> bool:
    return modules()[module].name == "__init__.py"


def room(module: str) -> str:
    """The room of a module: the sub-package at the top of its package, or the module itself if it lies there.

    A folder inside a room (`tui/widgets`, `memory/vectors/workers`) only sorts files: it belongs to the room
    around it and has no door.
    """
    return ".".join(module.split(".")[:2])


def defined_in(owner: str, name: str) -> str:
    """The module that defines what `from owner import name` takes."""
    if f"{owner}.{name}" in modules():
        return f"{owner}.{name}"
    if owner in modules() and is_package(owner):
        for each in imports(owner):
            if each.name == name and each.owner in modules():
                return defined_in(*each)
    return owner


def module_graph() -> dict[str, set[str]]:
    """Which module needs which; doors are looked through, as they define nothing."""
    graph = {}
    for module in modules():
        if not is_package(module):
            needed = {defined_in(*each) for each in imports(module) if each.owner in modules()}
            graph[module] = {each for each in needed if each != module and not is_package(each)}
    return graph


def room_graph() -> dict[str, set[str]]:
    """Which room needs which."""
    graph: dict[str, set[str]] = {}
    for module, needed in module_graph().items():
        graph.setdefault(room(module), set()).update(room(each) for each in needed)
    return {name: needed - {name} for name, needed in graph.items()}


def circles(graph: Graph) -> list[list[str]]:
    """The groups of nodes that reach each other."""
    reached = {node: set(_reach(graph, node)) for node in graph}
    groups = {
        frozenset({node, *(other for other in reached[node] if node in reached.get(other, ()))})
        for node in graph
        if node in reached[node]
    }
    return sorted(sorted(group) for group in groups)


def _reach(graph: Graph, start: str) -> Iterator[str]:
    seen: set[str] = set()
    waiting: list[Iterable[str]] = [graph[start]]
    while waiting:
        for node in waiting.pop():
            if node not in seen:
                seen.add(node)
                yield node
                waiting.append(graph.get(node, ()))
