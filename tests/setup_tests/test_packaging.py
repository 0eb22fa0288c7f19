"""What `pip install .` puts on a machine, and what the files of the set-up promise each other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): version for name, _, version in pins}


def requirements() -> list[Requirement]:
    return [
        Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    ]


def test_the_wheel_holds_every_source_and_style_sheet(wheel: zipfile.ZipFile) -> None:
    packed = set(wheel.namelist())
    for package in ("engine", "memory", "stevemin_chat"):
        for suffix in ("*.py", "*.tcss"):
            wanted = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob(suffix)}
            assert wanted <= packed, sorted(wanted - packed)
    assert any(name.endswith(".tcss") for name in packed)


def test_the_wheel_holds_the_catalogue_and_nothing_of_the_workshop(wheel: zipfile.ZipFile) -> None:
    assert wheel.read("stevemin_chat/models.toml") == (ROOT / "models.toml").read_bytes()
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"engine", "memory", "stevemin_chat", "stevemin-0.1.0.dist-info"}


def test_the_console_script(wheel: zipfile.ZipFile) -> None:
    entry_points = wheel.read("stevemin-0.1.0.dist-info/entry_points.txt").decode()
    assert f"stevemin = {PROJECT['scripts']['stevemin']}" in entry_points.splitlines()


def test_every_dependency_is_pinned_within_what_it_allows() -> None:
    pins = constraints()
    for requirement in requirements():
        name = requirement.name.lower().replace("_", "-")
        assert name in pins, f"{name} is missing in constraints.txt"
        assert requirement.specifier.contains(pins[name]), f"{requirement} and =={pins[name]}"
    assert pins["torch"] == "2.13.0"


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "Makefile", ".ci/run"])
def test_no_package_index_is_named(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)


def test_make_lists_its_targets() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    for target in ("chat", "install", "test", "check", "bench", "peers", "clean"):
        assert f"  make {target} " in done.stdout


def test_make_with_an_interpreter_that_is_not_there() -> None:
    command = ["make", "install", "PYTHON=no-such-python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert done.stderr.startswith("no-such-python was not found: sudo apt-get install python3")
