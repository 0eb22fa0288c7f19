"""The guides name every command, key and setting; their links and the files they name exist."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest
import typer

from stevemin_chat.base.config import Config, EngineSection, MemorySection, SamplingSection, load_config
from stevemin_chat.cli.root import build
from stevemin_chat.models.catalogue import ModelSpec
from stevemin_chat.tui.actions import COMMANDS, KEYS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TOPS = ("engine", "memory", "stevemin_chat", "bench", "scripts", "tests")
USAGE = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), target
        if anchor:
            assert anchor in anchors(file), target


def test_the_files_that_are_named_exist() -> None:
    """By path from the root or from a folder below it, or by name alone; a dotted name of ours is a module or
    something in it."""
    known = endings()
    wrong = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for path in re.findall(rf"(?<![\w./])((?:{'|'.join(TOPS)})/[\w/]*(?:\.py|/))(?![\w*<])", text):
            if not (ROOT / path).exists():
                wrong.append(f"{page.name}: {path}")
        for path in re.findall(r"(?<![\w./-])((?:\w+/)*\w+\.py)(?!\w)", text) + re.findall(
            r"`((?:\w+/)+)`", text
        ):
            if path.rstrip("/") not in known and not (ROOT / path).exists():
                wrong.append(f"{page.name}: {path}")
        for dotted in re.findall(r"`((?:engine|memory|stevemin_chat|bench)(?:\.\w+)+)`", text):
            if not dotted.endswith(".py") and not is_there(dotted):
                wrong.append(f"{page.name}: {dotted}")
    assert not wrong


def endings() -> set[str]:
    """Our Python files and their folders, each by every part of its path that ends with its name."""
    files = [path.relative_to(ROOT) for top in TOPS for path in (ROOT / top).rglob("*.py")]
    paths = {*files, *(folder for file in files for folder in file.parents)}
    return {"/".join(path.parts[start:]) for path in paths for start in range(len(path.parts))}


def is_there(dotted: str) -> bool:
    head, _, name = dotted.rpartition(".")
    if importlib.util.find_spec(head) is None:
        return False
    return hasattr(importlib.import_module(head), name) or importlib.util.find_spec(dotted) is not None


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_slash_command_is_described(command: str) -> None:
    assert re.search(rf"`/{command}[ `]", USAGE)


@pytest.mark.parametrize("key", [key for command in COMMANDS for key in command.key.split(",") if key])
def test_every_key_of_a_command_is_described(key: str) -> None:
    shown = key.replace("down", "↓").replace("up", "↑").replace("escape", "esc")
    assert f"`{shown}`" in USAGE


@pytest.mark.parametrize("key", [key for keys, _ in KEYS for key in keys.split(" in ")[0].split(", ")])
def test_every_key_of_the_prompt_is_described(key: str) -> None:
    _, _, section = USAGE.partition("## Keys\n")
    rows = re.findall(r"^\| ([^|]+) \|", section.partition("\n## ")[0], re.MULTILINE)
    assert any(f"`{key}`" in row for row in rows)


def test_every_subcommand_and_option_of_ask_is_described() -> None:
    root = typer.main.get_command(build())
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        assert f"stevemin {name}" in USAGE
        for below in getattr(command, "commands", {}):
            assert re.search(rf"stevemin {name} [^\n]*\b{below}\b", USAGE), f"{name} {below}"
    ask = root.commands["ask"]  # type: ignore[attr-defined]
    for option in (name for param in ask.params for name in param.opts if name.startswith("--")):
        assert f"`{option}`" in USAGE, option


@pytest.mark.parametrize(
    "key",
    [
        *(name for name in Config.model_fields if name not in ("engine", "sampling", "memory")),
        *EngineSection.model_fields,
        *SamplingSection.model_fields,
        *MemorySection.model_fields,
        *(name for name in ModelSpec.model_fields if name != "name"),
    ],
)
def test_every_setting_is_described(key: str) -> None:
    assert f"`{key}`" in SETTINGS


@pytest.mark.parametrize("section", [EngineSection, SamplingSection, MemorySection])
def test_defaults_are_told_as_they_are(
    section: type[EngineSection] | type[SamplingSection] | type[MemorySection],
) -> None:
    for name, field in section.model_fields.items():
        (told,) = re.findall(rf"^\| `{name}` \| ([^|]+) \|", SETTINGS, re.MULTILINE)
        value = field.default
        expected = (
            f'`"{value}"`'
            if isinstance(value, str)
            else f"`{json.dumps(value)}`"
            if isinstance(value, tuple)
            else {None: "none"}.get(value, str(value).lower())
        )
        assert told == expected, name


def test_the_examples_are_valid(tmp_path: Path) -> None:
    config, models = re.findall(r"```toml\n(.+?)```", SETTINGS, re.DOTALL)
    (tmp_path / "config.toml").write_text(config)
    assert load_config(tmp_path / "config.toml").engine.max_sessions == 8
    for name, fields in tomllib.loads(models)["models"].items():
        assert ModelSpec.model_validate({**fields, "name": name}).name == name
